"""What stands beside a truth: a mask plane by plane and as a whole, and the ways to a mask.

PyTorch is not needed to score a mask: it is imported by what segments, and only there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.metrics.curves import Curve, precision_recall_of, roc_of
from napari_cam_sam.metrics.localisation import rank
from napari_cam_sam.metrics.masks import bounding_box
from napari_cam_sam.metrics.overlap import Overlap, overlap
from napari_cam_sam.metrics.scoring import Scores, score_heatmap, score_masks, score_objects
from napari_cam_sam.metrics.summary import percent_of_reference
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.prompts.regions import find_regions, foreground_threshold
from napari_cam_sam.prompts.strategies import (
    adaptive_negatives,
    prompts_from_heatmap,
    prompts_from_mask,
    strategy_parameters,
)
from napari_cam_sam.sam.mask_choice import MaskChoice
from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = [
    "CAM_ALONE",
    "CAM_TO_SAM",
    "EDITED",
    "MOST_OBJECTS",
    "TRUTH_PROMPTS",
    "VARIANTS",
    "ComparedPlane",
    "PlaneToCompare",
    "ScoredRow",
    "ScoringInput",
    "SliceScores",
    "VariantSummary",
    "VolumeScores",
    "compare_plane",
    "compare_planes",
    "heatmap_mask",
    "score_plane",
    "score_steps",
    "summarise_comparison",
]

Encode = Callable[[NDArray[np.uint8]], Embedding]

CAM_ALONE = "CAM alone"
CAM_TO_SAM = "CAM → SAM"
EDITED = "edited"
TRUTH_PROMPTS = "truth prompts"
VARIANTS = (CAM_ALONE, CAM_TO_SAM, EDITED, TRUTH_PROMPTS)

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
        """Copy what lies in memory, which others may write into; to be called in a thread."""
        return replace(
            self,
            prediction=_own(self.prediction),
            truth=_own(self.truth),
            heatmap=_own(self.heatmap),
        )

    def plane(self, labels: Any, index: int) -> NDArray[Any]:
        """Cut a plane, with the label that is meant alone."""
        return self.chosen(np.asarray(labels[self.image.slot(self.axis, index)]))

    def chosen(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Keep the label that is meant."""
        if self.label is None:
            return labels
        return np.where(labels == self.label, labels, np.zeros((), labels.dtype))

    def heat(self, index: int) -> NDArray[Any] | None:
        """Give the heatmap of a plane, None where there is none."""
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
    """What was scored of the image as a whole."""

    rows: list[ScoredRow]
    roc: Curve | None = None
    precision_recall: Curve | None = None


def score_plane(job: ScoringInput, index: int) -> SliceScores:
    """Score one plane: the mask, and the heatmap where there is one."""
    predicted, true = (job.plane(one, index) != 0 for one in (job.prediction, job.truth))
    agreement = np.where(predicted, np.where(true, 1, 2), np.where(true, 3, 0)).astype(np.uint8)
    mark = zlib.crc32(np.ascontiguousarray(agreement).data)
    if not agreement.any():
        return SliceScores(index, None, mark, agreement)
    scores = score_masks(predicted, true, job.image.geometry.plane_spacing(job.axis))
    heat = job.heat(index)
    if heat is not None:
        found = score_heatmap(heat, true)
        flags = tuple(dict.fromkeys((*scores.flags, *found.flags)))
        scores = Scores({**scores.values, **found.values}, flags)
    kind: Literal["plane", "image"] = "image" if job.image.spatial_ndim == 2 else "plane"
    return SliceScores(index, ScoredRow(kind, index, index, scores), mark, agreement)


def score_steps(job: ScoringInput) -> Iterator[SliceScores | VolumeScores]:
    """Score all planes, then the objects, then the volume; each step may be the last wanted.

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
        yield score_plane(job, index)
    # Whole from here on, where the arrays may be read from disk.
    predicted, true = (job.chosen(np.asarray(one)) for one in (job.prediction, job.truth))
    yield VolumeScores(_object_rows(job, predicted, true))
    yield _volume(job, predicted != 0, true != 0)


def _object_rows(job: ScoringInput, predicted: NDArray[Any], true: NDArray[Any]) -> list[ScoredRow]:
    # No score of the table counts what lies outside of all objects.
    window = bounding_box((predicted != 0) | (true != 0))
    if window is None:
        return []
    predicted, true = predicted[window], true[window]
    filled = _areas(job, predicted) > 0
    if max(np.unique(one[one != 0]).size for one in (predicted, true)) > MOST_OBJECTS:
        return []
    rows = []
    for one in score_objects(predicted, true, job.image.geometry.spacing):
        kind: Literal["object", "extra"] = "extra" if one.truth_id is None else "object"
        of, number = (true, one.truth_id) if kind == "object" else (predicted, one.prediction_id)
        areas = _areas(job, of == number)
        plane = int(areas.argmax()) + (window[job.axis].start if of.ndim == 3 else 0)
        counts = _planes_without(job, areas > 0, filled) if kind == "object" else (0, 0)
        rows.append(
            ScoredRow(kind, int(number or 0), plane, one.scores, one.prediction_id, *counts)
        )
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
    rows, flat = [], predicted.ndim == 2
    scores = None if flat else score_masks(predicted, true, job.image.geometry.spacing)
    roc = precision_recall = None
    if job.heatmap is not None and job.heatmap_planes:
        heat = np.asarray(job.heatmap)
        answer = np.stack([job.plane(job.truth, i) != 0 for i in job.heatmap_planes])
        found = score_heatmap(heat, answer)
        if np.isfinite(heat).all():
            ranking = rank(heat, answer)
            roc, precision_recall = roc_of(ranking), precision_recall_of(ranking)
        if scores is not None:
            flags = tuple(dict.fromkeys((*scores.flags, *found.flags)))
            scores = Scores({**scores.values, **found.values}, flags)
    if scores is not None:
        counts = _planes_without(job, _areas(job, true) > 0, _areas(job, predicted) > 0)
        rows.append(ScoredRow("volume", 0, None, scores, None, *counts))
    return VolumeScores(rows, roc, precision_recall)


@dataclass(frozen=True, eq=False)
class PlaneToCompare:
    """What is known of a plane before it is compared.

    Attributes
    ----------
    index : int
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Windowed.
    heatmap : ndarray of float32, shape (rows, columns), or None
        None where there is no evidence.
    truth : ndarray of bool or int, shape (rows, columns)
        What is not 0 is truth; every positive value gets prompts of its own.
    prompts : PlanePrompts or None
        As the user left them; None where nothing was edited.
    labels : ndarray of bool or int, shape (rows, columns), or None
        What the user accepted, which goes before ``prompts``.
    """

    index: int
    plane: NDArray[np.uint8]
    heatmap: NDArray[np.floating] | None
    truth: NDArray[Any]
    prompts: PlanePrompts | None = None
    labels: NDArray[Any] | None = None


@dataclass(frozen=True)
class ComparedPlane:
    """How each variant agrees with the truth on a plane.

    Attributes
    ----------
    index : int
    overlaps : dict of str to Overlap
        By variant.
    """

    index: int
    overlaps: dict[str, Overlap]

    @property
    def counts(self) -> bool:
        """Whether the truth or any variant has something here."""
        return any(
            one.true_positives + one.false_positives + one.false_negatives
            for one in self.overlaps.values()
        )


@dataclass(frozen=True)
class VariantSummary:
    """One variant over all planes that count.

    Attributes
    ----------
    variant : str
    dice, iou : float
        Means over the planes where the truth or any variant is not empty, the same planes for
        all; NaN where there is none.
    volume_dice : float
        Of all planes as one volume.
    percent_of_truth_prompts : float
        Mean Dice as a percentage of that of the truth's prompts; NaN where that is 0.
    n_planes : int
        How many planes count.
    """

    variant: str
    dice: float
    iou: float
    volume_dice: float
    percent_of_truth_prompts: float
    n_planes: int


def heatmap_mask(
    heatmap: NDArray[np.floating] | None,
    parameters: PromptParameters,
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:
    """Give the regions of a heatmap that prompts are taken from, as a mask: CAM alone.

    Parameters
    ----------
    heatmap : ndarray of float, shape (rows, columns), or None
    parameters : PromptParameters
        Its threshold rule, components, number of objects and smallest area.
    shape : tuple of int
        Of the mask.

    Returns
    -------
    ndarray of bool
        Empty where `prompts_from_heatmap` finds nothing.
    """
    mask = np.zeros(shape, dtype=bool)
    if heatmap is None or not prompts_from_heatmap(heatmap, parameters).objects:
        return mask
    regions = find_regions(
        heatmap > foreground_threshold(heatmap, parameters),
        heatmap,
        parameters.components,
        max_objects=parameters.max_objects,
        min_area=parameters.min_area,
    )
    for region in regions:
        mask[region.window] |= region.mask
    return mask


def compare_plane(
    given: PlaneToCompare,
    segmenter: Segmenter,
    encode: Encode,
    parameters: PromptParameters,
    *,
    mask_choice: MaskChoice = "best",
) -> dict[str, NDArray[np.bool_]]:
    """Segment a plane in each of the four ways.

    Parameters
    ----------
    given : PlaneToCompare
    segmenter : Segmenter
    encode : callable
        Gives the embedding of a windowed plane from this segmenter, e.g. one that is kept. It is
        called once, and only where something has prompts.
    parameters : PromptParameters
        The strategy that turns the heatmap into prompts.
    mask_choice : {"single", "first", "best", "oracle"}

    Returns
    -------
    dict of str to ndarray of bool, shape (rows, columns)
        In the order of `VARIANTS`. A plane that was not edited has the mask of `CAM_TO_SAM` as
        that of `EDITED`.

    Raises
    ------
    CamSamError
        For arrays that do not fit the plane.
    """
    shape = given.plane.shape[:2]
    for name in ("heatmap", "truth", "labels"):
        array = getattr(given, name)
        if array is not None and array.shape != shape:
            raise CamSamError(
                f"Plane {given.index}: the {name} has shape {array.shape}, the plane {shape}."
            )
    embedding: Embedding | None = None

    def segment(prompts: PlanePrompts, by_label: bool = False) -> NDArray[np.bool_]:
        nonlocal embedding
        if not prompts.objects:
            return np.zeros(shape, dtype=bool)
        from napari_cam_sam.pipeline import segment_plane

        embedding = embedding or encode(given.plane)
        labels, _ = segment_plane(
            segmenter, embedding, prompts,
            mask_choice=mask_choice, truth=given.truth, by_label=by_label,
        )  # fmt: skip
        return np.asarray(labels > 0)

    from_cam = np.zeros(shape, dtype=bool)
    if given.heatmap is not None:
        prompts = prompts_from_heatmap(given.heatmap, parameters)
        from_cam = segment(prompts)
        if parameters.negatives == "adaptive" and from_cam.any():
            leaks = adaptive_negatives(given.heatmap, from_cam, parameters)
            changed = tuple(replace(o, points=o.points + leaks) for o in prompts.objects)
            from_cam = segment(replace(prompts, objects=changed)) if leaks else from_cam
    edited = from_cam
    if given.labels is not None:
        edited = given.labels != 0
    elif given.prompts is not None:
        edited = segment(given.prompts)
    # With the kind of prompt and the margin of the rule that it is to be the bound of. Several
    # components of a label are parts of it, as in a run with prompts from the truth.
    bound = replace(
        strategy_parameters("truth-box-point"),
        kind=parameters.kind,
        margin=parameters.margin,
        one_object=True,
    )
    whole = given.truth.dtype == np.bool_
    from_truth = segment(prompts_from_mask(given.truth, bound), by_label=not whole)
    alone = heatmap_mask(given.heatmap, parameters, shape)
    return dict(zip(VARIANTS, (alone, from_cam, edited, from_truth), strict=True))


def compare_planes(
    planes: Iterable[PlaneToCompare],
    segmenter: Segmenter,
    encode: Encode,
    parameters: PromptParameters,
    *,
    mask_choice: MaskChoice = "best",
) -> Iterator[ComparedPlane]:
    """Compare plane by plane, holding the masks of one.

    Parameters
    ----------
    planes : iterable of PlaneToCompare
        Read one at a time.
    segmenter, encode, parameters, mask_choice
        As for `compare_plane`.

    Yields
    ------
    ComparedPlane
    """
    for given in planes:
        masks = compare_plane(given, segmenter, encode, parameters, mask_choice=mask_choice)
        truth = given.truth != 0
        yield ComparedPlane(given.index, {v: overlap(mask, truth) for v, mask in masks.items()})


def summarise_comparison(planes: Sequence[ComparedPlane]) -> tuple[VariantSummary, ...]:
    """Bring a comparison to one line a variant, in the order of `VARIANTS`."""
    counted = [plane for plane in planes if plane.counts]
    reference = [plane.overlaps[TRUTH_PROMPTS].dice for plane in counted]
    lines = []
    for variant in VARIANTS:
        found = [plane.overlaps[variant] for plane in counted]
        dice = [one.dice for one in found]
        sums = (
            sum(getattr(one, name) for one in found)
            for name in (
                "true_positives", "false_positives", "false_negatives", "true_negatives"
            )
        )  # fmt: skip
        lines.append(
            VariantSummary(
                variant,
                float(np.mean(dice)) if dice else float("nan"),
                float(np.mean([one.iou for one in found])) if found else float("nan"),
                Overlap(*sums).dice if found else float("nan"),
                percent_of_reference(dice, reference),
                len(counted),
            )
        )
    return tuple(lines)


def _own(array: Any) -> Any:
    """Copy an array in memory; one on disk is read where it is needed."""
    return np.array(array) if isinstance(array, np.ndarray) else array
