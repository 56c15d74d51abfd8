"""The annotator's points against brute force, closed forms, and what must hold for any masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.annotator import (
    AnnotatorParameters,
    class_masks,
    first_point,
    next_point,
)

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
MASKS = SHAPES.flatmap(lambda shape: arrays(bool, shape))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def depth(region):
    """Squared distance of each pixel to the nearest one outside, all outside the array counted."""
    rows, columns = region.shape
    grid = [
        (r, c)
        for r in range(-1, rows + 1)
        for c in range(-1, columns + 1)
        if not (0 <= r < rows and 0 <= c < columns and region[r, c])
    ]
    return np.array(
        [
            [
                min((r - i) ** 2 + (c - j) ** 2 for i, j in grid) if region[r, c] else 0
                for c in range(columns)
            ]
            for r in range(rows)
        ]
    )


@settings(deadline=None, max_examples=60)
@given(MASKS, st.integers(0, 5))
def test_first_point_is_the_deepest(truth, seed):
    if not truth.any():
        with pytest.raises(CamSamError, match="truth is empty"):
            first_point(truth, np.random.default_rng(seed))
        return
    point = first_point(truth, np.random.default_rng(seed))
    deep = depth(truth)
    assert point.positive
    assert point.source == "truth"
    assert deep[int(point.row), int(point.column)] == deep.max() > 0


@settings(deadline=None, max_examples=60)
@given(PAIRS, st.integers(0, 5))
def test_next_point_is_the_deepest_error_and_says_which(pair, seed):
    prediction, truth = pair
    point = next_point(prediction, truth, np.random.default_rng(seed))
    if (prediction == truth).all():
        assert point is None
        return
    where = int(point.row), int(point.column)
    assert prediction[where] != truth[where]
    assert point.positive == truth[where]
    deep = depth(prediction != truth)
    assert deep[where] == deep.max()


def test_ball_and_square():
    """The centre of a disc, and the four middle pixels of an even square, each drawn in turn."""
    rows, columns = np.indices((41, 61))
    disc = (rows - 20) ** 2 + (columns - 33) ** 2 <= 15**2
    assert first_point(disc, np.random.default_rng(0)).row == 20
    assert first_point(disc, np.random.default_rng(0)).column == 33
    square = np.zeros((10, 10), bool)
    square[2:8, 2:8] = True
    drawn = {
        (p.row, p.column)
        for p in (first_point(square, np.random.default_rng(seed)) for seed in range(60))
    }
    assert drawn == {(4, 4), (4, 5), (5, 4), (5, 5)}


def test_the_border_of_the_plane_is_background():
    """In a plane that is all object the middle is deepest, not everything alike."""
    point = first_point(np.ones((7, 9), bool), np.random.default_rng(0))
    assert point.row == 3
    assert 3 <= point.column <= 5


def test_polarity():
    truth = np.zeros((20, 20), bool)
    truth[2:9, 2:9] = True
    missed = next_point(np.zeros_like(truth), truth, np.random.default_rng(0))
    assert (missed.row, missed.column, missed.positive) == (5, 5, True)
    too_much = truth.copy()
    too_much[11:18, 11:18] = True
    leaked = next_point(too_much, truth, np.random.default_rng(0))
    assert (leaked.row, leaked.column, leaked.positive) == (14, 14, False)
    with pytest.raises(CamSamError, match="one shape"):
        next_point(truth[:-1], truth, np.random.default_rng(0))


def test_seed():
    square = np.ones((8, 8), bool)
    points = [first_point(square, np.random.default_rng(3)) for _ in range(3)]
    assert points[0] == points[1] == points[2]


def test_classes():
    labels = np.array([[0, 3, 3], [7, 0, 0]])
    found = class_masks(labels)
    assert list(found) == [3, 7]
    np.testing.assert_array_equal(found[7], labels == 7)
    assert class_masks(np.zeros((2, 2), np.uint8)) == {}
    assert list(class_masks(np.eye(2, dtype=bool))) == [1]
    with pytest.raises(CamSamError, match="is it an image"):
        class_masks(np.arange(900).reshape(30, 30))


@pytest.mark.parametrize("wrong", [{"points": 0}, {"points": True}, {"points": 2.0}, {"seed": -1}])
def test_parameters(wrong):
    with pytest.raises(CamSamError, match="whole number"):
        AnnotatorParameters(**wrong)
