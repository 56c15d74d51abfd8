"""How alike two heatmaps of one plane are, whatever their methods and grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage import metrics
from torch import nn

__all__ = ["Similarity", "compare_maps", "mean_similarity"]

_CELLS = 64
_WINDOW = 7


@dataclass(frozen=True)
class Similarity:
    """How alike two heatmaps are; 1 for the same map, NaN where a figure is not defined.

    Attributes
    ----------
    ssim : float
        Structural similarity (Wang et al. 2004).
    rank : float
        Spearman's rank correlation of the values, -1 to 1.
    top_iou : float
        IoU of the highest parts of both.
    """

    ssim: float
    rank: float
    top_iou: float


def compare_maps(
    one: NDArray[np.float32], other: NDArray[np.float32], top: float = 0.1
) -> Similarity:
    """Compare two heatmaps.

    Both are averaged to at most 64 cells along the longer side and divided by their maximum, so
    that the figures depend neither on the plane's resolution nor on the brightness of a map. Where
    one of them has nothing positive there is nothing alike in them, and every figure is 0.

    Parameters
    ----------
    one, other : ndarray of float32, shape (row, column)
        Not negative, on the same pixels.
    top : float
        The part of the cells that counts as a map's highest.

    Returns
    -------
    Similarity
        Its ``ssim`` has windows of 7 cells, smaller ones on planes of fewer cells.
    """
    if not (one.max() > 0 and other.max() > 0):
        return Similarity(0.0, 0.0, 0.0)
    a, b = _cells(one), _cells(other)
    window = min(_WINDOW, *a.shape)
    window -= 1 - window % 2
    ssim = np.nan
    if window >= 3:
        ssim = metrics.structural_similarity(  # type: ignore[no-untyped-call]
            a, b, win_size=window, data_range=1.0
        )
    varied = np.ptp(a) > 0 and np.ptp(b) > 0
    rank = spearmanr(a.ravel(), b.ravel()).statistic if varied else np.nan
    high, higher = _highest(a, top), _highest(b, top)
    overlap = (high & higher).sum() / (high | higher).sum()
    return Similarity(float(ssim), float(rank), float(overlap))


def mean_similarity(found: Sequence[Similarity]) -> Similarity:
    """Average each figure over the comparisons in which it is defined.

    Parameters
    ----------
    found : sequence of Similarity

    Returns
    -------
    Similarity
        NaN for a figure that is defined in none.
    """

    def mean(figure: str) -> float:
        known = [value for one in found if not np.isnan(value := getattr(one, figure))]
        return float(np.mean(known)) if known else float("nan")

    return Similarity(mean("ssim"), mean("rank"), mean("top_iou"))


def _cells(values: NDArray[np.float32]) -> NDArray[np.float64]:
    rows, columns = values.shape
    scale = min(1.0, _CELLS / max(rows, columns))
    shape = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))[None]
    cells: NDArray[np.float64] = nn.functional.adaptive_avg_pool2d(tensor, shape)[0].numpy()
    return np.asarray(cells / cells.max())


def _highest(values: NDArray[np.float64], top: float) -> NDArray[np.bool_]:
    k = max(1, round(top * values.size))
    least = np.partition(values, -k, axis=None)[-k]
    return np.asarray((values >= least) & (values > 0))
