"""A run over an image: plane by plane, or through a volume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import Heatmap
from napari_cam_sam.evaluation.image_scores import score_volume
from napari_cam_sam.evaluation.truth import (
    check_count,
    check_truth_label,
    truth_labels,
    truth_plane,
)
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.preprocessing import preprocess
from napari_cam_sam.images.reading import check_same_grid
from napari_cam_sam.images.windows import Window, resolve_window
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.metrics.summary import summarise_scores
from napari_cam_sam.pipeline.heatmaps import ExplainableModel, planes_with_heatmaps, window_plane
from napari_cam_sam.pipeline.parameters import RunParameters, VolumeParameters
from napari_cam_sam.pipeline.planes import (
    Encode,
    check_run,
    checked_planes,
    encoder,
    make_prompts,
    read_truth,
    run_planes,
    score_run_plane,
)
from napari_cam_sam.pipeline.results import PlaneResult, RunResult
from napari_cam_sam.pipeline.volumes import Seen, check_volume, choose_planes, find_objects
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.sam.volume.consensus import Consensus
from napari_cam_sam.sam.volume.propagation import PropagatedObject

__all__ = ["run_image"]

Progress = Callable[[int, int], None]


def run_image(
    image: Image,
    segmenter: Segmenter,
    classifier: ExplainableModel | None = None,
    parameters: RunParameters | None = None,
    truth: Image | None = None,
    progress: Progress | None = None,
    embeddings: EmbeddingCache | None = None,
    region: Image | None = None,
) -> RunResult:
    """Run the whole way over an image and gather what was found.

    Parameters
    ----------
    image : Image
    segmenter : Segmenter
    classifier : Classifier or SegmentationNetwork, optional
        Needed unless the prompts come from the truth.
    parameters : RunParameters, optional
    truth : Image, optional
        Labels on the image's grid; needed for scores and for prompts from truth.
    progress : callable, optional
        Called after each plane with the number done and the number of all. Of a volume the
        planes that give prompts are counted first, then those of each axis that it is
        propagated along.
    embeddings : EmbeddingCache, optional
        Where planes that are encoded are looked for, and kept. The masks are the same without.
    region : Image, optional
        Labels on the image's grid: what is not 0 is M, for the pixel set ``"region"`` of a
        segmentation network.

    Returns
    -------
    RunResult
        With `volume` in the parameters, heatmaps, labels and scores of all planes.

    Raises
    ------
    CamSamError
        If something is missing or does not fit.

    Examples
    --------
    >>> from napari_cam_sam.demo.samples import make_sample
    >>> sample = make_sample("ultrasound")
    >>> result = ncs.run_image(
    ...     sample.image,
    ...     ncs.load_segmenter("seeded"),
    ...     ncs.load_classifier("lesion"),
    ...     ncs.RunParameters(cam=ncs.CamParameters(target="lesion")),
    ...     truth=sample.truth,
    ... )
    >>> result.labels.shape == sample.image.spatial_shape, sorted(result.scores)
    (True, [(0, 0)])
    """
    parameters = parameters or RunParameters()
    begin = time.perf_counter()
    indices = checked_planes(image, parameters)
    if truth is not None:
        check_same_grid(image, truth)
        check_truth_label(truth, parameters.truth_label)
    if parameters.volume is not None:
        check_volume(image, parameters, parameters.volume)
        indices = range(image.n_planes(parameters.axis))
    check_run(image, segmenter, classifier, parameters, truth, region)
    window = resolve_window(image, parameters.window)
    known: set[int] = set()
    most = parameters.prompt_parameters.max_objects
    if truth is not None and parameters.from_truth:
        known = truth_labels(truth, parameters.axis, indices, parameters.truth_label)
        check_count(truth, known)
        most = max(known, default=0)
    found = _Found(
        np.zeros(image.spatial_shape, labels_dtype(most)),
        # Planes that are never written stay unallocated: a run over a few planes of a large
        # volume costs the memory of those planes.
        np.zeros(image.spatial_shape, np.float32) if classifier is not None else None,
    )
    found.spend("window", time.perf_counter() - begin)
    told = progress or (lambda done, total: None)
    if parameters.volume is None:
        planes = run_planes(
            image, segmenter, classifier, parameters, truth, window, embeddings, region
        )
        for done, plane in enumerate(planes, start=1):
            found.add_plane(image, plane)
            told(done, len(indices))
        spent = time.perf_counter() - begin
        found.spend("heatmap", max(0.0, spent - sum(found.seconds.values())))
    else:
        _run_volume(
            image, segmenter, classifier, parameters, parameters.volume, truth, region, window,
            encoder(segmenter, embeddings), found, told,
        )  # fmt: skip
    volume, volume_labels = None, dict[int, Scores]()
    if truth is not None and image.spatial_ndim == 3 and len(indices) > 1:
        clock = time.perf_counter()
        volume, volume_labels = score_volume(
            found.labels, truth, image.geometry.spacing, parameters.axis, indices,
            label=parameters.truth_label, heatmap=found.heatmap,
            labels_of_truth=known if parameters.by_label else (),
        )  # fmt: skip
        found.spend("scores", time.perf_counter() - clock)
    found.spend("total", time.perf_counter() - begin)
    found.seconds = {stage: round(value, 4) for stage, value in found.seconds.items()}
    summary = summarise_scores(found.scores.values()) if found.scores else {}
    return RunResult(
        image=image, window=window, parameters=parameters, summary=summary, volume=volume,
        volume_labels=volume_labels, **vars(found) | {"prompts": tuple(found.prompts)},
    )  # fmt: skip


@dataclass(eq=False)
class _Found:
    """What a run has found so far: its fields are attributes of RunResult."""

    labels: NDArray[Any]
    heatmap: NDArray[np.float32] | None
    grid_shape: tuple[int, ...] | None = None
    prompts: list[PlanePrompts] = field(default_factory=list)
    scores: dict[tuple[int, int], Scores] = field(default_factory=dict)
    empty_planes: int = 0
    probabilities: dict[int, float] = field(default_factory=dict)
    confidence: dict[int, dict[int, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sources: dict[int, tuple[PropagatedObject, ...]] = field(default_factory=dict)
    consensus: Consensus | None = None

    def spend(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def add_plane(self, image: Image, plane: PlaneResult) -> None:
        self.labels[image.plane_index(plane.axis, plane.index)] = plane.labels
        self.add_heatmap(image, plane.axis, plane.index, plane.heatmap)
        self.prompts.append(plane.prompts)
        if plane.confidence:
            self.confidence[plane.index] = plane.confidence
        self.add_scores(plane.index, plane.scores)
        for stage, spent in plane.seconds.items():
            self.spend(stage, spent)

    def add_heatmap(self, image: Image, axis: int, index: int, heatmap: Heatmap | None) -> None:
        if self.heatmap is not None and heatmap is not None:
            self.heatmap[image.plane_index(axis, index)] = heatmap.values
            self.grid_shape = heatmap.grid_shape
            self.probabilities[index] = heatmap.probability

    def add_scores(self, index: int, scores: Mapping[int, Scores]) -> None:
        for label, found in scores.items():
            if "both-empty" in found.flags:
                self.empty_planes += 1
            else:
                self.scores[index, label] = found


def _run_volume(
    image: Image,
    segmenter: Segmenter,
    classifier: ExplainableModel | None,
    parameters: RunParameters,
    settings: VolumeParameters,
    truth: Image | None,
    region: Image | None,
    window: Window,
    encode: Encode,
    found: _Found,
    told: Progress,
) -> None:
    """Prompt planes, propagate from them, and score all planes, into `found`."""
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        found.spend(stage, now - clock)
        clock = now

    axis, chosen = parameters.axis, checked_planes(image, parameters)
    every = range(image.n_planes(axis))
    # A heatmap may stop propagation, and is a result, on planes that are not prompted too.
    prompting = every if classifier is not None else chosen
    axes = range(3) if settings.consensus else (axis,)
    total = len(prompting) + sum(image.n_planes(one) for one in axes)
    done = 0

    def step(planes: int) -> None:
        nonlocal done
        done += planes
        told(done, total)

    heatmaps: Iterator[Heatmap | None] = repeat(None)
    if classifier is not None:
        windowed = planes_with_heatmaps(image, classifier, parameters, every, window, truth, region)
        heatmaps = (heatmap for _, _, heatmap in windowed)
    prompted: list[PlanePrompts] = []
    for index in prompting:
        heatmap = next(heatmaps)
        lap("heatmap")
        found.add_heatmap(image, axis, index, heatmap)
        if index in chosen:
            answer = read_truth(truth, parameters, index)
            prompted.append(make_prompts(index, heatmap, answer, parameters))
        lap("prompts")
        step(1)
    by_index = {
        plane.index: plane
        for plane in choose_planes(prompted, found.probabilities, parameters, settings.min_trust)
    }
    left_out = PlanePrompts(axis, 0, (), "the slice is not among those to prompt")
    found.prompts = [by_index.get(i) or replace(left_out, index=i) for i in every]

    def read_plane(axis: int, index: int) -> NDArray[np.uint8]:
        return preprocess(window_plane(image, axis, index, window), parameters.preprocessing)

    seen = Seen(image, segmenter, read_plane, encode, found.heatmap)
    found.labels, found.sources, found.consensus = find_objects(
        seen, found.prompts, axis, settings, step
    )
    lap("propagate")
    for index, parts in found.sources.items():
        scored = {one.object_id: one.score for one in parts if one.score is not None}
        if scored:
            found.confidence[index] = scored
    if truth is not None:
        spacing = image.geometry.plane_spacing(axis)
        for index, prompts in zip(every, found.prompts, strict=True):
            where = image.plane_index(axis, index)
            values = None if found.heatmap is None else found.heatmap[where]
            answer = truth_plane(truth, axis, index, parameters.truth_label)
            scores = score_run_plane(
                found.labels[where], prompts, values, answer, spacing, parameters
            )
            found.add_scores(index, scores)
        lap("scores")
