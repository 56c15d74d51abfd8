"""A name for the very pixels that a result came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.stored import DetachedSource
from napari_cam_sam.limits import check_regular

__all__ = ["file_hash", "file_states", "image_hash"]


def image_hash(image: Image) -> str:
    """Hash an image for the run record.

    Parameters
    ----------
    image : Image

    Returns
    -------
    str
        Hexadecimal SHA-256: of the file's bytes where the image has a path (the same as
        ``sha256sum FILE``), else, as of a DICOM series or a header whose values lie in another
        file, of the array's type, shape and values, read plane by plane.

    Raises
    ------
    CamSamError
        If the file can no longer be read.
    """
    of_file = not isinstance(image.source, DicomSource | DetachedSource)
    if image.path is not None and of_file and not image.path.is_dir():
        return file_hash(image.path)
    digest = hashlib.sha256(f"{np.dtype(image.data.dtype).name} {image.data.shape}".encode())
    for plane in image.planes(0):
        digest.update(np.ascontiguousarray(plane).tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        Hexadecimal.

    Raises
    ------
    CamSamError
        If the file cannot be read.
    """
    check_regular(path, "a file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refusal(f"This could not be read: {error.strerror}", path) from error


def file_states(paths: Iterable[Path]) -> list[list[int]]:
    """Return the state of each file without reading it.

    Parameters
    ----------
    paths : iterable of Path

    Returns
    -------
    list of list of int
        Size in bytes and two times of change in ns, of which the second cannot be set back by
        hand. A file that is not there has an empty state.
    """
    states: list[list[int]] = []
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError):
            states.append([])
        else:
            states.append([status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return states
