"""Images and labels from files, by their suffix."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.formats import JPEG, NIFTI, TIFF, check_file, suffix_of
from napari_cam_sam.images.image import Image, choose_frame
from napari_cam_sam.images.nifti import read_nifti
from napari_cam_sam.images.raster import read_pillow
from napari_cam_sam.images.tiff import read_tiff
from napari_cam_sam.limits import refusal

__all__ = ["check_same_grid", "read_image", "read_labels"]


def read_image(
    path: str | os.PathLike[str],
    frame: int | None = None,
    *,
    channel: int | None = None,
    axes: str | None = None,
) -> Image:
    """Read an image or a volume.

    Parameters
    ----------
    path : path-like
        ``.nii`` and ``.nii.gz`` (opened, not loaded), ``.png``, ``.jpg``, ``.jpeg``, ``.tif`` or
        ``.tiff``.
    frame : int or None
        Which frame of a 4D NIfTI or a TIFF series; needed where there are several.
    channel : int or None
        Which channel of a TIFF file; ``frame`` may say it where there is no time.
    axes : str or None
        What the axes of a TIFF file are, where it does not say, see `read_tiff`.

    Returns
    -------
    Image
        Its notes say what reading decided, e.g. that it was turned as the file asks.

    Raises
    ------
    CamSamError
        If the file is missing, empty, a folder, damaged, or no such image.
    """
    return _read(Path(path), frame, channel, axes, labels=False)


def read_labels(
    path: str | os.PathLike[str],
    frame: int | None = None,
    *,
    channel: int | None = None,
    axes: str | None = None,
) -> Image:
    """Read a labels file: whole numbers, 0 for background.

    Integer files stay as they are, on disk where they are NIfTI; whole numbers that are stored
    as floating ones become int32. Colour files with three equal channels are gray, a palette's
    indices are the labels, and one bit is 0 and 1.

    Parameters
    ----------
    path : path-like
        As for `read_image`, but no JPEG.
    frame, channel, axes
        As for `read_image`.

    Returns
    -------
    Image
        Of integer type, never colour.

    Raises
    ------
    CamSamError
        As `read_image`, or if a value is no whole number, or colours are no labels.
    """
    path = Path(path)
    if suffix_of(path) in JPEG:
        check_file(path)
        raise CamSamError(
            f"{path} cannot hold labels: JPEG alters values, so save labels as PNG, TIFF or NIfTI."
        )
    image = _read(path, frame, channel, axes, labels=True)
    if image.rgb:
        colours = np.asarray(image.data)[..., :3]
        if (colours != colours[..., :1]).any():
            raise CamSamError(f"{path} holds colours, not labels: save one integer a pixel.")
        image = replace(image, data=np.ascontiguousarray(colours[..., 0]), rgb=False)
    if np.dtype(image.data.dtype).kind == "b":
        return replace(image, data=np.asarray(image.data).astype(np.uint8))
    if np.dtype(image.data.dtype).kind in "iu":
        return image
    return replace(image, data=_whole_numbers(image))


def check_same_grid(image: Image, truth: Image) -> None:
    """Check that two images have the same pixels in the same place.

    Parameters
    ----------
    image, truth : Image

    Raises
    ------
    CamSamError
        If the spatial shapes differ, or the geometries (see `Geometry.matches`).
    """
    if image.spatial_shape != truth.spatial_shape:
        raise CamSamError(
            f"{truth.name} is {_size(truth)}, but {image.name} is {_size(image)}: "
            "they must have the same grid."
        )
    reason = image.geometry.matches(truth.geometry)
    if reason is not None:
        raise CamSamError(
            f"{image.name} and {truth.name} do not lie in the same place: {reason}. "
            "Resample one onto the other first."
        )


def _read(
    path: Path, frame: int | None, channel: int | None, axes: str | None, *, labels: bool
) -> Image:
    check_file(path)
    suffix = suffix_of(path)
    if suffix in TIFF:
        return read_tiff(path, frame, channel=channel, axes=axes, labels=labels)
    if channel is not None or axes is not None:
        raise refusal("Channels and axes can be chosen of TIFF files alone, not of this", path)
    if suffix in NIFTI:
        return read_nifti(path, frame)
    choose_frame(0 if frame is None else frame, 1, str(path))
    return read_pillow(path, labels=labels)


def _whole_numbers(image: Image) -> NDArray[np.int32]:
    limits = np.iinfo(np.int32)
    values = np.empty(image.spatial_shape, dtype=np.int32)
    target: list[NDArray[Any]] = [values] if image.spatial_ndim == 2 else list(values)
    for part, plane in zip(target, image.planes(0), strict=True):
        whole = np.isfinite(plane) & (plane == np.round(plane))
        if not whole.all():
            raise CamSamError(
                f"{image.path} holds values that are no labels, e.g. {plane[~whole][0]:g}: "
                "labels are whole numbers."
            )
        if plane.min() < limits.min or plane.max() > limits.max:
            raise CamSamError(f"{image.path} holds values too large for labels.")
        part[...] = plane
    return values


def _size(image: Image) -> str:
    *planes, rows, columns = image.spatial_shape
    text = f"{rows} rows by {columns} columns"
    return f"{planes[0]} planes of {text}" if planes else text
