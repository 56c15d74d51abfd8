"""The way of a plane by itself: heatmap, prompts, masks and scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import Heatmap
from napari_cam_sam.cam.pixel_sets import PixelSet, no_region
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.image_scores import score_image, score_labels
from napari_cam_sam.evaluation.truth import truth_plane
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.preprocessing import preprocess
from napari_cam_sam.images.reading import check_same_grid
from napari_cam_sam.images.windows import Window, resolve_window
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.pipeline.heatmaps import (
    ExplainableModel,
    check_volume_for,
    planes_with_heatmaps,
)
from napari_cam_sam.pipeline.parameters import RunParameters
from napari_cam_sam.pipeline.results import PlaneResult
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.strategies import (
    add_adaptive_negatives,
    prompts_from_heatmap,
    prompts_from_mask,
)
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache, round_features
from napari_cam_sam.sam.everything.ranking import choose_by_heatmap
from napari_cam_sam.sam.labels import choose_and_merge, segment_plane
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates, Segmenter

__all__ = [
    "Encode",
    "check_run",
    "checked_planes",
    "encoder",
    "make_prompts",
    "read_truth",
    "run_plane",
    "run_planes",
    "score_run_plane",
]

Encode = Callable[[NDArray[np.uint8]], Embedding]


class _FromHeatmap(Protocol):
    """A segmenter that can also start from a heatmap."""

    def decode_heatmap(
        self, embedding: Embedding, values: NDArray[np.float32], *, multimask: bool
    ) -> MaskCandidates: ...


def run_planes(
    image: Image,
    segmenter: Segmenter,
    classifier: ExplainableModel | None,
    parameters: RunParameters,
    truth: Image | None = None,
    window: Window | None = None,
    embeddings: EmbeddingCache | None = None,
    region: Image | None = None,
) -> Iterator[PlaneResult]:
    """Run the whole way, plane by plane, holding no more than a batch of planes.

    Parameters
    ----------
    image : Image
    segmenter : Segmenter
    classifier : Classifier, SegmentationNetwork or None
        None only where the prompts come from the truth. A 3D network sees the whole volume,
        whichever planes are run.
    parameters : RunParameters
        Without `volume`, which :func:`run_image` is for.
    truth : Image or None
        Labels on the image's grid.
    window : Window, optional
        Already resolved; by default the parameters' window is resolved on the image.
    embeddings : EmbeddingCache, optional
        Where planes that are encoded are looked for, and kept. The masks are the same without.
    region : Image, optional
        Labels on the image's grid: what is not 0 is M, for the pixel set ``"region"`` of a
        segmentation network.

    Yields
    ------
    PlaneResult
        In the order of the indices.

    Raises
    ------
    CamSamError
        If something is missing or does not fit; before the first plane is computed.
    """
    if parameters.volume is not None:
        raise CamSamError("run_planes takes each slice by itself: run_image does volumes.")
    indices = check_run(image, segmenter, classifier, parameters, truth, region)
    if window is None:
        window = resolve_window(image, parameters.window)
    encode = encoder(segmenter, embeddings)
    planes = planes_with_heatmaps(image, classifier, parameters, indices, window, truth, region)
    spacing = image.geometry.plane_spacing(parameters.axis)
    for index, plane, heatmap in planes:
        answer = read_truth(truth, parameters, index)
        found = run_plane(plane, index, heatmap, answer, segmenter, encode, parameters)
        if answer is None:
            yield found
            continue
        clock = time.perf_counter()
        values = None if heatmap is None else heatmap.values
        scores = score_run_plane(found.labels, found.prompts, values, answer, spacing, parameters)
        spent = {**found.seconds, "scores": time.perf_counter() - clock}
        yield replace(found, scores=scores, seconds=spent)


def read_truth(truth: Image | None, parameters: RunParameters, index: int) -> NDArray[Any] | None:
    """Load a plane of the truth that a run means.

    Parameters
    ----------
    truth : Image or None
    parameters : RunParameters
    index : int
        Of the plane, along the axis of the parameters.

    Returns
    -------
    ndarray of int, shape (rows, columns), or None
        None where there is no truth.
    """
    if truth is None:
        return None
    return truth_plane(truth, parameters.axis, index, parameters.truth_label)


def score_run_plane(
    labels: NDArray[Any],
    prompts: PlanePrompts,
    heatmap: NDArray[np.float32] | None,
    truth: NDArray[Any],
    spacing: Sequence[float],
    parameters: RunParameters,
) -> dict[int, Scores]:
    """Score a plane: by label where the prompts know the truth's labels, else as a whole.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, columns)
    prompts : PlanePrompts
    heatmap : ndarray of float32, shape (rows, columns), or None
    truth : ndarray of int, shape (rows, columns)
    spacing : sequence of two float
    parameters : RunParameters

    Returns
    -------
    dict of int to Scores
        As ``PlaneResult.scores``.
    """
    if parameters.by_label:
        # Propagation may have taken an object to a plane on which the truth has it not.
        found = score_labels(labels, truth, spacing, heatmap=heatmap, prompts=prompts)
        if found:
            return found
    whole = parameters.truth_label or 0
    return {whole: score_image(labels, truth, spacing, heatmap, prompts)}


def check_run(
    image: Image,
    segmenter: Segmenter,
    classifier: ExplainableModel | None,
    parameters: RunParameters,
    truth: Image | None,
    region: Image | None = None,
) -> range:
    """Check that nothing is missing for a run, and that all fits together.

    Parameters
    ----------
    image : Image
    segmenter : Segmenter
    classifier : Classifier, SegmentationNetwork or None
    parameters : RunParameters
    truth, region : Image or None

    Returns
    -------
    range
        Indices of the planes to run.

    Raises
    ------
    CamSamError
        Names what is missing or does not fit.
    """
    indices = checked_planes(image, parameters)
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
    if parameters.mask_from == "automatic" and not hasattr(segmenter, "decode_points"):
        raise CamSamError(
            f"{segmenter.name} has no everything mode: take a SAM, e.g. compact-sam, or masks "
            "from prompts."
        )
    if parameters.mask_from != "prompts" and parameters.from_truth:
        raise CamSamError("Masks from heatmaps need prompts from heatmaps, not from the truth.")
    if isinstance(classifier, SegmentationNetwork):
        _check_network(image, classifier, parameters, truth, region)
    return indices


def _check_network(
    image: Image,
    network: SegmentationNetwork,
    parameters: RunParameters,
    truth: Image | None,
    region: Image | None,
) -> None:
    """Check that a segmentation network and its pixel set have what they need."""
    check_volume_for(network, image)
    pixel_set = parameters.cam.pixel_set or PixelSet()
    if {"truth": truth, "region": region}.get(pixel_set.kind, image) is None:
        raise no_region(pixel_set)
    if pixel_set.kind == "region" and region is not None:
        check_same_grid(image, region)


def checked_planes(image: Image, parameters: RunParameters) -> range:
    """Return the indices of the planes of a run.

    Parameters
    ----------
    image : Image
    parameters : RunParameters

    Returns
    -------
    range

    Raises
    ------
    CamSamError
        If some of them are not there, or they do not follow each other.
    """
    count = image.n_planes(parameters.axis)
    chosen = range(count) if parameters.planes is None else parameters.planes
    if chosen.step != 1:
        raise CamSamError(f"The slices {chosen} are not one after the other: the step must be 1.")
    if len(chosen) == 0 or chosen[0] < 0 or chosen[-1] >= count:
        raise CamSamError(
            f"The slices {chosen.start}:{chosen.stop} are not all there: "
            f"axis {parameters.axis} of {image.name} has {count}, counted from 0."
        )
    return chosen


def encoder(segmenter: Segmenter, embeddings: EmbeddingCache | None) -> Encode:
    """Return what encodes a plane: with the same features whether there is a cache or none.

    Parameters
    ----------
    segmenter : Segmenter
    embeddings : EmbeddingCache or None

    Returns
    -------
    callable
        A plane as the segmenter sees it, ndarray of uint8 → Embedding.
    """
    if embeddings is not None:
        return partial(embeddings.encode, segmenter)
    return lambda plane: round_features(segmenter.encode(plane))


def run_plane(
    plane: NDArray[np.uint8],
    index: int,
    heatmap: Heatmap | None,
    truth: NDArray[Any] | None,
    segmenter: Segmenter,
    encode: Encode,
    parameters: RunParameters,
) -> PlaneResult:
    """Go from a plane and its heatmap to prompts and masks.

    Parameters
    ----------
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Windowed; preprocessing is done here.
    index : int
        Along the axis of the parameters.
    heatmap : Heatmap or None
        Of the plane; None only where the prompts come from the truth.
    truth : ndarray of int, shape (rows, columns), or None
        See `read_truth`.
    segmenter : Segmenter
    encode : callable
        From `encoder`.
    parameters : RunParameters

    Returns
    -------
    PlaneResult
        Without scores.
    """
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[stage] = seconds.get(stage, 0.0) + now - clock
        clock = now

    values = None if heatmap is None else heatmap.values
    prompts = make_prompts(index, heatmap, truth, parameters)
    lap("prompts")
    labels: NDArray[Any] = np.zeros(plane.shape[:2], np.uint8)
    confidence: dict[int, float] = {}
    if prompts.objects:
        seen = preprocess(plane, parameters.preprocessing)
        embedding = encode(seen)
        lap("encode")
        choice, by_label = parameters.mask_choice, parameters.by_label
        if parameters.mask_from == "heatmap" and values is not None:
            able = cast(_FromHeatmap, segmenter)
            found = able.decode_heatmap(embedding, values, multimask=choice != "single")
            labels, confidence = choose_and_merge(
                [found], choice, truth, by_label, embedding.plane_shape
            )
        elif parameters.mask_from == "automatic" and values is not None:
            labels, confidence = _choose_automatic(segmenter, seen, embedding, values, parameters)
        else:
            labels, confidence = segment_plane(
                segmenter, embedding, prompts, mask_choice=choice, truth=truth, by_label=by_label
            )
            first, strategy = prompts, parameters.prompt_parameters
            if values is not None:
                prompts = add_adaptive_negatives(prompts, values, labels > 0, strategy)
            if prompts is not first:
                labels, confidence = segment_plane(
                    segmenter, embedding, prompts, mask_choice=choice, truth=truth
                )
        lap("decode")
    return PlaneResult(parameters.axis, index, heatmap, prompts, labels, confidence, {}, seconds)


def _choose_automatic(
    segmenter: Segmenter,
    plane: NDArray[np.uint8],
    embedding: Embedding,
    values: NDArray[np.float32],
    parameters: RunParameters,
) -> tuple[NDArray[Any], dict[int, float]]:
    """Take the masks of everything mode that the heatmap means, as object 1."""
    # It brings PyTorch and segment-anything, which not every run needs.
    from napari_cam_sam.sam.everything.automatic import automatic_masks, recommended_parameters

    settings = parameters.automatic or recommended_parameters(segmenter.name)
    found = automatic_masks(segmenter, plane, settings, embedding)
    chosen = choose_by_heatmap([one.mask for one in found], values, parameters.ranking)
    confidence = {1: found[chosen.members[0]].predicted_iou} if chosen.members else {}
    return chosen.mask.astype(np.uint8), confidence


def make_prompts(
    index: int,
    heatmap: Heatmap | None,
    truth: NDArray[Any] | None,
    parameters: RunParameters,
) -> PlanePrompts:
    """Make the prompts of a plane from its truth or its heatmap.

    Parameters
    ----------
    index : int
        Along the axis of the parameters.
    heatmap : Heatmap or None
    truth : ndarray of int, shape (rows, columns), or None
    parameters : RunParameters

    Returns
    -------
    PlanePrompts
        With a reason where there are none.

    Raises
    ------
    CamSamError
        If the prompts come from a truth, and there is none.
    """
    axis, strategy = parameters.axis, parameters.prompt_parameters
    if parameters.from_truth:
        if truth is None:
            raise CamSamError("Prompts from a truth need one.")
        # Several components of a label are parts of it: the object keeps the label as its id.
        return prompts_from_mask(truth, replace(strategy, one_object=True), axis=axis, index=index)
    if heatmap is None or not heatmap.evidence:
        reason = "There is no heatmap." if heatmap is None else heatmap.reason
        return PlanePrompts(axis, index, (), reason)
    return prompts_from_heatmap(heatmap.values, strategy, axis=axis, index=index)
