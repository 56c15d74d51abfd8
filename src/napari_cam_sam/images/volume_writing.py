"""Arrays to the formats that hold an image's place in the world, and what these cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.formats import METAIMAGE, MGH, NIFTI, NRRD, SEG_NRRD
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.metaimage import write_metaimage
from napari_cam_sam.images.mgh import write_mgh
from napari_cam_sam.images.nifti import write_nifti
from napari_cam_sam.images.nrrd_writing import write_nrrd
from napari_cam_sam.images.segments import Segment, segments_of
from napari_cam_sam.images.stored import DetachedSource

__all__ = ["lost_in", "write_volume"]

_NAMES = dict.fromkeys(NIFTI, "NIfTI") | dict.fromkeys(METAIMAGE, "MetaImage")
_NAMES |= dict.fromkeys(MGH, "MGH") | dict.fromkeys(NRRD, "NRRD")


def lost_in(
    suffix: str,
    array: NDArray[Any],
    like: Image,
    *,
    rgb: bool = False,
    segments: Sequence[Segment] = (),
) -> tuple[str, ...]:
    """Say what a file will not keep of an array and of what is known of it.

    Parameters
    ----------
    suffix : str
        Of the file.
    array : ndarray
    like : Image
        On whose grid it lies.
    rgb : bool
    segments : sequence of Segment
        What its labels are called.

    Returns
    -------
    tuple of str
        A sentence without its full stop each, none where all is kept.
    """
    name = _NAMES.get(suffix, suffix.removeprefix(".").upper())
    lost = []
    if segments and suffix not in NRRD:
        lost.append(f"The names of the labels are lost: {name} holds none; .seg.nrrd does")
    placed = like.geometry.affine is not None and suffix in (*NRRD, *METAIMAGE, *MGH)
    if placed and array.ndim - rgb == 2:
        lost.append(f"{name} places volumes alone: the picture is written as one of one slice")
    if suffix in MGH and array.dtype.kind == "f" and not _is_single(array):
        lost.append("MGH holds real values in single precision: they are rounded")
    return tuple(lost)


def write_volume(
    path: Path,
    suffix: str,
    array: NDArray[Any],
    like: Image,
    *,
    rgb: bool = False,
    segments: Sequence[Segment] = (),
) -> None:
    """Write an array on the grid of an image, whole or not at all.

    Parameters
    ----------
    path : Path
    suffix : str
        Its own, as `suffix_of` gives it.
    array : ndarray
    like : Image
    rgb : bool
    segments : sequence of Segment
        What labels are called; in ``.seg.nrrd`` each label is called something.

    Raises
    ------
    CamSamError
        If the format cannot hold the array, or the file cannot be written.
    """
    name = _NAMES[suffix]
    if rgb and (suffix in NIFTI or suffix in MGH):
        raise refusal(f"{name} cannot hold colour here: use .tif or .png", path)
    if array.dtype == np.float16:
        array = array.astype(np.float32)  # none of them has half precision
    if suffix in NIFTI:
        if like.geometry.affine is None:
            raise refusal(
                f"NIfTI needs an affine, and {like.name} has none: use .tif, or .png in 2D", path
            )
        write_atomically(path, lambda hidden: write_nifti(hidden, array, like))
        return
    if suffix in MGH:
        write_mgh(path, array, like)
        return
    _check_type(array, path, name, rgb=rgb)
    if isinstance(like.source, DetachedSource) and _is_same(
        path.with_suffix(".raw"), like.source.values
    ):
        raise refusal("Its values would replace those of the image itself: name another file", path)
    if suffix in METAIMAGE:
        write_metaimage(path, array, like, rgb=rgb)
        return
    if suffix == SEG_NRRD:
        if rgb or array.dtype.kind == "f":
            raise refusal("This format holds labels alone: use .nrrd", path)
        segments = segments_of((int(n) for n in np.unique(array) if n), segments)
    write_nrrd(path, array, like, rgb=rgb, segments=segments)


def _check_type(array: NDArray[Any], path: Path, name: str, *, rgb: bool) -> None:
    """Refuse values of a type that NRRD and MetaImage do not have."""
    whole = array.dtype.kind in "iu"
    if not whole and array.dtype.itemsize not in (4, 8):
        raise refusal(f"{name} cannot hold values of type {array.dtype}: use .tif", path)
    if rgb and array.dtype not in (np.uint8, np.uint16):
        raise refusal(f"{name} cannot hold colours of type {array.dtype}: use .tif", path)


def _is_single(array: NDArray[Any]) -> bool:
    return all(np.array_equal(part, part.astype(np.float32), equal_nan=True) for part in array)


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
