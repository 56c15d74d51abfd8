"""The closed contour with the strongest edge around a point: how points find their scale.

The plane is sampled on a log-polar grid about the point, where a derivative along the radius is
the same for a small object and for the same object enlarged. The contour is the closed path of
greatest mean derivative of one sign, found by dynamic programming; both signs are tried, so a
dark object on a bright ground and the inverse are found alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.seeded.pyramid import sample_pyramid
from napari_cam_sam.schemas import check_fields

__all__ = ["ContourParameters", "StarContour", "find_contour"]

# Added to the cost of a path that leaves a positive point out or takes a negative one in:
# far above any edge (windowed planes span 1), so that it is paid only where prompts contradict.
_CONTRADICTION = 10.0


@dataclass(frozen=True)
class ContourParameters:
    """How the contour around a point is sought.

    Attributes
    ----------
    angles, radii : int
        Size of the log-polar grid.
    smallest, largest : float
        Least and greatest radius, as fractions of the square root of the plane's area.
    bend : float
        Cost of one step of radius from an angle to the next, in the plane's range of 1.
    moves : int
        How often the centre moves to the middle of the contour that it found, as long as that
        finds a stronger edge: points need not lie in the middle of their object.

    Raises
    ------
    CamSamError
        For a value of another type or out of its range.
    """

    angles: int = 64
    radii: int = 48
    smallest: float = 0.02
    largest: float = 0.75
    bend: float = 0.005
    moves: int = 2

    def __post_init__(self) -> None:
        check_fields(self)
        for name, good, right in (
            ("angles", self.angles >= 8, "8 or more"),
            ("radii", self.radii >= 4, "4 or more"),  # three rings are no place for an edge
            ("smallest", 0 < self.smallest < self.largest, "above 0 and below largest"),
            ("largest", self.largest < math.inf, "a finite number"),
            ("bend", 0 <= self.bend < math.inf, "0 or more"),
            ("moves", self.moves >= 0, "0 or more"),
        ):
            if not good:
                value = getattr(self, name)
                raise CamSamError(f"ContourParameters.{name} must be {right}, not {value!r}.")


@dataclass(frozen=True, eq=False)
class StarContour:
    """A closed contour that every ray from its centre crosses once.

    Attributes
    ----------
    row, column : float
        Centre, in pixel indices of the plane.
    radii : ndarray of float64, shape (n,)
        Radius in pixels at the angles 2πk/n, from the column axis towards the row axis.
    edge : float
        Mean derivative of the brightness by the logarithm of the radius, 0 or more.
    """

    row: float
    column: float
    radii: NDArray[np.float64]
    edge: float

    def relative_radius(
        self, rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the distance from the centre at each position, where 1 is on the contour."""
        y, x = rows - self.row, columns - self.column
        angle = np.arctan2(y, x) % (2 * np.pi)
        n = self.radii.size
        at = np.interp(angle, np.arange(n + 1) * 2 * np.pi / n, [*self.radii, self.radii[0]])
        return np.asarray(np.hypot(y, x) / at)

    def centroid(self) -> NDArray[np.float64]:
        """Return the centre of the area within, as (row, column)."""
        weights = self.radii**3 / (1.5 * (self.radii**2).sum())
        moved = (self._directions() * weights).sum(axis=1)
        return np.asarray(moved + np.array([self.row, self.column]))

    def bounds(self) -> tuple[float, float, float, float]:
        """Return the first row and column, and the last ones, that it reaches, in pixel indices."""
        rows, columns = self._directions() * self.radii
        rows, columns = rows + self.row, columns + self.column
        return float(rows.min()), float(columns.min()), float(rows.max()), float(columns.max())

    def _directions(self) -> NDArray[np.float64]:
        """Return unit vectors of shape (2, n) along the rays, as rows and columns."""
        angle = np.arange(self.radii.size) * 2 * np.pi / self.radii.size
        return np.stack([np.sin(angle), np.cos(angle)])


def find_contour(
    pyramid: Sequence[NDArray[np.float32]],
    positive: NDArray[np.float64],
    negative: NDArray[np.float64],
    parameters: ContourParameters,
) -> StarContour:
    """Find the contour of strongest edge that holds the positive points and no negative one.

    Parameters
    ----------
    pyramid : sequence of ndarray of float32
        The plane, range [0, 1], then halved again and again.
    positive, negative : ndarray of float64, shape (n, 2)
        Points as (row, column); at least one positive. The search starts from their mean.
    parameters : ContourParameters

    Returns
    -------
    StarContour
        On a plane without any edge a circle of a tenth of the plane's size, with ``edge`` 0.
    """
    best = _contour_about(positive.mean(axis=0), pyramid, positive, negative, parameters)
    for _ in range(parameters.moves):
        moved = _contour_about(best.centroid(), pyramid, positive, negative, parameters)
        if moved.edge <= best.edge:
            break
        best = moved
    if best.edge < 1e-4:
        size = float(np.sqrt(pyramid[0].size))
        circle = np.full(parameters.angles, max(0.1 * size, 0.5))
        return StarContour(best.row, best.column, circle, 0.0)
    return best


def _contour_about(
    centre: NDArray[np.float64],
    pyramid: Sequence[NDArray[np.float32]],
    positive: NDArray[np.float64],
    negative: NDArray[np.float64],
    parameters: ContourParameters,
) -> StarContour:
    """Find the best contour that is a star about one centre, of either sign of edge."""
    shape = pyramid[0].shape
    size = float(np.sqrt(shape[0] * shape[1]))
    n_angles, n_radii = parameters.angles, parameters.radii
    largest = parameters.largest * size
    smallest = min(max(parameters.smallest * size, 1.0), largest / 2)
    step = np.log(largest / smallest) / (n_radii - 1)
    radii = smallest * np.exp(step * np.arange(n_radii))
    angles = np.arange(n_angles) * 2 * np.pi / n_angles

    rows = centre[0] + np.sin(angles)[:, None] * radii
    columns = centre[1] + np.cos(angles)[:, None] * radii
    # A ring is read where the pyramid is about as coarse as the ring's own spacing.
    levels = np.clip(np.rint(np.log2(np.maximum(radii * step / 2, 1))), 0, len(pyramid) - 1)
    polar = np.empty((n_angles, n_radii), dtype=np.float32)
    for level in np.unique(levels).astype(int):
        at = levels == level
        polar[:, at] = sample_pyramid(pyramid, rows[:, at], columns[:, at], level)
    smooth = ndimage.gaussian_filter(polar, (1.5, 1.0), mode=("wrap", "nearest"))
    slope = np.gradient(smooth, axis=1) / step
    inside = (rows >= 0) & (rows <= shape[0] - 1) & (columns >= 0) & (columns <= shape[1] - 1)
    slope = np.where(inside, slope, 0.0)

    forbidden = _contradictions(centre, positive, negative, radii, n_angles)
    # The first rings are too few pixels for a derivative, the last has no outside.
    forbidden[:, :2] += _CONTRADICTION
    forbidden[:, -1:] += _CONTRADICTION
    paths = [
        (sign, *_closed_path(forbidden - sign * slope, parameters.bend / step))
        for sign in (1.0, -1.0)
    ]
    sign, path, _ = min(paths, key=lambda found: found[2])
    edge = float((sign * slope)[np.arange(n_angles), path].mean())
    return StarContour(float(centre[0]), float(centre[1]), radii[path], max(edge, 0.0))


def _contradictions(
    centre: NDArray[np.float64],
    positive: NDArray[np.float64],
    negative: NDArray[np.float64],
    radii: NDArray[np.float64],
    n_angles: int,
) -> NDArray[np.float64]:
    """Cost of each cell of the grid for what it does to the points."""
    cost = np.zeros((n_angles, radii.size))
    for i, (y, x) in enumerate(np.concatenate([positive, negative]) - centre):
        distance = np.hypot(y, x)
        if distance < radii[0]:
            continue  # the centre itself; a negative point here is left to the walker's seeds
        at = round(float(np.arctan2(y, x)) / (2 * np.pi) * n_angles)
        near = np.arange(at - 1, at + 2) % n_angles
        wrong = radii < distance * 1.05 if i < len(positive) else radii > distance * 0.95
        cost[np.ix_(near, wrong)] += _CONTRADICTION
    return cost


def _closed_path(cost: NDArray[np.float64], bend: float) -> tuple[NDArray[np.intp], float]:
    """Cheapest path round all angles that moves at most one radius an angle, and its cost.

    It runs round twice and keeps the middle turn, which closes to within a step.
    """
    n_angles, n_radii = cost.shape
    order = np.arange(2 * n_angles + 1) % n_angles
    total = cost[0].copy()
    came = np.zeros((order.size, n_radii), dtype=np.intp)
    index = np.arange(n_radii)
    options = np.empty((3, n_radii))
    for i, angle in enumerate(order[1:], start=1):
        options[0, 0], options[2, -1] = np.inf, np.inf
        options[0, 1:] = total[:-1] + bend
        options[1] = total
        options[2, :-1] = total[1:] + bend
        choice = options.argmin(axis=0)
        came[i] = index + choice - 1
        total = options[choice, index] + cost[angle]
    path = np.empty(order.size, dtype=np.intp)
    path[-1] = int(total.argmin())
    for i in range(order.size - 1, 0, -1):
        path[i - 1] = came[i, path[i]]
    half = n_angles // 2
    turn = np.empty(n_angles, dtype=np.intp)
    turn[order[half : half + n_angles]] = path[half : half + n_angles]
    return turn, float(cost[np.arange(n_angles), turn].mean())
