"""Compressed values, unpacked once to a temporary file that ends with the process."""

from __future__ import annotations

import bz2
import gzip
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

from napari_cam_sam.errors import refusal
from napari_cam_sam.limits import EXPANSION, SMALL_BYTES

__all__ = ["PACKED_EXPANSION", "extra_bytes_note", "unpack"]

PACKED_EXPANSION = {"": 1, "gzip": EXPANSION, "zlib": EXPANSION, "bzip2": 30_000}
"""Ways of packing, and how many bytes one packed byte may stand for."""

_COPY_BYTES = 4 * 2**20
_FORMAT_OF_GZIP_OR_ZLIB = 47  # zlib's number for: whichever the first bytes say


def unpack(
    path: Path,
    packing: str,
    offset: int,
    n_bytes: int,
    *,
    start: int = 0,
    to_the_end: bool,
    footer: int = 0,
) -> tuple[IO[bytes], tuple[str, ...]]:
    """Copy a part of a file's unpacked content to a temporary file.

    The file has no name where the system allows it, so that even a kill leaves nothing behind;
    ``TMPDIR`` moves it.

    Parameters
    ----------
    path : Path
    packing : {"gzip", "zlib", "bzip2"}
    offset, n_bytes : int
        Where the part begins in the unpacked content, and how long it is.
    start : int
        Byte of the file where what is packed begins.
    to_the_end : bool
        Whether what follows is read, too: the check sum stands at the end.
    footer : int
        How many bytes may follow without a note.

    Returns
    -------
    file : binary file
    notes : tuple of str
        On what follows the part, where it was read to the end.

    Raises
    ------
    CamSamError
        If the file is damaged or too short, unpacks without end, or there is no room for it.
    """
    notes: tuple[str, ...] = ()
    try:
        target = tempfile.TemporaryFile(prefix="napari-cam-sam-")  # noqa: SIM115
    except OSError as error:
        raise refusal(f"This cannot be unpacked, no temporary file: {error}", path) from error
    try:
        with path.open("rb") as file:
            file.seek(start)
            packed = _opened(file, packing)
            skip, wanted = offset, n_bytes
            while wanted > 0:
                chunk = packed.read(min(_COPY_BYTES, skip or wanted))
                if not chunk:
                    raise EOFError("the data end early")
                if skip:
                    skip -= len(chunk)
                    continue
                wanted -= len(chunk)
                _write(target, chunk, path)
            notes = _rest(packed, path, max(SMALL_BYTES, 4 * n_bytes), footer) if to_the_end else ()
    except (OSError, EOFError, zlib.error) as error:
        target.close()
        raise refusal(f"This is truncated or damaged: {error}", path) from error
    except BaseException:
        target.close()
        raise
    target.flush()
    return target, notes


def extra_bytes_note(n_bytes: int, footer: int = 0) -> tuple[str, ...]:
    """Return the note that a file holds more than its header declares.

    Parameters
    ----------
    n_bytes : int
        How much more.
    footer : int
        How much more the format has at the end.

    Returns
    -------
    tuple of str
        One or none.
    """
    if n_bytes <= footer:
        return ()
    return (
        f"{n_bytes} bytes follow its voxels and are not read: see whether the header declares all "
        "slices and frames.",
    )


class _ZlibFile:
    """A stream of zlib, read in parts: Python has files of gzip and bzip2 alone."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(_FORMAT_OF_GZIP_OR_ZLIB)
        self._pending = b""

    def read(self, size: int) -> bytes:
        """Return up to so many bytes; none at the end."""
        while not self._unpacker.eof:
            packed = self._pending or self._file.read(_COPY_BYTES)
            chunk = self._unpacker.decompress(packed, size)
            self._pending = self._unpacker.unconsumed_tail
            if chunk:
                return chunk
            if not packed:
                raise EOFError("the data end early")
        return b""


def _opened(file: IO[bytes], packing: str) -> Any:
    if packing == "zlib":
        return _ZlibFile(file)
    return gzip.open(file, "rb") if packing == "gzip" else bz2.open(file, "rb")


def _rest(packed: Any, path: Path, most: int, footer: int) -> tuple[str, ...]:
    """Read what follows the voxels, up to a number of bytes: it may be packed without end."""
    extra = 0
    try:
        while chunk := packed.read(_COPY_BYTES):
            extra += len(chunk)
            if extra > most:
                raise refusal("More follows its voxels than the header can explain", path)
    except gzip.BadGzipFile as error:
        # What is no further part of a gzip file, after one whose check sum fits.
        if "Not a gzipped file" not in str(error):
            raise
        return (
            *extra_bytes_note(extra, footer),
            "What follows its compressed part in the file is passed over.",
        )
    return extra_bytes_note(extra, footer)


def _write(target: IO[bytes], chunk: bytes, path: Path) -> None:
    try:
        target.write(chunk)
        target.flush()
    except OSError as error:
        raise refusal(
            f"This cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to "
            "a folder with room",
            path,
        ) from error
