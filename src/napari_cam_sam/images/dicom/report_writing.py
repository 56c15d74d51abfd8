"""Measurements of labels written as a DICOM structured report of template 1500."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.dicom.datasets import opened
from napari_cam_sam.images.dicom.naming import codes_for
from napari_cam_sam.images.dicom.objects import PROGRAM, identity, series_headers, source_of
from napari_cam_sam.images.dicom.segments import segments_of
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.measurements import Measurement
from napari_cam_sam.images.segments import Segment

__all__ = ["write_report"]


def write_report(
    path: Path, measurements: Sequence[Measurement], segmentation: Path, like: Image
) -> None:
    """Write measurements as a structured report that refers to a segmentation of the series.

    Parameters
    ----------
    path : Path
    measurements : sequence of Measurement
        Mean and standard deviation are written of CT, in HU, and of MR; volume and diameters of
        any image.
    segmentation : Path
        DICOM segmentation that holds the labels: their numbers are those of its segments.
    like : Image
        Read from DICOM.

    Raises
    ------
    CamSamError
        If the image is from no series, a label is no segment, or the file cannot be written.
    """
    source = source_of(like, path, "a report")
    known = {one.number: one for one in segments_of(segmentation)}
    unknown = [one.label for one in measurements if one.label not in known]
    if unknown:
        raise refusal(
            f"The label {unknown[0]} was measured, but is no segment of this", segmentation
        )
    segments = [known[one.label] for one in measurements]
    with quiet():
        headers = series_headers(source)
        drawn = opened(segmentation, pixels=False)
        data = _report(measurements, segments, drawn, headers, source.series_uid, source.modality)
        write_atomically(path, lambda hidden: data.save_as(hidden))


def _report(
    measurements: Sequence[Measurement],
    segments: Sequence[Segment],
    drawn: Any,
    headers: Sequence[Any],
    series_uid: str,
    modality: str,
) -> Any:
    from highdicom import UID
    from highdicom.sr import (
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=UID(), name=PROGRAM, manufacturer_name=PROGRAM, model_name=PROGRAM
        ),
    )
    groups = []
    for one, segment in zip(measurements, segments, strict=True):
        category, kind = codes_for(segment)
        groups.append(
            VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(uid=UID(), identifier=segment.name),
                referenced_segment=ReferencedSegment(
                    sop_class_uid=drawn.SOPClassUID,
                    sop_instance_uid=drawn.SOPInstanceUID,
                    segment_number=segment.number,
                    source_series=SourceSeriesForSegmentation(series_uid),
                ),
                finding_type=kind,
                finding_category=category,
                measurements=list(_items(one, modality)),
            )
        )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.cid100.ImagingProcedure,
        imaging_measurements=groups,
        referenced_images=headers,
    )
    return Comprehensive3DSR(
        evidence=[*headers, drawn],
        content=report[0],
        is_complete=False,
        is_final=False,
        **identity("SR", "Measurements"),
    )


def _items(one: Measurement, modality: str) -> Iterator[Any]:
    """Yield what is known of a label, each with its unit."""
    from highdicom.sr import Measurement as Item
    from pydicom.sr.codedict import codes

    for name, value, unit in (
        (codes.SCT.Volume, one.volume_ml, codes.UCUM.CubicCentimeter),
        (codes.SCT.LongAxis, one.longest_mm, codes.UCUM.Millimeter),
        (codes.SCT.PerpendicularAxis, one.perpendicular_mm, codes.UCUM.Millimeter),
    ):
        if math.isfinite(value):
            yield Item(name=name, value=_digits(value), unit=unit)
    known = {
        "CT": (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit),
        "MR": (codes.DCM.MRSignalIntensity, codes.UCUM.NoUnits),
    }
    if modality not in known or not math.isfinite(one.mean):
        return
    name, unit = known[modality]
    for derivation, value in ((codes.SCT.Mean, one.mean), (codes.SCT.StandardDeviation, one.sd)):
        yield Item(name=name, value=_digits(value), unit=unit, derivation=derivation)


def _digits(value: float) -> float:
    """Return a number as DICOM's 16 characters hold it."""
    return float(f"{value:.8g}")
