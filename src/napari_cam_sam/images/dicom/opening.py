"""Files as DICOM can be read from: known by how they begin, inflated, never read past their end."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.limits import SMALL_BYTES, memory_bound

__all__ = ["DEFLATED", "looks_like_dicom", "open_data"]

DEFLATED = "1.2.840.10008.1.2.1.99"
_ENVELOPED = bytes.fromhex("06092a864886f70d010703")  # the object identifier of enveloped data
_BUFFER = 1 << 16
_DEFLATION = 64
"""How many bytes of a header and pixels one deflated byte may stand for, in large files."""


def looks_like_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM does, also one of the old kind without a preamble.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool

    Raises
    ------
    CamSamError
        If the file is encrypted as a whole.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return False
    with path.open("rb") as file:
        begin = file.read(132)
    if begin[128:] == b"DICM":
        return True
    if begin[:1] == b"\x30" and _ENVELOPED in begin[:40]:
        raise CamSamError("This is DICOM in an encrypted envelope: decrypt it first")
    if len(begin) < 16:
        return False
    group, element = struct.unpack("<HH", begin[:4])
    if group in (0x0200, 0x0800):  # big endian
        group, element = struct.unpack(">HH", begin[:4])
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    if begin[4:6].isalpha() and begin[4:6].isupper():
        return True
    return int.from_bytes(begin[4:8], "little") < 128


class _File(io.BufferedReader):
    """A file of which no more is read than there is: a length in it may be anything.

    Python makes room for all that is asked for before it reads.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _BUFFER:
            size = max(0, min(size, self._size - self.tell()))
        return super().read(size)


def open_data(path: Path) -> tuple[BinaryIO, bool]:
    """Open a file where its data set can be read from, inflated where it is deflated.

    Parameters
    ----------
    path : Path

    Returns
    -------
    file : binary file
        To be closed by the caller.
    deflated : bool
        Whether it is the inflated data set alone, in explicit little endian.
    """
    file = _File(path)
    try:
        begin = file.read(1024)
        if DEFLATED.encode() not in begin or begin[128:136] != b"DICM\x02\x00\x00\x00":
            file.seek(0)
            return file, False
        file.seek(144 + int.from_bytes(begin[140:144], "little"))
        packed = file.read()
    except BaseException:
        file.close()
        raise
    file.close()
    most = max(SMALL_BYTES, min(len(packed) * _DEFLATION, memory_bound()))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflater.decompress(packed, most)
    except zlib.error as error:
        raise CamSamError(f"This is truncated or damaged: {error}") from error
    if inflater.unconsumed_tail:
        raise CamSamError("This unpacks to more than it can hold: it is damaged")
    return io.BytesIO(found), True
