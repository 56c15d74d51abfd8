"""How bright an object is against its surroundings, and what looks like it on another plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Brightness", "blurred_gray", "follow_brightness", "measure_brightness"]

_BLUR = 1.0
_GAP, _RING = 1, 4


@dataclass(frozen=True)
class Brightness:
    """Medians of a blurred plane in an object and in a ring around it, in gray values.

    Attributes
    ----------
    inside, around : float
    """

    inside: float
    around: float

    def likeness(self, gray: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale gray values so that the surroundings become 0 and the object 1.

        Beyond 1 lies what differs from the surroundings even more than the object does.
        """
        return (gray - np.float32(self.around)) / np.float32(self.inside - self.around)


def blurred_gray(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean of the channels of a plane, blurred by a Gaussian of one pixel.

    Parameters
    ----------
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        In [0, 255].
    """
    gray = plane.astype(np.float32)
    if gray.ndim == 3:
        gray = gray.mean(axis=2)
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(gray, _BLUR)
    return blurred


def measure_brightness(gray: NDArray[np.float32], mask: NDArray[np.bool_]) -> Brightness | None:
    """Measure an object against the ring of 4 pixels around it.

    Parameters
    ----------
    gray : ndarray of float32, shape (rows, columns)
        From :func:`blurred_gray`.
    mask : ndarray of bool, shape (rows, columns)
        Not empty.

    Returns
    -------
    Brightness or None
        None where brightness does not tell the object from its surroundings: the difference of
        the medians is below the standard deviation within the object, or nothing is around it.
    """
    window = _window(mask, _GAP + _RING)
    near, values = mask[window], gray[window]
    inner = ndimage.binary_erosion(near)
    core = values[inner if inner.sum() > 8 else near]
    ring = values[_grow(near, _GAP + _RING) & ~_grow(near, _GAP)]
    if ring.size == 0:
        return None
    inside, around = float(np.median(core)), float(np.median(ring))
    return Brightness(inside, around) if abs(inside - around) > float(core.std()) else None


def follow_brightness(
    mask: NDArray[np.bool_], likeness: NDArray[np.float32], low: float = 0.5, high: float = 2.0
) -> NDArray[np.bool_]:
    """Fit the mask of a plane to what looks like the object on its neighbour.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Not empty.
    likeness : ndarray of float32, shape (rows, columns)
        Of the neighbour, from :meth:`Brightness.likeness`.
    low, high : float
        Likeness between which a pixel may be the object.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        The largest 4-connected part of the mask, grown by a pixel, that looks like the object, or
        all that are the largest; empty where nothing does.
    """
    window = _window(mask, 1)
    likely = likeness[window]
    found = _grow(mask[window], 1) & (likely > low) & (likely < high)
    opened = ndimage.binary_opening(found)
    labels, count = ndimage.label(opened)
    if count > 1:
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        opened = (areas == areas.max())[labels]
    followed = np.zeros_like(mask)
    followed[window] = opened
    return followed


def _grow(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    grown: NDArray[np.bool_] = ndimage.binary_dilation(mask, iterations=pixels)
    return grown


def _window(mask: NDArray[np.bool_], pixels: int) -> tuple[Any, ...]:
    """Slices of a mask's bounding box and some pixels around it."""
    return tuple(
        slice(max(int(found[0]) - pixels, 0), int(found[-1]) + 1 + pixels)
        for found in (np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0)))
    )
