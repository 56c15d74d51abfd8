"""Saved annotation sessions: what a reviewer did on an image, to reopen and to run again.

A session is a folder of two files, ``session.json`` and the labels on the image's grid::

    {"format": "napari-cam-sam session", "version": 1,
     "saved_at": "2025-03-01T09:30:00+00:00", "versions": {"napari-cam-sam": "0.1.0"},
     "image": {"name": "scan", "path": "/data/scan.nii.gz", "sha256": "…", "shape": [9, 64, 64],
               "spacing": [3.0, 1.0, 1.0], "unit": "mm", "frame": null},
     "choices": {}, "prompts": {"format": "napari-cam-sam prompts", …}, "touched": [[0, 4]],
     "accepted": [{"prompts": {"axis": 0, "index": 4, …}, "candidates": [1], "overlap": "keep",
                   "segmenter": "compact-sam", "segmenter_sha256": "…", "window": [-150, 250],
                   "source": "prompted", "precision": "float32", "masks": []}],
     "scores": [], "labels": {"file": "labels-0123456789abcdef.nii.gz", "sha256": "…"}}

A session is saved often, and may be killed while it is. Two files cannot take their places in one
step, so the labels carry a hash of themselves in their name: new labels lie beside the old ones
until the new ``session.json``, which names them, takes the place of the old one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam import __version__
from napari_cam_sam.errors import CamSamError, reads, refusal
from napari_cam_sam.images.axes import ChosenAxes, parse_axes
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_labels
from napari_cam_sam.images.windows import Window, apply_window
from napari_cam_sam.images.writing import (
    labels_dtype,
    labels_suffix,
    write_atomically,
    write_labels,
)
from napari_cam_sam.limits import SESSION_BYTES, check_regular, parse_json, read_text
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.serialise import FORMAT as PROMPTS_FORMAT
from napari_cam_sam.prompts.serialise import VERSION as PROMPTS_VERSION
from napari_cam_sam.prompts.serialise import from_data, to_data
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.run_length import RunLengthMask
from napari_cam_sam.sam.segmenter import MaskCandidates, Segmenter
from napari_cam_sam.text import recorded, restored

__all__ = [
    "FILE",
    "FORMAT",
    "SINGLE",
    "VERSION",
    "Acceptance",
    "ImageRecord",
    "MaskSource",
    "Overlap",
    "Session",
    "check_session_image",
    "chosen_masks",
    "image_record",
    "place_masks",
    "read_session",
    "replay",
    "write_session",
]

FORMAT = "napari-cam-sam session"
VERSION = 1
SINGLE = -1
"""Stands for the one mask of a decode with ``multimask=False`` where a candidate is recorded."""

Overlap = Literal["keep", "overwrite"]
MaskSource = Literal["prompted", "propagated", "interpolated", "automatic"]
"""Where the masks of a plane come from: prompts there, other planes, or everything mode."""

FILE = "session.json"
"""Name of the file of a session in its folder, beside its labels."""

_PRECISIONS = ("float32", "bfloat16", "float16")
_LABELS_FILE = re.compile(r"labels-[0-9a-f]{16}\.(nii\.gz|png|tif)")
_PACKAGES = ("torch", "segment-anything", "grad-cam", "numpy", "scipy", "scikit-image", "nibabel")


@dataclass(frozen=True)
class ImageRecord:
    """Which image a session is of.

    Attributes
    ----------
    name : str
    path : str or None
        File that it came from, absolute; None for an image in memory.
    sha256 : str
        See `image_hash`: of the file, or of the values where there is none.
    shape : tuple of int
        Without colour channels.
    spacing : tuple of float
        Along each axis of ``shape``, in ``unit``.
    unit : {"mm", "pixel"}
    frame : int or None
        Which frame, of a series.
    axes : str or None
        Letters of its file's axes, where they were chosen, see `read_image`.
    channel : int or None
        Which channel, where one was chosen beside a frame.
    """

    name: str
    path: str | None
    sha256: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    frame: int | None = None
    axes: str | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Acceptance:
    """One plane whose masks the reviewer accepted.

    Attributes
    ----------
    prompts : PlanePrompts
        As they were decoded, all objects in one call. Without objects, and so without candidates,
        where ``masks`` are kept.
    candidates : tuple of int
        For each entry of ``prompts.objects``, in their order, the index of the mask that was
        taken of the segmenter's several, or `SINGLE`.
    overlap : {"keep", "overwrite"}
        What became of labels that were there before, see `place_masks`.
    segmenter : str
        Name or path, as `load_segmenter` takes it.
    segmenter_sha256 : str
        The segmenter's ``model_hash``.
    window : tuple of float or None
        Raw intensities that became 0 and 255; None for the pixels of an 8-bit image as they are.
    source : {"prompted", "propagated", "interpolated", "automatic"}
        Where the masks come from. Those that this plane's prompts do not make are kept.
    precision : {"float32", "bfloat16", "float16"}
        In which the segmenter encoded the plane: another one gives other pixels at the borders.
    masks : tuple of RunLengthMask
        For ``source`` other than ``"prompted"``: the masks themselves.
    """

    prompts: PlanePrompts
    candidates: tuple[int, ...]
    overlap: Overlap
    segmenter: str
    segmenter_sha256: str
    window: tuple[float, float] | None
    source: MaskSource = "prompted"
    precision: str = "float32"
    masks: tuple[RunLengthMask, ...] = ()


@dataclass(frozen=True, eq=False)
class Session:
    """The state of a review.

    Attributes
    ----------
    image : ImageRecord
    choices : dict
        What the reviewer set, as plain data that only the viewer understands. Saving makes
        tuples lists, keys text, and numbers that are not finite None.
    prompts : tuple of PlanePrompts
        The prompts as they stand, one entry a plane.
    touched : tuple of (int, int)
        Axis and index of the planes whose prompts the reviewer edited.
    accepted : tuple of Acceptance
        In the order in which they were accepted; a plane may stand there several times.
    scores : tuple of dict
        Rows of the table of scores, plain data like ``choices``.
    labels : ndarray of int, shape of the image's grid, or None
        Accepted masks, and what was painted or erased by hand.
    saved_at : str
        Date and time in ISO 8601, UTC; `write_session` fills it in.
    versions : dict of str to str or None
        Packages and their versions; `write_session` fills them in.
    """

    image: ImageRecord
    choices: dict[str, Any] = field(default_factory=dict)
    prompts: tuple[PlanePrompts, ...] = ()
    touched: tuple[tuple[int, int], ...] = ()
    accepted: tuple[Acceptance, ...] = ()
    scores: tuple[dict[str, Any], ...] = ()
    labels: NDArray[Any] | None = None
    saved_at: str = ""
    versions: dict[str, str | None] = field(default_factory=dict)


def image_record(image: Image, frame: int | None = None) -> ImageRecord:
    """Record which image a session is of; it reads the whole file, so do it once.

    Parameters
    ----------
    image : Image
    frame : int or None
        Which frame of a series it is.

    Raises
    ------
    CamSamError
        If the file can no longer be read.
    """
    chosen = image.source if isinstance(image.source, ChosenAxes) else None
    return ImageRecord(
        name=image.name,
        path=None if image.path is None else str(image.path.resolve()),
        sha256=image_hash(image),
        shape=image.spatial_shape,
        spacing=tuple(float(step) for step in image.geometry.spacing),
        unit=image.geometry.unit,
        frame=frame,
        axes=None if chosen is None else chosen.axes,
        channel=None if chosen is None else chosen.channel,
    )


def check_session_image(session: Session, image: Image, frame: int | None = None) -> None:
    """Check that an image is the one that a session is of, wherever it lies now.

    Parameters
    ----------
    session : Session
    image : Image
        Where the session's image was in memory, its values are compared, else its file.
    frame : int or None
        Which frame of a series it is.

    Raises
    ------
    CamSamError
        If frame, shape or content differ.
    """
    record = session.image
    if frame != record.frame:
        shown = "no frame of a series" if frame is None else f"frame {frame}"
        wanted = "no frame of one" if record.frame is None else f"frame {record.frame}"
        raise CamSamError(f"{image.name} is {shown}, but the session is of {wanted}.")
    if image.spatial_shape != record.shape:
        raise CamSamError(
            f"{image.name} is not the image of the session: its shape is {image.spatial_shape}, "
            f"that of {record.name} was {record.shape}."
        )
    found = image_hash(image if record.path is not None else replace(image, path=None))
    if found != record.sha256:
        raise CamSamError(
            f"{image.name} is not the image of the session, or was changed since: its sha256 is "
            f"{found[:12]}…, that of {record.name} was {record.sha256[:12]}…."
        )


def place_masks(
    labels: NDArray[Any], masks: Mapping[int, NDArray[np.bool_]], overlap: Overlap
) -> NDArray[Any]:
    """Write the masks of a plane's objects into its labels.

    What the labels already hold of these objects is removed first, so that accepting a plane
    again replaces their masks. Of two masks that overlap, the lower id keeps the pixels.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, columns)
        Stays as it is.
    masks : mapping of int to ndarray of bool, shape (rows, columns)
        By object id.
    overlap : {"keep", "overwrite"}
        Whether pixels with the label of another object keep it, or take the mask's.

    Returns
    -------
    ndarray
        A new plane of the same type.

    Raises
    ------
    CamSamError
        If an id is below 1 or too large for the type, or a mask is of another shape.
    """
    if overlap not in get_args(Overlap):
        raise CamSamError(f"The overlap rule is keep or overwrite, not {overlap!r}.")
    highest = np.iinfo(labels.dtype).max
    for object_id, mask in masks.items():
        if not 1 <= object_id <= highest:
            raise CamSamError(
                f"Object {object_id} has no label: ids go from 1 to {highest} in labels of type "
                f"{labels.dtype}."
            )
        if mask.shape != labels.shape:
            raise CamSamError(
                f"The mask of object {object_id} has shape {mask.shape}, the labels of its plane "
                f"{labels.shape}."
            )
    placed = labels.copy()
    placed[np.isin(placed, list(masks))] = 0
    free = placed == 0 if overlap == "keep" else np.ones(placed.shape, bool)
    for object_id in sorted(masks):
        placed[masks[object_id] & free] = object_id
        free &= ~masks[object_id]
    return placed


def chosen_masks(
    found: Sequence[MaskCandidates], candidates: Sequence[int]
) -> dict[int, NDArray[np.bool_]]:
    """Take one candidate of each decoded entry, and unite the entries of one object.

    Parameters
    ----------
    found : sequence of MaskCandidates
        What a segmenter's ``decode`` gave.
    candidates : sequence of int
        For each the index of its mask, or `SINGLE`.

    Returns
    -------
    dict of int to ndarray of bool
        By object id.

    Raises
    ------
    CamSamError
        If there is no such candidate.
    """
    masks: dict[int, NDArray[np.bool_]] = {}
    for one, chosen in zip(found, candidates, strict=True):
        n = len(one.masks)
        if not (0 <= chosen < n or (chosen == SINGLE and n == 1)):
            raise CamSamError(f"Object {one.object_id} has no candidate {chosen}: it has {n}.")
        mask = one.masks[chosen].astype(bool)
        masks[one.object_id] = masks[one.object_id] | mask if one.object_id in masks else mask
    return masks


def write_session(folder: str | os.PathLike[str], session: Session, image: Image) -> None:
    """Save a session into a folder, in place of the one that is there.

    Whenever it is killed, the folder holds the old session or the new one, whole. Labels that
    did not change are not written again. Two calls for one folder must not run at once.

    Parameters
    ----------
    folder : path-like
        Made where it does not exist. Other files in it are left alone.
    session : Session
        ``saved_at`` and ``versions`` are filled in here.
    image : Image
        The session's image, whose grid the labels file takes; it is not hashed again.

    Raises
    ------
    CamSamError
        If a field is wrong or no plain data, the folder holds a session of another image or a
        ``session.json`` that is none, or cannot be written.
    """
    # Here, not above: pandas comes with it, and the viewer opens sooner without.
    from napari_cam_sam.outputs import plain
    from napari_cam_sam.records.folders import folder_lock

    folder = Path(folder)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    session = replace(session, saved_at=now, versions=_versions())
    if image.spatial_shape != session.image.shape:
        raise CamSamError(
            f"The session is of {session.image.name} of shape {session.image.shape}, but "
            f"{image.name} has {image.spatial_shape}."
        )
    try:
        data = plain(_data(session))
        _session(json.loads(json.dumps(data, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise CamSamError(f"The session holds what is no plain data: {error}.") from error

    with folder_lock(folder, "window"):
        _write_session(folder, session, image, data)


def _write_session(folder: Path, session: Session, image: Image, data: dict[str, Any]) -> None:
    from napari_cam_sam.records.folders import write_folder

    standing = _standing_labels(folder, session.image)
    writers: dict[str, Callable[[Path], object]] = {}
    name, digest = None, None
    if session.labels is not None:
        labels = _narrow(session.labels)
        name = _labels_name(labels, image)
        if standing is not None and standing["file"] == name and _is_whole(folder, standing):
            digest = standing["sha256"]
        else:
            # The record holds the spacing, whatever the labels' format does.
            writers[name] = lambda path: write_labels(path, labels, image, warn=False)

    def write_record(path: Path) -> None:
        if name is not None:
            # Its neighbour was written just before, where it is not the one that stands.
            sha256 = digest or _file_hash(path.with_name(name))
            data["labels"] = {"file": name, "sha256": sha256}
        text = json.dumps(data, indent=2, allow_nan=False) + "\n"
        write_atomically(path, lambda hidden: hidden.write_text(text, encoding="utf-8"))

    writers[FILE] = write_record  # the last, as the files take their places in this order
    write_folder(folder, writers, manifest=FILE)
    _tidy(folder, name)


@reads("a session")
def read_session(
    folder: str | os.PathLike[str], file: str = FILE, *, labels: bool = True
) -> Session:
    """Read a session that `write_session` saved.

    Parameters
    ----------
    folder : path-like
    file : str
        Name of its file in the folder: of another generation, see `session.generations`.
    labels : bool
        Whether the labels are read, too.

    Returns
    -------
    Session
        With the labels in memory, in the smallest type that holds them.

    Raises
    ------
    CamSamError
        If there is none, a file is missing, damaged or changed, or the session was saved by a
        newer version. A wrong field is named by its path, e.g. ``accepted[3].overlap``.
    """
    folder = Path(folder)
    if folder.is_file():
        raise refusal("This is a file: name the folder of a session", folder)
    path = folder / file
    if not path.exists():
        raise refusal(f"This folder holds no session, there is no {file} in it", folder)
    session, entry = _read_record(path)
    if entry is None or not labels:
        return session
    labels_path = folder / entry["file"]
    if _file_hash(labels_path) != entry["sha256"]:
        raise refusal("This is damaged or was changed since the session was saved", labels_path)
    array = np.array(read_labels(labels_path, exact=True).data)
    shape = session.image.shape
    # TIFF does not keep axes of length one.
    if [n for n in array.shape if n > 1] != [n for n in shape if n > 1]:
        raise refusal(f"These have shape {array.shape}, the session's image {shape}", labels_path)
    return replace(session, labels=array.reshape(shape))


def replay(
    session: Session,
    image: Image,
    load: Callable[[str, str], Segmenter] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Accept every plane of a session again, in its order, with the segmenters that it names.

    Without strokes of the reviewer's own hand, the same machine gives the same labels.

    Parameters
    ----------
    session : Session
    image : Image
        The session's; of a series its frame.
    load : callable, optional
        From a segmenter's name or path, and its precision, to the segmenter; by default
        `load_segmenter`.
    progress : callable, optional
        Called after each acceptance with the number done and the number of all.

    Returns
    -------
    ndarray of uint8, uint16 or int32, shape of the image's grid

    Raises
    ------
    CamSamError
        If the image or a segmenter is not the session's, or a candidate does not exist.
    """
    check_session_image(session, image, session.image.frame)
    segmenters = _load_segmenters(session, load or _load)
    ids = [prompt.object_id for one in session.accepted for prompt in one.prompts.objects]
    ids += [kept.object_id for one in session.accepted for kept in one.masks]
    labels = np.zeros(image.spatial_shape, labels_dtype(max(ids, default=0)))
    embeddings = EmbeddingCache()
    for done, acceptance in enumerate(session.accepted, start=1):
        axis, index = acceptance.prompts.axis, acceptance.prompts.index
        masks = {one.object_id: one.mask() for one in acceptance.masks}
        if acceptance.prompts.objects:
            plane = _windowed(image.plane(axis, index), acceptance.window)
            segmenter = segmenters[acceptance.segmenter, acceptance.precision]
            masks = _decode(segmenter, embeddings, plane, acceptance)
        if masks:
            where = image.slot(axis, index)
            labels[where] = place_masks(labels[where], masks, acceptance.overlap)
        if progress is not None:
            progress(done, len(session.accepted))
    return labels


def _load(name: str, precision: str) -> Segmenter:
    from napari_cam_sam.sam.loading import load_segmenter  # brings PyTorch, which takes seconds

    return load_segmenter(name, precision=precision)


def _load_segmenters(
    session: Session, load: Callable[[str, str], Segmenter]
) -> dict[tuple[str, str], Segmenter]:
    """Load each segmenter once, and refuse one that changed before anything is computed."""
    loaded: dict[tuple[str, str], Segmenter] = {}
    for acceptance in session.accepted:
        if acceptance.masks:
            continue  # nothing is decoded
        name, wanted = acceptance.segmenter, acceptance.segmenter_sha256
        key = name, acceptance.precision
        if key not in loaded:
            loaded[key] = load(*key)
        found = loaded[key].model_hash
        if found != wanted:
            raise CamSamError(
                f"The segmenter {name} is not the one of the session: its sha256 is "
                f"{found[:12]}…, and was {wanted[:12]}…."
            )
    return loaded


def _windowed(plane: NDArray[Any], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    if window is not None:
        return apply_window(plane, Window(*window, 0, "of the session"))
    if plane.dtype != np.uint8:
        raise CamSamError(
            f"The session names no window, but the image is of type {plane.dtype}: "
            "only 8-bit pixels can be taken as they are."
        )
    return apply_window(plane, Window(0, 255, 0, "as it is"))


def _decode(
    segmenter: Segmenter,
    embeddings: EmbeddingCache,
    plane: NDArray[np.uint8],
    acceptance: Acceptance,
) -> dict[int, NDArray[np.bool_]]:
    """Decode an acceptance's prompts as the viewer does: all objects in one call."""
    embedding = embeddings.encode(segmenter, plane)
    decoded = {
        multimask: segmenter.decode(embedding, acceptance.prompts.objects, multimask=multimask)
        for multimask in {chosen != SINGLE for chosen in acceptance.candidates}
    }
    found = [decoded[chosen != SINGLE][i] for i, chosen in enumerate(acceptance.candidates)]
    return chosen_masks(found, acceptance.candidates)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "napari-cam-sam": __version__,
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _narrow(labels: NDArray[Any]) -> NDArray[Any]:
    """Bring labels to the type that their file will have, whatever the viewer held them in."""
    array = np.asarray(labels)
    if array.dtype.kind not in "biu" or array.size == 0:
        raise CamSamError(
            f"Labels are whole numbers, but these are of type {array.dtype}, shape {array.shape}."
        )
    dtype = labels_dtype(int(array.max()), int(array.min()))
    return np.ascontiguousarray(array.astype(dtype, copy=False))


def _labels_name(labels: NDArray[Any], image: Image) -> str:
    """Name a labels file after its values and the grid that they lie on."""
    geometry = image.geometry
    affine = None if geometry.affine is None else geometry.affine.tolist()
    grid = f"{labels.dtype} {labels.shape} {geometry.spacing} {geometry.unit} {affine}"
    digest = hashlib.sha256(grid.encode())
    digest.update(labels.data.cast("B"))
    suffix = labels_suffix(image)
    if suffix == ".png" and labels.dtype == np.int32:
        suffix = ".tif"  # PNG holds no more than 16 bits
    return f"labels-{digest.hexdigest()[:16]}{suffix}"


def _standing_labels(folder: Path, image: ImageRecord) -> dict[str, str] | None:
    """Name and hash of the labels of the session that is in a folder already.

    Refuses to write over what is no session, or one of another image.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        session, entry = _read_record(path)
    except CamSamError as error:
        raise refusal(
            "This is no session that can be read here, and is not written over: name another "
            "folder",
            path,
        ) from error
    if (session.image.sha256, session.image.frame) != (image.sha256, image.frame):
        raise refusal(
            f"This folder holds a session of another image, {session.image.name}: name another one",
            folder,
        )
    return entry


def _tidy(folder: Path, name: str | None) -> None:
    """Remove labels that no generation names, and what a write that was killed has left."""
    partial = re.compile(re.escape(f".{folder.name}-") + r"[a-z0-9_]{8}")
    hidden = re.compile(r"\.[0-9a-f]{12}-session-\d+\.json")
    with suppress(OSError):
        wanted = {name}
        for path in folder.glob("session-*.json"):
            text = path.read_text(encoding="utf-8", errors="replace")
            wanted.update(match[0] for match in _LABELS_FILE.finditer(text))
        for path in folder.iterdir():
            if partial.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
            elif hidden.fullmatch(path.name) or (
                _LABELS_FILE.fullmatch(path.name) and path.name not in wanted
            ):
                path.unlink(missing_ok=True)


def _is_whole(folder: Path, entry: dict[str, str]) -> bool:
    try:
        return _file_hash(folder / entry["file"]) == entry["sha256"]
    except CamSamError:
        return False


def _file_hash(path: Path) -> str:
    check_regular(path, "a file of a session")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refusal(f"This could not be read: {error.strerror}", path) from error


# From a session to plain data, and back


def _data(session: Session) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "saved_at": session.saved_at,
        "versions": session.versions,
        "image": _image_data(session.image),
        "choices": _each_text(recorded, session.choices),
        "prompts": to_data(session.prompts),
        "touched": session.touched,
        "accepted": [
            vars(one)
            | {"prompts": to_data([one.prompts])["planes"][0]}
            | {"segmenter": recorded(one.segmenter)}
            | {"masks": [{"object": m.object_id, "runs": m.runs} for m in one.masks]}
            for one in session.accepted
        ],
        "scores": session.scores,
        "labels": None,
    }


def _each_text(change: Callable[[str], str], value: Any) -> Any:
    """Change every text in plain data: paths are recorded, and restored, wherever they stand."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each_text(change, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(change, item) for item in value]
    return value


def _read_record(path: Path) -> tuple[Session, dict[str, str] | None]:
    """Read ``session.json``: the session without its labels, and name and hash of these."""
    data = parse_json(read_text(path, "a session", SESSION_BYTES), path)
    try:
        return _session(data)
    except CamSamError as error:
        raise refusal(str(error), path) from error


def _session(data: object) -> tuple[Session, dict[str, str] | None]:
    """Check every field of ``session.json``."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CamSamError(f"This is no session: its format is not {FORMAT!r}.")
    number = _whole(data.get("version"), "version", 1)
    if number > VERSION:
        raise CamSamError(
            f"This session was saved by a newer napari-cam-sam: its version is {number}, and this "
            f"program reads {VERSION}; install the newer one."
        )
    top = _fields(
        data, "the file", "format", "version", "saved_at", "versions", "image", "choices",
        "prompts", "touched", "accepted", "scores", "labels",
    )  # fmt: skip
    image = _image(top["image"])
    prompts = _prompts(top["prompts"], "prompts", image.shape)
    touched = []
    for i, item in enumerate(_list(top["touched"], "touched")):
        path = f"touched[{i}]"
        if len(_list(item, path)) != 2:
            raise _wrong(path, "an axis and an index", item)
        axis, index = (_whole(number, path, 0) for number in item)
        _check_plane(axis, index, image.shape, path)
        touched.append((axis, index))
    accepted = [
        _acceptance(item, f"accepted[{i}]", image.shape)
        for i, item in enumerate(_list(top["accepted"], "accepted"))
    ]
    scores = [_object(row, f"scores[{i}]") for i, row in enumerate(_list(top["scores"], "scores"))]
    saved_at = _text(top["saved_at"], "saved_at")
    try:
        datetime.fromisoformat(saved_at)
    except ValueError:
        raise _wrong("saved_at", "a date and time in ISO 8601", saved_at) from None
    versions = _object(top["versions"], "versions")
    for name, value in versions.items():
        if value is not None:
            _text(value, f"versions.{name!r}")
    session = Session(
        image=image,
        choices=_each_text(restored, _object(top["choices"], "choices")),
        prompts=prompts,
        touched=tuple(touched),
        accepted=tuple(accepted),
        scores=tuple(scores),
        saved_at=saved_at,
        versions=versions,
    )
    return session, None if top["labels"] is None else _labels_entry(top["labels"])


def _image_data(record: ImageRecord) -> dict[str, Any]:
    """Plain data of a record; what chooses from a file is left out where nothing was chosen."""
    data = vars(record) | {"path": _each_text(recorded, record.path)}
    return {k: v for k, v in data.items() if k not in ("axes", "channel") or v is not None}


def _image(data: object) -> ImageRecord:
    names = ("name", "path", "sha256", "shape", "spacing", "unit", "frame")
    given = dict(_object(data, "image"))
    axes, channel = given.pop("axes", None), given.pop("channel", None)
    _fields(given, "image", *names)
    shape = tuple(
        _whole(n, f"image.shape[{i}]", 1)
        for i, n in enumerate(_list(given["shape"], "image.shape"))
    )
    if len(shape) not in (2, 3):
        raise _wrong("image.shape", "a list of 2 or 3 whole numbers", given["shape"])
    spacing = tuple(
        _number(step, f"image.spacing[{i}]")
        for i, step in enumerate(_list(given["spacing"], "image.spacing"))
    )
    if len(spacing) != len(shape) or min(spacing) <= 0:
        raise _wrong("image.spacing", "a number above 0 for each axis", given["spacing"])
    if given["unit"] not in ("mm", "pixel"):
        raise _wrong("image.unit", "mm or pixel", given["unit"])
    frame = given["frame"]
    return ImageRecord(
        name=_text(given["name"], "image.name"),
        path=None if given["path"] is None else restored(_text(given["path"], "image.path")),
        sha256=_sha256(given["sha256"], "image.sha256"),
        shape=shape,
        spacing=spacing,
        unit=given["unit"],
        frame=None if frame is None else _whole(frame, "image.frame", 0),
        axes=None if axes is None else parse_axes(_text(axes, "image.axes")),
        channel=None if channel is None else _whole(channel, "image.channel", 0),
    )


def _acceptance(data: object, path: str, shape: tuple[int, ...]) -> Acceptance:
    given = _fields(
        data, path, "prompts", "candidates", "overlap", "segmenter", "segmenter_sha256", "window",
        "source", "precision", "masks",
    )  # fmt: skip
    document = {
        "format": PROMPTS_FORMAT,
        "version": PROMPTS_VERSION,
        "planes": [given["prompts"]],
    }
    (prompts,) = _prompts(document, f"{path}.prompts", shape)
    candidates = tuple(
        _whole(chosen, f"{path}.candidates[{i}]", SINGLE)
        for i, chosen in enumerate(_list(given["candidates"], f"{path}.candidates"))
    )
    if len(candidates) != len(prompts.objects):
        n = len(prompts.objects)
        raise _wrong(f"{path}.candidates", f"a list of {n}, one an object", given["candidates"])
    if given["overlap"] not in get_args(Overlap):
        raise _wrong(f"{path}.overlap", "keep or overwrite", given["overlap"])
    if given["source"] not in get_args(MaskSource):
        sources = ", ".join(get_args(MaskSource))
        raise _wrong(f"{path}.source", f"one of {sources}", given["source"])
    if given["precision"] not in _PRECISIONS:
        raise _wrong(f"{path}.precision", f"one of {', '.join(_PRECISIONS)}", given["precision"])
    masks = _kept_masks(given["masks"], f"{path}.masks", prompts.axis, shape)
    if masks and (given["source"] == "prompted" or candidates):
        raise _wrong(f"{path}.masks", "empty where masks come from prompts", given["masks"])
    window = given["window"]
    if window is not None:
        limits = _list(window, f"{path}.window")
        if len(limits) != 2:
            raise _wrong(f"{path}.window", "null or two numbers, low and high", limits)
        low, high = (_number(limit, f"{path}.window[{i}]") for i, limit in enumerate(limits))
        if not low < high:
            raise _wrong(f"{path}.window", "two numbers, low below high", limits)
        window = low, high
    return Acceptance(
        prompts=prompts,
        candidates=candidates,
        overlap=given["overlap"],
        segmenter=restored(_text(given["segmenter"], f"{path}.segmenter")),
        segmenter_sha256=_sha256(given["segmenter_sha256"], f"{path}.segmenter_sha256"),
        window=window,
        source=given["source"],
        precision=given["precision"],
        masks=masks,
    )


def _kept_masks(
    data: object, path: str, axis: int, shape: tuple[int, ...]
) -> tuple[RunLengthMask, ...]:
    rows, columns = (n for i, n in enumerate(shape) if len(shape) == 2 or i != axis)
    masks = []
    for i, item in enumerate(_list(data, path)):
        given = _fields(item, f"{path}[{i}]", "object", "runs")
        runs = _list(given["runs"], f"{path}[{i}].runs")
        lengths = tuple(_whole(n, f"{path}[{i}].runs[{k}]", 0) for k, n in enumerate(runs))
        object_id = _whole(given["object"], f"{path}[{i}].object", 1)
        try:
            masks.append(RunLengthMask(object_id, (rows, columns), lengths))
        except CamSamError as error:
            raise CamSamError(f"{path}[{i}] of the session is wrong. {error}") from error
    return tuple(masks)


def _prompts(data: object, path: str, shape: tuple[int, ...]) -> tuple[PlanePrompts, ...]:
    try:
        prompts = from_data(data)
    except CamSamError as error:
        raise CamSamError(f"{path} of the session is wrong. {error}") from error
    for plane in prompts:
        _check_plane(plane.axis, plane.index, shape, path)
    return prompts


def _check_plane(axis: int, index: int, shape: tuple[int, ...], path: str) -> None:
    counts = shape if len(shape) == 3 else (1,)
    if axis >= len(counts) or index >= counts[axis]:
        raise CamSamError(
            f"In the session, {path} names plane {index} of axis {axis}, which an image of shape "
            f"{shape} does not have."
        )


def _labels_entry(data: object) -> dict[str, str]:
    given = _fields(data, "labels", "file", "sha256")
    name = _text(given["file"], "labels.file")
    if not _LABELS_FILE.fullmatch(name):  # so that no path leads out of the folder
        raise _wrong("labels.file", "the name of a labels file", name)
    return {"file": name, "sha256": _sha256(given["sha256"], "labels.sha256")}


def _fields(data: object, path: str, *names: str) -> dict[str, Any]:
    given = _object(data, path)
    for name in names:
        if name not in given:
            raise CamSamError(f"The field {name!r} of {path} is missing from the session.")
    for name in given:
        if name not in names:
            known = ", ".join(names)
            raise CamSamError(
                f"The session has an unknown field {name!r} in {path}; known: {known}."
            )
    return given


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, "an object with fields", value)
    return value


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, "a list", value)
    return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "a text", value)
    return value


def _sha256(value: object, path: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise _wrong(path, "a sha256 of 64 hexadecimal digits", value)
    return value


def _whole(value: object, path: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(path, f"a whole number of {least} or more", value)
    return value


def _number(value: object, path: str) -> float:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise _wrong(path, "a finite number", value)
    return number


def _wrong(path: str, right: str, value: object) -> CamSamError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return CamSamError(f"In the session, {path} must be {right}, not {shown}.")
