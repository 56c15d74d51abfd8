"""All scores of a mask or a heatmap at once: of a plane, a volume, each label, each object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.localisation import (
    check_heatmap,
    energy_inside,
    pointing,
    rank,
    thresholded_iou,
)
from napari_cam_sam.metrics.masks import (
    TRUTH_EMPTY,
    as_bool,
    bounding_box,
    check_labels,
    check_spacing,
    mask_pair,
)
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE, nsd, surface_distances

__all__ = [
    "HEATMAP_CONSTANT",
    "HEATMAP_NOT_FINITE",
    "TRUTH_EMPTY",
    "TRUTH_FULL",
    "ObjectScores",
    "Scores",
    "score_heatmap",
    "score_labels",
    "score_masks",
    "score_objects",
    "score_planes",
]

TRUTH_FULL = "truth-full"
HEATMAP_CONSTANT = "heatmap-constant"
HEATMAP_NOT_FINITE = "heatmap-not-finite"


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
    flags: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class ObjectScores:
    """Scores of one predicted object and the truth object that it is matched with.

    Attributes
    ----------
    prediction_id, truth_id : int or None
        None where one has no partner.
    scores : Scores
    """

    prediction_id: int | None
    truth_id: int | None
    scores: Scores


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
    """
    predicted, true = mask_pair(prediction, truth)
    counts = overlap(predicted, true)
    distances = surface_distances(predicted, true, spacing)
    values = {
        "iou": counts.iou,
        "dice": counts.dice,
        "pixel_accuracy": counts.pixel_accuracy,
        "hd95": distances.hd95,
        "assd": distances.assd,
        "nsd": nsd(predicted, true, spacing, tolerance),
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
    """
    heat, true = check_heatmap(values, truth)
    n_inside = int(np.count_nonzero(true))
    flags = []
    if n_inside == 0:
        flags.append(TRUTH_EMPTY)
    elif n_inside == true.size:
        flags.append(TRUTH_FULL)
    names = (
        "auc_judd", "auprc", "prevalence", "pointing_hit", "tied_fraction", "tied_inside",
        "energy_inside", "thresholded_iou",
    )  # fmt: skip
    scores = dict.fromkeys(names, float("nan"))
    scores["prevalence"] = n_inside / true.size
    if heat.dtype.kind == "f" and not (np.isfinite(heat.min()) and np.isfinite(heat.max())):
        return Scores(scores, (*flags, HEATMAP_NOT_FINITE))
    where = pointing(heat, true)
    if where.tied_fraction == 1:
        flags.append(HEATMAP_CONSTANT)
    scores["tied_fraction"] = where.tied_fraction
    if n_inside:
        ranking = rank(heat, true)
        scores["auc_judd"] = ranking.auc_judd
        scores["auprc"] = ranking.auprc()
        scores["pointing_hit"] = float(where.hit)
        scores["tied_inside"] = where.tied_inside
        scores["energy_inside"] = energy_inside(heat, true)
        scores["thresholded_iou"] = thresholded_iou(heat, true, threshold)
    return Scores(scores, tuple(flags))


def score_planes(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    axis: int,
    indices: Iterable[int],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> dict[int, Scores]:
    """Score the planes of a volume one by one.

    Parameters
    ----------
    prediction, truth : array of bool or int, shape (planes, rows, columns)
    spacing : sequence of three float
    axis : int
        Along which the planes lie, 0 to 2.
    indices : iterable of int
        Which planes.
    tolerance : float
        Of NSD.

    Returns
    -------
    dict of int to Scores
        By plane; see `score_masks`.

    Raises
    ------
    CamSamError
        For arrays or a spacing that do not fit together, or a plane that is not there.
    """
    predicted, true = _same_shape(prediction, truth)
    if not 0 <= axis < predicted.ndim:
        raise CamSamError(f"There is no axis {axis} in {predicted.ndim}D labels.")
    scale = check_spacing(spacing, predicted.ndim)
    in_plane = (*scale[:axis], *scale[axis + 1 :])
    result = {}
    for index in indices:
        if not 0 <= index < predicted.shape[axis]:
            raise CamSamError(
                f"There is no plane {index} along axis {axis}: it has {predicted.shape[axis]}."
            )
        plane = (slice(None),) * axis + (index,)
        result[index] = score_masks(predicted[plane], true[plane], in_plane, tolerance=tolerance)
    return result


def score_labels(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    labels: Iterable[int] | None = None,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> dict[int, Scores]:
    """Score each label value as a mask of its own.

    Parameters
    ----------
    prediction, truth : array of int, of one shape, 2D or 3D
    spacing : sequence of float
    labels : iterable of int, optional
        Which values; by default every positive one that occurs in either.
    tolerance : float
        Of NSD.

    Returns
    -------
    dict of int to Scores
        By label; see `score_masks`.

    Raises
    ------
    CamSamError
        For arrays or a spacing that do not fit together.
    """
    predicted, true = _same_shape(prediction, truth)
    if labels is None:
        labels = sorted({*_positive_values(predicted), *_positive_values(true)})
    return {
        label: score_masks(predicted == label, true == label, spacing, tolerance=tolerance)
        for label in labels
    }


def score_objects(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> list[ObjectScores]:
    """Match predicted objects with truth objects, whatever their ids, and score each pair.

    Pairs are one to one and have the largest sum of IoU; a pair without overlap is no pair.

    Parameters
    ----------
    prediction, truth : array of int, of one shape, 2D or 3D
        Every positive value is an object.
    spacing : sequence of float
    tolerance : float
        Of NSD.

    Returns
    -------
    list of ObjectScores
        The truth's objects by id, then the predicted ones without a partner. One without a
        partner is scored against an empty mask and flagged so.

    Raises
    ------
    CamSamError
        For arrays or a spacing that do not fit together.
    """
    predicted, true = _same_shape(prediction, truth)
    ours, theirs = _positive_values(predicted), _positive_values(true)
    ious = _pairwise_iou(predicted, true, ours, theirs)
    partners = {
        theirs[column]: ours[row]
        for row, column in zip(*linear_sum_assignment(ious, maximize=True), strict=True)
        if ious[row, column] > 0
    }
    pairs: list[tuple[int | None, int | None]] = [(partners.get(one), one) for one in theirs]
    pairs += [(one, None) for one in ours if one not in partners.values()]
    nothing = np.zeros(predicted.shape, dtype=bool)
    result = []
    for mine, other in pairs:
        scores = score_masks(
            nothing if mine is None else predicted == mine,
            nothing if other is None else true == other,
            spacing,
            tolerance=tolerance,
        )
        result.append(ObjectScores(mine, other, scores))
    return result


def _pairwise_iou(
    predicted: NDArray[Any],
    true: NDArray[Any],
    ours: list[int],
    theirs: list[int],
) -> NDArray[np.float64]:
    """IoU of each predicted object with each truth object, shape (len(ours), len(theirs))."""
    ious = np.zeros((len(ours), len(theirs)))
    areas = [int(np.count_nonzero(true == other)) for other in theirs]
    for row, mine in enumerate(ours):
        covered = true[predicted == mine]
        for column, other in enumerate(theirs):
            shared = int(np.count_nonzero(covered == other))
            ious[row, column] = shared / (covered.size + areas[column] - shared)
    return ious


def _positive_values(labels: NDArray[Any]) -> list[int]:
    window = bounding_box(as_bool(labels))
    values = () if window is None else np.unique(labels[window])
    return [int(value) for value in values if value > 0]


def _same_shape(prediction: ArrayLike, truth: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    predicted, true = check_labels(prediction, "prediction"), check_labels(truth, "truth")
    if predicted.shape != true.shape:
        raise CamSamError(
            f"The prediction has shape {predicted.shape} but the truth {true.shape}; "
            "they must be of one shape."
        )
    return predicted, true
