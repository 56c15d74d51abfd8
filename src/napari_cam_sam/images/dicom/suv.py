"""From the activity that PET stores to standardised uptake values by body weight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.values import item, number, text

__all__ = ["SUV_TAGS", "Suv", "suv_of"]

SUV_TAGS: list[Any] = [
    "Units", "CorrectedImage", "DecayCorrection", "PatientWeight", "SeriesTime", "SeriesDate",
    "AcquisitionDate", "AcquisitionTime", "RadiopharmaceuticalInformationSequence", 0x70530010,
    0x70531000,
]  # fmt: skip
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Suv:
    """How values become uptake by body weight.

    Attributes
    ----------
    factor : float
        Of the values after slope and intercept; 1 where they stay what they are.
    note : str
        What the values are, and by which formula.
    """

    factor: float
    note: str


def suv_of(data: Any) -> Suv:
    """Return how the values of a PET image become uptake by body weight.

    The way is that of the Quantitative Imaging Biomarkers Alliance for all vendors.

    Parameters
    ----------
    data : pydicom.Dataset

    Returns
    -------
    Suv
        With the factor 1 and the reason where the header does not allow it.
    """
    units = text(data, "Units").upper()
    try:
        if units == "GML":
            return Suv(1.0, "Values are SUV by body weight, as the file stores them.")
        if units == "CNTS":
            factor = _philips(data)
            if factor is not None:
                return Suv(
                    factor, "Values are SUV by body weight = counts × the file's own factor."
                )
            return _not("counts", "the file has no factor for them")
        if units != "BQML":
            return _not(units.lower() or "of a unit that the file does not say", "they need Bq/ml")
        return _from_activity(data)
    except CamSamError:
        return _not("Bq/ml" if units == "BQML" else units.lower(), "a value for it is broken")


def _from_activity(data: Any) -> Suv:
    corrected = text(data, "CorrectedImage").upper().split("\\")
    if not {"ATTN", "DECY"} <= set(corrected):
        return _not("Bq/ml", "they are not corrected for attenuation and decay")
    weight = number(data, "PatientWeight")
    drug = item(data, "RadiopharmaceuticalInformationSequence")
    dose = None if drug is None else number(drug, "RadionuclideTotalDose")
    if not weight or weight <= 0:
        return _not("Bq/ml", "the file does not state the weight")
    if not dose or dose <= 0:
        return _not("Bq/ml", "the file does not state the dose")
    correction = text(data, "DecayCorrection").upper()
    if correction == "ADMIN":
        return Suv(
            weight * 1000 / dose,
            "Values are SUV by body weight = Bq/ml × weight in g / injected dose in Bq.",
        )
    half_life = number(drug, "RadionuclideHalfLife")
    begin, scan = _injected(data, drug), _scanned(data)
    if correction != "START" or not half_life or half_life <= 0 or begin is None or scan is None:
        return _not("Bq/ml", "the file does not state to which time decay is corrected")
    if scan < begin and text(drug, "RadiopharmaceuticalStartDateTime") == "":
        scan += _DAY  # injected before midnight
    seconds = (scan - begin).total_seconds()
    if not 0 <= seconds < 10 * half_life:
        return _not("Bq/ml", "the times of injection and scan do not fit")
    left = dose * 2 ** (-seconds / half_life)
    return Suv(
        weight * 1000 / left,
        "Values are SUV by body weight = Bq/ml × weight in g / dose left in Bq, which is the "
        f"injected dose × 2^(-{seconds:g} s / {half_life:g} s).",
    )


def _injected(data: Any, drug: Any) -> datetime | None:
    return _time(text(drug, "RadiopharmaceuticalStartDateTime")) or _time(
        text(data, "SeriesDate") + text(drug, "RadiopharmaceuticalStartTime")
    )


def _scanned(data: Any) -> datetime | None:
    """Return the time that decay is corrected to: the series', if it is not after the scan's.

    A series that was made again later has a time of its own, and the scan's is the nearest.
    """
    series = _time(text(data, "SeriesDate") + text(data, "SeriesTime"))
    scan = _time(text(data, "AcquisitionDate") + text(data, "AcquisitionTime"))
    if series is None or scan is None:
        return series or scan
    return min(series, scan)


def _time(said: str) -> datetime | None:
    digits = re.split(r"[.+-]", said)[0].replace(":", "")
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _philips(data: Any) -> float | None:
    creator = data.get(0x70530010)
    if creator is None or "PHILIPS" not in str(creator.value).upper():
        return None
    factor = number(data, (0x7053, 0x1000))
    return factor if factor and factor > 0 else None


def _not(what: str, why: str) -> Suv:
    return Suv(1.0, f"Values are {what}, not SUV: {why}.")
