"""Which files an image came from, without a word about the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DicomFrame", "DicomSource"]


@dataclass(frozen=True)
class DicomFrame:
    """One frame of pixels in a DICOM file.

    Attributes
    ----------
    path : Path
        File that holds it. Inside of a zip, the unpacked copy.
    sop_class_uid, sop_instance_uid : str
        Of the file's object: what a segmentation refers to.
    number : int
        Of the frame in the file, from 1, as DICOM counts; 1 in a file of a single frame.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    number: int = 1


@dataclass(frozen=True)
class DicomSource:
    """The series that an image was read from.

    It holds identifiers of objects alone: name, number and dates of the patient stay in the files,
    and are read again where a written object needs them.

    Attributes
    ----------
    frames : tuple of DicomFrame
        One a slice, in the order of the image's first axis; one for a 2D image.
    series_uid, study_uid, frame_of_reference_uid : str
        The last is empty where the files have none.
    modality : str
        For example ``"CT"``.
    resampled : bool
        Whether slices were interpolated to even spacing: ``frames`` then holds the slices as
        they were measured, which are not those of the image.
    """

    frames: tuple[DicomFrame, ...]
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    resampled: bool = False
