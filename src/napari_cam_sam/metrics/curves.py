"""ROC and precision–recall curves of a heatmap against a truth, small enough to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.metrics.localisation import Ranking

__all__ = ["MOST_POINTS", "Curve", "precision_recall_curve", "roc_curve"]

MOST_POINTS = 1000
"""A curve has no more points than this: more cannot be seen."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve of a heatmap, with its area.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        In [0, 1], x ascending; at most `MOST_POINTS`. Empty where the curve is not defined.
    area : float
        Of the whole curve, before points were left out; NaN where it is not defined.
    baseline : float
        Area of a map that knows nothing.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area: float
    baseline: float


def roc_curve(ranking: Ranking) -> Curve:
    """Compute the rate of true positives over that of false positives, for all thresholds.

    Parameters
    ----------
    ranking : Ranking
        From :func:`~napari_cam_sam.metrics.localisation.rank`.

    Returns
    -------
    Curve
        To be joined by straight lines. Its area is `Ranking.auc_judd`; not defined where the
        truth is empty or everything.
    """
    if not ranking.n_inside or not ranking.n_outside:
        return Curve(np.empty(0), np.empty(0), float("nan"), 0.5)
    # From the highest value of the truth down; before each value the point just above it.
    # Values outside the truth alone lie on the straight lines between these points.
    hits = np.cumsum(ranking.inside[::-1])
    false = (ranking.n_outside - ranking.below)[::-1]
    x = np.stack([false - ranking.equal[::-1], false], axis=1).ravel() / ranking.n_outside
    y = np.stack([hits - ranking.inside[::-1], hits], axis=1).ravel() / ranking.n_inside
    x, y = np.concatenate(([0.0], x, [1.0])), np.concatenate(([0.0], y, [1.0]))
    return Curve(*_thinned(x, y), ranking.auc_judd, 0.5)


def precision_recall_curve(ranking: Ranking) -> Curve:
    """Compute the precision over the recall, for all thresholds.

    Parameters
    ----------
    ranking : Ranking
        From :func:`~napari_cam_sam.metrics.localisation.rank`.

    Returns
    -------
    Curve
        A staircase: the precision at a recall holds back to the recall before it, which
        matplotlib draws with ``drawstyle="steps-pre"``. Its area is `Ranking.auprc`, the average
        precision; not defined where the truth is empty.
    """
    if not ranking.n_inside:
        return Curve(np.empty(0), np.empty(0), float("nan"), ranking.prevalence)
    hits = np.cumsum(ranking.inside[::-1])
    recall = hits / ranking.n_inside
    precision = hits / (hits + (ranking.n_outside - ranking.below)[::-1])
    x = np.concatenate(([0.0], recall))
    y = np.concatenate((precision[:1], precision))
    return Curve(*_thinned(x, y), ranking.auprc, ranking.prevalence)


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep points at even distances along the curve, and both ends."""
    if x.size <= MOST_POINTS:
        return x, y
    way = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
    wanted = np.searchsorted(way, np.linspace(0, way[-1], MOST_POINTS))
    kept = np.unique(np.concatenate(([0], np.minimum(wanted, x.size - 1), [x.size - 1])))
    # np.linspace's last value may be a hair above the way's: one point more than wanted.
    kept = kept if kept.size <= MOST_POINTS else np.delete(kept, -2)
    return x[kept], y[kept]
