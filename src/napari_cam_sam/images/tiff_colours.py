"""What the samples of a TIFF page mean: gray, colour, indices of a palette, transparency."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.labels import palette_labels

__all__ = ["TRANSPARENT", "alpha_notes", "bits_of", "colours_of"]

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG = (6, 7, 34892, 33007)  # whose decoder turns YCbCr into RGB
_UNSPECIFIED, _ASSOCIATED = 0, 1
_NAMES = {
    3: "indices of a palette with more samples",
    4: "a transparency mask", 5: "CMYK, for print", 6: "YCbCr", 8: "CIE Lab", 9: "ICC Lab",
    10: "ITU Lab", 32803: "raw values of a camera's colour filters", 32844: "logarithms (LogL)",
    32845: "logarithms (LogLuv)", 34892: "raw values of a camera",
}  # fmt: skip

TRANSPARENT = (
    "It is transparent in places: its colours are taken as they are stored beneath, and its "
    "transparency is passed over."
)


def colours_of(
    data: NDArray[Any], axes: str, page: Any, *, labels: bool, imagej: bool
) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    """Convert samples to gray, or to colour with its axis S last.

    Parameters
    ----------
    data : ndarray
    axes : str
        S is the axis of samples.
    page : tifffile.TiffPage
    labels : bool
        Whether values are labels: those of a palette, see `palette_labels`, and never inverted.
    imagej : bool
        Whether ImageJ wrote the file.

    Returns
    -------
    data : ndarray
    axes : str
        With S last where the image is in colour; C for samples that are channels.
    notes : tuple of str

    Raises
    ------
    CamSamError
        Naming what is stored in a way that is not read here.
    """
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    if "S" in axes:
        data = np.moveaxis(data, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
    photometric = int(page.photometric)
    if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        return _gray(data, axes, page, labels=labels, imagej=imagej)
    if photometric == _PALETTE:
        notes: tuple[str, ...] = ()
        if "S" in axes and data.shape[-1] == 2 and page.extrasamples:
            notes, data, axes = alpha_notes(data[..., 1]), data[..., 0], axes[:-1]
        if data.dtype == np.bool_:  # of one bit
            data = data.astype(np.uint8)
        if "S" not in axes and data.dtype.kind == "u" and page.colormap is None:
            return data, axes, notes
        if "S" not in axes and data.dtype.kind == "u":
            colormap = np.asarray(page.colormap)
            # Of 16 bits, but some programs write 8.
            palette = (colormap.T >> (8 if colormap.max(initial=0) > 255 else 0)).astype(np.uint8)
            if not labels:
                return palette[data], axes + "S", notes
            data, more = palette_labels(data, palette)
            return data, axes, notes + more
    decoded = photometric == _YCBCR and int(page.compression) in _JPEG and not page.extrasamples
    if photometric == _RGB or (decoded and int(page.planarconfig) == 1):
        if "S" not in axes and "C" in axes:  # as Bio-Formats declares separate samples
            data, axes = np.moveaxis(data, axes.index("C"), -1), axes.replace("C", "") + "S"
        return _rgb(data, axes, page)
    what = _NAMES.get(photometric, f"a colour space of number {photometric}")
    raise CamSamError(f"Its pixels are {what}, which is not read here: save it as RGB or gray")


def bits_of(page: Any) -> int:
    """Return the bits of a sample.

    Parameters
    ----------
    page : tifffile.TiffPage

    Returns
    -------
    int
        0 where samples of one pixel differ.
    """
    return page.bitspersample if isinstance(page.bitspersample, int) else 0


def alpha_notes(alpha: NDArray[Any]) -> tuple[str, ...]:
    """Return the note that an image is transparent, if it is.

    Parameters
    ----------
    alpha : ndarray
        Opacity of each pixel; the highest value of its type is opaque.

    Returns
    -------
    tuple of str
        One or none.
    """
    return () if (alpha == _highest(alpha.dtype)).all() else (TRANSPARENT,)


def _gray(
    data: NDArray[Any], axes: str, page: Any, *, labels: bool, imagej: bool
) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if "S" in axes:
        extra = tuple(int(one) for one in page.extrasamples)
        if data.shape[-1] == 2 and extra and extra[0] != _UNSPECIFIED:
            alpha = data[..., 1]
            notes = alpha_notes(alpha)
            data = data[..., 0]
            if extra[0] == _ASSOCIATED:
                data = _unmultiplied(data, alpha)
            axes = axes[:-1]
        elif "C" in axes:
            raise CamSamError(
                f"Its pixels have {data.shape[-1]} samples of each of several channels, which is "
                "not read here: save one channel a file"
            )
        else:
            axes = axes[:-1] + "C"
    bits = bits_of(page)
    if int(page.photometric) == _WHITE_IS_ZERO:
        data, more = _inverted(data, bits, labels=labels, imagej=imagej)
        notes += more
    if not labels and data.dtype == np.uint8 and 1 < bits < 8:
        # Models see 8-bit images as they are: 15 of 15 is white.
        data = _full(data, bits)
    return data, axes, notes


def _inverted(
    data: NDArray[Any], bits: int, *, labels: bool, imagej: bool
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Make black 0, where a file says that white is."""
    if labels:
        if imagej:  # which shows masks so, and keeps 255 for the object
            return data, ("0 is white in its file: values are taken as they are stored.",)
        raise CamSamError(
            "0 is white in this file, so that nobody can tell background from labels: save labels "
            "with 0 as black"
        )
    if data.dtype == np.bool_:
        data = ~data
    elif data.dtype.kind == "u" and bits:
        data = data.dtype.type(2**bits - 1) - data
    else:
        return data, (
            "0 is white in its file, which means nothing for values with a sign: they are taken "
            "as they are stored.",
        )
    return data, ("0 is white in its file: its values are inverted, so that 0 is black.",)


def _rgb(data: NDArray[Any], axes: str, page: Any) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    samples = data.shape[-1] if "S" in axes else 1
    extra = tuple(int(one) for one in page.extrasamples)
    if samples not in (3, 4):
        raise CamSamError(f"Its pixels have {samples} samples in colour; an image has 3 or 4")
    bits = bits_of(page)
    if data.dtype.kind == "u" and 0 < bits < 8 * data.dtype.itemsize:
        data = _full(data, bits)
    # Of no stated meaning it is no transparency, but a fourth value: models take three.
    if samples == 3 or not extra or extra[0] == _UNSPECIFIED:
        return data, axes, ()
    alpha = data[..., 3:]
    if extra[0] == _ASSOCIATED:
        data = np.concatenate([_unmultiplied(data[..., :3], alpha), alpha], axis=-1)
    return data, axes, alpha_notes(alpha)


def _full(data: NDArray[Any], bits: int) -> NDArray[Any]:
    """Convert values of fewer bits than their type has to its full range."""
    factor = _highest(data.dtype) / (2**bits - 1)
    full: NDArray[Any] = np.rint(data * factor).astype(data.dtype)
    return full


def _unmultiplied(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return colours that were stored multiplied with their transparency, as Pillow gives them.

    Some programs (ITK) say so of colours that are not: those are brighter than they could be.
    """
    if (colours > alpha).any():
        return colours
    if colours.dtype.kind == "f":
        return np.where(alpha > 0, colours / np.where(alpha > 0, alpha, 1), colours)
    most = int(_highest(colours.dtype))
    wide = colours.astype(np.uint64) * most // np.maximum(alpha, 1)
    plain = np.minimum(wide, most).astype(colours.dtype)
    return np.where(alpha > 0, plain, colours)


def _highest(dtype: np.dtype[Any]) -> float:
    return 1.0 if dtype.kind in "fb" else float(np.iinfo(dtype).max)
