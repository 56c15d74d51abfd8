"""Arrays whose place in a file a header states, beside them or in front: opened, not loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reason_of, refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.formats import stem_of
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image, choose_frame
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.unpacking import PACKED_EXPANSION, extra_bytes_note, unpack
from napari_cam_sam.images.volume import PartOnDisk, VolumeOnDisk
from napari_cam_sam.limits import check_array, check_regular

__all__ = [
    "DetachedSource",
    "StoredArray",
    "detached_file",
    "image_of",
    "open_frames",
    "write_detached",
]


@dataclass(frozen=True)
class DetachedSource:
    """Where the values of an image are whose file is but their header.

    Attributes
    ----------
    values : Path
    """

    values: Path


@dataclass(frozen=True, eq=False)
class StoredArray:
    """What the header of a file says about its values.

    Attributes
    ----------
    path : Path
        The file with the header.
    values : Path
        The file with the values: the same, or another.
    dtype : dtype
        With its byte order.
    shape : tuple of int
        Of all that is stored, the slowest axis first.
    geometry : Geometry
        Of the spatial axes.
    start : int
        Byte where the values begin, or what is packed; below 0 counted from the file's end.
    packing : {"", "gzip", "zlib", "bzip2"}
    skip : int
        Unpacked bytes before the values.
    frame_axes : tuple of int
        Axes of ``shape`` that frames and components are chosen along, ascending.
    rgb : bool
        Whether the last axis is colour.
    notes : tuple of str
    segments : tuple of Segment
        What the labels are called.
    footer : int
        How many bytes may follow the values without a note.
    """

    path: Path
    values: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    geometry: Geometry
    start: int = 0
    packing: str = ""
    skip: int = 0
    frame_axes: tuple[int, ...] = ()
    rgb: bool = False
    notes: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    footer: int = 0

    @property
    def frames(self) -> int:
        """How many frames and components there are to choose from."""
        return math.prod(self.shape[axis] for axis in self.frame_axes)


def image_of(stored: StoredArray, frame: int | None = None) -> Image:
    """Open what a header describes, without loading it.

    What is packed is unpacked once, to a temporary file; of frames that lie one after the other
    only the chosen one.

    Parameters
    ----------
    stored : StoredArray
    frame : int or None
        Counted through all frames and components in the order of the file; needed where there
        are several.

    Returns
    -------
    Image

    Raises
    ------
    CamSamError
        If the frame is missing or not there, or the file holds less than its header declares.
    """
    n_bytes = _checked_bytes(stored)
    try:
        chosen = choose_frame(frame, stored.frames, "This")
    except CamSamError as error:
        raise refusal(str(error), stored.path) from None
    if not _apart(stored):
        return open_frames(stored)(chosen)
    shape = stored.shape[len(stored.frame_axes) :]
    part_bytes = math.prod(shape) * stored.dtype.itemsize
    return _image(stored, *_opened(stored, shape, chosen * part_bytes, n_bytes))


def open_frames(stored: StoredArray) -> Callable[[int], Image]:
    """Open all that a header describes once, without loading it, to read several frames.

    Parameters
    ----------
    stored : StoredArray

    Returns
    -------
    callable
        Takes a frame's number and returns it as an image.

    Raises
    ------
    CamSamError
        If the file holds less than its header declares.
    """
    volume, notes = _opened(stored, stored.shape, 0, _checked_bytes(stored))
    sizes = [stored.shape[axis] for axis in stored.frame_axes]

    def image(frame: int) -> Image:
        if not sizes:
            return _image(stored, volume, notes)
        indices = np.unravel_index(frame, sizes)
        fixed = {a: int(n) for a, n in zip(stored.frame_axes, indices, strict=True)}
        return _image(stored, PartOnDisk(volume, fixed), notes)

    return image


def _apart(stored: StoredArray) -> bool:
    """Return whether frames lie one after the other, so that one can be read alone."""
    return stored.frame_axes == tuple(range(len(stored.frame_axes)))


def _checked_bytes(stored: StoredArray) -> int:
    """Return the bytes of all values, which the file can hold."""
    size = stored.values.stat().st_size
    return check_array(
        stored.shape, stored.dtype, max(0, size - max(0, stored.start)), stored.path,
        in_memory=False, expansion=PACKED_EXPANSION[stored.packing],
    )  # fmt: skip


def _opened(
    stored: StoredArray, shape: tuple[int, ...], offset: int, n_bytes: int
) -> tuple[VolumeOnDisk, tuple[str, ...]]:
    """Open a part of the values that begins some bytes after the first, and note what follows."""
    size = stored.values.stat().st_size
    start = stored.start if stored.start >= 0 else max(0, size - n_bytes)
    if not stored.packing:
        notes = extra_bytes_note(size - start - n_bytes, stored.footer)
        return VolumeOnDisk(stored.values, stored.dtype, shape, start + offset), notes
    part_bytes = math.prod(shape) * stored.dtype.itemsize
    file, notes = unpack(
        stored.values, stored.packing, stored.skip + offset, part_bytes,
        start=start, to_the_end=offset + part_bytes == n_bytes, footer=stored.footer,
    )  # fmt: skip
    return VolumeOnDisk(file, stored.dtype, shape), notes


def _image(stored: StoredArray, data: VolumeOnDisk | PartOnDisk, notes: tuple[str, ...]) -> Image:
    return Image(
        data, stored.rgb, stored.geometry, stem_of(stored.path), stored.path,
        source=DetachedSource(stored.values) if stored.values != stored.path else None,
        notes=(*stored.notes, *notes), segments=stored.segments,
    )  # fmt: skip


def detached_file(path: Path, name: str) -> Path:
    """Return the file that a header names for its values.

    Parameters
    ----------
    path : Path
        The file with the header.
    name : str
        As the header states it.

    Returns
    -------
    Path

    Raises
    ------
    CamSamError
        If it lies outside of the header's folder, or cannot be read.
    """
    folder, where = os.path.abspath(path.parent), os.path.abspath(path.parent / name)
    # A header from somebody else may name any file of this machine.
    if os.path.isabs(name) or not Path(where).is_relative_to(folder) or where == folder:
        raise refusal(
            "The header says that its values lie in a file outside of its own folder: put both "
            "into one folder, and the name alone into the header",
            path,
        )
    values = path.parent / name
    try:
        check_regular(values, "the values of an image")
        if not values.is_file():
            raise refusal(f"The file with its values, {name}, is not there beside it", path)
        with values.open("rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        raise refusal(
            f"The file with its values, {name}, could not be read: {reason_of(error)}", path
        ) from error
    return values


def write_detached(path: Path, header: Callable[[str], bytes], values: NDArray[Any]) -> None:
    """Write a header, and the values as they are into a file beside it.

    Parameters
    ----------
    path : Path
        Of the header.
    header : callable
        Returns its text for the name of the file with the values, which is that of the header
        but for the suffix ``.raw``.
    values : ndarray

    Raises
    ------
    CamSamError
        If that file is there already and the header is not: it belongs to something else.
    """
    raw = path.with_suffix(".raw")
    if raw.exists() and not path.exists():
        raise refusal(
            f"Its values would replace {raw.name}, which belongs to something else: name another "
            "file",
            path,
        )

    def both(hidden: Path) -> None:
        with hidden.open("wb") as file:
            for part in values:
                file.write(part.tobytes())
            os.fsync(file.fileno())  # before the header says that they are there
        write_atomically(path, lambda beside: beside.write_bytes(header(raw.name)))

    write_atomically(raw, both)
