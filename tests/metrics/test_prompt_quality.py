import math

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.prompt_quality import box_iou, score_prompts
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point


@pytest.fixture
def truth():
    mask = np.zeros((30, 40), np.uint8)
    mask[10:15, 20:31] = 1  # centre of mass (12, 25)
    return mask


def test_hits_and_distances(truth):
    prompt = ObjectPrompt(1, (
        Point(12, 28), Point(9.6, 25), Point(9.4, 25), Point(-3, 25),
        Point(0, 0, False), Point(12, 25, False), Point(200, 25, False),
    ))  # fmt: skip
    found = score_prompts(prompt, truth, (2.0, 0.5))
    assert found["fg_hit_rate"] == pytest.approx(2 / 4)
    assert found["bg_hit_rate"] == pytest.approx(2 / 3)
    assert found["distance_px"] == pytest.approx((3 + 2.4 + 2.6 + 15) / 4)
    assert found["distance_mm"] == pytest.approx((1.5 + 4.8 + 5.2 + 30) / 4)
    assert (found["n_positive"], found["n_negative"], found["n_boxes"]) == (4, 3, 0)
    assert math.isnan(found["box_iou"])
    assert math.isnan(found["box_area"])


def test_boxes(truth):
    exact = Box(10, 20, 15, 31)
    wider = Box(5, 15, 20, 36)
    found = score_prompts(ObjectPrompt(1, (), exact), truth)
    assert found["box_iou"] == 1
    assert found["box_area"] == 55
    assert math.isnan(found["fg_hit_rate"])
    assert math.isnan(found["distance_px"])
    both = PlanePrompts(objects=(ObjectPrompt(1, (), exact), ObjectPrompt(2, (), wider)))
    found = score_prompts(both, truth)
    assert found["box_iou"] == pytest.approx((1 + 55 / 315) / 2)
    assert found["box_area"] == pytest.approx((55 + 315) / 2)


def test_each_prompt_is_held_against_the_nearest_truth_object(truth):
    truth[20:23, 3:6] = 2  # centre of mass (21, 4)
    prompt = ObjectPrompt(1, (Point(21, 7), Point(12, 25)), Box(20, 3, 23, 6))
    found = score_prompts(prompt, truth)
    assert found["fg_hit_rate"] == 0.5
    assert found["distance_px"] == pytest.approx(1.5)
    assert found["box_iou"] == 1


def test_empty_truth_and_no_prompts(truth):
    prompt = ObjectPrompt(1, (Point(1, 1), Point(2, 2, False)), Box(0, 0, 4, 4))
    found = score_prompts(prompt, np.zeros((9, 9), bool))
    for name in ("fg_hit_rate", "distance_px", "distance_mm", "box_iou"):
        assert math.isnan(found[name])
    assert (found["bg_hit_rate"], found["box_area"]) == (1, 16)
    nothing = score_prompts(PlanePrompts(reason="no evidence"), truth)
    assert nothing["n_positive"] == nothing["n_boxes"] == 0
    assert math.isnan(nothing["fg_hit_rate"])


def test_box_iou_in_closed_form():
    assert box_iou(Box(0, 0, 4, 4), Box(2, 2, 6, 6)) == pytest.approx(4 / 28)
    assert box_iou(Box(0, 0, 4, 4), Box(4, 0, 8, 4)) == 0
    assert box_iou(Box(-2, -2, 2, 2), Box(-2, -2, 2, 2)) == 1


def test_wrong_truth_is_refused():
    with pytest.raises(CamSamError, match="must be 2D, not 3D"):
        score_prompts(ObjectPrompt(), np.zeros((2, 3, 4), bool))
    with pytest.raises(CamSamError, match="spacing"):
        score_prompts(ObjectPrompt(), np.zeros((3, 4), bool), (1.0,))
