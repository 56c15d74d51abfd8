"""From a name or a checkpoint to a segmenter that is ready to run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from napari_cam_sam.errors import CamSamError, reads, refusal, unknown_name
from napari_cam_sam.models.checkpoint_layouts import behind_parts
from napari_cam_sam.models.checkpoints import Checkpoint, load_into, read_checkpoint
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.models.names import is_checkpoint
from napari_cam_sam.sam.frames import LongestSide, Stretched
from napari_cam_sam.sam.models.compact import build_compact_sam
from napari_cam_sam.sam.models.mobile import build_mobile_sam, is_mobile_sam, rename_mobile_sam
from napari_cam_sam.sam.models.precision import choose_precision
from napari_cam_sam.sam.models.promptable import SamSegmenter
from napari_cam_sam.sam.registry import (
    FRAMES,
    REGISTRY,
    Progress,
    download,
    installed_path,
    is_installed,
    segmenter_names,
    split_frame,
    verify,
)
from napari_cam_sam.sam.seeded.segmenter import SeededSegmenter
from napari_cam_sam.sam.segmenter import Segmenter

__all__ = [
    "Architecture",
    "build_sam",
    "describe_segmenter",
    "detect_architecture",
    "load_segmenter",
]

Architecture = Literal["vit-b", "vit-l", "vit-h", "vit-t", "compact"]

_WIDTHS: dict[int, Architecture] = {768: "vit-b", 1024: "vit-l", 1280: "vit-h"}
_POSITIONS = "image_encoder.pos_embed"
_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


@reads("a segmenter")
def load_segmenter(
    name_or_path: str | Path,
    device: str = "auto",
    cache_folder: str | Path | None = None,
    progress: Progress | None = None,
    precision: str = "auto",
    frame: str | None = None,
) -> Segmenter:
    """Load a segmenter by name, or from a checkpoint of which the type is found out.

    Parameters
    ----------
    name_or_path : str or Path
        ``"seeded"``, ``"compact-sam"``, ``"sam-vit-b"``, ``"sam-vit-l"``, ``"sam-vit-h"``,
        ``"medsam"``, ``"mobile-sam"`` (which needs timm), or the path of a checkpoint, with or
        without its frame before it, as ``"medsam:PATH"``. Registered checkpoints that are not in
        the cache folder are downloaded.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``. ``seeded`` runs on the CPU,
        whatever is given.
    cache_folder : str or Path, optional
        Where checkpoints are kept, see :func:`napari_cam_sam.sam.registry.cache_folder`.
    progress : callable, optional
        For a download, see :func:`napari_cam_sam.sam.registry.download`.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Numbers in which a vision transformer encodes; ``"auto"`` is the fastest on the device, see
        :func:`napari_cam_sam.sam.models.precision.choose_precision`. The other segmenters, and
        every decoder, run in float32. ``Segmenter.precision`` says which it is.
    frame : {"sam", "medsam"}, optional
        How planes are brought before a checkpoint of your own, which its weights do not tell:
        ``"sam"`` as segment-anything does it, ``"medsam"`` as MedSAM, which is for boxes only.
        Where nothing says it, a file that looks like a MedSAM's is refused, and any other is fed
        as a SAM, with a warning. ``SamSegmenter.frame`` says which it is.

    Returns
    -------
    Segmenter

    Raises
    ------
    CamSamError
        For an unknown name, device, precision or frame, a frame that contradicts the name, a
        checkpoint that is damaged, not the published one, not of a SAM or perhaps of a MedSAM, or
        a download that fails.

    Examples
    --------
    >>> segmenter = ncs.load_segmenter("seeded")  # needs no weights
    >>> embedding = segmenter.encode(np.zeros((32, 32), np.uint8))
    >>> prompt = ncs.ObjectPrompt(1, box=ncs.Box(8, 8, 24, 24))
    >>> (candidates,) = segmenter.decode(embedding, [prompt])
    >>> candidates.masks.shape[1:]
    (32, 32)
    """
    said, name = split_frame(str(name_or_path))
    if frame is not None and frame not in FRAMES:
        raise unknown_name("frame", frame, FRAMES)
    frame = _one_frame(name, said, frame)
    chosen = choose_device(device)
    dtype = choose_precision(precision, chosen)
    if name == "seeded":
        if frame is not None:
            raise CamSamError("seeded needs no frame: it is no SAM. Leave the frame out.")
        return SeededSegmenter()
    if name == "compact-sam":
        from napari_cam_sam.demo import shipped_models

        return _load_file(shipped_models()[name], chosen, dtype, name, frame)
    if name in REGISTRY:
        if not installed_path(name, cache_folder).exists():
            download(name, cache_folder, progress)
        return _load_file(verify(name, cache_folder), chosen, dtype, name, frame)
    path = Path(name).expanduser()
    if path.exists() or is_checkpoint(path) or len(path.parts) > 1:
        return _load_file(path, chosen, dtype, None, frame)
    raise unknown_name("segmenter", name, segmenter_names())


def describe_segmenter(
    name_or_path: str | Path, cache_folder: str | Path | None = None
) -> dict[str, Any] | None:
    """Say what a segmenter is, without downloading anything.

    Parameters
    ----------
    name_or_path : str or Path
        As :func:`load_segmenter` takes it.
    cache_folder : str or Path, optional

    Returns
    -------
    dict or None
        ``name``, ``kind``, ``architecture``, ``state`` and what else is known; None if it is no
        segmenter's name and no checkpoint of a SAM.

    Raises
    ------
    CamSamError
        For a checkpoint that is damaged.
    """
    frame, name = split_frame(str(name_or_path))
    path = Path(name).expanduser()
    if name == "seeded":
        model_hash = SeededSegmenter().model_hash
        return {"name": name, "kind": "segmenter", "state": "ready", "sha256": model_hash}
    if name in REGISTRY:
        entry = REGISTRY[name]
        state = "installed" if is_installed(name, cache_folder) else "not installed"
        algorithm, expected = entry.known_hash.split(":")
        about = {"address": entry.url, algorithm: expected, "licence": entry.licence}
        return {"name": name, "kind": "segmenter", "state": state, **about, "note": entry.note}
    if name == "compact-sam":
        from napari_cam_sam.demo import shipped_models

        path = shipped_models()[name]
    elif not is_checkpoint(path) or not path.is_file():
        return None
    checkpoint = _read(path)
    if not any(key.startswith("image_encoder.") for key in checkpoint.state_dict):
        return None
    kind = detect_architecture(checkpoint.state_dict)
    about = {"name": name, "kind": "segmenter", "architecture": kind, "sha256": checkpoint.sha256}
    known = name if name == "compact-sam" else _registered_as(path)
    own = "not known: say sam or medsam" if known is None else _frame_of(known)
    return about | {"frame": frame or own}


def detect_architecture(state_dict: Mapping[str, Tensor]) -> Architecture:
    """Return of which SAM weights are, by their keys and shapes.

    Parameters
    ----------
    state_dict : mapping of str to Tensor

    Returns
    -------
    {"vit-b", "vit-l", "vit-h", "vit-t", "compact"}

    Raises
    ------
    CamSamError
        If they are not of a SAM, or of one whose input is not 1024 × 1024 pixels.
    """
    absent = [part for part in _PARTS if not any(key.startswith(part + ".") for key in state_dict)]
    if absent:
        raise CamSamError(
            f"These are not the weights of a SAM: they have no {' and no '.join(absent)}."
        )
    if is_mobile_sam(state_dict):
        return "vit-t"
    positions = state_dict.get(_POSITIONS)
    if positions is None:
        if any(key.startswith("image_encoder.blocks.") for key in state_dict):
            raise CamSamError(f"These weights are a part of a SAM: they have no {_POSITIONS}.")
        return "compact"
    width = positions.shape[-1]
    if width not in _WIDTHS:
        known = ", ".join(f"{w} ({name})" for w, name in _WIDTHS.items())
        raise CamSamError(f"These weights are of a SAM of width {width}; known are {known}.")
    if tuple(positions.shape[1:3]) != (64, 64):
        rows, columns = positions.shape[1] * 16, positions.shape[2] * 16
        raise CamSamError(
            f"These weights are of a SAM for input of {rows} × {columns} pixels; "
            "expected 1024 × 1024."
        )
    return _WIDTHS[width]


def build_sam(architecture: Architecture) -> Sam:
    """Build a SAM with random weights.

    Parameters
    ----------
    architecture : {"vit-b", "vit-l", "vit-h", "vit-t", "compact"}

    Returns
    -------
    segment_anything.modeling.Sam

    Raises
    ------
    CamSamError
        If it needs timm (``"vit-t"``), which is not installed.
    """
    if architecture == "compact":
        return build_compact_sam()
    if architecture == "vit-t":
        return build_mobile_sam()
    return sam_model_registry[architecture.replace("-", "_")]()


def _read(path: Path) -> Checkpoint:
    """Read a checkpoint, names without the prefix that all parts of a SAM may have."""
    checkpoint = read_checkpoint(path)
    try:
        weights, notes = behind_parts(checkpoint.state_dict, _PARTS, "a SAM")
    except CamSamError as error:
        raise refusal(str(error), path) from error
    return replace(checkpoint, state_dict=weights, notes=(*checkpoint.notes, *notes))


def _load_file(
    path: Path, device: torch.device, precision: torch.dtype, name: str | None, frame: str | None
) -> SamSegmenter:
    """Load a checkpoint file as the named segmenter; None for whatever it turns out to be."""
    checkpoint = _read(path)
    try:
        architecture = detect_architecture(checkpoint.state_dict)
    except CamSamError as error:
        raise refusal(str(error).rstrip("."), path) from error
    known = name or _registered_as(path)
    if known is not None:
        frame = _one_frame(known, _frame_of(known), frame)
    elif frame is None and architecture != "compact":  # of which there is no MedSAM
        _ask_for_frame(checkpoint)
    medsam = frame == "medsam"
    if known is None:
        where = " in MedSAM's frame" if medsam else ""
        known = f"{architecture}{where} ({path.name})"
    sam = build_sam(architecture)
    if architecture == "vit-t":
        checkpoint = replace(checkpoint, state_dict=rename_mobile_sam(checkpoint.state_dict))
    load_into(sam, checkpoint, what=f"SAM {architecture}")
    return SamSegmenter(
        sam, known, checkpoint.sha256, device, Stretched() if medsam else LongestSide(),
        boxes_only=medsam, precision=precision,
    )  # fmt: skip


_SAY_FRAME = (
    "write medsam: or sam: before its path, give frame='medsam' or 'sam' in Python, or choose it "
    "in the list of segmenters"
)


def _ask_for_frame(checkpoint: Checkpoint) -> None:
    """Refuse a file that looks like a MedSAM's; warn that any other is fed as a SAM.

    MedSAM's own training writes ``model``, ``optimizer`` and ``epoch``, and names its files
    ``medsam_model_best.pth`` and the like.
    """
    path = checkpoint.path
    hint = ""
    if "medsam" in path.name.lower():
        hint = "by its name"
    elif checkpoint.metadata.keys() == {"optimizer", "epoch"}:
        hint = "by its layout (model, optimizer, epoch)"
    if hint:
        raise refusal(
            f"This may be a MedSAM {hint}, whose input frame is not a SAM's, and weights do not "
            f"tell which of them they were trained with: {_SAY_FRAME}",
            path,
        )
    warnings.warn(
        f"Slices are brought into SAM's own frame, as nothing says which one these weights were "
        f"trained with. If they are a MedSAM's, masks will be poor: {_SAY_FRAME} ({path}).",
        stacklevel=4,
    )


def _frame_of(name: str) -> str:
    """Return the frame of a segmenter that is known by name."""
    return "medsam" if name == "medsam" else "sam"


def _one_frame(name: str, own: str | None, wanted: str | None) -> str | None:
    """Return the frame that a segmenter has or that is wanted; refuse two different ones."""
    if None not in (own, wanted) and own != wanted:
        raise CamSamError(f"{name} has the frame {own}, not {wanted}: leave the frame out.")
    return own or wanted


def _registered_as(path: Path) -> str | None:
    """Name of the registered checkpoint that a file is, wherever it lies, or None.

    A file of MedSAM must be recognised: it needs another input frame than SAM's.
    """
    for entry in REGISTRY.values():
        if path.stat().st_size == entry.size and entry.hash_of(path) == entry.known_hash:
            return entry.name
    return None
