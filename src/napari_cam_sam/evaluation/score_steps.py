"""The scores of an image step by step: its slices, its objects, then all of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.image_scores import (
    merge_scores,
    score_image,
    score_objects,
    score_pointing,
)
from napari_cam_sam.evaluation.truth import keep_label
from napari_cam_sam.images.image import Image
from napari_cam_sam.metrics.curves import Curve, precision_recall_curve, roc_curve
from napari_cam_sam.metrics.localisation import rank
from napari_cam_sam.metrics.masks import bounding_box
from napari_cam_sam.metrics.scoring import Scores

__all__ = [
    "MOST_OBJECTS",
    "ScoredRow",
    "ScoringInput",
    "SliceScores",
    "VolumeScores",
    "score_slice",
    "score_steps",
]

MOST_OBJECTS = 200
"""More objects than these are not scored one by one: the volume counts them all."""


@dataclass(frozen=True)
class ScoredRow:
    """The scores of one plane, of one object, or of the image as a whole.

    Attributes
    ----------
    kind : {"plane", "image", "object", "extra", "volume"}
        ``"image"`` is the only plane of a 2D image; ``"object"`` is one of the truth, matched or
        missed, and ``"extra"`` a predicted one without partner.
    number : int
        Index of the plane, or id of the object.
    plane : int or None
        Where to look: the plane itself, or that with most of the object.
    scores : Scores
    partner : int or None
        The predicted object that one of the truth is matched with.
    truth_planes, empty_planes : int
        Of the volume or an object of the truth: how many planes along the axis hold it in the
        truth, and on how many of these nothing at all is predicted. These count as missed,
        whether they were looked at or not.
    """

    kind: Literal["plane", "image", "object", "extra", "volume"]
    number: int
    plane: int | None
    scores: Scores
    partner: int | None = None
    truth_planes: int = 0
    empty_planes: int = 0


@dataclass(frozen=True, eq=False)
class ScoringInput:
    """What is scored; `taken` makes sure that nobody else writes into it meanwhile.

    Attributes
    ----------
    image : Image
        Its grid and geometry; its pixels are not read.
    axis : int
    prediction, truth : array of bool or int, shape of the image's grid
    label : int or None
        None for all that is not 0.
    heatmap : array of float or None
        The planes of ``heatmap_planes``, shape (n, rows, columns).
    heatmap_planes : tuple of int
    heatmap_name : str
    """

    image: Image
    axis: int
    prediction: Any
    truth: Any
    label: int | None = None
    heatmap: Any = None
    heatmap_planes: tuple[int, ...] = ()
    heatmap_name: str = "The heatmap"

    def taken(self) -> ScoringInput:
        """Copy what lies in memory, which others may write into; to be called in a thread.

        What lies on disk is read where it is needed.
        """
        arrays = {name: getattr(self, name) for name in ("prediction", "truth", "heatmap")}
        own: dict[str, Any] = {
            name: np.array(one) for name, one in arrays.items() if isinstance(one, np.ndarray)
        }
        return replace(self, **own)

    def plane(self, labels: Any, index: int) -> NDArray[Any]:
        """Cut a plane, with the label that is meant alone."""
        return keep_label(np.asarray(labels[self.image.plane_index(self.axis, index)]), self.label)

    def heat(self, index: int) -> NDArray[Any] | None:
        """Return the heatmap of a plane, None where there is none."""
        if self.heatmap is None or index not in self.heatmap_planes:
            return None
        return np.asarray(self.heatmap[self.heatmap_planes.index(index)])


@dataclass(frozen=True, eq=False)
class SliceScores:
    """A plane that was scored.

    Attributes
    ----------
    index : int
    row : ScoredRow or None
        None where neither has anything.
    mark : int
        Says of what: it differs once either mask does.
    agreement : ndarray of uint8, shape (rows, columns)
        1 in both, 2 in the prediction alone, 3 in the truth alone.
    """

    index: int
    row: ScoredRow | None
    mark: int
    agreement: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class VolumeScores:
    """What was scored of the image as a whole.

    Attributes
    ----------
    rows : list of ScoredRow
        Of the objects, or of the volume.
    roc, precision_recall : Curve or None
        Of the heatmap, where there is one.
    """

    rows: list[ScoredRow]
    roc: Curve | None = None
    precision_recall: Curve | None = None


def score_slice(job: ScoringInput, index: int) -> SliceScores:
    """Score one plane: the mask, and the heatmap where there is one.

    Parameters
    ----------
    job : ScoringInput
    index : int
        Along the axis of the job.

    Returns
    -------
    SliceScores
    """
    predicted, true = (job.plane(one, index) != 0 for one in (job.prediction, job.truth))
    agreement = np.where(predicted, np.where(true, 1, 2), np.where(true, 3, 0)).astype(np.uint8)
    mark = zlib.crc32(np.ascontiguousarray(agreement).data)
    if not agreement.any():
        return SliceScores(index, None, mark, agreement)
    spacing = job.image.geometry.plane_spacing(job.axis)
    scores = score_image(predicted, true, spacing, job.heat(index))
    kind: Literal["plane", "image"] = "image" if job.image.spatial_ndim == 2 else "plane"
    return SliceScores(index, ScoredRow(kind, index, index, scores), mark, agreement)


def score_steps(job: ScoringInput) -> Iterator[SliceScores | VolumeScores]:
    """Score all planes, then the objects, then the volume; each step may be the last wanted.

    Parameters
    ----------
    job : ScoringInput

    Yields
    ------
    SliceScores
        Of every plane along the axis.
    VolumeScores
        Twice: with the objects' rows, then with the volume's (not in 2D) and the curves.

    Raises
    ------
    CamSamError
        For a heatmap with values outside of 0 to 1.
    """
    if job.heatmap is not None:
        heat = np.asarray(job.heatmap)
        low, high = float(heat.min()), float(heat.max())
        if low < 0 or high > 1:
            raise CamSamError(
                f"{job.heatmap_name} has values from {low:.4g} to {high:.4g}: those of a heatmap "
                "lie between 0 and 1."
            )
    for index in range(job.image.n_planes(job.axis)):
        yield score_slice(job, index)
    # Whole from here on, where the arrays may be read from disk.
    predicted, true = (
        keep_label(np.asarray(one), job.label) for one in (job.prediction, job.truth)
    )
    yield VolumeScores(_object_rows(job, predicted, true))
    yield _volume(job, predicted != 0, true != 0)


def _object_rows(job: ScoringInput, predicted: NDArray[Any], true: NDArray[Any]) -> list[ScoredRow]:
    if max(np.unique(one[one != 0]).size for one in (predicted, true)) > MOST_OBJECTS:
        return []
    scored = score_objects(predicted, true, job.image.geometry.spacing)
    # Planes are counted in the part that holds objects: a large volume costs no more.
    window = bounding_box((predicted != 0) | (true != 0))
    if window is None:
        return []
    predicted, true = predicted[window], true[window]
    first = window[job.axis].start if predicted.ndim == 3 else 0
    filled = _areas(job, predicted) > 0
    rows = []
    for one in scored:
        extra = one.truth_id is None
        of, number = (predicted, one.prediction_id) if extra else (true, one.truth_id)
        areas = _areas(job, of == number)
        counts = (0, 0) if extra else _planes_without(job, areas > 0, filled)
        place = int(number or 0), first + int(areas.argmax())
        kind: Literal["object", "extra"] = "extra" if extra else "object"
        rows.append(ScoredRow(kind, *place, one.scores, one.prediction_id, *counts))
    return rows


def _areas(job: ScoringInput, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Count what is not 0 on each plane along the axis; an image of two axes is one plane."""
    if labels.ndim == 2:
        return np.array([np.count_nonzero(labels)])
    others = tuple(a for a in range(3) if a != job.axis)
    return np.asarray(np.count_nonzero(labels, axis=others))


def _planes_without(
    job: ScoringInput, true: NDArray[np.bool_], filled: NDArray[np.bool_]
) -> tuple[int, int]:
    """Count planes of the truth, and those of them with nothing predicted; none in 2D."""
    if job.image.spatial_ndim == 2:
        return 0, 0
    return int(true.sum()), int((true & ~filled).sum())


def _volume(
    job: ScoringInput, predicted: NDArray[np.bool_], true: NDArray[np.bool_]
) -> VolumeScores:
    spacing, pointing = job.image.geometry.spacing, Scores({})
    roc = precision_recall = None
    if job.heatmap is not None and job.heatmap_planes:
        # Lying as in the image, where the sums of a run are made.
        axis = 0 if job.image.spatial_ndim == 2 else job.axis
        heat = np.moveaxis(np.asarray(job.heatmap), 0, axis)
        planes = [job.plane(job.truth, index) != 0 for index in job.heatmap_planes]
        answer = np.stack(planes, axis=axis)
        pointing = score_pointing(answer, spacing, heat)
        if np.isfinite(heat).all():
            ranking = rank(heat, answer)
            roc, precision_recall = roc_curve(ranking), precision_recall_curve(ranking)
    if predicted.ndim == 2:
        return VolumeScores([], roc, precision_recall)
    scores = merge_scores(score_image(predicted, true, spacing), pointing)
    counts = _planes_without(job, _areas(job, true) > 0, _areas(job, predicted) > 0)
    row = ScoredRow("volume", 0, None, scores, None, *counts)
    return VolumeScores([row], roc, precision_recall)
