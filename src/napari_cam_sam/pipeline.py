"""Heatmap → prompts → masks → scores, for one plane or a whole image."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.preprocessing import PreprocessingParameters, preprocess
from napari_cam_sam.images.reading import check_same_grid
from napari_cam_sam.images.windows import Window, WindowParameters, apply_window, resolve_window
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.metrics.prompt_quality import score_prompts
from napari_cam_sam.metrics.scoring import Scores, score_heatmap, score_labels, score_masks
from napari_cam_sam.metrics.summary import Summary, summarise_scores
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import PromptParameters, strategy_parameters
from napari_cam_sam.prompts.strategies import (
    adaptive_negatives,
    prompts_from_heatmap,
    prompts_from_mask,
)
from napari_cam_sam.sam.choice import MaskChoice, choose_mask
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates, Segmenter

__all__ = [
    "PlaneResult",
    "RunParameters",
    "RunResult",
    "run_image",
    "run_planes",
    "segment_plane",
]

Progress = Callable[[int, int], None]

# The finest atlases of organs have some 200.
_MOST_LABELS = 500


@dataclass(frozen=True)
class RunParameters:
    """What a run does, but for its image and its models.

    Attributes
    ----------
    axis : int
        Array axis that the planes cut.
    planes : range or None
        Indices along it; None for all.
    window : WindowParameters
        One window for all planes.
    preprocessing : PreprocessingParameters
        What the segmenter's planes go through; the classifier's do not.
    cam : CamParameters
    strategy : str
        Name of a rule that makes prompts; ``truth-…`` takes them from the truth.
    prompts : PromptParameters or None
        Parameters instead of those that the strategy's name stands for.
    mask_choice : {"single", "first", "best", "oracle"}
        Which of the segmenter's masks is taken.
    mask_from : {"prompts", "heatmap"}
        What the segmenter starts from. ``"heatmap"``: the heatmap's own high and low regions,
        for segmenters that can (``seeded``); the prompts are then recorded, not used.
    truth_label : int or None
        The label of the truth that is meant; None for all that is not 0.
    """

    axis: int = 0
    planes: range | None = None
    window: WindowParameters = field(default_factory=WindowParameters)
    preprocessing: PreprocessingParameters = field(default_factory=PreprocessingParameters)
    cam: CamParameters = field(default_factory=CamParameters)
    strategy: str = "ours"
    prompts: PromptParameters | None = None
    mask_choice: MaskChoice = "best"
    mask_from: Literal["prompts", "heatmap"] = "prompts"
    truth_label: int | None = None

    @property
    def prompt_parameters(self) -> PromptParameters:
        """The parameters that hold: given ones, else those of the strategy's name."""
        return self.prompts or strategy_parameters(self.strategy)

    @property
    def from_truth(self) -> bool:
        """Whether the prompts are taken from the truth."""
        return self.strategy.startswith("truth-")

    @property
    def by_label(self) -> bool:
        """Whether masks carry the truth's labels and are compared with them one by one."""
        return self.from_truth and self.truth_label is None


@dataclass(frozen=True, eq=False)
class PlaneResult:
    """All that a run finds on one plane.

    Attributes
    ----------
    axis, index : int
    heatmap : Heatmap or None
        None where no classifier runs.
    prompts : PlanePrompts
        With what was added for an adaptive strategy.
    labels : ndarray of an unsigned integer type or int32, shape (rows, columns)
        One value an object, its id; 0 is background. Prompts from the truth have the truth's
        labels as ids.
    confidence : dict of int to float
        The segmenter's own estimate of its masks' IoU, by object.
    scores : dict of int to Scores
        By truth label where the prompts come from the truth, else 0 for all that is not 0;
        empty without truth.
    seconds : dict of str to float
        Spent in ``prompts``, ``encode``, ``decode``, ``scores``.
    """

    axis: int
    index: int
    heatmap: Heatmap | None
    prompts: PlanePrompts
    labels: NDArray[Any]
    confidence: dict[int, float]
    scores: dict[int, Scores]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class RunResult:
    """All that a run finds on an image.

    Attributes
    ----------
    image : Image
    window : Window
    parameters : RunParameters
    labels : ndarray of an unsigned integer type or int32, shape of the image's grid
    heatmap : ndarray of float32, shape of the image's grid, or None
        0 on planes that were not run.
    grid_shape : tuple of int or None
        Rows and columns of the heatmaps before they were brought to the plane.
    prompts : tuple of PlanePrompts
        One a plane that was run, with a reason where there are none.
    scores : dict of (int, int) to Scores
        By plane index and truth label, for planes where the truth or the prediction is not empty.
    empty_planes : int
        Planes left out of `scores` because both are empty.
    summary : dict of str to Summary
        Over `scores`, a metric.
    volume : Scores or None
        Of the planes that were run, as one volume; None without truth, or for a single plane.
    volume_labels : dict of int to Scores
        The same for each label of the truth, where the prompts come from the truth.
    probabilities : dict of int to float
        Probability of the heatmap's target, by plane index.
    confidence : dict of int to dict of int to float
        The segmenter's own estimates, by plane index and object.
    seconds : dict of str to float
        By stage.
    """

    image: Image
    window: Window
    parameters: RunParameters
    labels: NDArray[Any]
    heatmap: NDArray[np.float32] | None
    grid_shape: tuple[int, int] | None
    prompts: tuple[PlanePrompts, ...]
    scores: dict[tuple[int, int], Scores]
    empty_planes: int
    summary: dict[str, Summary]
    volume: Scores | None
    volume_labels: dict[int, Scores]
    probabilities: dict[int, float]
    confidence: dict[int, dict[int, float]]
    seconds: dict[str, float]


class _FromHeatmap(Protocol):
    """A segmenter that can also start from a heatmap."""

    def decode_heatmap(
        self, embedding: Embedding, values: NDArray[np.float32], *, multimask: bool
    ) -> MaskCandidates: ...


def segment_plane(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: PlanePrompts,
    *,
    mask_choice: MaskChoice = "best",
    truth: NDArray[Any] | None = None,
    by_label: bool = False,
) -> tuple[NDArray[Any], dict[int, float]]:
    """Decode the prompts of a plane into one labels array.

    Parameters
    ----------
    segmenter : Segmenter
    embedding : Embedding
        Of the plane, from this segmenter.
    prompts : PlanePrompts
        Entries of the same object id are united; of two objects the one with the lower id
        keeps the pixels that both claim.
    mask_choice : {"single", "first", "best", "oracle"}
    truth : ndarray of bool or int, shape (rows, columns), optional
        For ``"oracle"``: what is not 0.
    by_label : bool
        For ``"oracle"``: compare an object with the truth of its own id alone.

    Returns
    -------
    labels : ndarray of uint8, uint16 or int32, shape (rows, columns)
    confidence : dict of int to float
        The segmenter's estimate of the IoU of each object's mask, in [0, 1].
    """
    if not prompts.objects:
        return np.zeros(embedding.plane_shape, np.uint8), {}
    candidates = segmenter.decode(embedding, prompts.objects, multimask=mask_choice != "single")
    return _merge(candidates, mask_choice, truth, by_label, embedding.plane_shape)


def _merge(
    candidates: Sequence[MaskCandidates],
    mask_choice: MaskChoice,
    truth: NDArray[Any] | None,
    by_label: bool,
    shape: tuple[int, int],
) -> tuple[NDArray[Any], dict[int, float]]:
    ids = [found.object_id for found in candidates]
    if min(ids) < 1:
        raise CamSamError(f"Object {min(ids)} has no label: ids count from 1.")
    labels = np.zeros(shape, labels_dtype(max(ids)))
    confidence: dict[int, float] = {}
    for found in sorted(candidates, key=lambda c: c.object_id):
        oracle = None
        if truth is not None:
            oracle = np.asarray(truth) == found.object_id if by_label else np.asarray(truth) != 0
        chosen = choose_mask(found, mask_choice, oracle)
        labels[found.masks[chosen] & (labels == 0)] = found.object_id
        confidence[found.object_id] = max(
            float(found.scores[chosen]), confidence.get(found.object_id, 0.0)
        )
    return labels, confidence


def run_planes(
    image: Image,
    segmenter: Segmenter,
    classifier: Classifier | None,
    parameters: RunParameters,
    truth: Image | None = None,
    window: Window | None = None,
) -> Iterator[PlaneResult]:
    """Run the whole way, plane by plane, holding no more than a batch of planes.

    Parameters
    ----------
    image : Image
    segmenter : Segmenter
    classifier : Classifier or None
        None only where the prompts come from the truth.
    parameters : RunParameters
    truth : Image or None
        Labels on the image's grid.
    window : Window, optional
        Already resolved; by default the parameters' window is resolved on the image.

    Yields
    ------
    PlaneResult
        In the order of the indices.

    Raises
    ------
    CamSamError
        If something is missing or does not fit; before the first plane is computed.
    """
    indices = _checked_planes(image, parameters)
    strategy = parameters.prompt_parameters
    if truth is not None:
        check_same_grid(image, truth)
    if parameters.from_truth and truth is None:
        raise CamSamError(
            f"The strategy {parameters.strategy!r} takes prompts from a truth: give one."
        )
    if not parameters.from_truth and classifier is None:
        raise CamSamError(
            f"The strategy {parameters.strategy!r} takes prompts from heatmaps: give a classifier."
        )
    if parameters.mask_choice == "oracle" and truth is None:
        raise CamSamError("The mask choice 'oracle' compares with a truth: give one.")
    if parameters.mask_from == "heatmap" and not hasattr(segmenter, "decode_heatmap"):
        raise CamSamError(
            f"{segmenter.name} cannot start from a heatmap: take seeded, or masks from prompts."
        )
    if parameters.mask_from == "heatmap" and parameters.from_truth:
        raise CamSamError("Masks from heatmaps need prompts from heatmaps, not from the truth.")
    if window is None:
        window = resolve_window(image, parameters.window)
    waiting: deque[NDArray[np.uint8]] = deque()

    def windowed() -> Iterator[NDArray[np.uint8]]:
        for index in indices:
            try:
                waiting.append(apply_window(image.plane(parameters.axis, index), window))
            except CamSamError as error:
                raise CamSamError(
                    f"Plane {index} along axis {parameters.axis} of {image.name}: {error}"
                ) from error
            yield waiting[-1]

    heatmaps = compute_heatmaps(classifier, windowed(), parameters.cam) if classifier else None
    gray_source = windowed()
    for index in indices:
        heatmap = next(heatmaps) if heatmaps is not None else None
        if heatmap is None:
            next(gray_source)
        plane = waiting.popleft()
        answer = None if truth is None else _truth_plane(truth, parameters, index)
        yield _run_plane(plane, index, heatmap, answer, image, segmenter, parameters, strategy)


def _run_plane(
    plane: NDArray[np.uint8],
    index: int,
    heatmap: Heatmap | None,
    truth: NDArray[Any] | None,
    image: Image,
    segmenter: Segmenter,
    parameters: RunParameters,
    strategy: PromptParameters,
) -> PlaneResult:
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[stage] = seconds.get(stage, 0.0) + now - clock
        clock = now

    prompts = _prompts(index, heatmap, truth, parameters, strategy)
    lap("prompts")
    labels: NDArray[Any] = np.zeros(plane.shape[:2], np.uint8)
    confidence: dict[int, float] = {}
    if prompts.objects:
        embedding = segmenter.encode(preprocess(plane, parameters.preprocessing))
        lap("encode")
        choice, by_label = parameters.mask_choice, parameters.by_label
        if parameters.mask_from == "heatmap" and heatmap is not None:
            able = cast(_FromHeatmap, segmenter)
            found = able.decode_heatmap(embedding, heatmap.values, multimask=choice != "single")
            labels, confidence = _merge([found], choice, truth, by_label, embedding.plane_shape)
        else:
            labels, confidence = segment_plane(
                segmenter, embedding, prompts, mask_choice=choice, truth=truth, by_label=by_label
            )
        if strategy.negatives == "adaptive" and heatmap is not None:
            leaks = adaptive_negatives(heatmap.values, labels > 0, strategy)
            if leaks:
                prompts = replace(
                    prompts,
                    objects=tuple(replace(o, points=o.points + leaks) for o in prompts.objects),
                )
                labels, confidence = segment_plane(
                    segmenter, embedding, prompts, mask_choice=choice, truth=truth
                )
        lap("decode")
    scores: dict[int, Scores] = {}
    if truth is not None:
        spacing = image.geometry.plane_spacing(parameters.axis)
        scores = _plane_scores(labels, prompts, heatmap, truth, spacing, parameters)
        lap("scores")
    return PlaneResult(
        parameters.axis, index, heatmap, prompts, labels, confidence, scores, seconds
    )


def _prompts(
    index: int,
    heatmap: Heatmap | None,
    truth: NDArray[Any] | None,
    parameters: RunParameters,
    strategy: PromptParameters,
) -> PlanePrompts:
    axis = parameters.axis
    if parameters.from_truth:
        if truth is None:
            raise CamSamError("Prompts from a truth need one.")
        # Several components of a label are parts of it: the object keeps the label as its id.
        return prompts_from_mask(truth, replace(strategy, one_object=True), axis=axis, index=index)
    if heatmap is None or not heatmap.evidence:
        reason = "There is no heatmap." if heatmap is None else heatmap.reason
        return PlanePrompts(axis, index, (), reason)
    return prompts_from_heatmap(heatmap.values, strategy, axis=axis, index=index)


def _plane_scores(
    labels: NDArray[Any],
    prompts: PlanePrompts,
    heatmap: Heatmap | None,
    truth: NDArray[Any],
    spacing: Sequence[float],
    parameters: RunParameters,
) -> dict[int, Scores]:
    """Score a plane: by label where the prompts know the truth's labels, else as a whole."""
    present = [int(v) for v in np.unique(truth) if v > 0] if parameters.by_label else []
    scored = {
        label: (
            labels == label,
            truth == label,
            tuple(o for o in prompts.objects if o.object_id == label),
        )
        for label in present
    }
    out: dict[int, Scores] = {}
    whole = {parameters.truth_label or 0: (labels > 0, truth > 0, prompts.objects)}
    for label, (predicted, answer, own) in (scored or whole).items():
        parts = [score_masks(predicted, answer, spacing)]
        if answer.any():
            if heatmap is not None:
                parts.append(score_heatmap(heatmap.values, answer))
            if own:
                parts.append(Scores(score_prompts(replace(prompts, objects=own), answer, spacing)))
        out[label] = _joined(parts)
    return out


def _joined(parts: Sequence[Scores]) -> Scores:
    values = {name: value for part in parts for name, value in part.values.items()}
    return Scores(values, tuple(dict.fromkeys(flag for part in parts for flag in part.flags)))


def run_image(
    image: Image,
    segmenter: Segmenter,
    classifier: Classifier | None = None,
    parameters: RunParameters | None = None,
    truth: Image | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run the whole way over an image and gather what was found.

    Parameters
    ----------
    image : Image
    segmenter : Segmenter
    classifier : Classifier, optional
        Needed unless the prompts come from the truth.
    parameters : RunParameters, optional
    truth : Image, optional
        Labels on the image's grid; needed for scores and for prompts from truth.
    progress : callable, optional
        Called after each plane with the number done and the number of all.

    Returns
    -------
    RunResult

    Raises
    ------
    CamSamError
        If something is missing or does not fit.
    """
    parameters = parameters or RunParameters()
    begin = time.perf_counter()
    indices = _checked_planes(image, parameters)
    if truth is not None:
        check_same_grid(image, truth)
        _check_truth_label(truth, parameters)
    window = resolve_window(image, parameters.window)
    seconds = {"window": time.perf_counter() - begin}
    known: set[int] = set()
    most = parameters.prompt_parameters.max_objects
    if truth is not None and parameters.from_truth:
        known = _truth_labels(truth, parameters, indices)
        most = max(known, default=0)
    labels = np.zeros(image.spatial_shape, labels_dtype(most))
    # Planes that are never written stay unallocated: a run over a few planes of a large volume
    # costs the memory of those planes.
    heatmap = np.zeros(image.spatial_shape, np.float32) if classifier is not None else None
    grid_shape: tuple[int, int] | None = None
    prompts: list[PlanePrompts] = []
    scores: dict[tuple[int, int], Scores] = {}
    probabilities: dict[int, float] = {}
    confidence: dict[int, dict[int, float]] = {}
    empty = 0
    for done, plane in enumerate(
        run_planes(image, segmenter, classifier, parameters, truth, window), start=1
    ):
        where = image.slot(parameters.axis, plane.index)
        labels[where] = plane.labels
        if heatmap is not None and plane.heatmap is not None:
            heatmap[where] = plane.heatmap.values
            grid_shape = plane.heatmap.grid_shape
            probabilities[plane.index] = plane.heatmap.probability
        prompts.append(plane.prompts)
        if plane.confidence:
            confidence[plane.index] = plane.confidence
        for label, found in plane.scores.items():
            if "both-empty" in found.flags:
                empty += 1
            else:
                scores[plane.index, label] = found
        for stage, spent in plane.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
        if progress is not None:
            progress(done, len(indices))
    spent = time.perf_counter() - begin
    seconds["heatmap"] = max(0.0, spent - sum(seconds.values()))
    volume: Scores | None = None
    volume_labels: dict[int, Scores] = {}
    if truth is not None and image.spatial_ndim == 3 and len(indices) > 1:
        clock = time.perf_counter()
        volume, volume_labels = _volume_scores(
            image, truth, labels, heatmap, parameters, indices, known
        )
        seconds["scores"] = seconds.get("scores", 0.0) + time.perf_counter() - clock
    seconds["total"] = time.perf_counter() - begin
    return RunResult(
        image=image,
        window=window,
        parameters=parameters,
        labels=labels,
        heatmap=heatmap,
        grid_shape=grid_shape,
        prompts=tuple(prompts),
        scores=scores,
        empty_planes=empty,
        summary=summarise_scores(scores.values()) if scores else {},
        volume=volume,
        volume_labels=volume_labels,
        probabilities=probabilities,
        confidence=confidence,
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
    )


def _checked_planes(image: Image, parameters: RunParameters) -> range:
    count = image.n_planes(parameters.axis)
    chosen = range(count) if parameters.planes is None else parameters.planes
    if chosen.step != 1:
        raise CamSamError(f"The planes {chosen} are not one after the other: the step must be 1.")
    if len(chosen) == 0 or chosen[0] < 0 or chosen[-1] >= count:
        raise CamSamError(
            f"The planes {chosen.start}:{chosen.stop} are not all there: "
            f"axis {parameters.axis} of {image.name} has {count}, counted from 0."
        )
    return chosen


def _check_truth_label(truth: Image, parameters: RunParameters) -> None:
    if parameters.truth_label is None:
        return
    known: set[int] = set()
    for plane in truth.planes(0):
        known.update(int(v) for v in np.unique(plane))
    if parameters.truth_label not in known or parameters.truth_label == 0:
        there = ", ".join(str(v) for v in sorted(known - {0})) or "none"
        raise CamSamError(
            f"The truth {truth.name} has no label {parameters.truth_label}; it has: {there}."
        )


def _truth_labels(truth: Image, parameters: RunParameters, indices: range) -> set[int]:
    """Labels of the truth on the planes of a run."""
    known: set[int] = set()
    for index in indices:
        known.update(int(v) for v in np.unique(_truth_plane(truth, parameters, index)))
    known = {label for label in known if label > 0}
    if parameters.by_label and len(known) > _MOST_LABELS:
        raise CamSamError(
            f"The truth {truth.name} has {len(known)} different labels: is it an image? "
            "Else name the label that is meant."
        )
    return known


def _truth_plane(truth: Image, parameters: RunParameters, index: int) -> NDArray[Any]:
    plane = np.asarray(truth.plane(parameters.axis, index))
    if parameters.truth_label is None:
        return plane
    return np.where(plane == parameters.truth_label, plane, 0)


def _volume_scores(
    image: Image,
    truth: Image,
    labels: NDArray[Any],
    heatmap: NDArray[np.float32] | None,
    parameters: RunParameters,
    indices: range,
    known: set[int],
) -> tuple[Scores, dict[int, Scores]]:
    """Score the planes that were run as one volume, and by label, in the image's spacing."""
    axis, spacing = parameters.axis, image.geometry.spacing
    inside = tuple(
        slice(indices.start, indices.stop) if a == axis else slice(None) for a in range(3)
    )
    answer = np.stack([_truth_plane(truth, parameters, i) for i in indices], axis=axis)
    parts = [score_masks(labels[inside] > 0, answer > 0, spacing)]
    if heatmap is not None:
        parts.append(score_heatmap(heatmap[inside], answer > 0))
    by_label = parameters.by_label and len(known) > 1
    return _joined(parts), (
        score_labels(labels[inside], answer, spacing, sorted(known)) if by_label else {}
    )
