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
import os
import platform
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reads, refusal
from napari_cam_sam.images.hashing import file_hash
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_labels
from napari_cam_sam.images.writing import labels_dtype, labels_suffix, write_labels, write_text
from napari_cam_sam.limits import SESSION_BYTES
from napari_cam_sam.parsing import parse_json, read_text
from napari_cam_sam.records.folders import folder_lock, write_folder
from napari_cam_sam.records.values import PACKAGES, package_versions, plain
from napari_cam_sam.session.data import ImageRecord, Session
from napari_cam_sam.session.schema import (
    LABELS_FILE,
    LabelsEntry,
    session_data,
    session_from_data,
)

__all__ = ["FILE", "read_session", "write_session"]

FILE = "session.json"
"""Name of the file of a session in its folder, beside its labels."""

_PACKAGES = [name for name in PACKAGES if name != "torchvision"]


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
    folder = Path(folder)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {"python": platform.python_version(), **package_versions(_PACKAGES)}
    session = replace(session, saved_at=now, versions=versions)
    if image.spatial_shape != session.image.shape:
        raise CamSamError(
            f"The session is of {session.image.name} of shape {session.image.shape}, but "
            f"{image.name} has {image.spatial_shape}."
        )
    try:
        data = plain(session_data(session))
        session_from_data(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise CamSamError(f"The session holds what is no plain data: {error}.") from error

    with folder_lock(folder, "window"):
        _write_session(folder, session, image, data)


def _write_session(folder: Path, session: Session, image: Image, data: dict[str, Any]) -> None:
    standing = _standing_labels(folder, session.image)
    writers: dict[str, Callable[[Path], object]] = {}
    name, digest = None, None
    if session.labels is not None:
        labels = _narrow(session.labels)
        name = _labels_name(labels, image)
        if standing is not None and standing.file == name and _is_whole(folder, standing):
            digest = standing.sha256
        else:
            # The record holds the spacing, whatever the labels' format does.
            writers[name] = lambda path: write_labels(path, labels, image, warn=False)

    def write_record(path: Path) -> None:
        if name is not None:
            # Its neighbour was written just before, where it is not the one that stands.
            sha256 = digest or file_hash(path.with_name(name))
            data["labels"] = {"file": name, "sha256": sha256}
        text = json.dumps(data, indent=2, allow_nan=False) + "\n"
        write_text(path, text)

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

    Examples
    --------
    >>> from napari_cam_sam.session import image_record, write_session
    >>> image = ncs.image_from_array(np.zeros((24, 64, 48), np.uint8), name="scan")
    >>> _ = write_session("review", ncs.Session(image_record(image)), image)
    >>> ncs.read_session("review").image.name
    'scan'
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
    labels_path = folder / entry.file
    if file_hash(labels_path) != entry.sha256:
        raise refusal("This is damaged or was changed since the session was saved", labels_path)
    array = np.array(read_labels(labels_path, exact=True).data)
    shape = session.image.shape
    # TIFF does not keep axes of length one.
    if [n for n in array.shape if n > 1] != [n for n in shape if n > 1]:
        raise refusal(f"These have shape {array.shape}, the session's image {shape}", labels_path)
    return replace(session, labels=array.reshape(shape))


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


def _standing_labels(folder: Path, image: ImageRecord) -> LabelsEntry | None:
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
            wanted.update(match[0] for match in LABELS_FILE.finditer(text))
        for path in folder.iterdir():
            if partial.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
            elif hidden.fullmatch(path.name) or (
                LABELS_FILE.fullmatch(path.name) and path.name not in wanted
            ):
                path.unlink(missing_ok=True)


def _is_whole(folder: Path, entry: LabelsEntry) -> bool:
    try:
        return file_hash(folder / entry.file) == entry.sha256
    except CamSamError:
        return False


def _read_record(path: Path) -> tuple[Session, LabelsEntry | None]:
    """Read ``session.json``: the session without its labels, and their file."""
    data = parse_json(read_text(path, "a session", SESSION_BYTES), path)
    try:
        return session_from_data(data)
    except CamSamError as error:
        raise refusal(str(error), path) from error
