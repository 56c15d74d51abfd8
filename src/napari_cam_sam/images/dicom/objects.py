"""What every written DICOM object has of its series and of this program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.dicom.datasets import headers_of
from napari_cam_sam.images.dicom.slices import nearest_slices, slices_of
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import Segment

__all__ = [
    "PROGRAM",
    "identity",
    "name_frames",
    "named",
    "on_series",
    "place_of",
    "program_version",
    "series_headers",
    "slice_places",
    "source_of",
]

PROGRAM = "napari-cam-sam"
_TEXTS = ("PatientID", "AccessionNumber", "StudyID")
_OF_PATIENT = (0x00100010, 0x00100020, 0x00100021, 0x00100024, 0x00100030, 0x00100040)
"""Name, id with who gave it, date of birth, and sex."""
_OF_STUDY = (
    0x00080022, 0x0008002A, 0x00080032, 0x00080080, 0x00080081, 0x00081010, 0x00081040,
    0x00081048, 0x00081049, 0x00081060, 0x00081062, 0x00181000,
)  # fmt: skip
"""Date and time of acquisition, the institution, its physicians, and number of the device."""
_ENOUGH = 1e-4
"""Difference of the directions of slices, of 1, that is rounding."""


def program_version() -> str:
    """Return the version that written objects name.

    Returns
    -------
    str
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return "0"


def identity(modality: str, description: str) -> dict[str, Any]:
    """Return the keywords of highdicom for a new object of this program in a series of its own.

    Parameters
    ----------
    modality : str
        Only for the number of the series.
    description : str
        Of the series.

    Returns
    -------
    dict
    """
    from highdicom import UID

    numbers = {"SEG": 9001, "RTSTRUCT": 9002, "SR": 9003, "PM": 9004}
    return {
        "series_instance_uid": UID(),
        "series_number": numbers[modality],
        "sop_instance_uid": UID(),
        "instance_number": 1,
        "manufacturer": PROGRAM,
        "manufacturer_model_name": PROGRAM,
        "software_versions": program_version(),
        "device_serial_number": "0",
        "series_description": description,
    }


def source_of(like: Image, path: Path, what: str) -> DicomSource:
    """Return the series of an image, which is not to be written over.

    Parameters
    ----------
    like : Image
    path : Path
        File to write.
    what : str
        What is written, e.g. ``"a segmentation"``.

    Returns
    -------
    DicomSource

    Raises
    ------
    CamSamError
        If it is from no series, or the file is one of its own.
    """
    source = like.source
    if not isinstance(source, DicomSource):
        raise refusal(
            f"{what.capitalize()} in DICOM is written onto a DICOM series, and {like.name} was "
            "read from none",
            path,
        )
    if path.exists() and any(
        one.path.exists() and path.samefile(one.path) for one in source.frames
    ):
        raise refusal("This is a slice of the series, which would be lost: name another file", path)
    return source


def series_headers(source: DicomSource) -> list[Any]:
    """Read the headers of a series again, mended where new objects could not be made from them.

    Texts become UTF-8; what belongs in every object and is missing or broken becomes empty.

    Parameters
    ----------
    source : DicomSource

    Returns
    -------
    list of pydicom.Dataset
        One for each file, in the order of the slices.
    """
    headers = list({id(one): one for one in headers_of(source)}.values())
    for header in headers:
        _mend(header)
        if not header.get("FrameOfReferenceUID"):
            header.FrameOfReferenceUID = place_of(source)
    direction = headers[0].get("ImageOrientationPatient")
    for header in headers[1:]:
        own = header.get("ImageOrientationPatient")
        if direction and own and np.abs(np.subtract(own, direction)).max() < _ENOUGH:
            header.ImageOrientationPatient = direction
    # It may be missing or empty, and what is written states one.
    places = [header.get("ImagePositionPatient") for header in headers[:2]]
    apart = float(np.linalg.norm(np.subtract(*places))) if len(places) == 2 and all(places) else 1
    for header in headers:
        if "PixelSpacing" in header and not header.get("SliceThickness"):
            header.SliceThickness = f"{apart or 1:.6g}"
    return headers


def place_of(source: DicomSource) -> str:
    """Return the frame of reference of a series.

    Parameters
    ----------
    source : DicomSource

    Returns
    -------
    str
        Where its files name none, as some that were made anonymous, a UID that follows from that
        of the series: what is written on it lies in one place.
    """
    from pydicom.uid import generate_uid

    return source.frame_of_reference_uid or str(
        generate_uid(entropy_srcs=[f"frame of reference of {source.series_uid}"])
    )


def _mend(header: Any) -> None:
    from pydicom.valuerep import DA, TM, PersonName

    for tag in [one for one in header.keys() if _tells_more(one)]:  # noqa: SIM118 - no elements
        del header[tag]
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    for key in ("PatientName", "ReferringPhysicianName"):
        setattr(header, key, PersonName(str(header.get(key) or "")))
    for key in _TEXTS:
        setattr(header, key, str(header.get(key) or ""))
    if str(header.get("PatientSex") or "") not in ("M", "F", "O"):
        header.PatientSex = ""
    for key, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            value = str(header.get(key) or "")
            kind(value)
        except (ValueError, TypeError, OverflowError):
            value = ""
        setattr(header, key, value)
    if "SharedFunctionalGroupsSequence" not in header:
        return
    shared = header.SharedFunctionalGroupsSequence[0]
    frames = header.get("PerFrameFunctionalGroupsSequence")
    for key in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if key not in shared and frames and key in frames[0]:
            setattr(shared, key, getattr(frames[0], key))


def _tells_more(tag: Any) -> bool:
    """Return whether an element tells more of the patient than an archive needs.

    highdicom copies all that the standard allows in a study, comments and other numbers, too.
    """
    if tag.group in (0x0010, 0x0038):
        return tag not in _OF_PATIENT
    return tag.is_private or tag in _OF_STUDY


def on_series(array: NDArray[Any], like: Image, what: str) -> NDArray[Any]:
    """Return an array on the grid of an image as one on the slices of its series.

    Parameters
    ----------
    array : ndarray, shape of ``like.spatial_shape``
    like : Image
    what : str
        What it is, for errors.

    Returns
    -------
    ndarray, shape (slice, row, column)
        Of a resampled image each measured slice has what the nearest resampled one has.
    """
    if array.shape != like.spatial_shape:
        raise CamSamError(
            f"The {what} have shape {array.shape}, but {like.name} has {like.spatial_shape}."
        )
    array = array if array.ndim == 3 else array[None]
    source = like.source
    assert isinstance(source, DicomSource)
    if source.resampled:
        grid = slices_of(like)
        if grid is None:
            raise CamSamError(f"The slices of the series of {like.name} have no place.")
        _, to_series = nearest_slices(like, grid)
        return array[to_series]
    if len(array) != len(source.frames):
        raise CamSamError(
            f"The {what} have {len(array)} slices, the series of {like.name} {len(source.frames)}."
        )
    return array


def named(labels: NDArray[Any], segments: Sequence[Segment], path: Path) -> list[Segment]:
    """Return a segment for every label that occurs, in the order of their numbers.

    Parameters
    ----------
    labels : ndarray of int
    segments : sequence of Segment
        Those that have names; others are called by their numbers.
    path : Path
        File to write.

    Returns
    -------
    list of Segment

    Raises
    ------
    CamSamError
        If there are no labels, or one is negative or above 65535.
    """
    if labels.dtype.kind not in "biu":
        raise refusal(f"Labels are whole numbers, but these are of type {labels.dtype}", path)
    numbers = [int(n) for n in np.unique(labels) if n]
    if not numbers:
        raise refusal("There is nothing to write: no pixel has a label", path)
    if numbers[0] < 0 or numbers[-1] > 65535:
        raise refusal(
            f"Labels in DICOM are 1 to 65535, but these reach from {numbers[0]} to {numbers[-1]}",
            path,
        )
    known = {one.number: one for one in segments}
    return [known.get(n, Segment(n, f"Label {n}")) for n in numbers]


def slice_places(like: Image, count: int, path: Path) -> list[Any]:
    """Return the positions of the slices of a file of several frames.

    Parameters
    ----------
    like : Image
    count : int
        Of the slices.
    path : Path
        File to write.

    Returns
    -------
    list of highdicom.PlanePositionSequence

    Raises
    ------
    CamSamError
        If they have none.
    """
    from highdicom import PlanePositionSequence

    grid = slices_of(like)
    if grid is None or len(grid.positions) != count:
        raise refusal(
            f"The slices of {like.name} have no place in the patient, so that nothing in DICOM "
            "can be placed on them",
            path,
        )
    return [PlanePositionSequence("PATIENT", position) for position in grid.positions]


def name_frames(data: Any, source: DicomSource, like: Image) -> None:
    """Leave each frame one source: of a series in time more frames than the own have its place.

    Parameters
    ----------
    data : pydicom.Dataset
        Changed in place.
    source : DicomSource
    like : Image
    """
    grid = slices_of(like)
    assert grid is not None
    for group in data.PerFrameFunctionalGroupsSequence:
        place = np.array([float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient])
        number = int(np.abs(grid.positions - place).sum(axis=1).argmin())
        items = group.DerivationImageSequence[0].SourceImageSequence
        own = [
            one for one in items if one.get("ReferencedFrameNumber") == source.frames[number].number
        ]
        if own:
            group.DerivationImageSequence[0].SourceImageSequence = own[:1]
