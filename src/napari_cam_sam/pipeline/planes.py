"""The way of a plane by itself: heatmap, prompts, masks and scores."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.pixel_sets import PixelSet, no_region
from napari_cam_sam.cam.volume_heatmaps import compute_volume_heatmap, planes_of
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.image_scores import score_image, score_labels
from napari_cam_sam.evaluation.truth import truth_plane
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.preprocessing import preprocess
from napari_cam_sam.images.reading import check_same_grid
from napari_cam_sam.images.windows import (
    Window,
    WindowParameters,
    apply_window,
    parse_window,
    resolve_window,
)
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.pipeline.parameters import RunParameters
from napari_cam_sam.pipeline.results import PlaneResult
from napari_cam_sam.prompts.data import PlanePrompts, Point
from napari_cam_sam.prompts.strategies import (
    adaptive_negatives,
    prompts_from_heatmap,
    prompts_from_mask,
)
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache, round_features
from napari_cam_sam.sam.everything.ranking import choose_by_heatmap
from napari_cam_sam.sam.labels import choose_and_merge, segment_plane
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates, Segmenter

__all__ = [
    "Encode",
    "ExplainableModel",
    "check_run",
    "checked_planes",
    "encoder",
    "explain_planes",
    "explain_volume",
    "make_prompts",
    "planes_with_heatmaps",
    "read_truth",
    "run_plane",
    "run_planes",
    "score_run_plane",
    "takes_image",
    "window_plane",
    "with_model_window",
]

Encode = Callable[[NDArray[np.uint8]], Embedding]
ExplainableModel = Classifier | SegmentationNetwork
ReadRegion = Callable[[int, int], NDArray[np.bool_]]


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
        raise CamSamError("run_planes takes each plane by itself: run_image does volumes.")
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
    """Load a plane of the truth that a run means; None where there is no truth."""
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
    """Score a plane: by label where the prompts know the truth's labels, else as a whole."""
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
    """Give the indices of the planes to run, or say what is missing or does not fit."""
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
    """Say what a segmentation network or its pixel set lacks."""
    _check_volume_for(network, image)
    pixel_set = parameters.cam.pixel_set or PixelSet()
    if {"truth": truth, "region": region}.get(pixel_set.kind, image) is None:
        raise no_region(pixel_set)
    if pixel_set.kind == "region" and region is not None:
        check_same_grid(image, region)


def _check_volume_for(network: SegmentationNetwork, image: Image) -> None:
    if network.card.spatial_dims == 2:
        return
    if image.spatial_ndim != 3 or image.rgb:
        raise CamSamError(
            f"{network.name} is a 3D network and takes gray volumes: {image.name} is "
            f"{'a single plane' if image.spatial_ndim != 3 else 'in colour'}; choose a 2D network."
        )


def checked_planes(image: Image, parameters: RunParameters) -> range:
    """Give the indices of the planes of a run, or say which are not there."""
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


def planes_with_heatmaps(
    image: Image,
    classifier: ExplainableModel | None,
    parameters: RunParameters,
    indices: range,
    window: Window,
    truth: Image | None = None,
    region: Image | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8], Heatmap | None]]:
    """Give windowed planes with their heatmaps, computed in batches, where there is a classifier.

    `truth` and `region` are for pixel sets of segmentation networks.

    Yields
    ------
    index, plane, heatmap
    """
    waiting: deque[NDArray[np.uint8]] = deque()

    def windowed() -> Iterator[NDArray[np.uint8]]:
        for index in indices:
            waiting.append(window_plane(image, parameters.axis, index, window))
            yield waiting[-1]

    source = windowed()
    if takes_image(classifier):
        read_region = _given_pixels(parameters, truth, region)
        found = explain_planes(
            image, classifier, parameters.cam, window, parameters.axis, indices, read_region
        )
        for index, plane, one in zip(indices, source, found, strict=True):
            waiting.clear()
            yield index, plane, one
        return
    heatmaps = None
    if classifier is not None:
        given = _given_pixels(parameters, truth, region)
        regions = None if given is None else (given(parameters.axis, index) for index in indices)
        heatmaps = compute_heatmaps(classifier, source, parameters.cam, regions=regions)
    for index in indices:
        heatmap = None
        if heatmaps is None:
            next(source)
        else:
            heatmap = next(heatmaps)
        yield index, waiting.popleft(), heatmap


def _given_pixels(
    parameters: RunParameters, truth: Image | None, region: Image | None
) -> ReadRegion | None:
    """Give what reads M of a plane by axis and index, where the pixel set is given."""
    kind = None if parameters.cam.pixel_set is None else parameters.cam.pixel_set.kind
    source = {"truth": truth, "region": region}.get(kind or "")
    if source is None:
        return None
    label = parameters.truth_label if kind == "truth" else None

    def read(axis: int, index: int) -> NDArray[np.bool_]:
        plane = np.asarray(source.plane(axis, index))
        return np.asarray(plane != 0 if label is None else plane == label)

    return read


def takes_image(model: ExplainableModel | None) -> TypeGuard[SegmentationNetwork]:
    """Tell whether it is a network that needs the image, and not windowed planes one by one."""
    if not isinstance(model, SegmentationNetwork):
        return False
    return model.card.sees_volumes or model.card.preparation is not None


def explain_planes(
    image: Image,
    network: SegmentationNetwork,
    cam: CamParameters,
    window: Window,
    axis: int,
    indices: Iterable[int],
    read_region: ReadRegion | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Heatmap]:
    """Explain planes by a network that needs the image itself, see :func:`takes_image`.

    A 3D network, and a bundle that prepares volumes and sees their slices, explain the whole
    volume once, and these are its planes. A bundle of single pictures is run on each plane.

    Parameters
    ----------
    image, network, cam, window, read_region, progress
        As of :func:`explain_volume`.
    axis : int
        That the planes cut.
    indices : iterable of int
        Of the planes; one after the other.

    Yields
    ------
    Heatmap
    """
    if network.card.sees_volumes or image.spatial_ndim == 2:
        whole = explain_volume(image, network, cam, window, read_region, progress)
        chosen = list(indices)
        yield from islice(planes_of(whole, axis), chosen[0], chosen[-1] + 1)
        return
    geometry = replace(image.geometry, spacing=image.geometry.plane_spacing(axis), affine=None)
    for index in indices:
        region = None if read_region is None else read_region(axis, index)
        plane = image.plane(axis, index)
        yield compute_volume_heatmap(network, plane, cam, region=region, geometry=geometry)


def explain_volume(
    image: Image,
    network: SegmentationNetwork,
    cam: CamParameters,
    window: Window,
    read_region: ReadRegion | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Heatmap:
    """Explain a volume by a 3D network or a bundle, whichever axis its planes are cut along.

    A bundle gets the image's own values, which its transforms prepare, and no window.

    Parameters
    ----------
    image : Image
    network : SegmentationNetwork
    cam : CamParameters
    window : Window
    read_region : callable, optional
        Gives M of a plane by axis and index, for pixel sets that are given.
    progress : callable, optional
        As of :func:`~napari_cam_sam.cam.volume_heatmaps.compute_volume_heatmap`.

    Returns
    -------
    Heatmap
        On the image's grid; :func:`~napari_cam_sam.cam.volume_heatmaps.planes_of` cuts it.

    Raises
    ------
    CamSamError
        If the image is no gray volume, or as `compute_volume_heatmap`.
    """
    _check_volume_for(network, image)
    planes = range(image.n_planes(0))
    if network.card.preparation is not None:
        volume = np.stack([image.plane(0, index) for index in planes])
    else:
        volume = np.stack([window_plane(image, 0, index, window) for index in planes])
    region = None
    if read_region is not None:
        region = np.stack([read_region(0, index) for index in planes])
    if image.spatial_ndim == 2:
        volume, region = volume[0], None if region is None else region[0]
    return compute_volume_heatmap(
        network, volume, cam, region=region, geometry=image.geometry, progress=progress
    )


def with_model_window(parameters: RunParameters, model: ExplainableModel | None) -> RunParameters:
    """Take the window that a segmentation network was trained with, where none is named."""
    named = parameters.window != WindowParameters()
    if named or not isinstance(model, SegmentationNetwork) or model.card.window is None:
        return parameters
    return replace(parameters, window=parse_window(model.card.window))


def window_plane(image: Image, axis: int, index: int, window: Window) -> NDArray[np.uint8]:
    """Read a plane through a window; an error names the plane."""
    try:
        return apply_window(image.plane(axis, index), window)
    except CamSamError as error:
        raise CamSamError(f"Plane {index} along axis {axis} of {image.name}: {error}") from error


def encoder(segmenter: Segmenter, embeddings: EmbeddingCache | None) -> Encode:
    """Give what encodes a plane: with the same features whether there is a cache or none."""
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
            leaks = _leaks(values, labels, parameters)
            if leaks:
                prompts = replace(
                    prompts,
                    objects=tuple(replace(o, points=o.points + leaks) for o in prompts.objects),
                )
                labels, confidence = segment_plane(
                    segmenter, embedding, prompts, mask_choice=choice, truth=truth
                )
        lap("decode")
    return PlaneResult(parameters.axis, index, heatmap, prompts, labels, confidence, {}, seconds)


def _leaks(
    values: NDArray[np.float32] | None, labels: NDArray[Any], parameters: RunParameters
) -> tuple[Point, ...]:
    """Negative points where the first mask leaks out of the heatmap, if the strategy has such."""
    strategy = parameters.prompt_parameters
    if strategy.negatives != "adaptive" or values is None:
        return ()
    return adaptive_negatives(values, labels > 0, strategy)


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
    """Make the prompts of a plane from its truth or its heatmap, or say why there are none."""
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
