"""How well a heatmap points at the truth, for planes and for volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.masks import as_bool, check_labels

__all__ = [
    "Pointing",
    "Ranking",
    "check_heatmap",
    "energy_inside",
    "pointing",
    "rank",
    "thresholded_iou",
]

# Values that are sorted at one time: 64 MB of float32.
_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class Ranking:
    """What the curves of a heatmap against a truth need to know about its values.

    Attributes
    ----------
    inside : ndarray of int64, shape (n,)
        For each distinct value within the truth, ascending: how many pixels of the truth have it.
    below, equal : ndarray of int64, shape (n,)
        How many pixels outside the truth have a lower value, and the same one.
    n_inside, n_outside : int
        Pixels within and outside the truth.
    """

    inside: NDArray[np.int64]
    below: NDArray[np.int64]
    equal: NDArray[np.int64]
    n_inside: int
    n_outside: int

    @property
    def prevalence(self) -> float:
        """Part of all pixels that is truth, in [0, 1]: the AUPRC of a map that knows nothing."""
        return self.n_inside / (self.n_inside + self.n_outside)

    @property
    def auc_judd(self) -> float:
        """Area under the ROC curve in [0, 1] with ties at one half; NaN without both sides.

        It is scikit-learn's ``roc_auc_score``. Judd et al.'s score with the mask's n pixels as
        fixations has this value but for its jitter and up to 1 / (2·n).
        """
        if not self.n_inside or not self.n_outside:
            return float("nan")
        wins = float((self.inside * (self.below + 0.5 * self.equal)).sum())
        return wins / (self.n_inside * self.n_outside)

    @property
    def auprc(self) -> float:
        """Area under the precision-recall curve in [0, 1]; NaN for an empty truth.

        It is the average precision, scikit-learn's ``average_precision_score``. Some papers take
        the trapezoid, which is too kind to ties: it gives an all-zero map more than one half,
        where the average precision gives the prevalence.
        """
        if not self.n_inside:
            return float("nan")
        hits = np.cumsum(self.inside[::-1])[::-1]
        precision = hits / (hits + self.n_outside - self.below)
        return float((self.inside * precision).sum()) / self.n_inside


@dataclass(frozen=True)
class Pointing:
    """Where the maximum of a heatmap is.

    Attributes
    ----------
    hit : bool
        Whether the maximum lies in the truth; of several equal ones whether more than half do, in
        whatever order they lie. False for a constant map.
    tied_fraction : float
        Part of all pixels, in (0, 1], that have the maximum.
    tied_inside : float
        Part of these, in [0, 1], that lies in the truth: the hit rate of a random choice.
    """

    hit: bool
    tied_fraction: float
    tied_inside: float


def rank(values: ArrayLike, truth: ArrayLike) -> Ranking:
    """Rank the values within a truth among those outside.

    scikit-learn's curves sort all values, ids and weights at once: several gigabytes for a
    volume. Here values outside are sorted in chunks and only those within are kept, with the
    same result.

    Parameters
    ----------
    values : array of float, any shape
        Finite heatmap; only the order of its values matters.
    truth : array of bool or int, same shape
        What is not 0 is truth.

    Returns
    -------
    Ranking

    Raises
    ------
    CamSamError
        For arrays that do not fit together, or values that are not finite.
    """
    heat, true = _pair(values, truth)
    levels, inside = np.unique(heat[true], return_counts=True)
    below = np.zeros(levels.size, dtype=np.int64)
    up_to = np.zeros(levels.size, dtype=np.int64)
    for part, part_true in _chunks(heat, true) if levels.size else ():
        # What is lower than all of the truth, most of a good map, is counted and not sorted.
        outside = part[~part_true & (part >= levels[0])]
        outside.sort()
        lower = part.size - int(np.count_nonzero(part_true)) - outside.size
        below += lower + np.searchsorted(outside, levels, side="left")
        up_to += lower + np.searchsorted(outside, levels, side="right")
    n_inside = int(inside.sum())
    counts = inside.astype(np.int64)
    return Ranking(counts, below, up_to - below, n_inside, heat.size - n_inside)


def pointing(values: ArrayLike, truth: ArrayLike) -> Pointing:
    """Return whether the maximum of a heatmap lies in the truth.

    Parameters
    ----------
    values, truth : array, of one shape
        As for `rank`.

    Returns
    -------
    Pointing

    Raises
    ------
    CamSamError
        As `rank`.
    """
    heat, true = _pair(values, truth)
    highest = heat.max()
    tied = heat == highest
    count, inside = int(np.count_nonzero(tied)), int(np.count_nonzero(tied & true))
    return Pointing(
        hit=2 * inside > count and count < heat.size,
        tied_fraction=count / heat.size,
        tied_inside=inside / count,
    )


def energy_inside(values: ArrayLike, truth: ArrayLike) -> float:
    """Compute which part of the sum of a heatmap lies in the truth.

    Parameters
    ----------
    values, truth : array, of one shape
        As for `rank`; negative values of a raw map count as 0.

    Returns
    -------
    float
        In [0, 1], the same however the arrays lie in memory; NaN for a map without any positive
        value.

    Raises
    ------
    CamSamError
        As `rank`.
    """
    inside = total = 0.0
    for part, part_true in _chunks(*_pair(values, truth), in_order=True):
        positive = np.maximum(part, 0)
        total += float(positive.sum(dtype=np.float64))
        inside += float(positive.sum(where=part_true, dtype=np.float64))
    return inside / total if total > 0 else float("nan")


def thresholded_iou(values: ArrayLike, truth: ArrayLike, threshold: float = 0.5) -> float:
    """Compute the IoU of {heatmap > threshold} with the truth.

    Parameters
    ----------
    values, truth : array, of one shape
        As for `rank`.
    threshold : float
        In values of the heatmap.

    Returns
    -------
    float
        In [0, 1]; 1 where both are empty.

    Raises
    ------
    CamSamError
        As `rank`.
    """
    shared = union = 0
    for part, part_true in _chunks(*_pair(values, truth)):
        mask = part > threshold
        shared += int(np.count_nonzero(mask & part_true))
        union += int(np.count_nonzero(mask | part_true))
    return shared / union if union else 1.0


def check_heatmap(
    values: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return heatmap and truth as arrays of float and bool.

    Parameters
    ----------
    values : array of float, int or bool, any shape
    truth : array of bool or int, same shape

    Returns
    -------
    heat : ndarray of float32 or float64
    true : ndarray of bool
        What is not 0 is truth.

    Raises
    ------
    CamSamError
        For arrays of other types or of different shapes.
    """
    heat, true = np.asarray(values), check_labels(truth, "truth")
    if heat.shape != true.shape:
        raise CamSamError(
            f"The heatmap has shape {heat.shape} but the truth {true.shape}; they must agree."
        )
    if heat.dtype.kind not in "fbui":
        raise CamSamError(f"A heatmap must be an array of numbers, not {heat.dtype}.")
    if heat.dtype not in (np.float32, np.float64):
        heat = heat.astype(np.float32)
    return heat, as_bool(true)


def _pair(values: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Check that a heatmap fits its truth, and is finite."""
    heat, true = check_heatmap(values, truth)
    if not (np.isfinite(heat.min()) and np.isfinite(heat.max())):
        raise CamSamError("The heatmap has values that are not finite: it cannot be scored.")
    return heat, true


def _chunks(
    heat: NDArray[np.floating], true: NDArray[np.bool_], *, in_order: bool = False
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.bool_]]]:
    """Yield parts of both, flat; `in_order` those of sums, whose last digit hangs on the order."""
    heat, true = np.atleast_1d(heat, true)
    if not in_order and heat.flags.f_contiguous and true.flags.f_contiguous:
        # NIfTI arrays come in Fortran order; their transposes are flat without a copy.
        heat, true = heat.T, true.T
    each = heat.size // len(heat)
    for start in range(0, heat.size, _CHUNK):
        stop = min(start + _CHUNK, heat.size)
        # Of an array that lies in another order no more than these is copied.
        first, last = start // each, -(-stop // each)
        part = slice(start - first * each, stop - first * each)
        yield heat[first:last].reshape(-1)[part], true[first:last].reshape(-1)[part]
