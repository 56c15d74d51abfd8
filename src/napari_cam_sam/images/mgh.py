"""MGH in and out, the volumes of FreeSurfer: `.mgh`, and `.mgz`, which is packed."""

from __future__ import annotations

import gzip
import math
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reason_of, refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.geometry import geometry_from_affine
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.stored import StoredArray

__all__ = ["mgh_dtype", "mgh_stored", "write_mgh"]

_DATA_AT = 284
_HEADER_BYTES = 90
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_WRITTEN = (np.uint8, np.int16, np.int32, np.float32)
_FOOTER_BYTES = 2**20
"""What may follow the values without a word: times of the scan, and the history of the file."""


def mgh_stored(path: Path) -> StoredArray:
    """Read the header of an MGH file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    StoredArray

    Raises
    ------
    CamSamError
        If it is no MGH file, or broken.
    """
    packed = path.suffix.lower() == ".mgz"
    header, placed = _header(path, packed)
    sizes = [int(n) for n in header["dims"]]
    code = int(header["type"])
    if code not in _TYPES:
        raise refusal(f"This holds values of the type {code}, which is not read here", path)
    notes: tuple[str, ...] = ()
    if not placed:
        notes = ("It does not say where it lies: FreeSurfer's standard is taken, coronal, 1 mm.",)
    # By double precision: a centre of 200 mm is no sum of single ones.
    steps = header["Mdc"].astype(float).T * header["delta"].astype(float)
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = header["Pxyz_c"].astype(float) - steps @ (np.array(sizes[:3], float) / 2)
    try:
        geometry, remarks = geometry_from_affine(affine, sizes[:3])
    except CamSamError as error:
        raise refusal(f"The header is broken: {error}", path) from None
    frames = sizes[3] > 1
    return StoredArray(
        path, path, np.dtype(_TYPES[code]), tuple((sizes if frames else sizes[:3])[::-1]),
        geometry, 0 if packed else _DATA_AT, packing="gzip" if packed else "",
        skip=_DATA_AT if packed else 0, frame_axes=(0,) if frames else (),
        notes=(*notes, *remarks), footer=_FOOTER_BYTES,
    )  # fmt: skip


def mgh_dtype(values: NDArray[Any]) -> np.dtype[Any]:
    """Return the type of MGH that holds some values.

    Parameters
    ----------
    values : ndarray

    Returns
    -------
    dtype
        The smallest that holds all of them, for real numbers single precision.

    Raises
    ------
    CamSamError
        If none does.
    """
    if values.dtype.kind == "f":
        return np.dtype(np.float32)
    lowest, highest = int(values.min()), int(values.max())
    for one in _WRITTEN[:3]:
        if values.dtype == one or (
            values.dtype.kind in "iu"
            and np.iinfo(one).min <= lowest
            and highest <= np.iinfo(one).max
            and np.dtype(one).itemsize >= min(values.dtype.itemsize, 4)
        ):
            return np.dtype(one)
    raise CamSamError(
        f"MGH holds whole numbers within ±2147483647, but these reach from {lowest} to {highest}."
    )


def write_mgh(path: Path, values: NDArray[Any], like: Image) -> None:
    """Write an array on the grid of an image.

    Parameters
    ----------
    path : Path
        Ends in ``.mgh``, or ``.mgz`` to be packed.
    values : ndarray, shape of ``like.spatial_shape``
        Written as `mgh_dtype` says.
    like : Image

    Raises
    ------
    CamSamError
        If ``like`` has no place in the world, or no type of MGH holds the values.
    """
    nibabel: Any = import_module("nibabel")  # untyped in part
    if like.geometry.affine is None:
        raise refusal(f"{like.name} has no affine, so save it as .nrrd, .mha or .tif", path)
    try:
        dtype = mgh_dtype(values)
    except CamSamError as error:
        raise refusal(str(error), path) from None
    if values.ndim == 2:
        values = values[None]
    affine = like.geometry.affine[:, [2, 1, 0, 3]]
    image = nibabel.MGHImage(values.T.astype(dtype, copy=False), affine)
    write_atomically(path, lambda hidden: nibabel.save(image, hidden))


def _header(path: Path, packed: bool) -> tuple[Any, bool]:
    """Return the header as nibabel gives it, and whether the file says where it lies."""
    try:
        with gzip.GzipFile(path) if packed else path.open("rb") as file:
            raw = file.read(_HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise refusal(f"This is truncated or damaged: {error}", path) from error
    if len(raw) < _HEADER_BYTES:
        raise refusal("This is truncated or damaged: it ends within its header", path)
    try:
        header = import_module("nibabel").freesurfer.mghformat.MGHHeader(raw, check=False)
    except Exception as error:  # a broken header may fail in nibabel
        raise refusal(f"The header is broken: {reason_of(error)}", path) from error
    sizes = [int(n) for n in header["dims"]]
    if int(header["version"]) != 1:
        raise refusal("This is not an MGH file: it does not begin with its version, 1", path)
    if min(sizes) < 1 or math.prod(sizes) > 2**62:
        raise refusal(f"The header is broken: it states the sizes {sizes}", path)
    return header, any(raw[28:30])  # of which nibabel, with its own place, makes 1
