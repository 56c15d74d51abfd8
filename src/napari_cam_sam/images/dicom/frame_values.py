"""What a header says of each frame: place, size, scaling, windows, and what tells it from others.

Classic files say it once. Enhanced files say it in functional groups, of which a frame's own
come before those that all frames share. Others say where their frames lie by a list of distances
(dose), or by one distance between slices (nuclear medicine, some multi-frame CT and MR).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.flat_spacing import SPACING_TAGS, flat_spacing
from napari_cam_sam.images.dicom.values import item, number, numbers, text
from napari_cam_sam.text import shown

__all__ = ["FRAME_TAGS", "FrameValues", "PixelWindow", "Vector", "frame_values", "normal_of"]

Vector = tuple[float, ...]

# Where vendors keep the b-value that the standard has had a place for since 2005 only.
_PRIVATE_B = {(0x0019, 0x100C): "SIEMENS", (0x0043, 0x1039): "GEMS", (0x2001, 0x1003): "PHILIPS"}

FRAME_TAGS: list[Any] = [
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices", "EchoTime", "EchoNumbers", "InversionTime", "AcquisitionNumber",
    "TemporalPositionIdentifier", "TriggerTime", "FrameReferenceTime", "AcquisitionDate",
    "AcquisitionTime", "DiffusionBValue", "DiffusionGradientOrientation", "RescaleSlope",
    "RescaleIntercept", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation",
    "GridFrameOffsetVector", "DoseGridScaling", "DetectorInformationSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", *SPACING_TAGS,
    *((group << 16) | element for group, element in _PRIVATE_B),
    *((group << 16) | 0x0010 for group, _ in _PRIVATE_B),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class PixelWindow:
    """A preset of the file: the values that become black and white.

    Attributes
    ----------
    name : str
        Empty where the file gives none.
    low, high : float
        Level -/+ half the width.
    """

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FrameValues:
    """What is said of one frame.

    Attributes
    ----------
    position : tuple of float or None
        Of its first pixel in mm, in the patient's LPS.
    orientation : tuple of float or None
        Directions along a row and along a column.
    spacing : tuple of float or None
        Between rows and between columns in mm.
    spacing_note : str
        What to know of it; empty where it holds in the patient.
    thickness, between : float or None
        Of a slice, and from one to the next as the header says: used for single slices alone.
    slope, intercept : float
    windows : tuple of PixelWindow
    kind : str
        What the image type says beyond original and primary, e.g. magnitude or phase.
    echo, inversion, b_value, temporal, trigger, reference_time, acquisition : float or None
        What tells frames at one place from one another; None where nothing is said.
    stack, acquired : str or None
        The same.
    direction : tuple of float or None
        The same.
    """

    position: Vector | None = None
    orientation: Vector | None = None
    spacing: Vector | None = None
    spacing_note: str = ""
    thickness: float | None = None
    between: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    windows: tuple[PixelWindow, ...] = ()
    kind: str = ""
    echo: float | None = None
    inversion: float | None = None
    stack: str | None = None
    b_value: float | None = None
    direction: Vector | None = None
    temporal: float | None = None
    trigger: float | None = None
    reference_time: float | None = None
    acquired: str | None = None
    acquisition: float | None = None


def frame_values(data: Any, frames: int, image_type: tuple[str, ...]) -> list[FrameValues]:
    """Return what a header says of each frame.

    Parameters
    ----------
    data : pydicom.Dataset
    frames : int
        As declared.
    image_type : tuple of str

    Returns
    -------
    list of FrameValues

    Raises
    ------
    CamSamError
        If a value is broken, or there are fewer functional groups than frames.
    """
    groups = data.get("PerFrameFunctionalGroupsSequence")
    if groups is not None and len(groups) > 0:
        if len(groups) < frames:
            raise CamSamError(
                f"This declares {frames} frames, but describes {len(groups)}: it is truncated or "
                "damaged"
            )
        shared = item(data, "SharedFunctionalGroupsSequence")
        first = _of_classic(data, image_type)
        return [_of_groups(groups[i], shared, first) for i in range(frames)]
    one = _of_classic(data, image_type)
    if frames == 1:
        return [one]
    return list(_placed(data, one, frames, image_type))


def normal_of(orientation: Vector) -> Vector:
    """Return the direction across a slice: that of its rows times that of its columns.

    Parameters
    ----------
    orientation : tuple of float

    Returns
    -------
    tuple of float
    """
    a, b, c, d, e, f = orientation
    return (b * f - c * e, c * d - a * f, a * e - b * d)


def _of_classic(data: Any, image_type: tuple[str, ...]) -> FrameValues:
    place, orientation = (
        numbers(data, "ImagePositionPatient", 3),
        numbers(data, "ImageOrientationPatient", 6),
    )
    detector = item(data, "DetectorInformationSequence")
    if place is None and detector is not None:
        place = numbers(detector, "ImagePositionPatient", 3)
        orientation = numbers(detector, "ImageOrientationPatient", 6)
    spacing, note = flat_spacing(data)
    dose = number(data, "DoseGridScaling")
    slope, intercept = number(data, "RescaleSlope"), number(data, "RescaleIntercept")
    return FrameValues(
        position=place if orientation is not None else None,
        orientation=orientation if place is not None else None,
        spacing=spacing,
        spacing_note=note,
        thickness=number(data, "SliceThickness"),
        between=number(data, "SpacingBetweenSlices"),
        slope=dose if dose is not None else 1.0 if slope is None else slope,
        intercept=0.0 if intercept is None or slope is None else intercept,
        windows=_windows(data),
        kind="\\".join(image_type[2:]),
        echo=_first(number(data, "EchoTime"), number(data, "EchoNumbers")),
        inversion=number(data, "InversionTime"),
        b_value=_b_value(data),
        direction=numbers(data, "DiffusionGradientOrientation"),
        temporal=number(data, "TemporalPositionIdentifier"),
        trigger=number(data, "TriggerTime"),
        reference_time=number(data, "FrameReferenceTime"),
        acquired=(text(data, "AcquisitionDate") + text(data, "AcquisitionTime")) or None,
        acquisition=number(data, "AcquisitionNumber"),
    )


def _of_groups(own: Any, shared: Any, first: FrameValues) -> FrameValues:
    """Return the values of a frame: its own, else those of all frames, else the header's."""

    def group(name: str) -> Any:
        found = item(own, name)
        return found if found is not None else item(shared, name)

    def either(dataset: Any, keyword: str, otherwise: float | None) -> float | None:
        return _first(None if dataset is None else number(dataset, keyword), otherwise)

    measures = group("PixelMeasuresSequence")
    place, orientation = group("PlanePositionSequence"), group("PlaneOrientationSequence")
    scaling = group("PixelValueTransformationSequence")
    content = group("FrameContentSequence")
    diffusion = group("MRDiffusionSequence")
    gradient = item(diffusion, "DiffusionGradientDirectionSequence")
    kinds = [group(f"{name}FrameTypeSequence") for name in ("MRImage", "CTImage", "PET", "XRay3D")]
    kind = next((text(k, "FrameType") for k in kinds if k is not None), "")
    lookup = group("FrameVOILUTSequence")
    position = None if place is None else numbers(place, "ImagePositionPatient", 3)
    directions = None if orientation is None else numbers(orientation, "ImageOrientationPatient", 6)
    spacing = None if measures is None else numbers(measures, "PixelSpacing", 2)
    slope = either(scaling, "RescaleSlope", None)
    inversion = group("MRModifierSequence")
    return replace(
        first,
        position=position if directions is not None else first.position,
        orientation=directions if position is not None else first.orientation,
        spacing=first.spacing if spacing is None else spacing,
        spacing_note=first.spacing_note if spacing is None else "",
        thickness=either(measures, "SliceThickness", first.thickness),
        between=either(measures, "SpacingBetweenSlices", first.between),
        slope=first.slope if slope is None else slope,
        intercept=first.intercept
        if slope is None
        else either(scaling, "RescaleIntercept", 0.0) or 0.0,
        windows=first.windows if lookup is None else _windows(lookup),
        kind="\\".join(kind.upper().split("\\")[2:]) or first.kind,
        echo=either(group("MREchoSequence"), "EffectiveEchoTime", first.echo),
        inversion=_first(
            None if inversion is None else number(inversion, "InversionTimes"), first.inversion
        ),
        stack=None if content is None else text(content, "StackID") or None,
        b_value=either(diffusion, "DiffusionBValue", first.b_value),
        direction=first.direction
        if gradient is None
        else numbers(gradient, "DiffusionGradientOrientation"),
        temporal=either(content, "TemporalPositionIndex", first.temporal),
        trigger=either(
            group("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime", first.trigger
        ),
        acquired=(None if content is None else text(content, "FrameAcquisitionDateTime"))
        or first.acquired,
        acquisition=either(content, "FrameAcquisitionNumber", first.acquisition),
    )


def _placed(
    data: Any, one: FrameValues, frames: int, image_type: tuple[str, ...]
) -> Iterator[FrameValues]:
    """Yield the frames of a classic file of several: at their places, if it says where they lie."""
    offsets = numbers(data, "GridFrameOffsetVector")
    stacked = "TOMO" in " ".join(image_type) or text(data, "Modality") in ("CT", "MR", "PT")
    if one.position is None or one.orientation is None:
        offsets = None
    elif offsets is not None and len(offsets) != frames:
        raise CamSamError(
            f"This declares {frames} frames, but places {len(offsets)}: it is truncated or damaged"
        )
    elif offsets is None and stacked and one.between:
        offsets = tuple(i * one.between for i in range(frames))
    if offsets is None or one.position is None or one.orientation is None:
        # At no place of their own: frames of time.
        for index in range(frames):
            yield replace(one, temporal=float(index + 1))
        return
    normal = normal_of(one.orientation)
    for offset in offsets:
        step = offset - offsets[0]
        position = tuple(p + step * n for p, n in zip(one.position, normal, strict=True))
        yield replace(one, position=position)


def _windows(data: Any) -> tuple[PixelWindow, ...]:
    try:
        centres, widths = numbers(data, "WindowCenter"), numbers(data, "WindowWidth")
    except CamSamError:
        return ()  # only a proposal
    names = text(data, "WindowCenterWidthExplanation").split("\\")
    if centres is None or widths is None:
        return ()
    found: dict[tuple[float, float], PixelWindow] = {}
    for i, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        low, high = centre - width / 2, centre + width / 2
        if width > 0 and low < high and (low, high) not in found:
            found[low, high] = PixelWindow(_title(names, i), low, high)
    return tuple(found.values())


def _title(names: list[str], index: int) -> str:
    return shown(names[index].strip())[:40] if index < len(names) else ""


def _b_value(data: Any) -> float | None:
    standard = number(data, "DiffusionBValue")
    if standard is not None:
        return standard
    for tag, creator in _PRIVATE_B.items():
        said = data.get((tag[0], 0x0010))
        if tag not in data or said is None or creator not in str(said.value).upper():
            continue
        try:
            value = number(data, tag)
        except CamSamError:
            continue  # another vendor's use of the number
        if value is not None and value >= 0:
            return value % 1e5  # GE adds a billion to some
    return None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
