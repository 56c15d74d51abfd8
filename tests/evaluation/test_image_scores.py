"""Scores of images, planes, labels and objects, and what points at the truth."""

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.image_scores import (
    score_image,
    score_labels,
    score_objects,
    score_planes,
    score_pointing,
)
from napari_cam_sam.metrics.scoring import score_heatmap, score_masks
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts


@pytest.fixture
def volumes():
    prediction, truth = np.zeros((2, 6, 20, 24), np.uint8)
    truth[1:4, 5:12, 5:12] = 1
    truth[2:5, 14:18, 14:20] = 5
    prediction[1:4, 5:12, 6:13] = 1
    prediction[3:5, 14:18, 14:20] = 5
    return prediction, truth


SPACING = (6.5, 0.78, 0.78)


def test_labels_are_scored_by_value(volumes):
    found = score_labels(*volumes, SPACING)
    assert list(found) == [1, 5]
    assert found[1].values["iou"] == pytest.approx(6 / 8)
    assert found[5].values["iou"] == pytest.approx(2 / 3)
    assert score_labels(*volumes, SPACING, [7])[7].flags == ("both-empty",)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_along_each_axis(volumes, axis):
    prediction, truth = volumes
    indices = range(2, 5)
    found = score_planes(prediction, truth, SPACING, axis, indices)
    assert list(found) == [2, 3, 4]
    in_plane = [s for i, s in enumerate(SPACING) if i != axis]
    for index in indices:
        expected = score_masks(prediction.take(index, axis), truth.take(index, axis), in_plane)
        assert found[index] == expected


def test_objects_are_matched_by_overlap_not_by_id():
    prediction, truth = np.zeros((2, 30, 30), np.uint8)
    truth[2:8, 2:8] = 1
    truth[15:20, 15:20] = 2
    truth[25:28, 2:5] = 3
    prediction[15:20, 15:19] = 1
    prediction[2:8, 3:8] = 9
    prediction[0:2, 25:28] = 4
    found = score_objects(prediction, truth, (1, 1))
    assert [(one.prediction_id, one.truth_id) for one in found] == [
        (9, 1),
        (1, 2),
        (None, 3),
        (4, None),
    ]
    assert found[0].scores.values["iou"] == pytest.approx(5 / 6)
    assert found[1].scores.values["iou"] == pytest.approx(4 / 5)
    assert found[2].scores.flags == ("prediction-empty",)
    assert found[3].scores.flags == ("truth-empty",)


def test_matching_takes_the_best_sum():
    """One large prediction over two truths goes to the one that leaves the better total."""
    prediction, truth = np.zeros((2, 1, 30), np.uint8)
    truth[0, :10] = 1
    truth[0, 10:20] = 2
    prediction[0, :18] = 1
    prediction[0, 18:22] = 2
    found = score_objects(prediction, truth, (1, 1))
    assert [(one.prediction_id, one.truth_id) for one in found] == [(1, 1), (2, 2)]


def test_no_objects_at_all():
    empty = np.zeros((5, 5), int)
    assert score_objects(empty, empty, (1, 1)) == []
    assert score_labels(empty, empty, (1, 1)) == {}


def test_a_window_round_all_objects_changes_no_digit(volumes):
    prediction, truth = volumes
    prediction[4, 0, 22:] = 9
    for pair in (volumes, (prediction[3], truth[3])):
        spacing = SPACING[-pair[0].ndim :]
        for one in score_objects(*pair, spacing):
            mask = pair[0] == (one.prediction_id or -1)
            true = pair[1] == (one.truth_id or -1)
            assert one.scores == score_masks(mask, true, spacing)
        for label, scores in score_labels(*pair, spacing).items():
            assert scores == score_masks(pair[0] == label, pair[1] == label, spacing)


def test_a_heatmap_and_prompts_are_scored_where_the_truth_is_not_empty(volumes):
    prediction, truth = volumes
    heat = np.linspace(0, 1, truth.size, dtype=np.float32).reshape(truth.shape)
    prompts = PlanePrompts(0, 2, (ObjectPrompt(5, (), Box(13, 13, 18, 20)),))
    for index in range(len(truth)):
        plane = prediction[index], truth[index], SPACING[1:]
        masks = score_masks(*plane)
        found = score_image(*plane, heat[index], prompts)
        assert found.flags == masks.flags
        more = found.values.keys() - masks.values.keys()
        assert more == score_pointing(truth[index], SPACING[1:], heat[index], prompts).values.keys()
        assert bool(more) == bool(truth[index].any())
        assert {"auprc", "prevalence", "box_iou"} <= more or not more
    each = score_labels(prediction[2], truth[2], SPACING[1:], heatmap=heat[2], prompts=prompts)
    assert "box_iou" in each[5].values
    assert "box_iou" not in each[1].values  # it has no prompts
    assert each[1].values["auprc"] == score_heatmap(heat[2], truth[2] == 1).values["auprc"]


def test_masks_that_overlap_are_scored_each_by_itself(volumes):
    _, truth = volumes
    masks = {1: truth[2] > 0, 5: truth[2] == 5}
    labels = np.where(masks[1], 1, 0)
    found = score_labels(labels, truth[2], (1, 1), masks=masks)
    assert found[5].values["dice"] == 1
    assert found[1] == score_masks(masks[1], truth[2] == 1, (1, 1))
    assert score_labels(labels, truth[2], (1, 1))[5].values["dice"] == 0


def test_wrong_arguments_are_refused(volumes):
    with pytest.raises(CamSamError, match="no axis 3"):
        score_planes(*volumes, SPACING, 3, [0])
    with pytest.raises(CamSamError, match="no slice 6 along axis 0: it has 6"):
        score_planes(*volumes, SPACING, 0, [6])
    with pytest.raises(CamSamError, match="of one shape"):
        score_labels(volumes[0], volumes[1][:3], SPACING)
    with pytest.raises(CamSamError, match="must agree"):
        score_heatmap(np.zeros((3, 3)), np.zeros((3, 4), bool))
