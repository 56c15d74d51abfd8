"""What the header of a DICOM file says of its frames: as much as stacking and decoding need.

Nothing of it names the patient. Files are read up to their pixels, and only some tags of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.frame_values import (
    FRAME_TAGS,
    FrameValues,
    PixelWindow,
    frame_values,
)
from napari_cam_sam.images.dicom.mosaic import Tile, tiles_of
from napari_cam_sam.images.dicom.opening import DEFLATED, open_data
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.images.dicom.suv import SUV_TAGS, Suv, suv_of
from napari_cam_sam.images.dicom.values import text, whole

__all__ = ["NATIVE", "FileHead", "FrameHead", "read_heads"]

EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
NATIVE = (EXPLICIT, BIG_ENDIAN, IMPLICIT, DEFLATED)

_TAGS = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID",
    "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "SeriesDescription",
    "ProtocolName", "SeriesNumber", "SeriesDate", "StudyDate", "AcquisitionDate",
    "InstanceNumber", "ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "ModalityLUTSequence", "TotalPixelMatrixRows",
    "EncryptedAttributesSequence", "RescaleType", "Units",
]  # fmt: skip
_PIXELS = {
    0x7FE00010: "PixelData",
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
}
_MOST_FRAMES = 1_000_000


@dataclass(frozen=True, slots=True)
class FileHead:
    """One file, without a word about the patient.

    Attributes
    ----------
    path : Path
    transfer_syntax, sop_class_uid, sop_instance_uid : str
    series_uid, study_uid, frame_of_reference_uid : str
    modality, description, date : str
        The last as ``2026-01-31``; empty where the file has none.
    series_number, instance_number : int or None
    image_type : tuple of str
    rows, columns, samples, frames : int
    photometric : str
    planar : int
    bits_allocated, bits_stored : int
    signed : bool
    pixel_keyword : str
        ``"PixelData"`` or one of the two for floating values; empty where there is none.
    pixel_vr : str
    pixel_start, pixel_length : int
        First byte of its value, in the inflated part of a deflated file; -1 of unknown length.
    size : int
        Bytes that there are, to compare with.
    lookup : bool
        Whether a table turns stored values into the modality's.
    suv : Suv or None
        Of PET.
    encrypted, tiled : bool
        Whether parts of it are encrypted, and whether its frames are tiles of one picture.
    """

    path: Path
    transfer_syntax: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    description: str
    date: str
    series_number: int | None
    instance_number: int | None
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    pixel_keyword: str
    pixel_vr: str
    pixel_start: int
    pixel_length: int
    size: int
    lookup: bool
    suv: Suv | None
    encrypted: bool = False
    tiled: bool = False


@dataclass(frozen=True, slots=True)
class FrameHead:
    """One frame of pixels.

    Attributes
    ----------
    file : FileHead
    number : int
        In its file, from 1.
    values : FrameValues
        What the header says of this frame alone.
    tile : Tile or None
        Where it lies in a mosaic, of which it then is a part.
    """

    file: FileHead
    number: int
    values: FrameValues
    tile: Tile | None = None

    @property
    def rows(self) -> int:
        """Of the frame: in a mosaic fewer than the file's."""
        return self.file.rows if self.tile is None else self.tile.rows

    @property
    def columns(self) -> int:
        """Of the frame."""
        return self.file.columns if self.tile is None else self.tile.columns

    @property
    def windows(self) -> tuple[PixelWindow, ...]:
        """The presets of the frame."""
        return self.values.windows


def read_heads(path: Path) -> list[FrameHead]:
    """Read what a file says of its frames.

    Parameters
    ----------
    path : Path
        Of a file that looks like DICOM.

    Returns
    -------
    list of FrameHead
        In the order of the file; a file without pixels has one, whose ``pixel_keyword`` is empty.

    Raises
    ------
    CamSamError
        If the header is broken.
    """
    import pydicom

    file, deflated = open_data(path)
    with file, quiet():
        try:
            data = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=_all_tags()
            )
            file_head = _file_head(path, data, file, deflated)
            values = frame_values(data, file_head.frames, file_head.image_type)
            if "MOSAIC" in file_head.image_type and len(values) == 1:
                return _tiles(file_head, values[0])
            return [FrameHead(file_head, i + 1, one) for i, one in enumerate(values)]
        except CamSamError:
            raise
        except RecursionError as error:
            raise CamSamError(
                "The header is broken: its sequences lie in one another without end"
            ) from error
        except MemoryError:
            raise
        except Exception as error:  # pydicom fails on a broken header in a dozen ways
            raise CamSamError("This is truncated, or its header is broken") from error


def _tiles(file: FileHead, values: FrameValues) -> list[FrameHead]:
    """Return the slices of a mosaic; the mosaic itself, which is refused, if they are not known."""
    tiles = tiles_of(file.path)
    if not tiles or values.orientation is None:
        return [FrameHead(replace(file, tiled=True), 1, values)]
    return [
        FrameHead(file, k + 1, replace(values, position=tile.position), tile)
        for k, tile in enumerate(tiles)
    ]


@lru_cache(maxsize=1)
def _all_tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(one) for one in (*_TAGS, *FRAME_TAGS, *SUV_TAGS)]


def _file_head(path: Path, data: Any, file: BinaryIO, deflated: bool) -> FileHead:
    end = file.tell()
    keyword, vr, start, length = _pixels(data, file)
    size = file.seek(0, 2)
    if not keyword and (end > size or _is_cut(data)):
        raise CamSamError("This is truncated: its header ends early")
    if not keyword and not text(data, "SOPClassUID"):
        raise CamSamError("This holds no pixel data, and does not say what it is")
    meta = getattr(data, "file_meta", {})
    implicit, little = data.original_encoding
    syntax = str(meta.get("TransferSyntaxUID", "") or "")
    if deflated:
        syntax = EXPLICIT
    elif not syntax:
        syntax = IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN
    frames = whole(data, "NumberOfFrames") or 1
    if not 1 <= frames <= _MOST_FRAMES or (keyword and frames > size):
        raise CamSamError(f"The header is broken: it declares {frames} frames")
    modality = text(data, "Modality").upper()
    stored = whole(data, "BitsAllocated") or 0
    return FileHead(
        path=path,
        transfer_syntax=syntax,
        sop_class_uid=text(data, "SOPClassUID"),
        sop_instance_uid=text(data, "SOPInstanceUID"),
        series_uid=text(data, "SeriesInstanceUID"),
        study_uid=text(data, "StudyInstanceUID"),
        frame_of_reference_uid=text(data, "FrameOfReferenceUID"),
        modality=modality,
        description=text(data, "SeriesDescription") or text(data, "ProtocolName"),
        date=_date(data),
        series_number=whole(data, "SeriesNumber"),
        instance_number=whole(data, "InstanceNumber"),
        image_type=tuple(part.strip().upper() for part in text(data, "ImageType").split("\\")),
        rows=whole(data, "Rows") or 0,
        columns=whole(data, "Columns") or 0,
        samples=whole(data, "SamplesPerPixel") or 1,
        frames=frames,
        photometric=text(data, "PhotometricInterpretation").upper() or "MONOCHROME2",
        planar=whole(data, "PlanarConfiguration") or 0,
        bits_allocated=stored,
        bits_stored=whole(data, "BitsStored") or stored,
        signed=whole(data, "PixelRepresentation") == 1,
        pixel_keyword=keyword,
        pixel_vr=vr,
        pixel_start=start,
        pixel_length=length,
        size=size,
        lookup="ModalityLUTSequence" in data and bool(data["ModalityLUTSequence"].value),
        suv=suv_of(data) if modality == "PT" else None,
        encrypted="EncryptedAttributesSequence" in data,
        tiled="TotalPixelMatrixRows" in data,
    )


def _is_cut(data: Any) -> bool:
    """Return whether a header ends within a value."""
    from pydicom.dataelem import RawDataElement

    read = [one for one in data.values() if isinstance(one, RawDataElement)]
    return any(len(one.value) < one.length for one in read if one.value)


def _pixels(data: Any, file: BinaryIO) -> tuple[str, str, int, int]:
    """Return which element of pixels the file stands before, and where its value lies."""
    implicit, little = data.original_encoding
    order = "<" if little else ">"
    begin = file.read(12)
    if len(begin) < 12:
        return "", "", 0, 0
    group, element = struct.unpack(f"{order}HH", begin[:4])
    keyword = _PIXELS.get(group << 16 | element, "")
    if not keyword:
        return "", "", 0, 0
    # Some writers switch to implicit types within a file.
    if implicit or not begin[4:6].isalpha():
        start, vr = file.tell() - 4, "OW"
        (length,) = struct.unpack(f"{order}L", begin[4:8])
    else:
        start, vr = file.tell(), begin[4:6].decode("ascii", "replace")
        (length,) = struct.unpack(f"{order}L", begin[8:12])
    return keyword, vr, start, -1 if length == 0xFFFFFFFF else length


def _date(data: Any) -> str:
    for keyword in ("SeriesDate", "AcquisitionDate", "StudyDate"):
        digits = text(data, keyword).replace(".", "")[:8]
        if len(digits) == 8 and digits.isdigit():
            return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return ""
