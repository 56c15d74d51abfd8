"""All scores of a mask, or of a heatmap, at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_cam_sam.metrics.localisation import (
    check_heatmap,
    energy_inside,
    pointing,
    rank,
    thresholded_iou,
)
from napari_cam_sam.metrics.masks import TRUTH_EMPTY, mask_pair
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE, nsd, surface_distances

__all__ = ["Scores", "score_heatmap", "score_masks", "score_window"]


@dataclass(frozen=True)
class Scores:
    """Scores of one thing.

    Attributes
    ----------
    values : dict of str to float
        Metric name to value.
    flags : tuple of str
        What to know before using them, e.g. ``"both-empty"``.
    """

    values: dict[str, float]
    flags: tuple[str, ...] = ()


def score_masks(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Scores:
    """Score a mask against a truth: of a plane or a volume.

    Parameters
    ----------
    prediction, truth : array of bool or int, shape (rows, columns) or (planes, rows, columns)
        What is not 0 is object.
    spacing : sequence of float
        Distance between pixels along each axis, in mm (1 for pixels).
    tolerance : float
        Of NSD, in the unit of the spacing.

    Returns
    -------
    Scores
        ``iou``, ``dice``, ``pixel_accuracy`` and ``nsd`` in [0, 1]; ``hd95`` and ``assd`` in the
        unit of the spacing. Flags: ``"both-empty"`` (1, 1, 1, 1, 0, 0), ``"prediction-empty"``
        and ``"truth-empty"`` (overlaps and NSD 0, distances infinite).

    Raises
    ------
    CamSamError
        For arrays or a spacing that do not fit together.

    Examples
    --------
    >>> truth, prediction = np.zeros((2, 8, 8), bool)
    >>> truth[2:6, 2:6], prediction[2:6, 2:4] = True, True
    >>> scores = ncs.score_masks(prediction, truth, spacing=(1.0, 1.0))
    >>> scores.values["iou"], round(scores.values["dice"], 3)
    (0.5, 0.667)
    """
    # Labels are compared with 0 once, not by each score.
    return score_window(*mask_pair(prediction, truth), spacing, tolerance)


def score_window(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    tolerance: float,
    origin: Sequence[int] | None = None,
    size: int | None = None,
) -> Scores:
    """Score masks as `score_masks` does, by a window of the image that holds all of both.

    Parameters
    ----------
    prediction, truth : array of bool or int, of one shape
        The window.
    spacing : sequence of float
    tolerance : float
        Of NSD.
    origin : sequence of int, optional
        Where the window begins in the image.
    size : int, optional
        Pixels of the image.

    Returns
    -------
    Scores
        Of the image, to the last digit.

    Raises
    ------
    CamSamError
        As `score_masks`.
    """
    counts = overlap(prediction, truth, size)
    distances = surface_distances(prediction, truth, spacing, origin)
    values = {
        "iou": counts.iou,
        "dice": counts.dice,
        "pixel_accuracy": counts.pixel_accuracy,
        "hd95": distances.hd95,
        "assd": distances.assd,
        "nsd": nsd(prediction, truth, spacing, tolerance, origin),
    }
    return Scores(values, () if counts.flag is None else (counts.flag,))


def score_heatmap(values: ArrayLike, truth: ArrayLike, *, threshold: float = 0.5) -> Scores:
    """Score how well a heatmap points at a truth: of a plane or a volume.

    Parameters
    ----------
    values : array of float, any shape
        Heatmap in [0, 1].
    truth : array of bool or int, same shape
        What is not 0 is truth.
    threshold : float
        For ``thresholded_iou``, in values of the heatmap.

    Returns
    -------
    Scores
        All in [0, 1]: ``auc_judd``, ``auprc``, ``prevalence``, ``pointing_hit`` (0 or 1),
        ``tied_fraction``, ``tied_inside``, ``energy_inside``, ``thresholded_iou``. Flags:
        ``"truth-empty"`` (all NaN but the prevalence and tied_fraction), ``"truth-full"``
        (auc_judd NaN), ``"heatmap-constant"`` (pointing_hit 0), ``"heatmap-not-finite"`` (all
        NaN but the prevalence). ``energy_inside`` is NaN for a map without positive values.

    Raises
    ------
    CamSamError
        For arrays that do not fit together.

    Examples
    --------
    >>> truth = np.zeros((8, 8), bool)
    >>> truth[2:5, 2:5] = True
    >>> scores = ncs.score_heatmap(np.where(truth, 0.9, 0.1), truth)
    >>> scores.values["pointing_hit"], scores.values["auprc"]
    (1.0, 1.0)
    """
    heat, true = check_heatmap(values, truth)
    n_inside = int(np.count_nonzero(true))
    flags = []
    if n_inside == 0:
        flags.append(TRUTH_EMPTY)
    elif n_inside == true.size:
        flags.append("truth-full")
    names = (
        "auc_judd", "auprc", "prevalence", "pointing_hit", "tied_fraction", "tied_inside",
        "energy_inside", "thresholded_iou",
    )  # fmt: skip
    scores = dict.fromkeys(names, float("nan"))
    scores["prevalence"] = n_inside / true.size
    if heat.dtype.kind == "f" and not (np.isfinite(heat.min()) and np.isfinite(heat.max())):
        return Scores(scores, (*flags, "heatmap-not-finite"))
    where = pointing(heat, true)
    if where.tied_fraction == 1:
        flags.append("heatmap-constant")
    scores["tied_fraction"] = where.tied_fraction
    if n_inside:
        ranking = rank(heat, true)
        scores["auc_judd"] = ranking.auc_judd
        scores["auprc"] = ranking.auprc
        scores["pointing_hit"] = float(where.hit)
        scores["tied_inside"] = where.tied_inside
        scores["energy_inside"] = energy_inside(heat, true)
        scores["thresholded_iou"] = thresholded_iou(heat, true, threshold)
    return Scores(scores, tuple(flags))
