"""A series as an image: stacked, placed, and read slice by slice."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reads, reason_of, refusal, unknown_name
from napari_cam_sam.images.dicom.heads import FileHead, FrameHead
from napari_cam_sam.images.dicom.pixels import (
    Scale,
    check_pixels,
    inverted_sum,
    read_frame,
    scale_of,
)
from napari_cam_sam.images.dicom.series import DicomSeries, choose_series, find_series
from napari_cam_sam.images.dicom.source import DicomFrame, DicomSource
from napari_cam_sam.images.dicom.stacking import (
    SPACINGS,
    Spacing,
    Stack,
    check_orientation,
    stack_frames,
)
from napari_cam_sam.images.dicom.volume import SeriesOnDisk
from napari_cam_sam.images.image import Image, choose_frame

__all__ = ["frame_sources", "read_dicom", "read_series"]

_KEPT_IN_NAMES = " .,+-_()"


@reads("DICOM")
def read_dicom(
    path: str | os.PathLike[str],
    frame: int | None = None,
    *,
    series: str | None = None,
    spacing: Spacing = "refuse",
) -> Image:
    """Read an image from a DICOM file, a folder, a DICOMDIR or a zip.

    Parameters
    ----------
    path : path-like
    frame : int or None
        Which point in time, b-value or picture; needed where there are several.
    series : str or None
        Id or UID of a series, needed where there are several; `find_series` lists them.
    spacing : {"refuse", "as-is", "even"}
        What is done with slices that are not evenly spaced.

    Returns
    -------
    Image
        Its ``source`` is a `DicomSource`.

    Raises
    ------
    CamSamError
        If there is no such image, or its slices make no volume.
    """
    where = Path(path)
    return read_series(choose_series(find_series(where), series, where), frame, spacing)


def read_series(
    series: DicomSeries, frame: int | None = None, spacing: Spacing = "refuse"
) -> Image:
    """Open a series that `find_series` found, without reading its slices.

    Parameters
    ----------
    series : DicomSeries
    frame : int or None
        As for `read_dicom`.
    spacing : {"refuse", "as-is", "even"}
        As for `read_dicom`.

    Returns
    -------
    Image
        Integers where every slope is 1, else single precision; colours as RGB.

    Raises
    ------
    CamSamError
        If its slices make no volume, or its pixels cannot be read.
    """
    if spacing not in SPACINGS:
        raise unknown_name("spacing", spacing, SPACINGS)
    where = series.where
    try:
        frames = series.volumes[_frame(series, frame)]
        stack = stack_frames(frames, spacing)
        _check_files(frames)
        scale = scale_of(frames)
    except CamSamError as error:
        # What was left out may be what is missing.
        raise refusal(". ".join((str(error), *series.notes)), where) from error.__cause__
    sizes = frames[0].values.spacing_note
    notes = (*series.notes, *stack.notes, *((sizes,) if sizes else ()), *scale.notes)
    if frames[0].tile is not None:
        notes = (*notes, "It is a mosaic that is taken apart: no segmentation can refer to it.")
    if series.frames > 1:
        notes = (*notes, _frame_note(series, frame or 0))
    data = _data(stack, scale, where)
    return Image(
        data, scale.rgb, stack.geometry, _name(series), where, _source(series, stack), notes,
        _windows(stack, scale),
    )  # fmt: skip


def _check_files(frames: Sequence[FrameHead]) -> None:
    files = list({id(one.file): one.file for one in frames}.values())
    for file in files:
        try:
            check_pixels(file)
        except CamSamError as error:
            raise CamSamError(f"{error}{_which(file) if len(files) > 1 else ''}") from error
        except OSError as error:  # which names the file
            raise CamSamError(f"This can no longer be read: {reason_of(error)}") from error


def _which(file: FileHead) -> str:
    """Say which file it is; its name is not told, as it may be the patient's."""
    number = file.instance_number
    return "" if number is None else f", in the file of instance {number}"


def frame_sources(
    series: DicomSeries, spacing: Spacing = "refuse"
) -> tuple[tuple[DicomSource | None, np.dtype[Any]], ...]:
    """Return of each frame of a series where it comes from and of what type it is, from headers.

    Parameters
    ----------
    series : DicomSeries
    spacing : {"refuse", "as-is", "even"}
        As for `read_dicom`.

    Returns
    -------
    tuple of (DicomSource or None, dtype)
    """
    return tuple(
        (_source(series, stack_frames(frames, spacing)), scale_of(frames).dtype)
        for frames in series.volumes
    )


def _frame(series: DicomSeries, frame: int | None) -> int:
    first = series.volumes[0][0]
    if first.values.orientation is not None:
        check_orientation(first.values.orientation)
    if frame is None and series.frames > 1:
        last = series.frames - 1
        if series.slices == 1 and first.values.position is not None:
            raise CamSamError(
                f"This is no volume: all {series.frames} slices lie at the same position. Choose "
                f"one of them as its frame, from 0 to {last}"
            )
        if first.values.position is None:
            raise CamSamError(
                f"This holds {series.frames} pictures without a position in the patient: choose "
                f"one of them as its frame, from 0 to {last}"
            )
    return choose_frame(frame, series.frames, "This")


def _frame_note(series: DicomSeries, frame: int) -> str:
    name = series.frame_names[frame] if series.frame_names else ""
    return f"Frame {frame} of 0 to {series.frames - 1} is read{f': {name}' if name else ''}."


def _name(series: DicomSeries) -> str:
    """Return a name for tables and files."""
    kept = "".join(c if c.isalnum() or c in _KEPT_IN_NAMES else "_" for c in series.name)
    return " ".join(kept.split())[:80].strip(" .") or "DICOM"


def _source(series: DicomSeries, stack: Stack) -> DicomSource | None:
    first = stack.frames[0].file
    if stack.frames[0].tile is not None:
        return None  # nothing in DICOM can refer to a part of a frame
    return DicomSource(
        frames=tuple(
            DicomFrame(one.file.path, one.file.sop_class_uid, one.file.sop_instance_uid, one.number)
            for one in stack.frames
        ),
        series_uid=first.series_uid,
        study_uid=first.study_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        modality=first.modality,
        resampled=stack.places is not None,
    )


def _data(stack: Stack, scale: Scale, where: Path) -> Any:
    first = stack.frames[0]
    plane_shape = (first.rows, first.columns, *((3,) if scale.rgb else ()))

    def decode(index: int) -> NDArray[Any]:
        return _decoded(stack.frames[index], scale, where)

    if len(stack.geometry.spacing) == 2:
        return decode(0)
    if stack.places is None:
        return SeriesOnDisk(decode, (len(stack.frames), *plane_shape), scale.dtype, where)
    between = _between(decode, stack.places, scale.dtype)
    return SeriesOnDisk(between, (len(stack.places), *plane_shape), scale.dtype, where)


def _decoded(frame: FrameHead, scale: Scale, where: Path) -> NDArray[Any]:
    try:
        return read_frame(frame, scale)
    except CamSamError as error:
        raise refusal(f"{error}{_which(frame.file)}", where) from error.__cause__


def _between(
    decode: Callable[[int], NDArray[Any]], places: NDArray[np.float64], dtype: np.dtype[Any]
) -> Callable[[int], NDArray[Any]]:
    """Return what makes a slice of the two that it lies between."""

    def made(index: int) -> NDArray[Any]:
        low = int(np.floor(places[index]))
        share = places[index] - low
        if share == 0:
            return decode(low)
        mixed: NDArray[Any] = decode(low) * (1 - share) + decode(low + 1) * share
        return (np.rint(mixed) if dtype.kind in "iu" else mixed).astype(dtype)

    return made


def _windows(stack: Stack, scale: Scale) -> tuple[tuple[str, float, float], ...]:
    """Return the presets of the middle slice as names and limits of the image's values."""
    if scale.rgb:
        return ()
    frame = stack.frames[len(stack.frames) // 2]
    found = []
    for window in frame.windows:
        low, high = window.low, window.high
        if scale.inverted and frame.file.photometric == "MONOCHROME1":
            ends = _inverted_sum(frame)
            low, high = ends - high, ends - low
        found.append((window.name, low * scale.factor, high * scale.factor))
    return tuple(found)


def _inverted_sum(frame: FrameHead) -> float:
    """Return the sum of a value and its inverse."""
    values = frame.values
    return values.slope * inverted_sum(frame.file) + 2 * values.intercept
