"""The four ways to a mask on the shipped samples, against whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.demo.samples import Sample, make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.comparison import (
    CAM_ALONE,
    CAM_TO_SAM,
    EDITED,
    TRUTH_PROMPTS,
    VARIANTS,
    PlaneToCompare,
    compare_plane,
    compare_planes,
    summarise_comparison,
)
from napari_cam_sam.evaluation.image_scores import score_objects, score_volume
from napari_cam_sam.evaluation.score_steps import (
    MOST_OBJECTS,
    ScoringInput,
    SliceScores,
    VolumeScores,
    score_steps,
)
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.windows import apply_window, parse_window
from napari_cam_sam.metrics.scoring import score_heatmap, score_masks
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.pipeline import RunParameters, RunResult, run_image
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.prompts.parameters import (
    PromptParameters,
    strategy_parameters,
    truth_parameters,
)
from napari_cam_sam.prompts.strategies import (
    prompts_from_heatmap,
    prompts_from_mask,
    pseudo_mask,
)
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.segmenter import Embedding, Segmenter

PLANES = range(9, 13)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample("ct")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return load_segmenter("compact-sam")


@pytest.fixture(scope="module")
def run(sample: Sample, segmenter: Segmenter) -> RunResult:
    parameters = RunParameters(
        planes=PLANES, window=parse_window(sample.window), cam=CamParameters(target="lesion")
    )
    classifier = load_classifier("lesion", device="cpu")
    return run_image(sample.image, segmenter, classifier, parameters, sample.truth)


class Planes:
    """The planes of a run as what is to be compared, and a cache that counts."""

    def __init__(self, sample: Sample, run: RunResult, segmenter: Segmenter) -> None:
        self.sample, self.run, self.segmenter = sample, run, segmenter
        self.cache, self.encoded = EmbeddingCache(), 0

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        self.encoded += 1
        return self.cache.encode(self.segmenter, plane)

    def __call__(self, **more: Any) -> Iterator[PlaneToCompare]:
        assert self.run.heatmap is not None
        for index, made in zip(PLANES, self.run.prompts, strict=True):
            yield PlaneToCompare(
                index,
                apply_window(self.sample.image.plane(0, index), self.run.window),
                self.run.heatmap[index] if made.objects else None,
                self.sample.truth.plane(0, index),
                **more,
            )


@pytest.fixture
def planes(sample: Sample, run: RunResult, segmenter: Segmenter) -> Planes:
    return Planes(sample, run, segmenter)


def test_cam_to_sam_and_truth_prompts_are_those_of_whole_runs(
    planes: Planes, run: RunResult, segmenter: Segmenter, sample: Sample
) -> None:
    found = list(compare_planes(planes(), segmenter, planes.encode, PromptParameters()))
    assert planes.encoded == len(PLANES)
    lines = {line.variant: line for line in summarise_comparison(found)}
    assert tuple(lines) == VARIANTS
    assert lines[CAM_TO_SAM].dice == pytest.approx(run.summary["dice"].mean)
    assert lines[CAM_TO_SAM].iou == pytest.approx(run.summary["iou"].mean)
    assert run.volume is not None
    assert lines[CAM_TO_SAM].volume_dice == pytest.approx(run.volume.values["dice"])
    rule = replace(strategy_parameters("truth-box-point"), margin=PromptParameters().margin)
    bound = replace(run.parameters, strategy="truth-box-point", prompts=rule)
    best = run_image(sample.image, segmenter, None, bound, sample.truth)
    assert lines[TRUTH_PROMPTS].dice == pytest.approx(best.summary["dice"].mean)
    assert lines[TRUTH_PROMPTS].percent_of_truth_prompts == pytest.approx(100)
    expected = 100 * run.summary["dice"].mean / best.summary["dice"].mean
    assert lines[CAM_TO_SAM].percent_of_truth_prompts == pytest.approx(expected)
    # Nothing was edited.
    assert lines[EDITED].dice == lines[CAM_TO_SAM].dice


def test_cam_alone_is_what_the_prompts_are_taken_from(planes: Planes, segmenter: Segmenter) -> None:
    for strategy in ("ours", "s1", "s4-mode4", "s4-mode5"):
        parameters = strategy_parameters(strategy)
        boxed = replace(parameters, kind="box", margin=0)
        for given in planes():
            masks = compare_plane(given, segmenter, planes.encode, parameters)
            prompts = heatmap_boxes(given, boxed)
            mask = masks[CAM_ALONE]
            assert mask.any() == bool(prompts)
            for box in prompts:
                part = mask[int(box.row_min) : int(box.row_max), int(box.column_min) :]
                assert part[0].any()
                assert part[-1].any()


def heatmap_boxes(given: PlaneToCompare, parameters: PromptParameters) -> list[Box]:

    if given.heatmap is None:
        return []
    return [o.box for o in prompts_from_heatmap(given.heatmap, parameters).objects if o.box]


def test_the_users_prompts_and_labels_are_the_edited_ones(
    planes: Planes, segmenter: Segmenter
) -> None:
    given = next(planes())
    box = Box(30, 30, 70, 70)
    one = replace(given, prompts=PlanePrompts(0, given.index, (ObjectPrompt(1, box=box),)))
    masks = compare_plane(one, segmenter, planes.encode, PromptParameters())
    assert (masks[EDITED] != masks[CAM_TO_SAM]).any()
    assert not masks[EDITED][:20].any()
    # Prompts that were deleted give nothing.
    none = replace(given, prompts=PlanePrompts(0, given.index))
    assert not compare_plane(none, segmenter, planes.encode, PromptParameters())[EDITED].any()
    labels = given.truth.astype(np.uint16) * 7
    accepted = replace(one, labels=labels)
    masks = compare_plane(accepted, segmenter, planes.encode, PromptParameters())
    np.testing.assert_array_equal(masks[EDITED], labels > 0)


def test_the_truth_prompts_every_part_of_an_object(planes: Planes, segmenter: Segmenter) -> None:
    given = next(planes())
    two = np.zeros_like(given.truth)
    two[20:40, 20:40] = two[70:80, 70:80] = two[100, 100] = 1
    given = replace(given, truth=two)
    rule = replace(PromptParameters(), kind="box", min_area=2)
    mask = compare_plane(given, segmenter, planes.encode, rule)[TRUTH_PROMPTS]
    assert mask[20:40, 20:40].any()
    assert mask[70:80, 70:80].any()
    parts = prompts_from_mask(two, truth_parameters("truth-box", margin=0, min_area=2)).objects
    assert [(one.object_id, one.box.row_min) for one in parts if one.box] == [(1, 20), (1, 70)]


def test_planes_with_nothing_count_for_nothing(planes: Planes, segmenter: Segmenter) -> None:
    given = next(planes())
    empty = replace(given, heatmap=None, truth=np.zeros_like(given.truth))
    found = list(compare_planes([empty], segmenter, planes.encode, PromptParameters()))
    assert planes.encoded == 0
    assert not found[0].counts
    for line in summarise_comparison(found):
        assert line.n_planes == 0
        assert np.isnan(line.dice)
        assert np.isnan(line.percent_of_truth_prompts)
    # Found where there is nothing: it counts, against all that say so.
    wrong = replace(given, truth=np.zeros_like(given.truth))
    lines = summarise_comparison(
        list(compare_planes([wrong], segmenter, planes.encode, PromptParameters()))
    )
    assert [line.dice for line in lines] == [0, 0, 0, 1]


def test_adaptive_negatives_and_every_mask_choice(
    planes: Planes, run: RunResult, segmenter: Segmenter, sample: Sample
) -> None:
    parameters = strategy_parameters("s2-adaptive")
    settings = replace(run.parameters, strategy="s2-adaptive", mask_choice="oracle")
    classifier = load_classifier("lesion", device="cpu")
    whole = run_image(sample.image, segmenter, classifier, settings, sample.truth)
    found = compare_planes(planes(), segmenter, planes.encode, parameters, mask_choice="oracle")
    lines = summarise_comparison(list(found))
    assert lines[1].dice == pytest.approx(whole.summary["dice"].mean)


def test_colour_in_two_dimensions(segmenter: Segmenter) -> None:
    shapes = make_sample("shapes")
    truth = shapes.truth.plane()
    heat = np.where(truth > 0, 1, 0.1).astype(np.float32)
    given = PlaneToCompare(0, shapes.image.plane(), heat, truth > 0)
    masks = compare_plane(given, segmenter, segmenter.encode, PromptParameters())
    np.testing.assert_array_equal(masks[CAM_ALONE], truth > 0)
    assert all(mask.shape == truth.shape and mask.dtype == bool for mask in masks.values())


def test_what_does_not_fit_is_named(planes: Planes, segmenter: Segmenter) -> None:
    given = replace(next(planes()), truth=np.zeros((5, 6), bool))
    with pytest.raises(CamSamError, match=r"truth has shape \(5, 6\)"):
        compare_plane(given, segmenter, planes.encode, PromptParameters())
    flat = np.full((8, 8), 0.5, np.float32)
    assert not pseudo_mask(flat, PromptParameters()).any()


def test_planes_objects_and_volume_of_a_mask_with_any_axis(sample: Sample) -> None:
    truth = np.asarray(sample.truth.data)
    mask = np.roll(truth, (1, 3, 4), (0, 1, 2)).astype(np.uint16) * 2
    mask[2, 5:9, 5:9] = 9
    spacing = sample.image.geometry.spacing
    for axis in range(3):
        steps = list(score_steps(ScoringInput(sample.image, axis, mask, truth)))
        planes = [step for step in steps if isinstance(step, SliceScores)]
        objects, volume = (step for step in steps if isinstance(step, VolumeScores))
        assert [p.index for p in planes] == list(range(truth.shape[axis]))
        for found in planes:
            cut = mask.take(found.index, axis) > 0, truth.take(found.index, axis) > 0
            assert (found.row is None) == (not (cut[0] | cut[1]).any())
            expected = score_masks(*cut, sample.image.geometry.plane_spacing(axis))
            assert found.row is None or found.row.scores == expected
            np.testing.assert_array_equal(
                found.agreement, np.where(cut[0] & cut[1], 1, cut[0] * 2 + cut[1] * 3)
            )
        assert volume.rows[0].scores == score_masks(mask > 0, truth > 0, spacing)
        each = score_objects(mask, truth, spacing)
        assert [row.scores for row in objects.rows] == [one.scores for one in each]
        assert [(r.kind, r.number, r.partner) for r in objects.rows] == [
            ("object", 1, 2), ("extra", 9, 9),
        ]  # fmt: skip
        assert objects.rows[1].plane == (2, 5, 5)[axis]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_with_its_heatmap_is_scored_as_a_run_scores_it(sample: Sample, axis: int) -> None:
    truth = np.asarray(sample.truth.data)
    mask, spacing = np.roll(truth, 2, 2), sample.image.geometry.spacing
    heat = np.random.default_rng(0).random(truth.shape, dtype=np.float32) ** 9
    planes = np.moveaxis(heat, axis, 0)
    job = ScoringInput(sample.image, axis, mask, truth, None, planes, tuple(range(len(planes))))
    *_, found = score_steps(job)
    assert isinstance(found, VolumeScores)
    expected, _ = score_volume(mask, sample.truth, spacing, axis, range(len(planes)), heatmap=heat)
    assert found.rows[0].scores == expected
    assert "energy_inside" in expected.values


def test_planes_of_the_truth_without_any_mask_are_counted_and_change_no_score() -> None:
    truth = np.zeros((9, 12, 12), np.uint8)
    truth[1:8, 2:5, 2:5] = 1  # on seven planes
    truth[3:6, 8:10, 8:10] = 2  # on three, beside it
    mask = np.zeros_like(truth)
    mask[3:7, 2:5, 2:5] = 5
    image = image_from_array(truth)

    def counts(axis: int, predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> Any:
        *_, objects, volume = score_steps(ScoringInput(image, axis, predicted, true))
        assert isinstance(objects, VolumeScores)
        assert isinstance(volume, VolumeScores)
        expected = score_masks(predicted > 0, true > 0, image.geometry.spacing)
        assert volume.rows[0].scores == expected
        rows = [*volume.rows, *objects.rows]
        return {f"{r.kind} {r.number}": (r.truth_planes, r.empty_planes) for r in rows}

    assert counts(0, mask, truth) == {"volume 0": (7, 3), "object 1": (7, 3), "object 2": (3, 0)}
    # Along another axis it is another count: the truth lies on five rows, the mask on three.
    assert counts(1, mask, truth) == {"volume 0": (5, 2), "object 1": (3, 0), "object 2": (2, 2)}
    assert counts(0, truth, mask) == {"volume 0": (4, 0), "object 5": (4, 0), "extra 2": (0, 0)}
    # Also where all that there is lies on one plane.
    one = np.where(np.arange(9)[:, None, None] == 4, truth, 0).astype(np.uint8)
    assert counts(0, np.zeros_like(one), one)["object 2"] == (1, 1)


def test_a_heatmap_is_scored_on_its_own_planes_alone(sample: Sample) -> None:
    truth = np.asarray(sample.truth.data)
    heat = np.random.default_rng(0).random((3, *truth.shape[1:]), dtype=np.float32)
    job = ScoringInput(sample.image, 0, truth, truth, None, heat, (9, 10, 12))
    steps = list(score_steps(job))
    rows = {step.row.number: step.row for step in steps[:-2] if step.row is not None}  # type: ignore[union-attr]
    assert "auprc" not in rows[11].scores.values
    assert rows[12].scores.values["auprc"] == score_heatmap(heat[2], truth[12]).values["auprc"]
    whole = steps[-1]
    assert isinstance(whole, VolumeScores)
    expected = score_heatmap(heat, truth[[9, 10, 12]]).values
    assert whole.rows[0].scores.values["auc_judd"] == expected["auc_judd"]
    assert whole.precision_recall is not None
    assert whole.precision_recall.area == expected["auprc"]
    with pytest.raises(CamSamError, match="between 0 and 1"):
        next(score_steps(replace(job, heatmap=heat * 2)))


def test_of_very_many_objects_the_volume_is_scored_alone() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[::3, ::3] = np.arange(400).reshape(20, 20) + 1
    assert labels.max() > MOST_OBJECTS
    *_, objects, volume = score_steps(ScoringInput(image_from_array(labels), 0, labels, labels))
    assert isinstance(objects, VolumeScores)
    assert isinstance(volume, VolumeScores)
    assert objects.rows == volume.rows == []
    one = ScoringInput(image_from_array(labels), 0, labels, labels, label=7)
    first, objects, _ = score_steps(one)
    assert isinstance(first, SliceScores)
    assert int((first.agreement == 1).sum()) == 1
    assert isinstance(objects, VolumeScores)
    assert [row.number for row in objects.rows] == [7]
