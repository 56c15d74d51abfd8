"""Whether what was drawn belongs to a series, and the way from its slices to its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.slices import Slices, nearest_slices
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import Segment, segments_in_words
from napari_cam_sam.limits import check_array

__all__ = ["check_belongs", "first_fit", "on_image", "slice_numbers"]


def check_belongs(
    series: Sequence[str],
    instances: set[str],
    place: str,
    like: Image | None,
    path: Path,
    what: str,
) -> None:
    """Refuse what was drawn on another series than that of an image.

    Parameters
    ----------
    series : sequence of str
        UIDs of the series that the file refers to.
    instances : set of str
        UIDs of the objects that it refers to.
    place : str
        UID of its frame of reference, empty where it names none.
    like : Image or None
        Not checked where it does not come from DICOM.
    path : Path
    what : str
        What the file is.

    Raises
    ------
    CamSamError
        If it names another series, or, where it names none, other objects or another frame of
        reference.
    """
    source = like.source if like is not None else None
    if not isinstance(source, DicomSource):
        return
    if series and source.series_uid not in series:
        raise refusal(
            f"This {what} belongs to the series {series[0]}, not to {source.series_uid}: "
            "name the series that it was drawn on",
            path,
        )
    own = {frame.sop_instance_uid for frame in source.frames}
    if not series and instances and not instances & own:
        raise refusal(
            f"This {what} was drawn on other images than those of the series {source.series_uid}: "
            f"on {min(instances)}, for one",
            path,
        )
    if not series and not instances and place != source.frame_of_reference_uid:
        raise refusal(
            f"This {what} lies in the frame of reference {place or 'of no name'}, the series in "
            f"{source.frame_of_reference_uid or 'one of no name'}",
            path,
        )


def slice_numbers(image: Image | None) -> dict[tuple[str, int], int]:
    """Return the number of the slice of every frame of the series of an image.

    Parameters
    ----------
    image : Image or None

    Returns
    -------
    dict
        UID of the object and number of the frame in it, to the slice of the series; empty where
        the image is not from DICOM.
    """
    source = image.source if image is not None else None
    if not isinstance(source, DicomSource):
        return {}
    return {(one.sop_instance_uid, one.number): k for k, one in enumerate(source.frames)}


def on_image(
    labels: NDArray[Any],
    held: Sequence[Segment],
    target: Image,
    grid: Slices | None,
    path: Path,
    notes: tuple[str, ...],
) -> Image:
    """Return labels on the slices of a series as labels on the grid of its image.

    Parameters
    ----------
    labels : ndarray of int, shape (slice, row, column)
    held : sequence of Segment
        What they are, for the name.
    target : Image
    grid : Slices or None
        Of the series.
    path : Path
        They came from it.
    notes : tuple of str

    Returns
    -------
    Image
        Of a resampled series each slice has the labels of the nearest measured one.
    """
    source = target.source
    if isinstance(source, DicomSource) and source.resampled and grid is not None:
        to_image, _ = nearest_slices(target, grid)
        labels = labels[to_image]
        notes += ("Each slice of the resampled image has the labels of the nearest one measured.",)
    if target.spatial_ndim == 2:
        labels = labels[0]
    notes = (f"Its labels are {segments_in_words(held)}.", *notes)
    names = ", ".join(one.name for one in held)
    name = names if len(names) <= 60 else f"{len(held)} segments"
    return replace(
        target, data=labels, rgb=False, name=name, path=path, notes=notes, windows=(),
        segments=tuple(held),
    )  # fmt: skip


def first_fit(
    sets: list[tuple[NDArray[Any], list[Segment]]],
    fits: Callable[[NDArray[Any]], bool],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    path: Path,
) -> tuple[NDArray[Any], list[Segment]]:
    """Return the first labels that have room for a segment; new ones where none has.

    Parameters
    ----------
    sets : list of labels and their segments
        New ones are added to it.
    fits : callable
        Whether the segment overlaps nothing in some labels.
    shape, dtype
        Of new labels.
    path : Path
        Of the file.

    Returns
    -------
    labels, segments

    Raises
    ------
    CamSamError
        If the memory has no room for another set.
    """
    for one in sets:
        if fits(one[0]):
            return one
    check_array(shape, dtype, None, path)
    sets.append((np.zeros(shape, dtype), []))
    return sets[-1]
