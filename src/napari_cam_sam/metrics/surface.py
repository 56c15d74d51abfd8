"""Distances between the surfaces of two masks: HD95, ASSD and NSD, in the unit of the spacing.

Rules, as public tools differ by more than 100 mm for one pair of masks:

- The surface of HD95 and ASSD is the object's pixels with a face neighbour that is not object;
  what lies beyond the image is not object. Distances run between pixel centres. The percentile
  is numpy's linear one, of each direction for itself, and HD95 is the larger of the two. ASSD is
  the mean over the distances of both directions together. MONAI without subvoxels does the same.
- The surface of NSD is the triangles (in 3D) or line pieces (in 2D) of marching cubes or squares
  between pixel centres, each weighted by its area or length. This is the rule of Nikolov et al.,
  "Deep learning to achieve clinically applicable segmentation of head and neck anatomy", and of
  MONAI with ``use_subvoxels=True``; on anisotropic spacing, counting pixels gives other values.
- One mask empty: HD95 and ASSD are infinite and NSD is 0. Both empty: 0, 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.masks import bounding_box, check_spacing, mask_pair

__all__ = [
    "DEFAULT_TOLERANCE", "PERCENTILE_RULE", "SurfaceDistances", "nsd", "surface_distances",
]  # fmt: skip

DEFAULT_TOLERANCE = 2.0
"""Tolerance of NSD in mm."""

PERCENTILE_RULE = "95th percentile (linear) of each direction, the larger of the two"
"""What HD95 is, to be printed beside it."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from each surface pixel of one mask to the nearest of the other.

    Attributes
    ----------
    to_truth : ndarray of float64, shape (n,)
        From the prediction's surface, in the unit of the spacing.
    to_prediction : ndarray of float64, shape (m,)
        From the truth's surface.
    """

    to_truth: NDArray[np.float64]
    to_prediction: NDArray[np.float64]

    @property
    def hd95(self) -> float:
        """95 % Hausdorff distance by `PERCENTILE_RULE`."""
        both = [part for part in (self.to_truth, self.to_prediction) if part.size]
        # Towards an empty mask all distances are infinite, which numpy interpolates to NaN.
        if not all(np.isfinite(part).all() for part in both):
            return float("inf")
        return max((float(np.percentile(part, 95)) for part in both), default=0.0)

    @property
    def assd(self) -> float:
        """Average symmetric surface distance."""
        count = self.to_truth.size + self.to_prediction.size
        return float(self.to_truth.sum() + self.to_prediction.sum()) / count if count else 0.0


def surface_distances(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    origin: Sequence[int] | None = None,
) -> SurfaceDistances:
    """Compute the distances between the surfaces of two masks, between pixel centres.

    Parameters
    ----------
    prediction, truth : array of bool or int, of one shape
        What is not 0 is object.
    spacing : sequence of float
        Distance between pixels along each axis, in mm (or 1 for pixels).
    origin : sequence of int, optional
        Where the masks begin in the image that they are a window of. Distances of a window are
        then those of the image to the last digit.

    Returns
    -------
    SurfaceDistances
        Infinite towards an empty mask.

    Raises
    ------
    CamSamError
        For arrays that do not fit together, or a spacing that does not fit them.
    """
    masks = mask_pair(prediction, truth)
    scale = check_spacing(spacing, masks[0].ndim)
    ours, theirs = (_edge_positions(mask, scale, origin) for mask in masks)
    return SurfaceDistances(_nearest(ours, theirs), _nearest(theirs, ours))


def nsd(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    tolerance: float = DEFAULT_TOLERANCE,
    origin: Sequence[int] | None = None,
) -> float:
    """Compute the normalised surface Dice: the part of both surfaces that is near the other.

    Parameters
    ----------
    prediction, truth : array of bool or int, shape (rows, columns) or (planes, rows, columns)
        What is not 0 is object.
    spacing : sequence of float
        Distance between pixels along each axis, in mm.
    tolerance : float
        Largest distance that counts as agreement, in the unit of the spacing.
    origin : sequence of int, optional
        As for `surface_distances`.

    Returns
    -------
    float
        In [0, 1]; 0 where one mask is empty, 1 where both are.

    Raises
    ------
    CamSamError
        For arrays that do not fit together or are not 2D or 3D, a spacing that does not fit
        them, or a tolerance that is negative or not finite.
    """
    predicted, true = mask_pair(prediction, truth)
    scale = check_spacing(spacing, predicted.ndim)
    if predicted.ndim not in (2, 3):
        raise CamSamError(f"NSD needs 2D or 3D masks, not {predicted.ndim}D.")
    if not 0 <= tolerance < np.inf:
        raise CamSamError(f"The tolerance of NSD must be 0 mm or more and finite, not {tolerance}.")
    ours, our_sizes = _surface_elements(predicted, scale, origin)
    theirs, their_sizes = _surface_elements(true, scale, origin)
    total = float(our_sizes.sum() + their_sizes.sum())
    if total == 0:
        return 1.0
    near = our_sizes[_nearest(ours, theirs) <= tolerance].sum()
    near += their_sizes[_nearest(theirs, ours) <= tolerance].sum()
    return float(near) / total


def _nearest(positions: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from each position to the nearest other one.

    A tree of surface points, not a distance transform of the volume: exact, and its cost goes
    with the surface, however large the volume and however far apart the two objects are.
    """
    if len(positions) == 0 or len(others) == 0:
        return np.full(len(positions), np.inf)
    distances, _ = cKDTree(others).query(positions)
    return np.asarray(distances, dtype=np.float64)


def _padded_crop(
    mask: NDArray[np.bool_], origin: Sequence[int] | None
) -> tuple[NDArray[np.bool_], NDArray[np.int64]] | None:
    """Return the mask's window with one pixel of background around it, and where it starts."""
    window = bounding_box(mask)
    if window is None:
        return None
    start = np.array([part.start - 1 for part in window])
    if origin is not None:
        start = start + np.asarray(origin)
    return np.pad(mask[window], 1), start


def _edge_positions(
    mask: NDArray[np.bool_], spacing: tuple[float, ...], origin: Sequence[int] | None
) -> NDArray[np.float64]:
    """Centres of the object's pixels that have a face neighbour outside, shape (n, ndim)."""
    cropped = _padded_crop(mask, origin)
    if cropped is None:
        return np.empty((0, mask.ndim))
    padded, start = cropped
    core = (slice(1, -1),) * mask.ndim
    inner = padded[core].copy()
    for axis in range(mask.ndim):
        for side in (slice(None, -2), slice(2, None)):
            inner &= padded[(*core[:axis], side, *core[axis + 1 :])]
    edge = np.argwhere(padded[core] & ~inner)
    return np.asarray((edge + start + 1) * np.asarray(spacing), dtype=np.float64)


def _surface_elements(
    mask: NDArray[np.bool_], spacing: tuple[float, ...], origin: Sequence[int] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (n, ndim) of the surface elements, and their areas or lengths (n,).

    An element sits at the corner where 2 × 2 (× 2) pixels meet, of which some are object.
    """
    cropped = _padded_crop(mask, origin)
    if cropped is None:
        return np.empty((0, mask.ndim)), np.empty(0)
    padded, start = cropped
    codes = np.zeros([size - 1 for size in padded.shape], dtype=np.uint8)
    for bit, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        part = tuple(
            slice(first, size - 1 + first) for first, size in zip(corner, padded.shape, strict=True)
        )
        codes |= padded[part].astype(np.uint8) << bit
    full = 2 ** (2**mask.ndim) - 1
    found = np.nonzero((codes != 0) & (codes != full))
    positions = (np.stack(found, axis=1) + start + 0.5) * np.asarray(spacing)
    return positions, _element_sizes(spacing)[codes[found]]


@lru_cache(maxsize=64)
def _element_sizes(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Length or area of the surface within a cell, for each of the 16 or 256 corner codes."""
    if len(spacing) == 2:
        row, column = spacing
        corner = 0.5 * float(np.hypot(row, column))
        sizes = np.full(16, corner)
        # Bits of (0, 0), (0, 1), (1, 0), (1, 1), as product() counts the corners.
        sizes[[0b0000, 0b1111]] = 0
        sizes[[0b0011, 0b1100]] = column
        sizes[[0b0101, 0b1010]] = row
        sizes[[0b0110, 0b1001]] = 2 * corner
        return sizes
    scale = np.asarray(spacing)
    sizes = np.zeros(256)
    for code, triangles in enumerate(_cell_triangles()):
        sides = np.diff(triangles * scale, axis=1)
        normals = np.cross(sides[:, 0], sides[:, 1])
        sizes[code] = 0.5 * np.sqrt((normals**2).sum(axis=1)).sum()
    return sizes


@lru_cache(maxsize=1)
def _cell_triangles() -> tuple[NDArray[np.float64], ...]:
    """Marching-cubes triangles (n, 3, 3) of a cell, for each of the 256 corner codes.

    A code with more than four object corners takes the triangles of its complement: the surface
    of an object is that of its background, and so it is in the tables of the rule's authors.
    """
    from skimage.measure import marching_cubes

    cells = [np.empty((0, 3, 3))] * 256
    for code in range(1, 255):
        few = code if code.bit_count() <= 4 else 255 - code
        cell = np.array([(few >> bit) & 1 for bit in range(8)], dtype=np.float64)
        vertices, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
            cell.reshape(2, 2, 2), 0.5, method="lorensen"
        )
        cells[code] = vertices[faces].astype(np.float64)
    return tuple(cells)
