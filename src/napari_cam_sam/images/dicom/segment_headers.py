"""What the header of a DICOM segmentation says: its segments, and what it was drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.datasets import SEGMENTATIONS
from napari_cam_sam.images.segments import Segment

__all__ = ["described", "instances_of", "series_of", "sources_of_frame"]


def described(data: Any, path: Path) -> tuple[Segment, ...]:
    """Return the segments that a segmentation describes, but for a background.

    Parameters
    ----------
    data : pydicom.Dataset
    path : Path

    Returns
    -------
    tuple of Segment

    Raises
    ------
    CamSamError
        If it is no segmentation, has no segments, or two of one number.
    """
    if str(data.get("SOPClassUID", "")) not in SEGMENTATIONS:
        raise refusal("This is DICOM, but no segmentation", path)
    found = []
    for item in data.get("SegmentSequence") or ():
        number = int(item.SegmentNumber)
        if number == 0:
            continue  # the background of a label map
        found.append(
            Segment(
                number,
                str(item.get("SegmentLabel", "") or f"Segment {number}"),
                _colour(item),
                _code(item.get("SegmentedPropertyCategoryCodeSequence")),
                _code(item.get("SegmentedPropertyTypeCodeSequence")),
            )
        )
    if not found:
        raise refusal("This segmentation has no segments", path)
    if len({one.number for one in found}) < len(found):
        raise refusal("This segmentation is damaged: two of its segments have one number", path)
    return tuple(found)


def _colour(item: Any) -> tuple[int, int, int] | None:
    from highdicom.color import CIELabColor

    value = item.get("RecommendedDisplayCIELabValue")
    if value is None or len(value) != 3:
        return None
    red, green, blue = CIELabColor.from_dicom_value([int(v) for v in value]).to_rgb(clip=True)
    return int(red), int(green), int(blue)


def _code(sequence: Any) -> tuple[str, str, str] | None:
    if not sequence:
        return None
    keys = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    value, scheme, meaning = (str(sequence[0].get(key) or "") for key in keys)
    return (value, scheme, meaning) if value and scheme and meaning else None


def series_of(data: Any) -> list[str]:
    """Return the UIDs of the series that a segmentation refers to.

    Parameters
    ----------
    data : pydicom.Dataset

    Returns
    -------
    list of str
    """
    return [
        str(item.SeriesInstanceUID)
        for item in data.get("ReferencedSeriesSequence") or ()
        if "SeriesInstanceUID" in item
    ]


def instances_of(data: Any) -> set[str]:
    """Return the UIDs of the objects that a segmentation names anywhere it may.

    Parameters
    ----------
    data : pydicom.Dataset

    Returns
    -------
    set of str
    """
    found = {
        str(item.ReferencedSOPInstanceUID)
        for series in data.get("ReferencedSeriesSequence") or ()
        for item in series.get("ReferencedInstanceSequence") or ()
    }
    for group in (
        *(data.get("SharedFunctionalGroupsSequence") or ()),
        *(data.get("PerFrameFunctionalGroupsSequence") or ())[:4],
    ):
        found |= {one for one, _ in sources_of_frame(group)}
    return found


def sources_of_frame(group: Any) -> Iterator[tuple[str, int]]:
    """Yield the objects, and their frames, that a frame says that it was made from.

    Parameters
    ----------
    group : pydicom.Dataset
        Functional groups of a frame, or shared ones.

    Yields
    ------
    tuple of str and int
        UID of the object, and number of its frame.
    """
    for derivation in group.get("DerivationImageSequence") or ():
        for item in derivation.get("SourceImageSequence") or ():
            number = item.get("ReferencedFrameNumber", 1) or 1
            numbers = [number] if isinstance(number, int) else number
            for one in numbers:
                yield str(item.get("ReferencedSOPInstanceUID", "")), int(one)
