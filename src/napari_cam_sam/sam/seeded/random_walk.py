"""A random walk over a crop of a plane, between seeds of the object and of its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import random_walker

__all__ = ["BACKGROUND", "OBJECT", "Crop", "add_brightness", "walk"]

OBJECT = 1
BACKGROUND = 2


@dataclass(frozen=True)
class Crop:
    """A region of a plane, resampled to ``side`` × ``side`` cells whatever its proportions.

    Attributes
    ----------
    top, left, bottom, right : float
        Its edges; pixel (r, c) spans r…r+1 and c…c+1. May reach outside the plane.
    side : int
        Cells along each side.
    """

    top: float
    left: float
    bottom: float
    right: float
    side: int

    @property
    def cell(self) -> float:
        """Size of a cell, in pixels (geometric mean of its two sides)."""
        return float(np.sqrt((self.bottom - self.top) * (self.right - self.left)) / self.side)

    def positions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel indices (rows, columns) of the cells' centres, each of shape (side, side)."""
        at = (np.arange(self.side) + 0.5) / self.side
        rows = self.top + at * (self.bottom - self.top) - 0.5
        columns = self.left + at * (self.right - self.left) - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        return grid[0], grid[1]

    def paste(
        self, values: NDArray[np.float64], plane_shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return a map of the cells on the plane.

        Parameters
        ----------
        values : ndarray of float64, shape (side, side)
        plane_shape : tuple of int

        Returns
        -------
        ndarray of float32, shape (rows, columns)
            Linear between the cells, 0 outside the crop.
        """
        out = np.zeros(plane_shape, dtype=np.float32)
        at, inside = [], []
        for first, last, size in zip(
            (self.top, self.left), (self.bottom, self.right), plane_shape, strict=True
        ):
            pixels = slice(max(int(first), 0), max(min(int(np.ceil(last)), size), 0))
            cells = (np.arange(size)[pixels] + 0.5 - first) / (last - first) * self.side - 0.5
            # The outermost half cell holds what its neighbour holds.
            at.append(np.clip(cells, 0, self.side - 1))
            inside.append(pixels)
        grid = np.meshgrid(*at, indexing="ij")
        out[tuple(inside)] = ndimage.map_coordinates(
            values.astype(np.float32), grid, order=1, mode="nearest"
        )
        return out


def walk(cells: NDArray[np.float32], seeds: NDArray[np.int_], beta: float) -> NDArray[np.float64]:
    """Compute the probability that a random walker from each cell meets the object's seeds first.

    Parameters
    ----------
    cells : ndarray of float32, shape (n, n)
        Brightness, range [0, 1].
    seeds : ndarray of int, shape (n, n)
        ``OBJECT``, ``BACKGROUND`` or 0 for the cells in between.
    beta : float
        The greater, the less the walker crosses edges.

    Returns
    -------
    ndarray of float64, shape (n, n), range [0, 1]

    Notes
    -----
    Random walks for image segmentation, Grady, IEEE TPAMI 28 (2006), by scikit-image.
    """
    known = np.where(seeds == OBJECT, 1.0, 0.0)
    if not (seeds == 0).any() or not (seeds == OBJECT).any() or not (seeds == BACKGROUND).any():
        return known
    # Where nothing distinguishes the cells the brightness's deviation, by which scikit-image
    # divides, is 0: any constant image with a deviation gives the same walk.
    data = cells.astype(np.float64)
    if np.ptp(data) < 1e-6:
        data, beta = np.arange(data.size, dtype=np.float64).reshape(data.shape), 0.0
    # Solved directly: at this size as fast as by iteration, and exact in the pockets that strong
    # edges all but close off, where an iteration stops too early.
    full = random_walker(data, seeds, beta=beta, mode="bf", prob_tol=np.inf, return_full_prob=True)
    return np.clip(np.nan_to_num(np.asarray(full[0], dtype=np.float64)), 0.0, 1.0)


def add_brightness(
    probability: NDArray[np.float64], cells: NDArray[np.float32], weight: float
) -> NDArray[np.float64]:
    """Weigh a probability by how the brightness of its object differs from its surroundings.

    The histograms of both are taken from the probability itself, so nothing is assumed about
    which of the two is brighter.

    Parameters
    ----------
    probability, cells : ndarray of shape (n, n)
        As in :func:`walk`.
    weight : float
        0 changes nothing, 1 counts the brightness as much as the walk.

    Returns
    -------
    ndarray of float64, shape (n, n), range [0, 1]
    """
    spread = float(np.ptp(cells))
    if weight == 0 or spread < 1e-6:
        return probability
    n_bins = 32
    bins = np.minimum(((cells - cells.min()) / spread * n_bins).astype(int), n_bins - 1)

    def histogram(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        counts = np.bincount(bins.ravel(), weights.ravel(), n_bins)
        smooth = np.asarray(ndimage.gaussian_filter1d(counts, 2.0)) + 1e-3
        return np.asarray(smooth / smooth.sum())

    ratio = np.log(histogram(probability) / histogram(1 - probability))[bins]
    inner = np.clip(probability, 1e-3, 1 - 1e-3)
    return np.asarray(1 / (1 + np.exp(-(np.log(inner / (1 - inner)) + weight * ratio))))
