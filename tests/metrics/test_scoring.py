import math

import numpy as np
import pytest

from napari_cam_sam.metrics.scoring import score_heatmap, score_masks


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
