"""The size of pixels in mm, by whichever element of a header says it."""

from __future__ import annotations

from typing import Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.values import numbers, whole

__all__ = ["SPACING_TAGS", "flat_spacing"]

SPACING_TAGS = [
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "SequenceOfUltrasoundRegions",
]  # fmt: skip

_CENTIMETRES = 3


def flat_spacing(data: Any) -> tuple[tuple[float, ...] | None, str]:
    """Return the distance between rows and between columns, and what to know of it.

    Parameters
    ----------
    data : pydicom.Dataset

    Returns
    -------
    spacing : tuple of float or None
        In mm; None where nothing says it.
    note : str
        A sentence where it does not hold in the patient all over the image, else empty.

    Raises
    ------
    CamSamError
        If a spacing is no pair of numbers.
    """
    spacing = numbers(data, "PixelSpacing", 2)
    if spacing is not None:
        return spacing, ""
    regions = _regions(data)
    if regions:
        _, spacing = max(regions)
        others = {found for _, found in regions} - {spacing}
        note = (
            "Its regions have pixels of different sizes: those of the largest are taken."
            if others
            else ""
        )
        return spacing, note
    spacing = numbers(data, "ImagerPixelSpacing", 2)
    if spacing is not None:
        return spacing, "Its pixels are measured at the detector: in the patient they are smaller."
    spacing = numbers(data, "NominalScannedPixelSpacing", 2)
    if spacing is not None:
        return spacing, "Its pixels are measured on what was scanned, not in the patient."
    return None, ""


def _regions(data: Any) -> list[tuple[int, tuple[float, ...]]]:
    """Return area and spacing of the regions of an ultrasound image that show tissue in 2D."""
    found: list[tuple[int, tuple[float, ...]]] = []
    for region in data.get("SequenceOfUltrasoundRegions") or ():
        try:
            if whole(region, "RegionSpatialFormat") != 1 or any(
                whole(region, f"PhysicalUnits{axis}Direction") != _CENTIMETRES for axis in "XY"
            ):
                continue
            rows, columns = (numbers(region, f"PhysicalDelta{axis}", 1) for axis in "YX")
            sizes = [
                whole(region, f"RegionLocation{end}{axis}{number}") or 0
                for axis in "XY"
                for end, number in (("Min", 0), ("Max", 1))
            ]
        except CamSamError:
            continue
        if rows is None or columns is None or not rows[0] or not columns[0]:
            continue
        area = (sizes[1] - sizes[0]) * (sizes[3] - sizes[2])
        found.append((area, (abs(rows[0]) * 10, abs(columns[0]) * 10)))
    return found
