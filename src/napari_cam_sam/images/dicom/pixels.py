"""The pixels of a frame as the values that they mean, or as colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.codestreams import (
    check_fragments,
    check_frame,
    is_ours,
    unpacked,
)
from napari_cam_sam.images.dicom.heads import NATIVE, FileHead, FrameHead
from napari_cam_sam.images.dicom.opening import open_data
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.limits import EXPANSION, check_array, size_text

__all__ = ["Scale", "check_pixels", "inverted_sum", "read_frame", "scale_of"]

_UNITS = ("CT", "PT", "RTDOSE")
"""Modalities whose values are measured in a unit, so that they are never inverted."""
_COLOURS = ("RGB", "PALETTE COLOR")
# Of pydicom's decoders those that refuse damaged data: GDCM's ends the process at some.
_DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow", "1.2.840.10008.1.2.4.51": "pillow",
    "1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.5": "pydicom",
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How stored values become those of an image, the same for all of its frames.

    Attributes
    ----------
    dtype : dtype
        Of the values that are read.
    rgb : bool
    inverted : bool
        Whether dark and bright are exchanged.
    factor : float
        After slope and intercept; that of uptake values, else 1.
    notes : tuple of str
    """

    dtype: np.dtype[Any]
    rgb: bool
    inverted: bool
    factor: float
    notes: tuple[str, ...]


def _is_colour(file: FileHead) -> bool:
    return file.samples in (3, 4) or file.photometric == "PALETTE COLOR"


def scale_of(frames: Sequence[FrameHead]) -> Scale:
    """Choose the type that holds the values of all frames of an image.

    Whole numbers stay whole where every slope is 1 and every intercept whole; else values are
    single precision.

    Parameters
    ----------
    frames : sequence of FrameHead

    Returns
    -------
    Scale
    """
    files = list({id(frame.file): frame.file for frame in frames}.values())
    first = files[0]
    if _is_colour(first):
        bits = max(file.bits_allocated for file in files)
        wide = first.photometric != "PALETTE COLOR" and bits > 8
        return Scale(np.dtype(np.uint16 if wide else np.uint8), True, False, 1.0, ())
    notes: list[str] = []
    inverted = any(file.photometric == "MONOCHROME1" for file in files)
    if inverted and first.modality in _UNITS:
        notes.append("It is to be shown with dark and bright exchanged; its values are kept.")
        inverted = False
    elif inverted:
        notes.append("Its low values mean bright (MONOCHROME1): they are inverted.")
    if any(frame.values.slope == 0 for frame in frames):
        notes.append("A slope of 0 would make all values the same: 1 is taken.")
    suvs = [file.suv for file in files if file.suv is not None]
    factor = 1.0
    if suvs and len(suvs) == len(files):
        # Of slices scanned one after the other, the first one's time is what decay goes back to.
        first_suv = min(suvs, key=lambda suv: suv.factor)
        factor = first_suv.factor
        notes.append(first_suv.note)
    return Scale(_gray_dtype(frames, files, factor), False, inverted, factor, tuple(notes))


def _gray_dtype(
    frames: Sequence[FrameHead], files: Sequence[FileHead], factor: float
) -> np.dtype[Any]:
    if any(file.pixel_keyword == "DoubleFloatPixelData" for file in files):
        return np.dtype(np.float64)
    whole = all(
        frame.values.slope in (0, 1) and frame.values.intercept.is_integer() for frame in frames
    )
    floating = any(file.pixel_keyword != "PixelData" for file in files)
    if floating or factor != 1 or not (whole or all(file.lookup for file in files)):
        return np.dtype(np.float32)
    lows, highs = [], []
    for frame in frames:
        low, high = _stored_range(frame.file)
        shift = 0 if frame.file.lookup else int(frame.values.intercept)
        lows.append(low + shift)
        highs.append(high + shift)
    for dtype in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64):
        limits = np.iinfo(dtype)
        if limits.min <= min(lows) and max(highs) <= limits.max:
            return np.dtype(dtype)
    return np.dtype(np.float64)


def _stored_range(file: FileHead) -> tuple[int, int]:
    if file.lookup:
        return 0, 65535
    bits = min(max(file.bits_stored, 1), max(file.bits_allocated, 1))
    if file.transfer_syntax not in NATIVE:
        bits = max(file.bits_allocated, 1)  # of the packed ones, some have more than they declare
    if file.signed:
        return -(1 << bits - 1), (1 << bits - 1) - 1
    return 0, (1 << bits) - 1


def inverted_sum(file: FileHead) -> int:
    """Return the sum of a stored value and its inverse.

    Parameters
    ----------
    file : FileHead

    Returns
    -------
    int
    """
    return -1 if file.signed else (1 << min(file.bits_stored, file.bits_allocated)) - 1


def check_pixels(file: FileHead) -> None:
    """Check that a file can hold the pixels that its header declares, and that it can be decoded.

    Parameters
    ----------
    file : FileHead

    Raises
    ------
    CamSamError
        The reason without the file, for the caller to name.
    """
    if file.tiled:
        raise CamSamError(
            "Its pictures are tiles of a larger one (of a slide, or a mosaic without its private "
            "header), which is not read: convert it first"
        )
    if file.pixel_keyword == "PixelData" and (
        file.bits_allocated not in (1, 8, 16, 32, 64)
        or not 1 <= file.bits_stored <= file.bits_allocated
    ):
        raise CamSamError(
            f"The header is broken: it declares {file.bits_stored} bits in {file.bits_allocated}"
        )
    if file.samples not in (1, 3, 4):
        raise CamSamError(
            f"This declares {file.samples} values for a pixel; an image has 1, or 3 of a colour"
        )
    if file.rows < 1 or file.columns < 1:
        raise CamSamError(f"This declares {file.rows} × {file.columns} pixels")
    there = max(0, file.size - file.pixel_start)
    shape = (file.frames, file.rows, file.columns, file.samples)
    if file.transfer_syntax in NATIVE:
        if file.pixel_length > there:
            raise CamSamError(
                f"This is truncated: it declares {size_text(file.pixel_length)} of pixels, and "
                f"{size_text(there)} are there"
            )
        needed = math.ceil(math.prod(shape) * _bits(file) / 8)
        if file.photometric == "YBR_FULL_422":
            needed = needed * 2 // 3
        if file.pixel_length >= 0 and needed > file.pixel_length:
            raise CamSamError(
                f"This is truncated or damaged: it declares {file.frames} × {file.rows} × "
                f"{file.columns} pixels, {size_text(needed)}, but stores "
                f"{size_text(file.pixel_length)}"
            )
        check_array(shape[1:], f"u{max(1, _bits(file) // 8)}", None, "one slice")
        return
    _check_decoder(file)
    check_fragments(file)
    frame_bytes = math.prod(shape[1:]) * max(1, _bits(file) // 8)
    if frame_bytes > max(there * EXPANSION, 1):
        raise CamSamError(
            f"This declares {file.rows} × {file.columns} pixels, {size_text(frame_bytes)}, but "
            f"stores {size_text(there)}: it is truncated or damaged"
        )


def _bits(file: FileHead) -> int:
    if file.pixel_keyword == "FloatPixelData":
        return 32
    return 64 if file.pixel_keyword == "DoubleFloatPixelData" else file.bits_allocated


def _check_decoder(file: FileHead) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    if is_ours(file):
        return
    syntax = UID(file.transfer_syntax)
    plugin = _DECODERS.get(str(syntax))
    if plugin is None:
        name = f" ({syntax.name})" if syntax.is_valid and syntax.name != syntax else ""
        raise CamSamError(
            f"Its pixels are packed in a way that nothing here can unpack{name}: convert it first, "
            "e.g. with dcmdjpeg or ffmpeg"
        )
    if plugin not in get_decoder(syntax).available_plugins:
        raise CamSamError(
            f"Its pixels are packed as {syntax.name}, and no decoder is installed: pip install "
            f"{plugin}"
        )


def read_frame(frame: FrameHead, scale: Scale) -> NDArray[Any]:
    """Read the pixels of a frame.

    Parameters
    ----------
    frame : FrameHead
        Of a file that `check_pixels` has passed.
    scale : Scale
        Of the image that it belongs to.

    Returns
    -------
    ndarray, shape (row, column) or (row, column, 3)
        Of the scale's type.

    Raises
    ------
    CamSamError
        If they cannot be decoded; the reason without the file.
    """
    with quiet():
        try:
            stored = _decoded(frame)
            if frame.tile is not None:
                tile = frame.tile
                stored = stored[tile.top :, tile.left :][: tile.rows, : tile.columns]
            if scale.rgb:
                return _colours(stored, frame, scale)
            return _values(stored, frame, scale)
        except (CamSamError, MemoryError):
            raise
        except OSError as error:
            raise CamSamError(f"This can no longer be read: {error.strerror or error}") from error
        except Exception as error:  # decoders fail in many ways
            raise CamSamError("This is truncated or damaged: its pixels cannot be decoded") from (
                error
            )


def _decoded(frame: FrameHead) -> NDArray[Any]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    file = frame.file
    options: dict[str, Any] = {
        "rows": file.rows,
        "columns": file.columns,
        "samples_per_pixel": file.samples,
        "number_of_frames": file.frames,
        "photometric_interpretation": file.photometric,
        "pixel_keyword": file.pixel_keyword,
        "pixel_vr": file.pixel_vr,
        "bits_allocated": _bits(file),
        "bits_stored": file.bits_stored or _bits(file),
        "pixel_representation": int(file.signed),
    }
    if file.samples > 1:
        options["planar_configuration"] = file.planar
    data, _ = open_data(file.path)
    with data:
        data.seek(file.pixel_start)
        if file.transfer_syntax not in NATIVE:
            encoded = _encoded(data, frame)
            check_frame(encoded, file)
            if is_ours(file):
                return unpacked(encoded, file)
            data.seek(file.pixel_start)
        found, _ = get_decoder(UID(file.transfer_syntax)).as_array(
            data,
            index=_index(frame),
            decoding_plugin=_DECODERS.get(file.transfer_syntax, ""),
            **options,
        )
    return np.asarray(found)


def _encoded(data: BinaryIO, frame: FrameHead) -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(data, _index(frame), number_of_frames=frame.file.frames)


def _index(frame: FrameHead) -> int:
    return 0 if frame.tile is not None else frame.number - 1


def _values(stored: NDArray[Any], frame: FrameHead, scale: Scale) -> NDArray[Any]:
    file, values = frame.file, frame.values
    if scale.inverted and file.photometric == "MONOCHROME1":
        if stored.dtype.kind == "f":
            stored = -stored
        else:
            stored = inverted_sum(file) - stored.astype(np.int64)
    if file.lookup:
        stored = _looked_up(stored, file)
    elif np.dtype(scale.dtype).kind == "f" and (values.slope, values.intercept) != (1.0, 0.0):
        stored = stored.astype(np.float64) * (values.slope or 1.0) + values.intercept
    elif values.intercept:
        stored = stored.astype(np.int64) + int(values.intercept)
    if scale.factor != 1:
        stored = stored * scale.factor
    return np.ascontiguousarray(stored.astype(scale.dtype, copy=False))


def _looked_up(stored: NDArray[Any], file: FileHead) -> NDArray[Any]:
    from pydicom.pixels.processing import apply_modality_lut

    return np.asarray(apply_modality_lut(stored, _again(file, ["ModalityLUTSequence"])))


def _colours(stored: NDArray[Any], frame: FrameHead, scale: Scale) -> NDArray[Any]:
    file = frame.file
    if file.photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        names = [
            f"{colour}PaletteColorLookupTable{what}"
            for colour in ("Red", "Green", "Blue")
            for what in ("Descriptor", "Data")
        ]
        names += [f"Segmented{name}" for name in names if name.endswith("Data")]
        stored = np.asarray(apply_color_lut(stored, _again(file, names)))
        if stored.dtype.itemsize > 1:
            stored = stored >> 8 if stored.max() > 255 else stored
    elif stored.dtype.itemsize > scale.dtype.itemsize:
        stored = stored >> 8 * (stored.dtype.itemsize - scale.dtype.itemsize)
    return np.ascontiguousarray(stored[..., :3].astype(scale.dtype, copy=False))


def _again(file: FileHead, keywords: list[str]) -> Any:
    """Read the tables of a header, which are too large to be kept."""
    import pydicom

    data, _ = open_data(file.path)
    with data:
        return pydicom.dcmread(
            data,
            stop_before_pixels=True,
            force=True,
            specific_tags=[*keywords, "PixelRepresentation", "BitsStored", "BitsAllocated"],
        )
