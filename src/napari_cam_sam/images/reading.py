"""Images and labels from files, by their suffix."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_cam_sam.errors import CamSamError, reads, refusal
from napari_cam_sam.images.cropped import on_whole_grid
from napari_cam_sam.images.dicom.drawn import is_drawn, read_drawn
from napari_cam_sam.images.dicom.files import is_dicom_path
from napari_cam_sam.images.dicom.reading import read_dicom
from napari_cam_sam.images.dicom.stacking import Spacing
from napari_cam_sam.images.formats import (
    JPEG,
    METAIMAGE,
    MGH,
    NIFTI,
    NRRD,
    PILLOW,
    TIFF,
    check_file,
    has_suffix,
    suffix_of,
)
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.labels import labels_of
from napari_cam_sam.images.metaimage import metaimage_stored
from napari_cam_sam.images.mgh import mgh_stored
from napari_cam_sam.images.nifti import nifti_frames, read_nifti
from napari_cam_sam.images.nrrd import nrrd_stored, read_nrrd_labels
from napari_cam_sam.images.orientation import Asked
from napari_cam_sam.images.raster import orientation_of, read_pillow
from napari_cam_sam.images.stored import StoredArray, image_of
from napari_cam_sam.images.tiff import read_tiff, tiff_asks

__all__ = ["asked_of", "check_same_grid", "count_frames", "read_image", "read_labels"]

_HEADERS: dict[str, Callable[[Path], StoredArray]] = {
    **dict.fromkeys(NRRD, nrrd_stored),
    **dict.fromkeys(METAIMAGE, metaimage_stored),
    **dict.fromkeys(MGH, mgh_stored),
}
"""What reads the header of a volume, by the suffix."""


@reads("an image")
def read_image(
    path: str | os.PathLike[str],
    frame: int | None = None,
    *,
    channel: int | None = None,
    axes: str | None = None,
    series: str | None = None,
    spacing: Spacing = "refuse",
) -> Image:
    """Read an image or a volume.

    Parameters
    ----------
    path : path-like
        ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``, ``.mgz`` and ``.mgh``
        (opened, not loaded), ``.png``, ``.jpg``, ``.jpeg``, ``.tif`` or ``.tiff``; or DICOM
        (opened, not loaded): a file, a folder with all below it, a DICOMDIR or a zip.
    frame : int or None
        Which frame of a 4D volume, a TIFF series or a DICOM series over time; needed where there
        are several.
    channel : int or None
        Which channel of a TIFF file; ``frame`` may say it where there is no time.
    axes : str or None
        What the axes of a TIFF file are, where it does not say, see `read_tiff`.
    series : str or None
        Id or UID of the DICOM series, needed where there are several; see `find_series`.
    spacing : {"refuse", "as-is", "even"}
        What is done with slices of a DICOM series that are not evenly spaced: they are refused,
        taken as if they were even, or resampled.

    Returns
    -------
    Image
        Its notes say what reading decided, e.g. that it was turned as the file asks.

    Raises
    ------
    CamSamError
        If the file is missing, empty, damaged, or no such image.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.fromarray(np.zeros((48, 64), np.uint8)).save("slice.png")
    >>> image = ncs.read_image("slice.png")
    >>> image.name, image.spatial_shape
    ('slice', (48, 64))
    """
    path = Path(path)
    if not has_suffix(path) and is_dicom_path(path):
        _check_flat(path, channel, axes)
        return read_dicom(path, frame, series=series, spacing=spacing)
    if series is not None or spacing != "refuse":
        raise refusal("Series and spacing can be chosen of DICOM alone, not of this", path)
    return _read(path, frame, channel, axes, labels=False)


@reads("labels")
def read_labels(
    path: str | os.PathLike[str],
    frame: int | None = None,
    *,
    channel: int | None = None,
    axes: str | None = None,
    exact: bool = False,
    like: Image | None = None,
    segments: Sequence[str | int] | None = None,
) -> Image:
    """Read a labels file: whole numbers, 0 for background.

    Integer files stay as they are, on disk where they are NIfTI; whole numbers that are stored
    as floating ones, or with a slope, become int32. Colour files with three equal channels are
    gray, and one bit is 0 and 1. What masks with gray rims, of two values or with a palette mean,
    is ruled by `labels_of` and `palette_labels` of this room, and said in the image's notes.

    Parameters
    ----------
    path : path-like
        As for `read_image`, but no JPEG; or a DICOM segmentation or RT structure set. A NRRD file
        that names its segments, as ``.seg.nrrd`` does, is read by them.
    frame, channel, axes
        As for `read_image`.
    exact : bool
        Whether whole numbers stay what they are, whatever they look like: for files that this
        package wrote.
    like : Image or None
        The image that they are of. A DICOM segmentation is placed on its slices, and has a grid
        of its own without it; so has what 3D Slicer cut to a part of its grid. Contours need it.
    segments : sequence of str or int, or None
        Names or numbers of the segments to read, where the file names any; needed where they
        overlap. None for all.

    Returns
    -------
    Image
        Of integer type, never colour.

    Raises
    ------
    CamSamError
        As `read_image`, or if a value is no whole number, or colours are no labels.

    Examples
    --------
    >>> labels = np.zeros((48, 64), np.uint8)
    >>> labels[10:20, 30:40] = 2
    >>> ncs.write_labels("truth.png", labels, ncs.image_from_array(labels))
    >>> np.unique(ncs.read_labels("truth.png").data)
    array([0, 2], dtype=uint8)
    """
    path = Path(path)
    if not has_suffix(path) and is_dicom_path(path):
        if is_drawn(path):
            return read_drawn(path, like, segments)
        image = read_dicom(path, frame)
    else:
        image = _read_labels(path, frame, channel, axes, segments)
        if image.segments and like is not None:
            image = on_whole_grid(image, like)
    if segments is not None and not image.segments:
        raise refusal("This names no segments, so that none of them can be chosen", path)
    if image.rgb:
        colours = np.asarray(image.data)[..., :3]
        if (colours != colours[..., :1]).any():
            raise CamSamError(f"Colours are no labels: save one whole number a pixel ({path}).")
        image = replace(image, data=np.ascontiguousarray(colours[..., 0]), rgb=False)
    return labels_of(image, exact=exact or bool(image.segments))


def _read_labels(
    path: Path,
    frame: int | None,
    channel: int | None,
    axes: str | None,
    segments: Sequence[str | int] | None,
) -> Image:
    """Read the pixels of a file of labels that is none of DICOM."""
    if suffix_of(path) in JPEG:
        check_file(path)
        raise CamSamError(
            "JPEG alters values, so it cannot hold labels: save them as PNG, TIFF or NIfTI "
            f"({path})."
        )
    if suffix_of(path) in NRRD:
        check_file(path)
        _check_flat(path, channel, axes)
        return read_nrrd_labels(path, frame, segments)
    return _read(path, frame, channel, axes, labels=True)


@reads("an image")
def count_frames(path: Path) -> int:
    """Count the frames of a volume, of which `read_image` reads one.

    Parameters
    ----------
    path : Path
        Of one of the suffixes in `VOLUMES`.

    Returns
    -------
    int

    Raises
    ------
    CamSamError
        If its header is broken.
    """
    suffix = suffix_of(path)
    if suffix in NIFTI:
        return nifti_frames(path)
    return _HEADERS[suffix](path).frames


def asked_of(path: Path) -> Asked:
    """Read what a picture file asks of its readers.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Asked
        The defaults where it is no such file, or cannot be read.
    """
    try:
        suffix = suffix_of(path)
        if suffix in TIFF:
            return tiff_asks(path)
        return Asked(orientation_of(path)) if suffix in PILLOW else Asked()
    except CamSamError:
        return Asked()


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
    _check_flat(path, channel, axes)
    if suffix in NIFTI:
        return read_nifti(path, frame)
    if suffix in _HEADERS:
        return image_of(_HEADERS[suffix](path), frame)
    if frame not in (None, 0):
        raise refusal(f"This has no frame {frame}: it is a single image", path)
    return read_pillow(path, labels=labels)


def _check_flat(path: Path, channel: int | None, axes: str | None) -> None:
    """Refuse a choice of channels or axes of what is no TIFF file."""
    if channel is not None or axes is not None:
        raise refusal("Channels and axes can be chosen of TIFF files alone, not of this", path)


def _size(image: Image) -> str:
    *planes, rows, columns = image.spatial_shape
    text = f"{rows} rows by {columns} columns"
    return f"{planes[0]} slices of {text}" if planes else text
