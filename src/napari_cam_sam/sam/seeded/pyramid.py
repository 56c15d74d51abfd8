"""The brightness of a plane at coarser and coarser resolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["build_pyramid", "nearest_level", "sample_pyramid"]

_LEVELS = 6


def build_pyramid(plane: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Blur and halve a plane again and again.

    Parameters
    ----------
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Colour is reduced to the one mixture of the channels that varies most over the plane.

    Returns
    -------
    tuple of ndarray of float32
        Range [0, 1]; the first of the plane's shape, each of the next holds every second row and
        column of the one before, so that pixel i of level k lies at pixel i·2ᵏ of the plane.
    """
    level = np.asarray(ndimage.gaussian_filter(_one_channel(plane), 1.0))
    pyramid = [level]
    while min(level.shape) >= 16 and len(pyramid) < _LEVELS:
        level = np.ascontiguousarray(ndimage.gaussian_filter(level, 1.0)[::2, ::2])
        pyramid.append(level)
    return tuple(pyramid)


def nearest_level(sigma: float) -> int:
    """Return the level of a pyramid whose blur is nearest to one that is wanted.

    Parameters
    ----------
    sigma : float
        Standard deviation in pixels of the plane.

    Returns
    -------
    int
        From 0; a pyramid may have fewer levels.
    """
    blurs = np.sqrt(1 + (4.0 ** np.arange(_LEVELS) - 1) / 3)
    return int(np.abs(np.log(blurs / max(sigma, 1.0))).argmin())


def sample_pyramid(
    pyramid: Sequence[NDArray[np.float32]],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    level: int,
) -> NDArray[np.float32]:
    """Return the brightness at positions, from one level of a pyramid.

    Parameters
    ----------
    pyramid : sequence of ndarray of float32
        As :func:`build_pyramid` makes it.
    rows, columns : ndarray of float64, of one shape
        Pixel indices of the plane; outside of it, its border continues.
    level : int
        Where there is no such level, the nearest is taken.

    Returns
    -------
    ndarray of float32, of the positions' shape
    """
    level = min(max(level, 0), len(pyramid) - 1)
    at = np.stack([rows, columns]) / 2**level
    return np.asarray(
        ndimage.map_coordinates(pyramid[level], at, order=1, mode="nearest"), dtype=np.float32
    )


def _one_channel(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reduce a plane to one channel of range [0, 1]."""
    values = np.asarray(plane, dtype=np.float32) / np.float32(255)
    if values.ndim == 2:
        return values
    flat = values.reshape(-1, 3)
    covariance = np.cov(flat[:: max(1, len(flat) // 100_000)].T)
    # The direction of greatest variance; for a gray plane the mean of its equal channels.
    direction = np.linalg.eigh(np.nan_to_num(covariance))[1][:, -1]
    if np.ptp(covariance) == 0:
        direction = np.ones(3)
    weights = direction / np.abs(direction).sum()
    mixed = flat @ weights if weights.sum() >= 0 else -(flat @ weights)
    mixed = mixed - min(float(mixed.min()), 0.0)
    return np.asarray(mixed.reshape(values.shape[:2]), dtype=np.float32)
