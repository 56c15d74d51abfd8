import math

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.scoring import (
    score_heatmap,
    score_labels,
    score_masks,
    score_objects,
    score_planes,
)


@pytest.fixture
def volumes():
    prediction, truth = np.zeros((2, 6, 20, 24), np.uint8)
    truth[1:4, 5:12, 5:12] = 1
    truth[2:5, 14:18, 14:20] = 5
    prediction[1:4, 5:12, 6:13] = 1
    prediction[3:5, 14:18, 14:20] = 5
    return prediction, truth


SPACING = (6.5, 0.78, 0.78)


def test_masks_of_planes_and_volumes(volumes):
    prediction, truth = volumes
    for pair, spacing in (((prediction[2], truth[2]), SPACING[1:]), (volumes, SPACING)):
        found = score_masks(*pair, spacing)
        assert list(found.values) == ["iou", "dice", "pixel_accuracy", "hd95", "assd", "nsd"]
        assert found.flags == ()
        both = ((pair[0] > 0) & (pair[1] > 0)).sum()
        assert found.values["iou"] == pytest.approx(both / ((pair[0] > 0) | (pair[1] > 0)).sum())


def test_empty_masks():
    mask, empty = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    found = score_masks(empty, empty, (1, 1))
    assert list(found.values.values()) == [1, 1, 1, 0, 0, 1]
    assert found.flags == ("both-empty",)
    found = score_masks(empty, mask, (1, 1))
    assert list(found.values.values()) == [0, 0, 0, math.inf, math.inf, 0]
    assert found.flags == ("prediction-empty",)
    assert score_masks(mask, empty, (1, 1)).flags == ("truth-empty",)


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


def test_heatmap_scores():
    truth = np.zeros((10, 10), bool)
    truth[2:5, 2:5] = True
    values = np.where(truth, 0.9, 0.1)
    values[3, 3] = 1.0
    found = score_heatmap(values, truth)
    assert found.flags == ()
    assert found.values == pytest.approx({
        "auc_judd": 1, "auprc": 1, "prevalence": 0.09, "pointing_hit": 1,
        "tied_fraction": 0.01, "tied_inside": 1,
        "energy_inside": (8 * 0.9 + 1) / (8 * 0.9 + 1 + 91 * 0.1), "thresholded_iou": 1,
    })  # fmt: skip


def test_heatmap_scores_where_something_is_missing():
    truth = np.zeros((4, 4), bool)
    truth[0, 0] = True
    nan = math.nan

    empty = score_heatmap(np.eye(4), ~truth & truth)
    assert empty.flags == ("truth-empty",)
    assert empty.values["prevalence"] == 0
    for name in ("auc_judd", "auprc", "pointing_hit", "energy_inside", "thresholded_iou"):
        assert math.isnan(empty.values[name])

    full = score_heatmap(np.eye(4), truth | ~truth)
    assert full.flags == ("truth-full",)
    assert math.isnan(full.values["auc_judd"])
    assert full.values["auprc"] == full.values["energy_inside"] == 1

    constant = score_heatmap(np.zeros((4, 4)), truth)
    assert constant.flags == ("heatmap-constant",)
    assert constant.values == pytest.approx(
        {
            "auc_judd": 0.5, "auprc": 1 / 16, "prevalence": 1 / 16, "pointing_hit": 0,
            "tied_fraction": 1, "tied_inside": 1 / 16, "energy_inside": nan,
            "thresholded_iou": 0,
        },
        nan_ok=True,
    )  # fmt: skip

    broken = score_heatmap(np.full((4, 4), nan, np.float32), truth)
    assert broken.flags == ("heatmap-not-finite",)
    assert broken.values["prevalence"] == 1 / 16
    assert math.isnan(broken.values["auc_judd"])


def test_wrong_arguments_are_refused(volumes):
    with pytest.raises(CamSamError, match="no axis 3"):
        score_planes(*volumes, SPACING, 3, [0])
    with pytest.raises(CamSamError, match="no plane 6 along axis 0: it has 6"):
        score_planes(*volumes, SPACING, 0, [6])
    with pytest.raises(CamSamError, match="of one shape"):
        score_labels(volumes[0], volumes[1][:3], SPACING)
    with pytest.raises(CamSamError, match="must agree"):
        score_heatmap(np.zeros((3, 3)), np.zeros((3, 4), bool))
