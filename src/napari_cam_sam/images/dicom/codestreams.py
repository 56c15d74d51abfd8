"""What a packed frame says of its own size, before a decoder makes room for it."""

from __future__ import annotations

import struct

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.heads import FileHead

__all__ = ["check_frame"]

_RLE = "1.2.840.10008.1.2.5"
# Frames of JPEG, lossless JPEG and JPEG-LS; not tables, restarts and arithmetic conditioning.
_SIZES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}


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
