"""DICOM RT structure sets read as labels on the slices that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.datasets import STRUCTURES, damaged, opened
from napari_cam_sam.images.dicom.placing import check_belongs, first_fit, on_image, slice_numbers
from napari_cam_sam.images.dicom.slices import NEAR, Slices, slices_of
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.polygons import crosses_itself, fill
from napari_cam_sam.images.segments import Segment, choose_segments, segments_in_words
from napari_cam_sam.limits import check_array

__all__ = ["contour_series", "read_contours", "regions_of"]

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def regions_of(path: Path) -> tuple[Segment, ...]:
    """List the regions of interest of an RT structure set.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of Segment
        Their numbers are those of the file; counted from 1 where one of these is no label.

    Raises
    ------
    CamSamError
        If it is damaged, or none.
    """
    with damaged(path, "structure set"):
        return tuple(region for region, _ in _regions(opened(path), path))


def read_contours(
    path: Path,
    like: Image,
    regions: Sequence[str | int] | None = None,
    *,
    most: int | None = None,
) -> tuple[Image, ...]:
    """Read an RT structure set as labels, overlapping regions apart.

    Contours are filled as `polygons` says: by the even-odd rule over all contours of a region on
    one slice, so that inner ones are holes.

    Parameters
    ----------
    path : Path
    like : Image
        The image that it was drawn on, whose grid the labels get.
    regions : sequence of str or int, or None
        Names or numbers of those to read; None for all.
    most : int or None
        How many images to make: reading ends once there are so many. None for all.

    Returns
    -------
    tuple of Image
        One where no regions overlap; else as few as a first fit finds.

    Raises
    ------
    CamSamError
        If it is damaged or none, belongs to another series, or a contour is open, bent, off every
        slice or on an image that the series does not hold.
    """
    data = opened(path)
    with damaged(path, "structure set"):
        found = _regions(data, path)
        wanted = choose_segments([region for region, _ in found], regions, "region")
        check_belongs(
            contour_series(data), _instances_of(data), _place_of(data), like, path, "structure set"
        )
        grid = slices_of(like)
        if grid is None:
            raise refusal(f"{like.name} has no place in the patient for the contours", path)
        shape = (len(grid.positions), *grid.shape)
        dtype = np.uint8 if max(one.number for one in wanted) < 256 else np.int32
        check_array(shape, dtype, None, path)
        reader = _Reader(grid, slice_numbers(like), path)
        sets: list[tuple[NDArray[Any], list[Segment]]] = []
        notes: list[str] = []
        for region, item in found:
            if region not in wanted:
                continue
            masks = reader.masks(region, item, notes, named=regions is not None)
            if not masks:
                continue
            labels, held = first_fit(sets, partial(_fits, masks), shape, dtype, path)
            for index, mask in masks.items():
                labels[index][mask] = region.number
            held.append(region)
            if len(sets) == most:
                break
        if not sets:
            raise refusal("No region of this structure set has an area", path)
        notes += _place_note(data, like)
    return tuple(on_image(labels, held, like, grid, path, tuple(notes)) for labels, held in sets)


def _fits(masks: dict[int, NDArray[np.bool_]], labels: NDArray[Any]) -> bool:
    return not any(labels[index][mask].any() for index, mask in masks.items())


def _regions(data: Any, path: Path) -> list[tuple[Segment, Any]]:
    """Return the regions of a file, each with its item of contours, None where it has none."""
    if str(data.get("SOPClassUID", "")) != STRUCTURES:
        raise refusal("This is DICOM, but no RT structure set", path)
    contours = {
        int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or ()
    }
    items = list(data.get("StructureSetROISequence") or ())
    if not items:
        raise refusal("This structure set has no regions", path)
    numbers = [int(item.ROINumber) for item in items]
    if len(set(numbers)) < len(numbers):
        raise refusal("This structure set is damaged: two of its regions have one number", path)
    sound = all(0 < number < 2**16 for number in numbers)
    found = []
    for order, (number, item) in enumerate(zip(numbers, items, strict=True), 1):
        own = contours.get(number)
        colour = own.get("ROIDisplayColor") if own is not None else None
        name = str(item.get("ROIName", "") or f"Region {number}")
        rgb = tuple(min(255, max(0, int(v))) for v in colour) if colour else ()
        found.append(
            (Segment(number if sound else order, name, rgb if len(rgb) == 3 else None), own)
        )
    return found


def _place_of(data: Any) -> str:
    """Return the frame of reference of a structure set; empty where it names none."""
    for item in data.get("ReferencedFrameOfReferenceSequence") or ():
        if item.get("FrameOfReferenceUID"):
            return str(item.FrameOfReferenceUID)
    return str(data.get("FrameOfReferenceUID", "") or "")


def _place_note(data: Any, like: Image) -> list[str]:
    source = like.source
    known = source.frame_of_reference_uid if isinstance(source, DicomSource) else ""
    if not known or _place_of(data) == known:
        return []
    return ["It names another frame of reference than its series, whose images it was drawn on."]


def _series(data: Any) -> Iterator[Any]:
    for place in data.get("ReferencedFrameOfReferenceSequence") or ():
        for study in place.get("RTReferencedStudySequence") or ():
            yield from study.get("RTReferencedSeriesSequence") or ()


def contour_series(data: Any) -> list[str]:
    """Return the UIDs of the series that a structure set refers to.

    Parameters
    ----------
    data : pydicom.Dataset

    Returns
    -------
    list of str
        Empty where it names none.
    """
    return [str(item.SeriesInstanceUID) for item in _series(data) if "SeriesInstanceUID" in item]


def _instances_of(data: Any) -> set[str]:
    """Return the images that a structure set lists for its series."""
    return {
        str(image.get("ReferencedSOPInstanceUID", ""))
        for item in _series(data)
        for image in item.get("ContourImageSequence") or ()
    }


@dataclass(frozen=True, eq=False)
class _Reader:
    """What contours need to get their places."""

    grid: Slices
    numbers: dict[tuple[str, int], int]
    path: Path

    def masks(
        self, region: Segment, item: Any, notes: list[str], *, named: bool
    ) -> dict[int, NDArray[np.bool_]]:
        """Return the mask of a region on each slice that it has contours on."""
        who = segments_in_words([region])
        contours = list((item.get("ContourSequence") if item is not None else None) or ())
        kinds = {str(one.get("ContourGeometricType", "") or "of no type") for one in contours}
        if not kinds & set(_CLOSED):
            reason = f"its contours are {', '.join(sorted(kinds))}" if kinds else "it is empty"
            if named:
                raise refusal(f"The region {who} has no area: {reason}", self.path)
            notes.append(f"The region {who} has no area, {reason}: it is left out.")
            return {}
        if kinds - set(_CLOSED):
            raise refusal(
                f"The region {who} has contours that enclose nothing beside closed "
                f"ones: {', '.join(sorted(kinds - set(_CLOSED)))}",
                self.path,
            )
        polygons: dict[int, list[NDArray[np.float64]]] = {}
        for order, contour in enumerate(contours, 1):
            index, polygon = self._polygon(contour, f"Contour {order} of {who}")
            polygons.setdefault(index, []).append(polygon)
        crossed = [
            index
            for index, each in polygons.items()
            if any(crosses_itself(one, int(fill([one], self.grid.shape).sum())) for one in each)
            and all(self._within(one) for one in each)
        ]
        if crossed:
            slices = ", ".join(map(str, sorted(crossed)[:4]))
            notes.append(
                f"A contour of {who} crosses itself (slice {slices}): what it goes "
                "round twice is left out, by the even-odd rule."
            )
        return {index: fill(each, self.grid.shape) for index, each in polygons.items()}

    def _within(self, polygon: NDArray[np.float64]) -> bool:
        return bool((polygon >= -0.5).all() and (polygon <= np.array(self.grid.shape) - 0.5).all())

    def _polygon(self, contour: Any, what: str) -> tuple[int, NDArray[np.float64]]:
        """Return the slice of a contour, and its corners in pixels of it."""
        points = _points(contour)
        if points is None:
            raise refusal(f"{what} is damaged: its points are no triples of numbers", self.path)
        place = self.grid.index_of(points)
        index = int(np.round(place[0, 0]))
        low, high = place[:, 0].min(), place[:, 0].max()
        if high - low > 2 * NEAR:
            raise refusal(
                f"{what} does not lie on one slice: it reaches from slice {low:.2f} to {high:.2f}",
                self.path,
            )
        images = [
            (str(one.get("ReferencedSOPInstanceUID", "")), int(one.get("ReferencedFrameNumber", 1)))
            for one in contour.get("ContourImageSequence") or ()
        ]
        if images and self.numbers:
            held = [self.numbers[one] for one in images if one in self.numbers]
            if not held:
                raise refusal(
                    f"{what} was drawn on the image {images[0][0]}, which the series does not hold",
                    self.path,
                )
            if index not in held:
                raise refusal(
                    f"{what} was drawn on slice {held[0]}, but its points lie at slice {low:.2f}",
                    self.path,
                )
        if not 0 <= index < len(self.grid.positions) or np.abs(place[:, 0] - index).max() > NEAR:
            raise refusal(f"{what} lies off every slice, at slice {low:.2f}", self.path)
        return index, place[:, 1:]


def _points(contour: Any) -> NDArray[np.float64] | None:
    """Return the points of a contour; from the bytes, as pydicom makes an object of each number."""
    raw = contour.get_item("ContourData") if "ContourData" in contour else None
    value = raw.value if raw is not None else None
    try:
        if isinstance(value, bytes):
            numbers = np.array(value.strip(b" \0").split(b"\\"), dtype="S32").astype(np.float64)
        else:
            numbers = np.array([float(v) for v in value or ()], dtype=np.float64)
    except ValueError:
        return None
    if not numbers.size or numbers.size % 3 or not np.isfinite(numbers).all():
        return None
    return numbers.reshape(-1, 3)
