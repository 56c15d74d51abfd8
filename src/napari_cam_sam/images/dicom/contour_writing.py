"""Labels written as a DICOM RT structure set: contours in mm on the slices of their series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.dicom.datasets import STRUCTURES
from napari_cam_sam.images.dicom.naming import codes_for, colour_for
from napari_cam_sam.images.dicom.objects import (
    PROGRAM,
    identity,
    named,
    on_series,
    place_of,
    program_version,
    series_headers,
    source_of,
)
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.images.dicom.slices import Slices, slices_of
from napari_cam_sam.images.dicom.source import DicomFrame, DicomSource
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.polygons import outlines
from napari_cam_sam.images.segments import Segment

__all__ = ["write_contours"]

_STUDY = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, and still what is written for a study."""


def write_contours(
    path: Path,
    labels: NDArray[Any],
    like: Image,
    segments: Sequence[Segment] = (),
    *,
    algorithm: str = PROGRAM,
    version: str = "",
) -> None:
    """Write labels as an RT structure set on the series that their image was read from.

    Each part of a label is one closed contour on each slice; holes are joined to the outside by a
    keyhole, so that any reader leaves them out. See `polygons` for where lines run.

    Parameters
    ----------
    path : Path
    labels : ndarray of int, shape of ``like.spatial_shape``
    like : Image
        Read from DICOM. Of a resampled series the labels go back to the slices measured.
    segments : sequence of Segment
        Names, colours and codes; a label without one is called by its number.
    algorithm, version : str
        What made the labels.

    Raises
    ------
    CamSamError
        If the image is from no series or its slices have no place, there are no labels, or the
        file cannot be written.
    """
    source = source_of(like, path, "a structure set")
    array = on_series(np.asarray(labels), like, "labels")
    described = named(array, segments, path)
    grid = slices_of(like)
    if grid is None:
        raise refusal(
            f"The slices of {like.name} have no place in the patient, so that contours cannot be "
            "placed on them",
            path,
        )
    made_by = f"{algorithm} {version or program_version()}"[:64]
    with quiet():
        data = _structure_set(source)
        for segment in described:
            contours = list(_contours(array == segment.number, grid, source.frames))
            _add_region(data, segment, contours, source, made_by)
        write_atomically(path, lambda hidden: data.save_as(hidden))


def _structure_set(source: DicomSource) -> Any:
    from highdicom.base import SOPClass
    from pydicom.uid import ImplicitVRLittleEndian

    first = series_headers(source)[0]
    now = datetime.now()
    data: Any = SOPClass(
        study_instance_uid=first.StudyInstanceUID,
        sop_class_uid=STRUCTURES,
        modality="RTSTRUCT",
        # An element of explicit VR holds 64 kB of coordinates at most.
        transfer_syntax_uid=ImplicitVRLittleEndian,
        patient_id=first.PatientID,
        patient_name=first.PatientName,
        patient_birth_date=first.PatientBirthDate,
        patient_sex=first.PatientSex,
        accession_number=first.AccessionNumber,
        study_id=first.StudyID,
        study_date=first.StudyDate,
        study_time=first.StudyTime,
        referring_physician_name=first.ReferringPhysicianName,
        specific_character_set="ISO_IR 192",
        **identity("RTSTRUCT", "Structure set"),
    )
    data.copy_patient_and_study_information(first)
    data.OperatorsName = ""
    data.FrameOfReferenceUID = place_of(source)
    data.PositionReferenceIndicator = str(first.get("PositionReferenceIndicator") or "")
    data.StructureSetLabel = PROGRAM
    data.StructureSetDate, data.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.ReferencedFrameOfReferenceSequence = [
        _item(
            FrameOfReferenceUID=place_of(source),
            RTReferencedStudySequence=[
                _item(
                    ReferencedSOPClassUID=_STUDY,
                    ReferencedSOPInstanceUID=first.StudyInstanceUID,
                    RTReferencedSeriesSequence=[
                        _item(
                            SeriesInstanceUID=source.series_uid,
                            ContourImageSequence=[_reference(one) for one in source.frames],
                        )
                    ],
                )
            ],
        )
    ]
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    data.RTROIObservationsSequence = []
    data.ApprovalStatus = "UNAPPROVED"
    return data


def _contours(mask: NDArray[np.bool_], grid: Slices, frames: Sequence[DicomFrame]) -> Iterator[Any]:
    """Yield the contours of a label, slice by slice."""
    size = min(float(np.linalg.norm(step)) for step in (grid.row_step, grid.column_step))
    # A thousandth of a pixel is kept: lines run a hundredth off the middle of two pixels.
    decimals = min(10, max(3, math.ceil(-math.log10(size / 2000))))
    for index in map(int, np.flatnonzero(mask.any(axis=(1, 2)))):
        for polygon in outlines(mask[index]):
            points = grid.points_of(index, polygon)
            texts = [f"{v:.{decimals}f}"[:16] for v in points.ravel()]
            yield _item(
                ContourImageSequence=[_reference(frames[index])],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=texts,
            )


def _add_region(
    data: Any, segment: Segment, contours: list[Any], source: DicomSource, made_by: str
) -> None:
    number = segment.number
    for order, contour in enumerate(contours, 1):
        contour.ContourNumber = order
    data.StructureSetROISequence.append(
        _item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=place_of(source),
            ROIName=segment.name.replace("\\", "/")[:64],
            ROIGenerationAlgorithm="SEMIAUTOMATIC",
            ROIGenerationDescription=made_by,
        )
    )
    data.ROIContourSequence.append(
        _item(
            ROIDisplayColor=list(colour_for(segment)),
            ContourSequence=contours,
            ReferencedROINumber=number,
        )
    )
    what = codes_for(segment)[1]
    data.RTROIObservationsSequence.append(
        _item(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIIdentificationCodeSequence=[
                _item(
                    CodeValue=what.value,
                    CodingSchemeDesignator=what.scheme_designator,
                    CodeMeaning=what.meaning,
                )
            ],
            RTROIInterpretedType="",
            ROIInterpreter="",
        )
    )


def _reference(frame: DicomFrame) -> Any:
    item = _item(
        ReferencedSOPClassUID=frame.sop_class_uid, ReferencedSOPInstanceUID=frame.sop_instance_uid
    )
    if frame.number > 1:
        item.ReferencedFrameNumber = frame.number
    return item


def _item(**values: Any) -> Any:
    from pydicom import Dataset

    item = Dataset()
    for key, value in values.items():
        setattr(item, key, value)
    return item
