"""Read weights from a file without running code from it, and fit them into a module."""

from __future__ import annotations

import hashlib
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError, reason_of, refusal
from napari_cam_sam.images.hashing import file_hash
from napari_cam_sam.limits import check_expansion, check_regular, memory_bound
from napari_cam_sam.models.checkpoint_layouts import (
    PLAIN,
    behind_prefix,
    find_weights,
    foreign_names,
    match_head,
    some_of,
    tell,
    without_wrappers,
)
from napari_cam_sam.models.names import CHECKPOINTS, is_checkpoint
from napari_cam_sam.text import utf8_path

__all__ = [
    "Checkpoint",
    "check_archive",
    "fit",
    "load_into",
    "read_checkpoint",
    "weights_sha256",
]

_SCALAR = np.float64(0).__reduce__()[0]
# What NumPy makes its own numbers of, which stand beside weights as losses and scores; their
# function is named as NumPy 1 and NumPy 2 write it.
_SCALAR_NAMES = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_PACKED = 20
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError,
    RuntimeError, struct.error, OverflowError,
)  # fmt: skip
_HARMLESS = {*_SCALAR_NAMES, "numpy.dtype", "_codecs.encode"}
_NUMBERS: list[Any] = [*((_SCALAR, name) for name in _SCALAR_NAMES), np.dtype]
_NUMBERS += [type(np.dtype(code)) for code in "?bhilqBHILQefd"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights as they were read from one file.

    Attributes
    ----------
    path : Path
    state_dict : dict of str to Tensor
        On the CPU, names without what compiling and wrapping put there, such as ``module.``.
    metadata : dict
        What the file holds beside the weights: the header of a safetensors file (strings), or
        the other entries of a nested PyTorch checkpoint.
    sha256 : str
        Of the whole file, hexadecimal.
    notes : tuple of str
        What was decided about the file's layout, see :mod:`models.checkpoint_layouts`.
    """

    path: Path
    state_dict: dict[str, Tensor]
    metadata: dict[str, Any]
    sha256: str
    notes: tuple[str, ...] = ()


def weights_sha256(module: nn.Module) -> str:
    """Hash a module's weights by name, dtype, shape and bytes.

    Parameters
    ----------
    module : nn.Module

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint as plain tensors.

    Parameters
    ----------
    path : str or Path
        A ``.safetensors`` file, or one of PyTorch's (see :data:`models.names.CHECKPOINTS`),
        which is read with ``weights_only=True``. Where in it the weights lie is found by the
        rules of :mod:`models.checkpoint_layouts`.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CamSamError
        If the file is missing, a directory, empty, truncated, a web page, a pickle that holds
        code, or has no weights or several sets of them.
    """
    path = Path(path)
    _check_readable(path)
    content: object
    metadata: dict[str, Any]
    if path.name.lower().endswith(".safetensors"):
        content, metadata = _read_safetensors(path)
    elif is_checkpoint(path):
        content, metadata = _read_torch(path), {}
    else:
        raise refusal(
            f"This is not a checkpoint: expected a file that ends in {', '.join(CHECKPOINTS)}", path
        )
    try:
        found = find_weights(content)
    except CamSamError as error:
        raise refusal(str(error), path) from error
    if not found.weights:
        raise refusal(
            "This holds no weights: expected tensors by name, at the top or under an entry such "
            f"as {', '.join(map(repr, PLAIN[:4]))}",
            path,
        )
    weights = without_wrappers(found.weights)
    return Checkpoint(path, weights, metadata | found.beside, file_hash(path), found.notes)


def load_into(module: nn.Module, checkpoint: Checkpoint, *, what: str = "the model") -> None:
    """Copy a checkpoint's weights into a module, all of them or none.

    Counters of batch norm (``num_batches_tracked``) may be absent from the file: older PyTorch
    did not write them, and evaluation does not read them. So may be all but one of the names
    under which a module has the same weights several times, as MONAI's DynUNet has: safetensors
    keeps one of them.

    Parameters
    ----------
    module : nn.Module
        Its parameters and buffers are overwritten; float16 weights become its own dtype.
    checkpoint : Checkpoint
    what : str
        How the module is called in an error, e.g. ``"resnet18 with 3 classes"``.

    Raises
    ------
    CamSamError
        Names the keys that are missing or too many, and the shapes that differ.
    """
    own = module.state_dict()
    given, notes = _fitting(checkpoint, own, what)
    there = {value.data_ptr() for key, value in own.items() if key in given and value.numel()}
    missing = [
        key
        for key, value in own.items()
        if key not in given
        and not key.endswith("num_batches_tracked")
        and value.data_ptr() not in there
    ]
    extra = [k for k in given if k not in own]
    shapes = [
        f"{k} is {tuple(given[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in given and own[k].shape != given[k].shape
    ]
    faults = [
        f"{len(found)} {one if len(found) == 1 else many} ({some_of(found)})"
        for found, one, many in (
            (missing, "key is missing", "keys are missing"),
            (extra, "key is not in the model", "keys are not in the model"),
            (shapes, "shape differs", "shapes differ"),
        )
        if found
    ]
    if faults:
        told = "; ".join(faults) + foreign_names(given, own)
        raise refusal(f"The file does not fit {what}: {told}", checkpoint.path)
    try:
        module.load_state_dict(given, strict=False)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        reason = f"The weights could not be copied into {what} ({reason_of(error)})"
        raise refusal(reason, checkpoint.path) from error
    tell((*checkpoint.notes, *notes), checkpoint.path)


def fit(checkpoint: Checkpoint, module: nn.Module, head: str, what: str) -> Checkpoint:
    """Rename weights as an architecture does, as far as their names tell.

    A prefix is taken off, and a head that was made a sequence gets its own names. Shapes are not
    looked at: the number of classes may be another one.

    Parameters
    ----------
    checkpoint : Checkpoint
    module : nn.Module
        May lie on PyTorch's device ``meta``.
    head : str
        Name of its part that makes the logits, e.g. ``"classifier"``.
    what : str
        How it is called in an error.

    Returns
    -------
    Checkpoint
        With other names, and notes on what was done.

    Raises
    ------
    CamSamError
        If the file holds several networks of the kind, or another head.
    """
    given, notes = _fitting(checkpoint, module.state_dict(), what)
    try:
        given, more = match_head(given, module, head, what)
    except CamSamError as error:
        raise refusal(str(error), checkpoint.path) from error
    return replace(checkpoint, state_dict=given, notes=(*checkpoint.notes, *notes, *more))


def _fitting(
    checkpoint: Checkpoint, own: Mapping[str, Tensor], what: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    try:
        return behind_prefix(checkpoint.state_dict, own, what)
    except CamSamError as error:
        raise refusal(str(error), checkpoint.path) from error


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise refusal("This is a folder; expected a checkpoint file", path)
    check_regular(path, "a checkpoint")
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError:
        raise refusal("There is no such checkpoint", path) from None
    except OSError as error:
        raise refusal(f"This cannot be read: {reason_of(error)}", path) from error
    if not head:
        raise refusal("This file is empty; expected a checkpoint", path)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise refusal(
            "This is a web page, not a checkpoint: the download was answered with a page; "
            "download it again from the address of the file itself",
            path,
        )
    if head.startswith(b"version https://git-lfs"):
        raise refusal(
            "This is a Git LFS pointer, not the checkpoint itself; run 'git lfs pull'", path
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with utf8_path(path) as there, safe_open(there, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise refusal(
            f"This is not a whole safetensors file ({reason_of(error)}); it may be truncated: "
            "download or save it again",
            path,
        ) from error


def _read_torch(path: Path) -> object:
    foreign = check_archive(path) or _foreign_code(path)
    if foreign is None:
        try:
            with torch.serialization.safe_globals(_NUMBERS):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle may raise anything at all
            code = re.search(r"GLOBAL ([\w.]+)", str(error))
            if code is None:
                raise refusal(
                    "This is not a PyTorch checkpoint that can be read as plain weights; it may be "
                    "truncated or another kind of file: download or save it again",
                    path,
                ) from error
            foreign = code[1]
    raise refusal(
        f"This is a pickle that holds code ({foreign}), which is never run; save its weights "
        "alone: torch.save(model.state_dict(), ...), or of what torch.load gives where you trust "
        "the file the entry with the weights",
        path,
    )


def check_archive(path: Path) -> str | None:
    """Check a file of PyTorch's that is a zip archive: its sizes, and all of its checksums.

    PyTorch itself looks at no checksum. What was saved before there were archives has none.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str or None
        Name of what is code in it, where there is any.

    Raises
    ------
    CamSamError
        If it is damaged, or expands to more than it can hold or the memory has room for.
    """
    check_regular(path, "a checkpoint")
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            return None
        try:
            with zipfile.ZipFile(stream) as archive:
                parts = archive.infolist()
                expanded = sum(part.file_size for part in parts)
                # PyTorch packs nothing; some tool may have packed it again.
                check_expansion(path.stat().st_size, expanded, path, most=_PACKED)
                if expanded > memory_bound():
                    raise refusal("This is larger than half of the free memory", path)
                if any(part.filename.endswith("constants.pkl") for part in parts):
                    return "TorchScript"
                # PyTorch reads nothing of a part marked as a folder, and gives what is in memory.
                folders = [
                    part.filename
                    for part in parts
                    if part.external_attr & 0x10 and not part.filename.endswith("/")
                ]
                if folders:
                    raise refusal(
                        f"This is damaged ({folders[0]!r} is marked as a folder): download or save "
                        "it again",
                        path,
                    )
                # All are 0 where they were switched off as it was saved.
                if any(part.CRC for part in parts):
                    for part in parts:
                        _check_part(archive, part, path)
        except _ZIP_ERRORS as error:
            raise refusal(
                f"This is damaged ({reason_of(error)}); it may be truncated: download or save "
                "it again",
                path,
            ) from error
    return None


def _check_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo, path: Path) -> None:
    """Read a part to its end, where its checksum is compared."""
    with archive.open(part) as stream:
        size = 0
        while chunk := stream.read(1 << 20):
            size += len(chunk)
    if size != part.file_size:
        raise refusal(f"This is damaged: its part {part.filename} is cut off", path)


def _foreign_code(path: Path) -> str | None:
    """Return the first function that a bare pickle asks for, reading it without running it.

    Zip archives, as ``torch.save`` writes them, are left to PyTorch's own check, whose refusal
    of a bare pickle says nothing of code.
    """
    with path.open("rb") as stream:
        if stream.read(2) == b"PK":
            return None
        stream.seek(0)
        texts: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
                    parts = texts[-2:] if argument is None else str(argument).split(" ")
                    name = ".".join(parts)
                    known = parts[0].partition(".")[0] in ("torch", "collections")
                    if not known and name not in _HARMLESS:
                        return name
                if isinstance(argument, str):
                    texts.append(argument)
        except Exception:  # not a pickle, or a damaged one
            return None
    return None
