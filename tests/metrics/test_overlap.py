import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from napari_cam_sam.metrics.overlap import overlap

pairs = hnp.array_shapes(min_dims=2, max_dims=3, max_side=7).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_agrees_with_scikit_learn(pair):
    prediction, truth = pair
    found = overlap(prediction, truth)
    flat = truth.ravel(), prediction.ravel()
    assert found.pixel_accuracy == pytest.approx(accuracy_score(*flat), abs=1e-12)
    assert found.iou == pytest.approx(jaccard_score(*flat, zero_division=1), abs=1e-12)
    assert found.dice == pytest.approx(f1_score(*flat, zero_division=1), abs=1e-12)
    assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))


def test_counts():
    prediction = np.array([[1, 1, 1, 0, 0]])
    truth = np.array([[1, 0, 0, 1, 0]])
    found = overlap(prediction, truth)
    assert (found.true_positives, found.false_positives) == (1, 2)
    assert (found.false_negatives, found.true_negatives) == (1, 1)
    assert found.flag is None


@pytest.mark.parametrize(
    ("prediction", "truth", "flag", "score"),
    [(0, 0, "both-empty", 1), (0, 1, "prediction-empty", 0), (1, 0, "truth-empty", 0)],
)
def test_empty_masks_are_flagged(prediction, truth, flag, score):
    masks = [np.full((4, 4), value, bool) for value in (prediction, truth)]
    found = overlap(*masks)
    assert found.flag == flag
    assert found.iou == found.dice == score
