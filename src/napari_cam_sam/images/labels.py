"""What the values of a file mean as labels: the rules that hold wherever labels are read.

Whole numbers are labels. Rounding that a file's type and scaling explain is undone; other
fractions are refused. Two values are a mask, gray rims are cut at half, and what was decided is
said in the image's notes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.colours import LUMA
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.images.volume import VolumeOnDisk

__all__ = ["labels_of", "labels_remark", "mask_in", "palette_labels", "rounding"]

_MOST_ROUNDING = 0.1
_LISTED = 8
_MOST_IN_A_MASK = 32
"""Labels of what is taken for a mask though nobody said that it is one."""
_FEW_PIXELS = 16
_MANY = 4096
_LOOKED_AT = 24
_LEAST_WHITE = 0.02
"""Least share of white pixels to gray ones in a mask; a scan is gray but for its dark rim."""
_BLOCK = 2**20
_SINGLE = float(np.finfo(np.float32).eps)


def rounding(
    values: NDArray[Any], stored: np.dtype[Any], slope: float = 1.0, inter: float = 0.0
) -> NDArray[np.float64]:
    """Return how far from a whole number each value may lie and still be that number.

    Scaled integers lie on steps of the slope, so the nearest to a whole number is within half a
    step; slope and intercept are single precision in NIfTI and in most writers. Floating types
    have their own precision, and 1e-5 for what computed them. It is never above 0.1: 0.5 is no
    label.

    Parameters
    ----------
    values : ndarray of float
        As read, after slope and intercept.
    stored : dtype
        Of the values before them.
    slope, inter : float

    Returns
    -------
    ndarray of float64, shape of values
    """
    scaled = (slope, inter) != (1.0, 0.0)
    step = abs(slope) / 2 if scaled and stored.kind in "iu" else 1e-5
    exact = float(np.finfo(stored).eps) if stored.kind == "f" else _SINGLE
    # Of a float64 file, too: its values often were single precision once.
    relative = 4 * max(exact, _SINGLE) * (np.abs(values, dtype=np.float64) + abs(inter))
    least: NDArray[np.float64] = np.minimum(step + relative, _MOST_ROUNDING)
    return least


def _whole_numbers(
    values: NDArray[Any],
    where: str,
    stored: np.dtype[Any] | None = None,
    slope: float = 1.0,
    inter: float = 0.0,
) -> NDArray[np.int32]:
    """Return floating values as the whole numbers that they mean.

    Parameters
    ----------
    values : ndarray of float
    where : str
        File or layer, for messages.
    stored, slope, inter
        As for `rounding`; the type is by default that of the values.

    Raises
    ------
    CamSamError
        If a value is no whole number within its rounding, not finite, or too large.
    """
    nearest = np.round(values)
    stored = np.dtype(values.dtype if stored is None else stored)
    whole = values == nearest
    if not whole.all() or not np.isfinite(nearest).all():
        with np.errstate(invalid="ignore"):
            whole = np.abs(values - nearest) <= rounding(values, stored, slope, inter)
    if not whole.all():
        soft = values.min() >= 0 and values.max() <= 1
        advice = ", and a soft mask is cut at a threshold first" if soft else ""
        raise CamSamError(
            f"Values that are no labels, e.g. {_digits(float(values[~whole][0]))}: labels are "
            f"whole numbers{advice} ({where})."
        )
    limits = np.iinfo(np.int32)
    if nearest.min() < limits.min or nearest.max() > limits.max:
        raise CamSamError(
            f"Values too large for labels, e.g. {float(np.abs(nearest).max()):.17g}: the highest "
            f"label is {limits.max} ({where})."
        )
    return nearest.astype(np.int32)


def labels_of(image: Image, *, exact: bool = False) -> Image:
    """Return a gray image as labels, by the rules of this module.

    - Whole numbers are labels, 0 is background; fractions are refused but for `rounding`.
    - Two values are a mask: where neither is 0, the lower is the background.
    - Many values that differ from pixel to pixel, between a dark and a bright end, are a mask
      with gray rims (drawn with soft edges, resized or once a JPEG) and are cut at half of the
      highest. A picture that is gray all over is refused, and so is a scan on a black ground.
    - All else are labels as they stand. A few labels of which one is 64 or more, e.g. 1, 2 and
      255, are named.

    Parameters
    ----------
    image : Image
        Gray; boolean, integer or floating.
    exact : bool
        Whether whole numbers stay what they are, whatever they look like: for files that this
        package wrote.

    Returns
    -------
    Image
        Of integer type, with notes on what was decided.

    Raises
    ------
    CamSamError
        If values are no labels.
    """
    where = str(image.path or image.name)
    kind = np.dtype(image.data.dtype).kind
    if kind == "b":
        return replace(image, data=np.asarray(image.data).astype(np.uint8))
    notes = image.notes
    if kind == "f":
        image = replace(image, data=_rounded(image, where))
    if exact:
        return image
    found = _survey(image)
    if found.lowest < 0:
        raise CamSamError(
            f"Negative values, e.g. {found.lowest}, are no labels: labels are whole numbers "
            f"from 0, and 0 is background ({where})."
        )
    look, values, most = found.look, found.values, found.highest
    if look == "picture":
        raise CamSamError(
            f"A gray picture, not labels: its {len(values)} values differ from pixel to pixel; "
            f"save 0 for background and one whole number an object ({where})."
        )
    if look == "two":
        notes += (
            f"It holds {values[0]} and {values[1]} alone: {values[0]}, the lower, is read as "
            "background.",
        )
        data = np.asarray(image.data)
        return replace(image, data=np.where(data == most, data, 0), notes=notes)
    if look == "rims":
        full = next((top for top in (255, 65535) if most <= top <= 2 * most), most)
        notes += (
            f"It holds {len(values)} gray values from 0 to {most}, as soft edges, resizing or JPEG "
            f"leave them: read as a mask, cut at half, so {most // 2 + 1} and more is object.",
        )
        cut = np.asarray(image.data) > most / 2
        data = np.where(cut, full, 0).astype(np.uint8 if full <= 255 else np.int32)
        return replace(image, data=data, notes=notes)
    if look == "few":
        notes += (
            f"It holds the labels {_listed(values)}, each read as a class of its own: choose one, "
            f"or clean the file, where {most} was meant as white or as pixels to ignore.",
        )
    return replace(image, notes=notes)


def mask_in(image: Image) -> Image | None:
    """Return the labels of an image that looks like a mask; None for any other image.

    For what was opened as an image, where nobody said that it is a mask: by the rules of
    `labels_of` it holds background and at most 32 labels, be they with gray rims as long as more
    pixels are white than gray.

    Parameters
    ----------
    image : Image
        In memory; of three equal channels one is taken.

    Returns
    -------
    Image or None
        As `labels_of` gives it.
    """
    data = image.data
    if not isinstance(data, np.ndarray) or data.size == 0:
        return None
    if image.rgb:
        colours = data[..., :3]
        if (colours != colours[..., :1]).any():
            return None
        image = replace(image, data=np.ascontiguousarray(colours[..., 0]), rgb=False)
    # Most images are told by their middle slice: they are not read through.
    middle = image_from_array(image.plane(0, image.n_planes(0) // 2))
    if _few_labels(middle) is None or (found := _few_labels(image)) is None:
        return None
    labels, values = found
    if values[0] != 0 or len(values) < 2:
        return None
    if len(values) == 2:
        most = float(np.max(image.data))
        white = np.count_nonzero(image.data >= 0.9 * most)
        if np.count_nonzero(image.data > 0.1 * most) > 2 * white:
            return None
    return labels


def _few_labels(image: Image) -> tuple[Image, NDArray[Any]] | None:
    """Return the labels of an image, and which these are; None where it has none, or too many."""
    try:
        labels = labels_of(image)
    except CamSamError:
        return None
    values = _survey(labels).values
    return (labels, values) if 0 < len(values) <= _MOST_IN_A_MASK + 1 else None


def labels_remark(image: Image) -> str | None:
    """Return why labels that are taken as they stand may mean something else.

    For labels layers of the viewer, which are the user's and are not changed.

    Parameters
    ----------
    image : Image
        Gray, of boolean or integer type.

    Returns
    -------
    str or None
        A sentence; None where nothing speaks for another meaning.
    """
    if np.dtype(image.data.dtype).kind not in "iu":
        return None
    found, name = _survey(image), image.name
    values = found.values
    if found.lowest < 0:
        return f"{name} holds negative values, e.g. {found.lowest}, which count as objects."
    if found.look == "two":
        return (
            f"{name} holds {values[0]} and {values[1]} alone, and both count as objects: "
            "0 is background."
        )
    if found.look in ("rims", "picture"):
        return (
            f"{name} holds {len(values)} gray values from 0 to {found.highest}, and all but 0 "
            "count as objects: cut it at half first."
        )
    if found.look == "few":
        return f"{name} holds the labels {_listed(values)}, each a class of its own."
    return None


def palette_labels(
    indices: NDArray[Any], colours: NDArray[Any]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the labels that a picture with a palette holds, and notes on them.

    Of two colours the darker is the background, whichever comes first in the palette. Of more the
    entries' numbers are the labels, as in PASCAL VOC, unless their brightness shows gray rims.

    Parameters
    ----------
    indices : ndarray of uint, shape (rows, columns) or (planes, rows, columns)
    colours : ndarray, shape (entries, 3)
        Red, green and blue of each entry.

    Returns
    -------
    labels : ndarray of uint, shape of indices
    notes : tuple of str
    """
    used = np.unique(indices)
    if not len(used) or used[-1] >= len(colours):
        raise CamSamError("a pixel's colour is not in the palette")
    bright = np.asarray(colours, dtype=np.float64) @ LUMA
    pair = np.arange(2) if len(colours) == 2 else used
    if len(pair) == 2:
        dark, light = sorted((int(i) for i in pair), key=lambda i: bright[i])
        if dark == 0 or bright[dark] == bright[light]:
            return indices, ()
        note = (
            f"Of its palette's two colours {dark}, the darker, is read as background, though it "
            "does not come first."
        )
        return np.where(indices == light, light or dark, 0).astype(indices.dtype), (note,)
    if len(used) < 2:
        return indices, ()
    gray = np.rint(bright * (255 / max(255, bright.max()))).astype(np.uint8)[indices]
    levels = np.unique(gray)
    if len(levels) > 3:
        stand_in = gray if gray.ndim > 2 else gray[None]
        if _look_of(stand_in, levels, int(levels[-1])):
            return gray, ("The brightness of its palette's colours is read: they show gray rims.",)
    return indices, (f"The numbers of its palette's entries are read as labels: {_listed(used)}.",)


@dataclass(frozen=True, eq=False)
class _Survey:
    """What an image holds: its values, ascending, none where they are many; and its look.

    The look is "two" for two values without 0, "rims" or "picture" as for `_look_of`, "few" for
    a few labels up to a high one, else "".
    """

    lowest: int
    highest: int
    values: NDArray[Any]
    look: str


def _survey(image: Image) -> _Survey:
    values: NDArray[Any] | None = np.empty(0, np.int64)
    lowest, highest, busy = 0, 0, []
    small = np.dtype(image.data.dtype).itemsize <= 2
    for index, plane in enumerate(image.planes(0)):
        low, high = int(plane.min()), int(plane.max())
        lowest, highest = min(lowest, low), max(highest, high)
        if low != high:
            busy.append(index)
        if values is None:
            continue
        if low == high:
            here = np.array([low])
        elif high - low < 2**17 and high < 2**62:
            here = np.flatnonzero(_counted(plane, low, high)) + low
        else:
            here = np.unique(plane)
        values = np.union1d(values, here)
        if len(values) > _MANY and not small:
            values = None
    if values is None or lowest < 0:
        return _Survey(lowest, highest, np.empty(0, np.int64), "")
    # A few pixels are too little to tell background from objects.
    enough = math.prod(image.spatial_shape) >= _FEW_PIXELS
    if len(values) == 2 and values[0] != 0 and enough:
        return _Survey(lowest, highest, values, "two")
    look = ""
    if len(values) > 3 and busy:
        every = busy[:: -(-len(busy) // _LOOKED_AT)]
        look = _look_of(np.stack([image.plane(0, index) for index in every]), values, highest)
    n_objects = len(values) - int(values[0] == 0)
    if not look and 2 <= n_objects <= _LISTED and highest >= 64:
        look = "few"
    return _Survey(lowest, highest, values, look)


def _counted(plane: NDArray[Any], low: int, high: int) -> NDArray[np.int64]:
    """Count the values from low to high, some rows at a time: a whole slide needs eightfold."""
    counts = np.zeros(high - low + 1, np.int64)
    rows = max(1, _BLOCK // plane.shape[1])
    for start in range(0, len(plane), rows):
        block = plane[start : start + rows].astype(np.int64).ravel() - low
        counts += np.bincount(block, minlength=len(counts))
    return counts


def _look_of(planes: NDArray[Any], values: NDArray[Any], most: int) -> str:
    """Return "rims" for a mask with gray rims, "picture" for a gray picture, else "".

    A label's pixels have neighbours of their own value or lie alone in the background. Gray
    values of an edge have a darker and a brighter neighbour, and none of their own value around.
    """
    # In a picture pixels share values; where nearly each has its own, they are ids.
    if most < 16 or len(values) < 4 or planes.size < max(256, 4 * len(values)):
        return ""
    # All that JPEG leaves around a crisp edge may be almost black and almost white.
    inner = values[(values > 0) & (values < most)]
    dark, light = inner <= 0.1 * most, inner >= 0.9 * most
    noise = most >= 128 and bool(dark.any() and light.any() and (dark | light).all())
    if len(values) < 5 and not noise:
        return ""
    between = flat = middle = black = white = 0
    for plane in planes:
        low = ndimage.minimum_filter(plane, 3, mode="nearest")
        high = ndimage.maximum_filter(plane, 3, mode="nearest")
        gray = (plane > 0) & (plane < most)
        middle += int(gray.sum())
        between += int((gray & (low < plane) & (plane < high)).sum())
        flat += int((gray & (low == high)).sum())
        black += int((plane <= 0.1 * most).sum())
        white += int((plane >= 0.9 * most).sum())
    if flat > 0.1 * middle:
        return ""
    ends = black + white
    if ends < 0.5 * planes.size:
        return "picture" if between > 0.5 * middle else ""
    if between > 0.3 * middle and (not black or white < _LEAST_WHITE * (planes.size - ends)):
        return "picture"
    return "rims" if between > 0.3 * middle or noise else ""


def _rounded(image: Image, where: str) -> NDArray[np.int32]:
    stored, slope, inter = np.dtype(image.data.dtype), 1.0, 0.0
    if isinstance(image.data, VolumeOnDisk):
        stored, slope, inter = image.data.stored, image.data.slope, image.data.inter
    values = np.empty(image.spatial_shape, dtype=np.int32)
    target: list[NDArray[Any]] = [values] if image.spatial_ndim == 2 else list(values)
    for part, plane in zip(target, image.planes(0), strict=True):
        part[...] = _whole_numbers(plane, where, stored, slope, inter)
    return values


def _digits(value: float) -> str:
    """Write a number with as many digits as show that it is not whole."""
    for digits in range(6, 18):
        text = f"{value:.{digits}g}"
        if not np.isfinite(value) or float(text) != round(value):
            return text
    return repr(value)


def _listed(values: NDArray[Any]) -> str:
    shown = [str(int(v)) for v in values if v != 0]
    if len(shown) > _LISTED:
        return f"{', '.join(shown[:_LISTED])} and {len(shown) - _LISTED} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
