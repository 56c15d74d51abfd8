"""The whole way on phantoms: what joins the rooms, not what each of them does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.demo.samples import SAMPLES, make_sample
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.images.windows import WindowParameters, apply_window
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.pipeline import (
    RunParameters,
    VolumeParameters,
    run_image,
    run_planes,
    segment_plane,
)
from napari_cam_sam.pipeline.planes import encoder
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.prompts.parameters import strategy_parameters
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.cache.store import EmbeddingStore
from napari_cam_sam.sam.everything.parameters import AutomaticParameters
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates, Segmenter
from napari_cam_sam.sam.volume.parameters import PropagationParameters


@pytest.fixture(scope="module")
def lesion() -> Classifier:
    return load_classifier("lesion", device="cpu")


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_runs_with_its_classifier(name: str, seeded: Segmenter) -> None:
    sample = make_sample(name)
    planes = None if name != "ct" else range(8, 12)
    parameters = RunParameters(planes=planes, cam=CamParameters(target=sample.target))
    classifier = load_classifier(sample.classifier, device="cpu")
    result = run_image(sample.image, seeded, classifier, parameters, sample.truth)
    assert result.heatmap is not None
    assert result.heatmap.shape == result.labels.shape == sample.image.spatial_shape
    assert len(result.prompts) == (4 if name == "ct" else 1)
    for scores in result.scores.values():
        assert 0 <= scores.values["iou"] <= 1


def test_planes_come_with_the_heatmap_of_the_plane_they_are(
    seeded: Segmenter, lesion: Classifier
) -> None:
    """Batches must not shift maps between planes."""
    volume = image_from_array(ct(7, shape=(7, 64, 64)).hounsfield)
    whole = list(run_planes(volume, seeded, lesion, RunParameters(cam=CamParameters(batch_size=3))))
    single = RunParameters(
        planes=range(5, 6), window=WindowParameters(), cam=CamParameters(batch_size=3)
    )
    alone = list(run_planes(volume, seeded, lesion, single))
    assert [p.index for p in whole] == list(range(7))
    assert whole[5].heatmap is not None
    assert alone[0].heatmap is not None
    np.testing.assert_allclose(whole[5].heatmap.values, alone[0].heatmap.values, atol=2e-3)


def test_labels_keep_the_truths_values_and_are_scored_by_them(seeded: Segmenter) -> None:
    image = np.full((80, 80), 60, np.uint8)
    truth = np.zeros((80, 80), np.uint8)
    truth[10:30, 10:30], truth[45:70, 40:70] = 3, 8
    image[truth > 0] = 190
    parameters = RunParameters(strategy="truth-box")
    source, answer = image_from_array(image), image_from_array(truth)
    both = run_image(source, seeded, None, parameters, answer)
    assert set(np.unique(both.labels)) == {0, 3, 8}
    assert set(both.scores) == {(0, 3), (0, 8)}
    assert min(s.values["iou"] for s in both.scores.values()) > 0.85
    one = run_image(source, seeded, None, replace(parameters, truth_label=8), answer)
    assert set(np.unique(one.labels)) == {0, 8}
    assert set(one.scores) == {(0, 8)}


def test_of_two_objects_the_lower_id_keeps_shared_pixels(seeded: Segmenter) -> None:
    plane = np.full((60, 60), 40, np.uint8)
    plane[20:40, 20:40] = 200
    box = Box(18, 18, 42, 42)
    prompts = PlanePrompts(objects=(ObjectPrompt(2, box=box), ObjectPrompt(1, box=box)))
    labels, confidence = segment_plane(seeded, seeded.encode(plane), prompts)
    assert set(np.unique(labels)) == {0, 1}
    assert set(confidence) == {1, 2}


def test_no_evidence_is_a_plane_with_a_reason(seeded: Segmenter, lesion: Classifier) -> None:
    image = image_from_array(make_sample("ultrasound").image.data)
    parameters = RunParameters(cam=CamParameters(target="lesion", min_probability=1.0))
    result = run_image(image, seeded, lesion, parameters)
    assert result.prompts[0].objects == ()
    assert result.prompts[0].reason is not None
    assert "probability" in result.prompts[0].reason
    assert not result.labels.any()


def test_volume_scores_use_the_spacing_and_only_the_planes_that_were_run(
    seeded: Segmenter,
) -> None:
    phantom = ct(9, shape=(12, 64, 64))
    geometry = Geometry(spacing=phantom.spacing, affine=phantom.affine, unit="mm")
    image = image_from_array(phantom.hounsfield, geometry=geometry)
    truth = image_from_array(phantom.labels, geometry=geometry)
    inside = np.flatnonzero(phantom.labels.any(axis=(1, 2)))
    part = range(int(inside[0]), int(inside[0]) + 2)
    parameters = RunParameters(strategy="truth-box", planes=part)
    result = run_image(image, seeded, None, parameters, truth)
    assert result.volume is not None
    cut = slice(part.start, part.stop)
    predicted, answer = result.labels[cut] > 0, phantom.labels[cut] > 0
    both, union = (predicted & answer).sum(), (predicted | answer).sum()
    assert result.volume.values["iou"] == pytest.approx(both / union)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mask_from": "automatc"}, "Unknown source of masks 'automatc'. Did you mean automatic"),
        ({"mask_choice": "bst"}, "Unknown mask choice 'bst'. Did you mean best"),
    ],
)
def test_a_misspelt_choice_of_masks_is_no_other_choice(wrong: Any, message: str) -> None:
    with pytest.raises(CamSamError, match=message):
        RunParameters(**wrong)


def test_what_is_missing_is_said_before_anything_runs(
    seeded: Segmenter, lesion: Classifier
) -> None:
    image = image_from_array(np.zeros((20, 20), np.uint8))
    with pytest.raises(CamSamError, match="give a classifier"):
        run_image(image, seeded)
    with pytest.raises(CamSamError, match="truth"):
        run_image(image, seeded, parameters=RunParameters(strategy="truth-point"))
    with pytest.raises(CamSamError, match="counted from 0"):
        run_image(image, seeded, lesion, RunParameters(planes=range(3, 5)))


def test_every_row_names_its_label_and_a_label_in_two_parts_is_one_object(
    seeded: Segmenter,
) -> None:
    data = np.full((3, 80, 80), 60, np.uint8)
    truth = np.zeros(data.shape, np.uint16)
    truth[0, 8:24, 8:24] = truth[0, 50:70, 50:70] = 32000
    truth[0, 10:26, 50:70] = truth[1, 30:50, 30:50] = 2
    data[truth > 0] = 190
    parameters = RunParameters(
        strategy="truth-box", prompts=replace(strategy_parameters("truth-box"), max_objects=3)
    )
    result = run_image(image_from_array(data), seeded, None, parameters, image_from_array(truth))
    assert set(result.scores) == {(0, 2), (0, 32000), (1, 2)}
    assert result.empty_planes == 1
    assert set(np.unique(result.labels)) == {0, 2, 32000}
    assert min(s.values["iou"] for s in result.scores.values()) > 0.85
    assert set(result.volume_labels) == {2, 32000}
    for label, scores in result.volume_labels.items():
        both = ((result.labels == label) & (truth == label)).sum()
        union = ((result.labels == label) | (truth == label)).sum()
        assert scores.values["iou"] == pytest.approx(both / union)


class _Nested:
    """A segmenter with two candidates: the core and the whole, the whole scored higher."""

    name, device, precision, model_hash = "nested", "cpu", "float32", "0"

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        return Embedding(None, (plane.shape[0], plane.shape[1]), self.model_hash)

    def decode(
        self, embedding: Embedding, prompts: Sequence[ObjectPrompt], **_: object
    ) -> list[MaskCandidates]:
        masks = np.zeros((2, *embedding.plane_shape), bool)
        masks[0, 15:25, 15:25] = masks[1, 10:30, 10:30] = True
        scores, logits = np.array([0.4, 0.9], np.float32), np.zeros((2, 4, 4), np.float32)
        return [MaskCandidates(p.object_id, masks, scores, logits) for p in prompts]


def test_the_oracle_compares_an_object_with_its_own_label() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30], truth[15:25, 15:25] = 2, 1
    parameters = RunParameters(strategy="truth-box", mask_choice="oracle")
    image = image_from_array(np.zeros((40, 40), np.uint8))
    result = run_image(image, _Nested(), None, parameters, image_from_array(truth))
    assert result.scores[0, 1].values["iou"] == 1
    assert result.scores[0, 2].values["iou"] == 1


def test_masks_from_the_heatmap_itself(seeded: Segmenter) -> None:
    sample = make_sample("shapes")
    shapes = load_classifier("shapes", device="cpu")
    parameters = RunParameters(cam=CamParameters(target=sample.target), mask_from="heatmap")
    result = run_image(sample.image, seeded, shapes, parameters, sample.truth)
    assert result.summary["iou"].mean > 0.8
    assert result.grid_shape == (16, 16)
    with pytest.raises(CamSamError, match="take seeded"):
        run_image(sample.image, _Nested(), shapes, parameters, sample.truth)
    from_truth = replace(parameters, strategy="truth-box")
    with pytest.raises(CamSamError, match="not from the truth"):
        run_image(sample.image, seeded, shapes, from_truth, sample.truth)


def test_planes_with_a_step_are_refused_before_anything_runs(seeded: Segmenter) -> None:
    image = image_from_array(np.zeros((6, 20, 20), np.uint8))
    for planes in (range(0, 6, 2), range(5, 0, -1)):
        with pytest.raises(CamSamError, match="step must be 1"):
            run_image(image, seeded, None, RunParameters(strategy="truth-box", planes=planes))


def test_an_image_is_not_taken_for_labels(seeded: Segmenter) -> None:
    values = np.arange(900, dtype=np.uint16).reshape(30, 30)
    image = image_from_array(values)
    with pytest.raises(CamSamError, match="899 different labels: is it an image"):
        run_image(image, seeded, None, RunParameters(strategy="truth-box"), image)


def test_masks_are_the_same_with_any_cache_and_with_none(tmp_path: Path) -> None:
    """Features are rounded as on disk in every case: docks, runs and replays give one result."""
    sample = make_sample("ct")
    segmenter = load_segmenter("compact-sam", "cpu")
    parameters = RunParameters(
        strategy="truth-box", planes=range(9, 12), window=WindowParameters("ct-abdomen")
    )
    store = EmbeddingStore(tmp_path, 1 << 30)
    caches = [None, EmbeddingCache(), EmbeddingCache(0, store), EmbeddingCache(0, store)]
    first, *others = (
        run_image(sample.image, segmenter, None, parameters, sample.truth, embeddings=cache)
        for cache in caches
    )
    plane = apply_window(sample.image.plane(0, 10), first.window)
    exact, rounded = segmenter.encode(plane), encoder(segmenter, None)(plane)
    assert not torch.equal(exact.features, rounded.features)
    assert torch.equal(rounded.features, exact.features.half().float())
    by_hand, _ = segment_plane(segmenter, rounded, first.prompts[1])
    np.testing.assert_array_equal(first.labels[10], by_hand)
    for other in others:
        np.testing.assert_array_equal(first.labels, other.labels)
        assert first.confidence == other.confidence


def _two_rods() -> tuple[Image, Image]:
    """Two bright rods of different length along the planes, labels 4 and 9."""
    data = np.full((12, 64, 64), 60, np.uint8)
    truth = np.zeros(data.shape, np.uint8)
    truth[2:10, 10:24, 10:24], truth[4:9, 40:56, 36:52] = 4, 9
    data[truth == 4], data[truth == 9] = 190, 230
    geometry = Geometry(spacing=(2.0, 1.0, 1.0), unit="mm")
    return image_from_array(data, geometry=geometry), image_from_array(truth, geometry=geometry)


def test_labels_of_the_truth_are_objects_of_the_volume(seeded: Segmenter) -> None:
    image, truth = _two_rods()
    steps: list[tuple[int, int]] = []
    parameters = RunParameters(
        strategy="truth-box", planes=range(6, 7), volume=VolumeParameters(consensus=True)
    )
    result = run_image(
        image, seeded, None, parameters, truth, lambda done, total: steps.append((done, total))
    )
    assert set(np.unique(result.labels)) == {0, 4, 9}
    assert set(result.volume_labels) == {4, 9}
    for label, scores in result.volume_labels.items():
        assert scores.values["dice"] > 0.8
        predicted, answer = result.labels == label, truth.data == label
        both = 2 * (predicted & answer).sum() / (predicted.sum() + answer.sum())
        assert scores.values["dice"] == pytest.approx(both)
    assert {label for _, label in result.scores} == {4, 9}
    assert [one.source for one in result.sources[6]] == ["prompted", "prompted"]
    assert {one.source for one in result.sources[5]} == {"propagated"}
    assert [bool(plane.objects) for plane in result.prompts] == [i == 6 for i in range(12)]
    assert result.consensus is not None
    assert {len(dice) for dice in result.consensus.dice.values()} == {3}
    # One plane that may be prompted, then all planes of the three axes.
    assert steps[-1] == (1 + 12 + 64 + 64,) * 2
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_propagation_along_another_axis_is_that_of_the_turned_volume(seeded: Segmenter) -> None:
    image, truth = _two_rods()
    volume = VolumeParameters(PropagationParameters(max_distance_mm=6.0), smooth=3.0)
    along = RunParameters(strategy="truth-box", planes=range(6, 7), volume=volume)
    first = run_image(image, seeded, None, along, truth)
    turned, answer = (
        image_from_array(
            np.moveaxis(np.asarray(one.data), 0, 2),
            geometry=Geometry(spacing=(1.0, 1.0, 2.0), unit="mm"),
        )
        for one in (image, truth)
    )
    second = run_image(turned, seeded, None, replace(along, axis=2), answer)
    np.testing.assert_array_equal(np.moveaxis(second.labels, 2, 0), first.labels)
    assert second.sources == first.sources
    with_mask = [i for i, parts in first.sources.items() if parts[0].source != "none"]
    assert with_mask == list(range(3, 10))  # 6 mm are three steps of 2 mm
    assert second.volume is not None
    assert first.volume is not None
    assert second.volume.values == pytest.approx(first.volume.values)


def test_a_volume_is_for_run_image(seeded: Segmenter, lesion: Classifier) -> None:
    image, truth = _two_rods()
    parameters = RunParameters(strategy="truth-box", volume=VolumeParameters())
    with pytest.raises(CamSamError, match="run_image"):
        next(run_planes(image, seeded, None, parameters, truth))
    for wrong in ({"min_trust": float("nan")}, {"smooth": float("inf")}, {"smooth": -1.0}):
        with pytest.raises(CamSamError, match="must be"):
            VolumeParameters(**wrong)
    from_heatmaps = RunParameters(volume=VolumeParameters())
    with pytest.raises(CamSamError, match="as the target"):
        run_image(image, seeded, lesion, from_heatmaps)


def test_what_everything_mode_is_asked_for_suits_the_segmenter() -> None:
    sample = make_sample("shapes")
    shapes = load_classifier("shapes", device="cpu")
    parameters = RunParameters(cam=CamParameters(target=sample.target), mask_from="automatic")
    segmenter = load_segmenter("compact-sam", "cpu")
    result = run_image(sample.image, segmenter, shapes, parameters, sample.truth)
    assert result.summary["iou"].mean > 0.8
    assert 0.5 < result.confidence[0][1] <= 1
    # No mask is estimated to be above 1.
    strict = replace(parameters, automatic=AutomaticParameters(4, predicted_iou=1.0))
    nothing = run_image(sample.image, segmenter, shapes, strict, sample.truth)
    assert not nothing.labels.any()
    assert nothing.confidence == {}
    from_truth = replace(parameters, strategy="truth-box")
    with pytest.raises(CamSamError, match="not from the truth"):
        run_image(sample.image, segmenter, shapes, from_truth, sample.truth)
