from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam.volume.brightness import blurred_gray, follow_brightness, measure_brightness
from napari_cam_sam.sam.volume.neighbours import neighbour_prompt, uses_logits

BAR = np.zeros((20, 30), bool)
BAR[6:11, 4:25] = True


def test_box_is_the_bounds_and_the_margin():
    expected = ObjectPrompt(3, (), Box(4.0, 2.0, 13.0, 27.0))
    assert neighbour_prompt(3, BAR, "box", 2) == expected
    assert neighbour_prompt(3, BAR, "mask+box", 2) == expected
    assert [uses_logits(r) for r in ("box", "points", "mask", "mask+box")] == [0, 0, 1, 1]


def test_points_are_the_deepest_and_apart():
    (first,) = neighbour_prompt(1, BAR, "mask", 0, points=4).points
    assert (first.row, first.positive) == (8, True)
    points = neighbour_prompt(1, BAR, "points", 0, points=4).points
    assert len(points) == 4
    assert all(BAR[int(p.row), int(p.column)] for p in points)
    distances = [np.hypot(p.row - q.row, p.column - q.column) for p in points for q in points]
    assert sorted(distances)[4] >= 3  # the bar is 5 wide: its deepest pixels are 3 from outside
    one = np.zeros((4, 4), bool)
    one[1, 2] = True
    assert neighbour_prompt(1, one, "points", 0, points=4).points == (Point(1, 2),)


def test_negatives_are_outside_of_the_box_and_on_the_plane():
    found = neighbour_prompt(1, BAR, "points", 2, negatives=True).points
    assert [(p.row, p.column) for p in found if not p.positive] == [
        (3, 14), (13, 14), (8, 1), (8, 27),
    ]  # fmt: skip
    whole = np.ones((5, 5), bool)
    assert all(p.positive for p in neighbour_prompt(1, whole, "points", 0, negatives=True).points)


@given(st.integers(0, 10_000), st.sampled_from(["box", "points", "mask", "mask+box"]))
def test_any_mask_makes_a_prompt_that_can_be_decoded(seed, rule):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 9, 2)) > 0.7
    mask[0, 0] = True
    prompt = neighbour_prompt(1, mask, rule, 1.5, points=3, negatives=True)
    assert prompt.box is not None or any(p.positive for p in prompt.points)
    for point in prompt.points:
        assert mask[int(point.row), int(point.column)] or not point.positive


def test_refuses_an_unknown_rule():
    with pytest.raises(CamSamError, match="Did you mean"):
        neighbour_prompt(1, BAR, "boxes", 0)


def test_likeness_is_0_around_and_1_inside():
    plane = np.where(BAR, 160, 100).astype(np.uint8)
    found = measure_brightness(blurred_gray(plane), BAR)
    assert found is not None
    assert found.inside == pytest.approx(160, abs=5)
    assert found.around == pytest.approx(100, abs=0.1)
    like = found.likeness(np.array([100, 130, 160, 220], np.float32))
    np.testing.assert_allclose(like, [0, 0.5, 1, 2], atol=0.15)
    inverse = measure_brightness(blurred_gray(255 - plane), BAR)
    assert inverse is not None
    np.testing.assert_allclose(inverse.likeness(np.array([155, 95], np.float32)), [0, 1], atol=0.08)


def test_brightness_says_nothing_where_there_is_no_contrast_or_no_surroundings():
    flat = blurred_gray(np.full(BAR.shape, 90, np.uint8))
    assert measure_brightness(flat, BAR) is None
    assert measure_brightness(flat, np.ones_like(BAR)) is None
    noise = np.random.default_rng(0).integers(0, 256, BAR.shape).astype(np.uint8)
    assert measure_brightness(blurred_gray(noise), BAR) is None


def test_a_mask_follows_what_looks_like_it_one_pixel_outwards():
    likeness = np.zeros(BAR.shape, np.float32)
    likeness[5:11, 8:29] = 1
    likeness[5:11, 18:20] = 3  # brighter than the object by far
    found = follow_brightness(BAR, likeness)
    expected = np.zeros_like(BAR)
    expected[5:11, 8:18] = True  # the larger part; what grows is not more than a pixel
    expected[[5, 5, 10, 10], [8, 17, 8, 17]] = False  # corners that an opening by a cross takes
    np.testing.assert_array_equal(found, expected)
    assert not follow_brightness(BAR, np.zeros_like(likeness)).any()
