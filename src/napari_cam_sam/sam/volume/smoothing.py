"""Masks between planes: signed distances, interpolation, and smoothing along the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError

__all__ = ["interpolate_masks", "signed_distance", "smooth_along_axis"]

_STEPS = 10**6


def signed_distance(
    mask: NDArray[np.bool_], spacing: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Distance to the edge of a mask, positive inside.

    Parameters
    ----------
    mask : ndarray of bool, of any shape
    spacing : sequence of float, optional
        Distance between neighbours along each axis; 1 by default.

    Returns
    -------
    ndarray of float32, same shape
        Distance from the centre of a pixel to that of the nearest one on the other side of the
        edge, less half the least spacing, so that the edge lies between the two. Where there is no
        other side it is plus or minus infinity.
    """
    steps = tuple(float(s) for s in spacing) if spacing is not None else (1.0,) * mask.ndim
    if mask.all() or not mask.any():
        return np.full(mask.shape, np.inf if mask.any() else -np.inf, np.float32)
    inside = ndimage.distance_transform_edt(mask, sampling=steps)
    outside = ndimage.distance_transform_edt(~mask, sampling=steps)
    half = min(steps) / 2
    return np.asarray(np.where(mask, inside - half, half - outside), dtype=np.float32)


def interpolate_masks(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    fraction: float,
    spacing: Sequence[float] | None = None,
) -> NDArray[np.bool_]:
    """Mask between two others, by the weighted mean of their signed distances.

    The method is Raya and Udupa's shape-based interpolation (IEEE Trans. Med. Imaging, 1990).

    Parameters
    ----------
    first, second : ndarray of bool, of one shape
    fraction : float
        Place between them, in [0, 1]: 0 gives the first, 1 the second.
    spacing : sequence of float, optional
        Distance between neighbours along each axis of the masks.

    Returns
    -------
    ndarray of bool, same shape
        Empty where one of the two is empty, or both lie far apart for their size.
    """
    if fraction <= 0 or fraction >= 1:
        return (first if fraction <= 0 else second).copy()
    if not first.any() or not second.any():
        return np.zeros_like(first)
    near, far = signed_distance(first, spacing), signed_distance(second, spacing)
    # By whole weights: 1/3 from the one end is exactly 2/3 from the other.
    place = Fraction(fraction).limit_denominator(_STEPS)
    weight = place.numerator
    mean: NDArray[np.bool_] = (place.denominator - weight) * near + weight * far > 0
    return mean


def smooth_along_axis(
    labels: NDArray[Any], axis: int, sigma: float, spacing: Sequence[float]
) -> NDArray[Any]:
    """Smooth the objects of a volume from plane to plane.

    Each object's signed distances within its planes are blurred by a Gaussian along the axis and
    cut at 0. Where the nearest plane with the object is inside, a plane without it counts as
    equally far outside, of two such planes as their mean, so that the ends of a cylinder stay
    where they are.

    Parameters
    ----------
    labels : ndarray of bool or integer, shape (planes, rows, columns)
        One value an object; 0 is background.
    axis : int
        The axis along which the planes were segmented: 0, 1 or 2.
    sigma : float
        Standard deviation of the Gaussian, in the unit of ``spacing``. 0, or less than a
        thousandth of the distance of two planes, changes nothing.
    spacing : sequence of three float
        Distance between neighbours along each axis, e.g. in mm.

    Returns
    -------
    ndarray of the same type and shape
        Of two objects the one whose edge is farther away keeps a pixel that both claim.

    Raises
    ------
    CamSamError
        For an array that is no volume, an axis that it has not, or a sigma below 0.

    Examples
    --------
    >>> labels = np.zeros((5, 8, 8), np.uint8)
    >>> labels[:, 2:6, 2:6] = 1
    >>> labels[2] = 0  # a plane on which the object was lost
    >>> smooth = ncs.smooth_along_axis(labels, 0, sigma=5.0, spacing=(5.0, 1.0, 1.0))
    >>> bool(smooth[2].any())
    True
    """
    if labels.ndim != 3:
        raise CamSamError(f"Smoothing along an axis needs a volume, not {labels.ndim} dimensions.")
    if axis not in (0, 1, 2):
        raise CamSamError(f"A volume has axes 0, 1 and 2, not {axis}.")
    if not (math.isfinite(sigma) and sigma >= 0):
        raise CamSamError(f"Sigma must be 0 or more, not {sigma!r}.")
    if sigma < 1e-3 * spacing[axis]:
        return labels.copy()
    in_planes = [s for i, s in enumerate(spacing) if i != axis]
    best = np.zeros(labels.shape, np.float32)
    smooth = np.zeros_like(labels)
    for value in np.unique(labels[labels != 0]).tolist():
        mask = np.moveaxis(labels == value, axis, 0)
        distances = np.moveaxis(_plane_distances(mask, in_planes), 0, axis)
        # Far beyond the volume it makes no difference any more, but takes time without end.
        steps = min(sigma / spacing[axis], 10.0 * labels.shape[axis])
        blurred = ndimage.gaussian_filter1d(distances, steps, axis=axis, mode="nearest")
        wins = blurred > best
        smooth[wins], best[wins] = value, blurred[wins]
    return smooth


def _plane_distances(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Signed distances of each plane of a mask that is not empty, all of them finite."""
    diagonal = math.hypot(*(n * s for n, s in zip(mask.shape[1:], spacing, strict=True)))
    planes = np.stack([signed_distance(plane, spacing) for plane in mask])
    planes = np.clip(planes, -diagonal, diagonal)
    filled = mask.any(axis=(1, 2))
    used = np.flatnonzero(filled)
    for i in np.flatnonzero(~filled).tolist():
        apart = np.abs(used - i)
        nearest = np.abs(planes[used[apart == apart.min()]])  # of two equally near their mean
        planes[i] = -(nearest.sum(axis=0) / len(nearest))
    return planes
