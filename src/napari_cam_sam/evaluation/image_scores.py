"""Scores of masks, heatmaps and prompts against a truth: for runs, studies, docks and files alike.

A mask is scored wherever there is a truth. A heatmap and prompts are scored where the truth is not
empty, since they can only point at what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.truth import planes_slice, truth_volume
from napari_cam_sam.images.image import Image
from napari_cam_sam.metrics.masks import (
    as_bool,
    bounding_box,
    check_labels,
    check_spacing,
    labels_pair,
)
from napari_cam_sam.metrics.prompt_quality import score_prompts
from napari_cam_sam.metrics.scoring import Scores, score_heatmap, score_masks, score_window
from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE
from napari_cam_sam.prompts.data import PlanePrompts

__all__ = [
    "ObjectScores",
    "merge_scores",
    "score_image",
    "score_labels",
    "score_objects",
    "score_planes",
    "score_pointing",
    "score_volume",
]


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


def score_image(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    heatmap: NDArray[Any] | None = None,
    prompts: PlanePrompts | None = None,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Scores:
    """Score a plane or a volume as a whole: its mask, and what points at the truth.

    Parameters
    ----------
    prediction, truth : array of bool or int, of one shape, 2D or 3D
        What is not 0 is object.
    spacing : sequence of float
    heatmap : ndarray of float, same shape, optional
        In [0, 1].
    prompts : PlanePrompts, optional
        Of a plane.
    tolerance : float
        Of NSD.

    Returns
    -------
    Scores
        Of `score_masks`, and of `score_pointing`.

    Raises
    ------
    CamSamError
        For arrays or a spacing that do not fit together.
    """
    scores = score_masks(prediction, truth, spacing, tolerance=tolerance)
    return merge_scores(scores, score_pointing(truth, spacing, heatmap, prompts))


def score_pointing(
    truth: ArrayLike,
    spacing: Sequence[float],
    heatmap: NDArray[Any] | None = None,
    prompts: PlanePrompts | None = None,
) -> Scores:
    """Score how well a heatmap and prompts point at a truth.

    Parameters
    ----------
    truth : array of bool or int, 2D or 3D
        What is not 0 is truth.
    spacing : sequence of float
    heatmap : ndarray of float, same shape, optional
        In [0, 1].
    prompts : PlanePrompts, optional
        Of a plane.

    Returns
    -------
    Scores
        Of `score_heatmap` and `score_prompts`; nothing where the truth is empty.

    Raises
    ------
    CamSamError
        For arrays or a spacing that do not fit together.
    """
    true = as_bool(check_labels(truth, "truth"))
    parts: list[Scores] = []
    if true.any():
        if heatmap is not None:
            parts.append(score_heatmap(heatmap, true))
        if prompts is not None and prompts.objects:
            parts.append(Scores(score_prompts(prompts, true, spacing)))
    return merge_scores(*parts)


def merge_scores(*parts: Scores) -> Scores:
    """Return the scores of several parts as one.

    Parameters
    ----------
    *parts : Scores

    Returns
    -------
    Scores
        All values, and all flags, each flag once.
    """
    values = {name: value for part in parts for name, value in part.values.items()}
    return Scores(values, tuple(dict.fromkeys(flag for part in parts for flag in part.flags)))


def score_planes(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    axis: int,
    indices: Iterable[int] | None = None,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> dict[int, Scores]:
    """Score the masks of a volume plane by plane.

    Parameters
    ----------
    prediction, truth : array of bool or int, shape (planes, rows, columns)
    spacing : sequence of three float
    axis : int
        Along which the planes lie, 0 to 2.
    indices : iterable of int, optional
        Which planes; by default those on which either has something.
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
    predicted, true = labels_pair(prediction, truth)
    if not 0 <= axis < predicted.ndim:
        raise CamSamError(f"There is no axis {axis} in {predicted.ndim}D labels.")
    scale = check_spacing(spacing, predicted.ndim)
    in_plane = (*scale[:axis], *scale[axis + 1 :])
    if indices is None:
        others = tuple(a for a in range(predicted.ndim) if a != axis)
        indices = np.flatnonzero((as_bool(predicted) | as_bool(true)).any(axis=others)).tolist()
    result = {}
    for index in indices:
        if not 0 <= index < predicted.shape[axis]:
            raise CamSamError(
                f"There is no slice {index} along axis {axis}: it has {predicted.shape[axis]}."
            )
        plane = (slice(None),) * axis + (index,)
        result[index] = score_masks(predicted[plane], true[plane], in_plane, tolerance=tolerance)
    return result


def score_labels(
    prediction: ArrayLike,
    truth: ArrayLike,
    spacing: Sequence[float],
    labels: Iterable[int] | None = None,
    heatmap: NDArray[Any] | None = None,
    prompts: PlanePrompts | None = None,
    masks: Mapping[int, NDArray[np.bool_]] | None = None,
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
    heatmap : ndarray of float, same shape, optional
        In [0, 1]; the same for every label.
    prompts : PlanePrompts, optional
        Of a plane; each label is scored with the objects that have it as their id.
    masks : mapping of int to ndarray of bool, optional
        The mask of each label where they overlap, which labels cannot say.
    tolerance : float
        Of NSD.

    Returns
    -------
    dict of int to Scores
        By label; see `score_image`.

    Raises
    ------
    CamSamError
        For arrays or a spacing that do not fit together.
    """
    predicted, true = labels_pair(prediction, truth)
    window, score = _in_window(predicted, true, spacing, tolerance)
    if labels is None:
        labels = sorted({*_positive_values(predicted), *_positive_values(true)})
    result = {}
    for label in labels:
        mask, answer = predicted == label if masks is None else masks[label], true == label
        own = prompts
        if prompts is not None:
            objects = tuple(one for one in prompts.objects if one.object_id == label)
            own = replace(prompts, objects=objects)
        pointing = score_pointing(answer, spacing, heatmap, own)
        result[label] = merge_scores(score(mask[window], answer[window]), pointing)
    return result


def score_volume(
    labels: NDArray[Any],
    truth: Image,
    spacing: Sequence[float],
    axis: int,
    indices: range,
    *,
    label: int | None = None,
    heatmap: NDArray[Any] | None = None,
    labels_of_truth: Collection[int] = (),
) -> tuple[Scores, dict[int, Scores]]:
    """Score planes that follow each other as one volume.

    Parameters
    ----------
    labels : ndarray of int, shape of the truth's grid
    truth : Image
    spacing : sequence of three float
        Of the image.
    axis : int
    indices : range
        Of the planes; the others do not count.
    label : int or None
        The label of the truth that is meant; None for all that is not 0.
    heatmap : ndarray of float, shape of the truth's grid, optional
    labels_of_truth : collection of int
        Labels that are scored one by one, too, where there are several.

    Returns
    -------
    whole : Scores
        See `score_image`.
    by_label : dict of int to Scores
        Of the masks alone, see `score_labels`.
    """
    inside = planes_slice(axis, indices)
    answer = truth_volume(truth, axis, indices, label)
    whole = score_image(
        labels[inside], answer, spacing, None if heatmap is None else heatmap[inside]
    )
    if len(labels_of_truth) < 2:
        return whole, {}
    return whole, score_labels(labels[inside], answer, spacing, sorted(labels_of_truth))


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
    predicted, true = labels_pair(prediction, truth)
    # Whatever the size of the volume, an object costs no more than the part that holds objects.
    window, score = _in_window(predicted, true, spacing, tolerance)
    predicted, true = predicted[window], true[window]
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
    scored = []
    for mine, other in pairs:
        mask = nothing if mine is None else predicted == mine
        answer = nothing if other is None else true == other
        scored.append(ObjectScores(mine, other, score(mask, answer)))
    return scored


def _in_window(
    predicted: NDArray[Any], true: NDArray[Any], spacing: Sequence[float], tolerance: float
) -> tuple[tuple[slice, ...], Callable[[ArrayLike, ArrayLike], Scores]]:
    """Return the window that holds all objects, and what scores masks that are cut to it."""
    check_spacing(spacing, predicted.ndim)
    window = bounding_box(as_bool(predicted) | as_bool(true))
    if window is None:
        window = (slice(0, 1),) * predicted.ndim
    origin = tuple(part.start for part in window)

    return window, partial(
        score_window, spacing=spacing, tolerance=tolerance, origin=origin, size=predicted.size
    )


def _pairwise_iou(
    predicted: NDArray[Any], true: NDArray[Any], ours: list[int], theirs: list[int]
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
