"""DICOM files opened with a sentence where they cannot be, and no word about the patient."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.dicom.heads import BIG_ENDIAN, EXPLICIT, IMPLICIT
from napari_cam_sam.images.dicom.opening import looks_like_dicom, open_data
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.formats import check_file

__all__ = ["damaged", "headers_of", "object_kind", "opened"]

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, and Label Map Segmentation Storage."""
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
"""RT Structure Set Storage."""
_BROKEN = (
    AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OverflowError,
    RecursionError, RuntimeError, TypeError, ValueError, sqlite3.Error, struct.error, zlib.error,
)  # fmt: skip


@contextmanager
def damaged(path: Path, what: str) -> Iterator[None]:
    """Turn what a library raises on a damaged file into one sentence without its values.

    Parameters
    ----------
    path : Path
    what : str
        What it should be, e.g. ``"a segmentation"``.

    Yields
    ------
    None
        While it is read, without warnings.

    Raises
    ------
    CamSamError
        If something inside fails as libraries do on what they cannot understand.
    """
    try:
        with quiet():
            yield
    except CamSamError:
        raise
    except AttributeError as error:
        lacks = f": it lacks {error.name}" if error.name and error.name[:1].isupper() else ""
        raise refusal(f"This is damaged, or no {what} that can be read{lacks}", path) from error
    except Exception as error:
        theirs = type(error).__module__.startswith("pydicom.") or (
            isinstance(error, OSError) and error.errno is None
        )
        if not theirs and not isinstance(error, _BROKEN):
            raise
        raise refusal(
            f"This is damaged, or no {what} that can be read ({type(error).__name__})", path
        ) from error


def opened(path: Path, *, pixels: bool = True) -> Any:
    """Read a DICOM file.

    Parameters
    ----------
    path : Path
    pixels : bool
        Whether to read pixels, too.

    Returns
    -------
    pydicom.FileDataset

    Raises
    ------
    CamSamError
        If it is none, or damaged.
    """
    check_file(path)
    with damaged(path, "DICOM file"):
        return _data_set(path, stop_before_pixels=not pixels)


def _data_set(path: Path, **how: Any) -> Any:
    """Read a file with or without a preamble, deflated or not, as one that names its syntax."""
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    try:
        if not looks_like_dicom(path):
            raise CamSamError("This is not DICOM: its header is missing")
        file, deflated = open_data(path)
    except CamSamError as error:
        raise refusal(str(error), path) from error.__cause__
    with file:
        data = dcmread(file, force=True, **how)
    meta = getattr(data, "file_meta", None)
    if deflated or not meta or "TransferSyntaxUID" not in meta:
        implicit, little = data.original_encoding
        data.file_meta = FileMetaDataset()
        syntax = IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN
        data.file_meta.TransferSyntaxUID = UID(syntax)
    return data


def object_kind(path: Path) -> str:
    """Return what a DICOM file holds.

    Parameters
    ----------
    path : Path

    Returns
    -------
    {"segmentation", "contours", "other", ""}
        Empty where it is no DICOM file.
    """
    try:
        if not looks_like_dicom(path):
            return ""
    except (OSError, ValueError, CamSamError):
        return ""
    with damaged(path, "DICOM file"):
        header = _data_set(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        known = str(header.get("SOPClassUID") or "")
    if known in SEGMENTATIONS:
        return "segmentation"
    return "contours" if known == STRUCTURES else "other"


def headers_of(source: DicomSource) -> list[Any]:
    """Read the headers of a series again: one for each slice, one object for one file.

    Parameters
    ----------
    source : DicomSource

    Returns
    -------
    list of pydicom.FileDataset
        Without pixels.

    Raises
    ------
    CamSamError
        If a file is gone, changed or damaged. It names none: folders that lie in the one that was
        opened are often called after the patient.
    """
    changed = "A file of the series has changed since it was read: open the series again."
    read: dict[Path, Any] = {}
    for frame in source.frames:
        if frame.path not in read:
            if not frame.path.exists():
                raise CamSamError("A file of the series does not exist any more.")
            try:
                header = opened(frame.path, pixels=False)
            except (CamSamError, OSError) as error:
                raise CamSamError(changed) from error
            if str(header.get("SOPInstanceUID", "")) != frame.sop_instance_uid:
                raise CamSamError(changed)
            read[frame.path] = header
    return [read[frame.path] for frame in source.frames]
