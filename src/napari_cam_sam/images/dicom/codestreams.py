"""Packed frames: checked before a decoder makes room for them, some unpacked here.

pydicom unpacks run lengths, JPEG-LS and the usual JPEG. Lossless JPEG and JPEG 2000 it leaves to
GDCM, of which damaged data end the process; JPEG of 12 bits and high-throughput JPEG 2000 to
packages that are not free enough or not there. All of them imagecodecs knows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.heads import FileHead
from napari_cam_sam.images.dicom.opening import open_data

__all__ = ["check_fragments", "check_frame", "is_ours", "unpacked"]

_RLE = "1.2.840.10008.1.2.5"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_WAVELETS = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
# Frames of JPEG, lossless JPEG and JPEG-LS; not tables, restarts and arithmetic conditioning.
_SIZES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def is_ours(file: FileHead) -> bool:
    """Return whether a file's frames are unpacked here.

    Parameters
    ----------
    file : FileHead

    Returns
    -------
    bool
    """
    twelve = file.transfer_syntax == _EXTENDED and file.bits_stored > 8 and file.samples == 1
    return twelve or file.transfer_syntax in (*_LOSSLESS, *_WAVELETS)


def unpacked(encoded: bytes, file: FileHead) -> NDArray[Any]:
    """Unpack a frame of JPEG or JPEG 2000.

    Parameters
    ----------
    encoded : bytes
        That `check_frame` has passed.
    file : FileHead

    Returns
    -------
    ndarray, shape (row, column) or (row, column, 3)
        As stored; colours as RGB.

    Raises
    ------
    CamSamError
        If it is damaged.
    """
    import imagecodecs

    decode: Callable[[bytes], Any] = imagecodecs.jpeg_decode
    if file.transfer_syntax in _WAVELETS:
        decode = imagecodecs.jpeg2k_decode
    elif b"\xff\xd9" not in encoded[-16:]:  # libjpeg fills up what is missing
        raise CamSamError("This is truncated or damaged: a frame of it ends early")
    found: NDArray[Any] = np.asarray(decode(encoded))
    if found.shape != (file.rows, file.columns, file.samples)[: 2 + (file.samples > 1)]:
        raise CamSamError("This is damaged: its frames are not of the size that it declares")
    if file.samples == 3 and file.photometric.startswith("YBR_FULL"):
        from pydicom.pixels.processing import convert_color_space

        found = convert_color_space(found, file.photometric, "RGB")
    if file.signed and found.dtype.kind == "u":
        shift = max(0, 8 * found.dtype.itemsize - file.bits_stored)
        found = (found << shift).view(f"i{found.dtype.itemsize}") >> shift
    return found


def check_fragments(file: FileHead) -> None:
    """Check that the packed frames of a file lie in it.

    Parameters
    ----------
    file : FileHead

    Raises
    ------
    CamSamError
        If one of them ends after the file.
    """
    data, _ = open_data(file.path)
    with data:
        at, count = file.pixel_start, -1  # the first item is a table
        while at + 8 <= file.size:
            data.seek(at)
            item = data.read(8)
            if item[:4] != _ITEM:
                break
            at += 8 + int.from_bytes(item[4:], "little")
            count += 1
        else:
            item = b""
    if at > file.size or (item[:4] != _END and count < file.frames):
        raise CamSamError(
            "This is truncated or damaged: its packed pixels end early, or lie not where it says"
        )


def check_frame(encoded: bytes, file: FileHead) -> None:
    """Refuse a frame whose own size is not that of the header: it could fill the memory.

    Parameters
    ----------
    encoded : bytes
    file : FileHead

    Raises
    ------
    CamSamError
        If it is of another size, or none can be found.
    """
    if not encoded:
        raise CamSamError("This is truncated or damaged: a frame of it is empty")
    if file.transfer_syntax == _RLE:
        _check_rle(encoded)
        return
    found = _jpeg_2000(encoded) or _jpeg(encoded)
    if found is None:
        raise CamSamError("This is truncated or damaged: its pixels are not packed as it says")
    if found != (file.rows, file.columns):
        raise CamSamError(
            f"This is damaged: it declares {file.rows} × {file.columns} pixels, and its packed "
            f"frames have {found[0]} × {found[1]}"
        )


def _check_rle(encoded: bytes) -> None:
    if len(encoded) < 64:
        raise CamSamError("This is truncated or damaged: a frame of it is too short")
    count, *offsets = struct.unpack("<16L", encoded[:64])
    if not 1 <= count <= 15 or any(not 64 <= at < len(encoded) for at in offsets[:count]):
        raise CamSamError("This is damaged: parts of its packed frame do not lie in it")


def _jpeg_2000(encoded: bytes) -> tuple[int, int] | None:
    # Some frames are whole files of JPEG 2000, with boxes before the codestream.
    boxed = encoded[4:8] == b"jP  "
    start = encoded.find(b"\xff\x4f\xff\x51", 0, 1 << 16 if boxed else 4)
    if start < 0 or len(encoded) < start + 24:
        return None
    width, height, left, top = struct.unpack(">4L", encoded[start + 8 : start + 24])
    return height - top, width - left


def _jpeg(encoded: bytes) -> tuple[int, int] | None:
    if encoded[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(encoded):
        if encoded[at] != 0xFF:
            return None
        marker = encoded[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _SIZES:
            rows, columns = struct.unpack(">HH", encoded[at + 5 : at + 9])
            return rows, columns
        else:
            at += 2 + max(2, int.from_bytes(encoded[at + 2 : at + 4], "big"))
    return None
