"""Foreground of a heatmap, its components, and the points and boxes of one region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, Source
from napari_cam_sam.prompts.parameters import Components, PointRule, PromptParameters

__all__ = [
    "Region", "distance_centre", "find_regions", "foreground_threshold", "part_sizes", "region_box",
]  # fmt: skip

_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Region:
    """A connected part of a foreground, or all of it, as a crop.

    Attributes
    ----------
    mask : ndarray of bool, shape (height, width)
        The region within its bounding box.
    row, column : int
        First row and column of the bounding box.
    """

    mask: NDArray[np.bool_]
    row: int
    column: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Slices of the plane that the bounding box covers."""
        height, width = self.mask.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)

    def point(self, rule: PointRule, values: NDArray[np.floating] | None) -> tuple[int, int]:
        """Choose one pixel (row, column) of the plane by a point rule.

        ``values`` is the heatmap, shape (rows, columns); only ``"argmax"`` needs it.
        """
        if rule == "box-centre":
            # From c0 to the exclusive end c1: c0 + (c1 - c0) // 2.
            row, column = self.mask.shape[0] // 2, self.mask.shape[1] // 2
        elif rule == "distance-centre":
            row, column = distance_centre(self.mask)
        elif rule == "argmax":
            if values is None:
                raise CamSamError(
                    "The point rule 'argmax' needs a heatmap; for a mask take 'distance-centre', "
                    "'box-centre' or 'mass-centre-snapped'."
                )
            inside = np.where(self.mask, values[self.window], -np.inf)
            row, column = divmod(int(inside.argmax()), self.mask.shape[1])
        else:
            centre = np.argwhere(self.mask).mean(axis=0)
            if rule == "mass-centre-snapped":
                row, column = _nearest(self.mask, centre)
            else:
                row, column = (int(value) for value in np.rint(centre))
        return self.row + row, self.column + column


def _nearest(mask: NDArray[np.bool_], position: NDArray[np.float64]) -> tuple[int, int]:
    pixels = np.argwhere(mask)
    row, column = pixels[((pixels - position) ** 2).sum(axis=1).argmin()]
    return int(row), int(column)


def distance_centre(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Find the pixel of a mask that is farthest from its edge; the array's border is an edge.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Not empty.

    Returns
    -------
    tuple of int
        Row and column. Of several equally far pixels, the one nearest to their mean.
    """
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    best = distance >= distance.max() - 1e-9
    return _nearest(best, np.argwhere(best).mean(axis=0))


def part_sizes(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the areas of the parts that the prompts of a mask are taken from.

    Parameters
    ----------
    labels : ndarray of bool or int, shape (rows, columns)
        The parts are the 8-connected components of each positive value.

    Returns
    -------
    ndarray of int
        In pixels.
    """
    sizes = [np.zeros(0, np.int64)]
    for value in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == value, structure=_EIGHT)
        sizes.append(np.bincount(parts.ravel(), minlength=count + 1)[1:])
    return np.concatenate(sizes)


def region_box(region: Region, margin: float, source: Source, score: float | None) -> Box:
    """Return the bounding box of a region.

    Parameters
    ----------
    region : Region
    margin : float
        Added to each side, in pixels; the box is not clipped to the plane.
    source : {"cam", "truth", "user"}
    score : float or None

    Returns
    -------
    Box
    """
    height, width = region.mask.shape
    return Box(
        row_min=float(region.row - margin),
        column_min=float(region.column - margin),
        row_max=float(region.row + height + margin),
        column_max=float(region.column + width + margin),
        source=source,
        score=score,
    )


def foreground_threshold(values: NDArray[np.floating], parameters: PromptParameters) -> float:
    """Compute the value above which a heatmap is foreground.

    Parameters
    ----------
    values : ndarray of float, shape (rows, columns)
        Finite and not constant.
    parameters : PromptParameters
        Its ``threshold_rule``, ``threshold`` and ``clusters``.

    Returns
    -------
    float
        The foreground is ``values > threshold``.
    """
    rule = parameters.threshold_rule
    if rule == "fixed":
        return parameters.threshold
    if rule == "fraction-of-max":
        return parameters.threshold * float(values.max())
    if rule == "percentile":
        return float(np.quantile(values, parameters.threshold))
    if rule == "otsu":
        from skimage.filters import threshold_otsu

        return float(threshold_otsu(values))  # type: ignore[no-untyped-call]
    return _k_means_threshold(values, parameters.clusters)


def _k_means_threshold(values: NDArray[np.floating], clusters: int) -> float:
    """Middle between the two highest cluster centres, from a histogram of 512 bins.

    Lloyd's algorithm from evenly spaced centres: the same in every run, and on a histogram a
    large plane is as cheap as a small one.
    """
    counts, edges = np.histogram(values, bins=512)
    used = counts > 0
    middles = ((edges[1:] + edges[:-1]) / 2)[used].astype(np.float64)
    clusters = min(clusters, middles.size)
    centres = np.linspace(middles[0], middles[-1], clusters)
    weights = counts[used].astype(np.float64)
    for _ in range(100):
        nearest = np.abs(middles[:, None] - centres).argmin(axis=1)
        sizes = np.bincount(nearest, weights, clusters)
        sums = np.bincount(nearest, weights * middles, clusters)
        moved = np.divide(sums, sizes, out=centres.copy(), where=sizes > 0)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return float(centres[-2:].mean())


def find_regions(
    foreground: NDArray[np.bool_],
    values: NDArray[np.floating] | None,
    components: Components,
    *,
    max_objects: int,
    min_area: int,
) -> list[Region]:
    """Return the wanted components of a foreground, best first.

    Parameters
    ----------
    foreground : ndarray of bool, shape (rows, columns)
    values : ndarray of float, shape (rows, columns), or None
        The heatmap that orders the components; None for a mask, where the orders by energy and
        by maximum are those by area.
    components : {"largest", "most-energy", "with-maximum", "all"}
        Components are 8-connected.
    max_objects : int
        How many are taken at most.
    min_area : int
        Smaller ones are left out, in pixels.

    Returns
    -------
    list of Region
        Empty where no component is left. Equal ones in the order of their first pixel.
    """
    labels, count = ndimage.label(foreground, structure=_EIGHT)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept = np.flatnonzero(areas >= max(min_area, 1))
    if kept.size == 0:
        return []
    order = areas
    if components == "all":
        labels, kept = np.isin(labels, kept + 1).astype(np.uint8), np.array([0])
    elif values is not None and components == "most-energy":
        order = ndimage.sum_labels(values, labels, np.arange(1, count + 1))
    elif values is not None and components == "with-maximum":
        order = ndimage.maximum(values, labels, np.arange(1, count + 1))
    best = kept[np.argsort(-np.asarray(order, dtype=np.float64)[kept], kind="stable")]
    windows = ndimage.find_objects(labels)
    return [
        Region(labels[windows[i]] == i + 1, windows[i][0].start, windows[i][1].start)
        for i in best[:max_objects].tolist()
    ]
