"""Labels, heatmaps and images to files: whole or not at all, in their source's geometry."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.dicom.drawn import write_drawn
from napari_cam_sam.images.dicom.map_writing import write_map
from napari_cam_sam.images.formats import JPEG, PILLOW, SEG_NRRD, TIFF, VOLUMES, suffix_of
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.raster import write_pillow
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.tiff import holds_spacing, write_tiff
from napari_cam_sam.images.volume_writing import lost_in, write_volume

__all__ = [
    "heatmap_suffix",
    "labels_dtype",
    "labels_suffix",
    "write_atomically",
    "write_heatmap",
    "write_image",
    "write_labels",
    "write_labels_to_see",
    "write_text",
]


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, whole or not at all.

    Parameters
    ----------
    path : path-like
    text : str

    Raises
    ------
    CamSamError
        As `write_atomically` does.
    """
    write_atomically(path, lambda hidden: hidden.write_text(text, encoding="utf-8"))


def labels_dtype(highest: int, lowest: int = 0) -> type[np.integer[Any]]:
    """Return the smallest of uint8, uint16 and int32 that holds some labels.

    Parameters
    ----------
    highest, lowest : int
        Of the labels.

    Returns
    -------
    type

    Raises
    ------
    CamSamError
        If none does.
    """
    for dtype in (np.uint8, np.uint16, np.int32):
        if np.iinfo(dtype).min <= lowest and highest <= np.iinfo(dtype).max:
            return dtype
    raise CamSamError(f"Labels lie in ±2147483647, but these reach from {lowest} to {highest}.")


def labels_suffix(image: Image) -> str:
    """Return the suffix for files with labels of an image.

    Parameters
    ----------
    image : Image

    Returns
    -------
    str
        NIfTI's where it has an affine, PNG's in 2D without a spacing in mm, else TIFF's.
    """
    if image.geometry.affine is not None:
        return ".nii.gz"
    # PNG has no spacing to keep.
    return ".png" if image.spatial_ndim == 2 and image.geometry.unit == "pixel" else ".tif"


def heatmap_suffix(image: Image) -> str:
    """Return the suffix for files with heatmaps of an image.

    Parameters
    ----------
    image : Image

    Returns
    -------
    str
        NIfTI's where it has an affine, else TIFF's.
    """
    return ".nii.gz" if image.geometry.affine is not None else ".tif"


def write_labels(
    path: str | os.PathLike[str],
    labels: ArrayLike,
    like: Image,
    *,
    segments: Sequence[Segment] = (),
    warn: bool = True,
) -> None:
    """Write labels on the grid of their image.

    Parameters
    ----------
    path : path-like
        ``.nii``, ``.nii.gz``, ``.mgz`` or ``.mgh`` for an image with an affine (see `write_nifti`
        for what is kept of its header); ``.nrrd``, ``.nhdr``, ``.seg.nrrd``, ``.mha`` or ``.mhd``;
        else ``.png`` in 2D, or ``.tif``. Of an image from DICOM also ``.dcm`` for a segmentation
        of its series, or what `write_drawn` knows by the name.
    labels : array of integers or booleans, shape of ``like.spatial_shape``
        Written as the smallest of uint8, uint16 and int32 that holds them.
    like : Image
        The image that was segmented.
    segments : sequence of Segment
        What the labels are called, for formats that hold it; by default those of ``like``.
    warn : bool
        Whether to warn where the format cannot hold the spacing, or the names or numbers of the
        labels.

    Raises
    ------
    CamSamError
        If the labels are no integers or of another shape, the suffix does not fit, or the file
        cannot be written.

    Examples
    --------
    >>> image = ncs.image_from_array(np.zeros((48, 64), np.uint8))
    >>> labels = np.zeros(image.spatial_shape, np.uint8)
    >>> labels[10:20, 30:40] = 1
    >>> ncs.write_labels("labels.png", labels, image)
    >>> int(np.asarray(ncs.read_labels("labels.png").data).sum())
    100
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "biu":
        raise CamSamError(f"Labels are whole numbers, but these are of type {array.dtype}.")
    _check_shape(array, like, "labels")
    if Path(path).name.lower().endswith(".dcm"):
        write_drawn(Path(path), array, like, segments or like.segments, warn=warn)
        return
    lowest, highest = int(array.min()), int(array.max())
    dtype = labels_dtype(highest, lowest)
    if suffix_of(Path(path)) in JPEG:
        raise refusal("JPEG cannot hold labels, as it alters values: use .png or .tif", path)
    segments = segments or like.segments
    _write(Path(path), array.astype(dtype, copy=False), like, segments=segments, warn=warn)


def write_labels_to_see(path: str | os.PathLike[str], labels: ArrayLike, like: Image) -> str | None:
    """Write labels as `write_labels`, but of a PNG so that a single object can be seen.

    Picture viewers show 1 as black. One object is written as 255, as masks of pictures mostly are,
    and `read_labels` and `mask_in` read it as an object. Several keep their numbers, which tell
    them apart; TIFF and NIfTI always do. Records, which are compared, take `write_labels`.

    Parameters
    ----------
    path, labels, like
        As of `write_labels`.

    Returns
    -------
    str or None
        In words what stands for an object in a PNG; None for other formats.

    Raises
    ------
    CamSamError
        As `write_labels` does.
    """
    array = np.asarray(labels)
    if Path(path).suffix.lower() != ".png" or not array.any():
        write_labels(path, array, like)
        return None
    numbers = np.unique(array[array != 0])
    if len(numbers) > 1:
        write_labels(path, array, like)
        few, many = int(numbers[0]), int(numbers[-1])
        return f"each object by its number, {few} to {many}, which picture viewers show as dark"
    write_labels(path, np.where(array != 0, np.uint8(255), np.uint8(0)), like)
    words, number = "the object is white (255)", int(numbers[0])
    return words if number == 1 else f"{words} in place of its number {number}"


def write_heatmap(path: str | os.PathLike[str], values: ArrayLike, like: Image) -> None:
    """Write heatmaps, or other real values, on the grid of their image as float32.

    Parameters
    ----------
    path : path-like
        As for `write_labels`, but no picture and no ``.seg.nrrd``; ``.dcm`` is a parametric map
        of the series that the image was read from.
    values : array of float, shape of ``like.spatial_shape``
    like : Image

    Raises
    ------
    CamSamError
        If the shape or the suffix does not fit, or the file cannot be written.
    """
    array = np.asarray(values)
    _check_shape(array, like, "heatmap")
    if Path(path).name.lower().endswith(".dcm"):
        write_map(Path(path), array, like)
        return
    if suffix_of(Path(path)) in PILLOW:
        raise refusal(
            "This format cannot hold a heatmap: use .tif, or NIfTI for a NIfTI image", path
        )
    _write(Path(path), array.astype(np.float32, copy=False), like)


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write an image itself, e.g. a phantom, in its own type and geometry.

    Parameters
    ----------
    path : path-like
        ``.nii``, ``.nii.gz``, ``.mgz`` or ``.mgh`` for gray with an affine; ``.nrrd``, ``.nhdr``,
        ``.mha``, ``.mhd`` or ``.tif``; or for 8-bit 2D images ``.png`` or ``.jpg``; 16-bit gray
        may be ``.png``.
    image : Image

    Raises
    ------
    CamSamError
        If the format cannot hold the image, or the file cannot be written.
    """
    array = np.asarray(image.data)
    if suffix_of(Path(path)) == SEG_NRRD:
        raise refusal("This format holds labels alone: use .nrrd", path)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    _write(Path(path), array, image, rgb=image.rgb)


def _write(
    path: Path,
    array: NDArray[Any],
    like: Image,
    *,
    rgb: bool = False,
    segments: Sequence[Segment] = (),
    warn: bool = True,
) -> None:
    suffix = suffix_of(path)
    if like.path is not None and path.exists() and like.path.exists() and path.samefile(like.path):
        raise refusal("This is the image itself, which would be lost: name another file", path)
    for lost in lost_in(suffix, array, like, rgb=rgb, segments=segments) if warn else ():
        warnings.warn(f"{lost} ({path}).", UserWarning, stacklevel=3)
    if suffix in VOLUMES:
        write_volume(path, suffix, array, like, rgb=rgb, segments=segments)
        return
    if like.geometry.affine is not None and not rgb:
        raise refusal(
            f"This format would lose the affine of {like.name}: use .nii.gz or .nii", path
        )
    lost = _lost(suffix, array, like, rgb=rgb)
    if lost and warn:
        warnings.warn(
            f"The spacing of {like.name} is lost: {lost} ({path}).", UserWarning, stacklevel=3
        )
    if suffix in TIFF:
        write_atomically(path, lambda hidden: write_tiff(hidden, array, like.geometry, rgb=rgb))
        return
    allowed = [np.uint8] if suffix in JPEG or rgb else [np.uint8, np.uint16]
    channels = array.shape[-1] if rgb else 1
    if array.ndim - rgb != 2 or array.dtype not in allowed or (suffix in JPEG and channels == 4):
        raise refusal(
            f"This format cannot hold an array of shape {array.shape} and type {array.dtype}: use "
            ".tif",
            path,
        )
    write_atomically(path, lambda hidden: write_pillow(hidden, array))


def _lost(suffix: str, array: NDArray[Any], like: Image, *, rgb: bool) -> str:
    """Return why a file would not keep what is known of where pixels lie; empty where it would."""
    if like.geometry.unit == "pixel":
        return ""
    if suffix in PILLOW:
        return "PNG and JPEG hold none; .tif does"
    if not holds_spacing(array, rgb=rgb):
        return f"TIFF holds none for values of type {array.dtype}"
    if like.geometry.affine is not None:
        return "of its place in the world TIFF holds the distances of pixels alone"
    return ""


def _check_shape(array: NDArray[Any], like: Image, what: str) -> None:
    if array.shape != like.spatial_shape:
        raise CamSamError(
            f"The {what} have shape {array.shape}, but {like.name} has {like.spatial_shape}."
        )
