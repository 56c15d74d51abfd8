"""PNG and JPEG in and out."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from napari_cam_sam.errors import CamSamError, reason_of, refusal
from napari_cam_sam.images.formats import JPEG, stem_of, suffix_of
from napari_cam_sam.images.geometry import default_geometry
from napari_cam_sam.images.image import Image, more_images_note
from napari_cam_sam.images.labels import palette_labels
from napari_cam_sam.images.orientation import TAG, orientation_note, turn_upright
from napari_cam_sam.images.tiff_colours import alpha_notes
from napari_cam_sam.limits import EXPANSION, check_array

__all__ = ["orientation_of", "read_pillow", "write_pillow"]

_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's colour type
_HUFFMAN = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive JPEG
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers that begin a JPEG's picture
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class _Header:
    """What a file declares, read before anything is decoded.

    ``kind`` is the colour type of a PNG, or the marker that begins the picture of a JPEG, and
    ``exif`` what a JPEG says of itself.
    """

    png: bool
    width: int
    height: int
    channels: int
    bits: int
    kind: int
    exif: bytes = b""


def read_pillow(path: Path, *, labels: bool = False) -> Image:
    """Read a PNG or JPEG file.

    An orientation tag is applied, as annotation tools and viewers do; resolution tags, which
    seldom mean anything, are not believed. Gray stays gray and its alpha is dropped. A file that
    is cut off or whose check sums do not fit is refused.

    Parameters
    ----------
    path : Path
    labels : bool
        Whether a palette's colours are labels (True, see `palette_labels`) or colours (False), and
        whether one bit reads as 0 and 1 (True) or as 0 and 255 (False).

    Returns
    -------
    Image

    Raises
    ------
    CamSamError
        If the file is no such image, truncated or damaged.
    """
    with _sentences(path):
        header = _header(path)
        sample = np.dtype(np.uint8 if header.bits <= 8 else np.uint16)
        shape = (header.height, header.width, header.channels)
        # Of fewer bits than a byte each becomes one.
        expansion = EXPANSION * max(1, 8 // header.bits)
        check_array(shape, sample, path.stat().st_size, path, expansion=expansion)
        # Not by Image.open, which refuses sound pictures for their size alone.
        with PngImageFile(path) if header.png else _jpeg(path, header) as file:
            orientation = _asked(file, header)
            if file is None or (header.bits == 16 and header.channels > 1):
                data, notes = _deep(path, header)  # Pillow has no colour of 16 bits
            else:
                data, notes = _pixels(file, labels)
            notes += more_images_note(getattr(file, "n_frames", 1) - 1)  # of an animated PNG
        if not header.png:
            _check_end(path, header, data)
    data = np.ascontiguousarray(turn_upright(data, orientation))
    notes += orientation_note(orientation)
    return Image(data, data.ndim == 3, default_geometry(2), stem_of(path), path, notes=notes)


def orientation_of(path: Path) -> int:
    """Read the orientation that a PNG or JPEG file asks for.

    Parameters
    ----------
    path : Path

    Returns
    -------
    int
        As EXIF counts them, 1 to 8; 1 for none.

    Raises
    ------
    CamSamError
        If the file cannot be read.
    """
    with _sentences(path):
        header = _header(path)
        with PngImageFile(path) if header.png else _jpeg(path, header) as file:
            return _asked(file, header)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn what decoders raise into one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, on tags that are no concern of pixels
            yield
    except CamSamError as error:
        if str(path) in str(error):
            raise
        raise refusal(str(error).rstrip("."), path) from None
    except MemoryError as error:
        raise refusal("This picture asks for more memory than there is", path) from error
    except Exception as error:  # damaged files fail in decoders in many ways
        kind = "JPEG" if suffix_of(path) in JPEG else "PNG"
        raise refusal(
            f"This is not a {kind} image, or is damaged: {reason_of(error)}", path
        ) from error


def _header(path: Path) -> _Header:
    with path.open("rb") as file:
        if file.read(len(_PNG)) == _PNG:
            return _png_header(file, path)
        file.seek(0)
        return _jpeg_header(file, path)


def _png_header(file: IO[bytes], path: Path) -> _Header:
    """Read a PNG's header, and check that all its chunks are there and whole."""
    size, header, last = path.stat().st_size, None, b""
    while last != b"IEND":
        start = file.read(8)
        if len(start) < 8:
            raise refusal("This PNG is truncated: its last chunk is missing", path)
        length, last = struct.unpack(">I4s", start)
        if file.tell() + length + 4 > size:
            raise refusal("This PNG is truncated: it ends within its pixels", path)
        sum_, first, left = zlib.crc32(last), b"", length
        while left:
            part = file.read(min(left, _BLOCK_BYTES))
            sum_, first, left = zlib.crc32(part, sum_), first or part, left - len(part)
        if struct.unpack(">I", file.read(4))[0] != sum_:
            raise refusal("This PNG is damaged: a check sum does not fit", path)
        if header is None:
            if last != b"IHDR" or length != 13:
                raise refusal("This PNG is damaged: it has no header", path)
            width, height, bits, kind = struct.unpack(">IIBB", first[:10])
            if kind not in _CHANNELS or bits not in (1, 2, 4, 8, 16):
                raise refusal("This PNG is damaged: its header names no colours", path)
            header = _Header(True, width, height, _CHANNELS[kind], bits, kind)
    assert header is not None
    return header


def _jpeg_header(file: IO[bytes], path: Path) -> _Header:
    if file.read(2) != b"\xff\xd8":
        raise refusal("This is neither a PNG nor a JPEG image", path)
    exif = b""
    while True:
        byte = file.read(1)
        while byte and byte != b"\xff":
            byte = file.read(1)
        while byte == b"\xff":
            byte = file.read(1)
        if not byte or byte == b"\xda":
            raise refusal("This JPEG is truncated or damaged: its header is missing", path)
        if byte == b"\x00" or byte == b"\x01" or 0xD0 <= byte[0] <= 0xD8:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if byte[0] in _FRAMES:
            bits, height, width, channels = struct.unpack(">BHHB", file.read(6))
            return _Header(False, width, height, channels, bits, byte[0], exif)
        content = file.read(length - 2)
        if byte == b"\xe1" and content.startswith(b"Exif\0\0"):
            exif = exif or content


def _asked(file: PngImageFile | JpegImageFile | None, header: _Header) -> int:
    if file is not None:
        return int(file.getexif().get(TAG, 1) or 1)
    exif = PillowImage.Exif()
    exif.load(header.exif)
    return int(exif.get(TAG, 1) or 1)


@contextmanager
def _jpeg(path: Path, header: _Header) -> Iterator[JpegImageFile | None]:
    """Open a JPEG in Pillow; None for what that cannot read: 12 bits, or without loss."""
    if header.bits != 8 or header.kind not in _HUFFMAN:
        yield None
        return
    with JpegImageFile(path) as file:
        yield file


def _deep(path: Path, header: _Header) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Decode what has more than 8 bits a sample."""
    import imagecodecs

    content = path.read_bytes()
    if not header.png:
        data = np.asarray(imagecodecs.jpeg_decode(content))
        if data.ndim == 3 and header.bits == 12:  # models see colour by its full range
            data = np.rint(data * (65535 / 4095)).astype(np.uint16)
        if data.ndim == 3 and data.shape[-1] != 3:
            raise refusal("Its pixels are CMYK, for print: save it as RGB or gray", path)
        return data, ()
    data = np.asarray(imagecodecs.png_decode(content))
    if data.dtype != np.uint16 or data.shape[:2] != (header.height, header.width):
        raise refusal("This PNG is stored in a way that is not read here", path)
    notes = alpha_notes(data[..., -1]) if data.shape[-1] in (2, 4) else ()
    # A single transparent colour comes as alpha, too.
    return (data[..., 0] if header.kind == 4 else data[..., : header.channels]), notes


def _pixels(file: PillowImage.Image, labels: bool) -> tuple[NDArray[Any], tuple[str, ...]]:
    mode = file.mode
    if mode == "1":
        return np.asarray(file).astype(np.uint8) * (1 if labels else 255), ()
    if mode in ("LA", "La"):
        both = np.array(file.convert("LA"))
        return both[..., 0], alpha_notes(both[..., 1])
    if mode == "CMYK" and "adobe" not in file.info:
        raise CamSamError(
            "Its pixels are CMYK, for print, without a word on what 0 is: save it as RGB or gray"
        )
    if mode == "P" and labels:
        palette = np.array(file.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return palette_labels(np.array(file), palette)
    if mode == "P":
        notes: tuple[str, ...] = ()
        if "transparency" in file.info:
            notes = alpha_notes(np.array(file.convert("RGBA"))[..., 3])
        return np.array(file.convert("RGB")), notes
    if mode in ("L", "RGB", "RGBA", "I", "F") or mode.startswith("I;16"):
        pixels = np.array(file)
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        return pixels, alpha_notes(pixels[..., 3]) if mode == "RGBA" else ()
    return np.array(file.convert("RGB")), ()


def _check_end(path: Path, header: _Header, data: NDArray[Any]) -> None:
    """Refuse a JPEG that breaks off within its pixels, though it has an end.

    Its decoder then fills what is missing with one gray. So where the last block is of one
    colour, or a picture comes in several scans, a strict parser reads the file, too.
    """
    import imagecodecs

    suspect = header.kind == 0xC2 or bool(np.ptp(data[-8:, -8:], axis=(0, 1)).max() == 0)
    if not suspect or header.bits != 8 or header.kind not in _HUFFMAN or header.channels == 4:
        return
    bare = _bare(path.read_bytes())
    if bare is None or not imagecodecs.JPEGXL.available:
        return
    try:
        imagecodecs.jpegxl_encode_jpeg(bare)
    except RuntimeError:  # of which its own errors are
        raise refusal(
            "This JPEG is truncated or damaged: it breaks off within its pixels", path
        ) from None


def _bare(content: bytes) -> bytes | None:
    """Return a JPEG without what is no part of its pixels; None where no strict parser reads it."""
    parts, at = [content[:2]], 2
    while content[at + 1 : at + 2] != b"\xda":  # until the first scan
        if at + 4 > len(content):  # a damaged length led past it
            return content[:2]
        if content[at : at + 1] != b"\xff" or content[at + 1 : at + 2] == b"\xff":
            at += 1
            continue
        marker, length = struct.unpack(">xBH", content[at : at + 4])
        part = content[at : at + 2 + length]
        if marker in _HUFFMAN and any(
            factor not in (0x11, 0x12, 0x21, 0x22) for factor in part[11::3]
        ):
            return None
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # programs' own, and comments
            parts.append(part)
        at += 2 + length
    return b"".join([*parts, content[at:]])


def write_pillow(path: Path, values: NDArray[Any]) -> None:
    """Write a 2D array, (row, column) or (row, column, 3 or 4), as PNG or JPEG.

    Parameters
    ----------
    path : Path
        The suffix is the format.
    values : ndarray of uint8, or uint16 for gray PNG
    """
    pixels = PillowImage.fromarray(np.ascontiguousarray(values))
    if path.suffix.lower() == ".png":
        pixels.save(path)
    else:
        pixels.save(path, quality=95)
