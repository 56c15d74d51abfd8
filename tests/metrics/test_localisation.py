import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics import localisation
from napari_cam_sam.metrics.localisation import (
    energy_inside,
    pointing,
    rank,
    thresholded_iou,
)

# Few distinct values make many ties.
maps = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(0, 6).map(lambda v: v / 6)
                   | st.floats(0, 1, width=32)),
        hnp.arrays(bool, shape),
    )
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(maps, st.integers(1, 40), st.booleans())
def test_curves_agree_with_scikit_learn(pair, chunk, fortran):
    values, truth = pair
    flat = truth.ravel(), values.ravel()
    if fortran:
        values, truth = np.asfortranarray(values), np.asfortranarray(truth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(localisation, "_CHUNK", chunk)
        found = rank(values, truth)
    assert found.prevalence == pytest.approx(truth.mean())
    if truth.any() and not truth.all():
        assert found.auc_judd == pytest.approx(roc_auc_score(*flat), abs=1e-9)
    else:
        assert np.isnan(found.auc_judd)
    if truth.any():
        assert found.auprc == pytest.approx(average_precision_score(*flat), abs=1e-9)
    else:
        assert np.isnan(found.auprc)


def test_an_all_zero_map_scores_the_prevalence_but_not_by_the_trapezoid():
    """Figures of the methods note: .52 by the trapezoid at a prevalence of .04."""
    truth = np.zeros((10, 10), bool)
    truth[0, :4] = True
    found = rank(np.zeros((10, 10)), truth)
    assert found.auprc == pytest.approx(0.04)
    precision, recall, _ = precision_recall_curve(truth.ravel(), np.zeros(100))
    assert auc(recall, precision) == pytest.approx(0.52)
    assert found.auc_judd == 0.5


def judd_step_by_step(values, fixations):
    """The published definition, one threshold at a time, for a map without ties."""
    thresholds = sorted(values[fixations], reverse=True)
    n, total = len(thresholds), values.size
    hits, alarms = [0.0], [0.0]
    for i, threshold in enumerate(thresholds, start=1):
        above = (values >= threshold).sum()
        hits.append(i / n)
        alarms.append((above - i) / (total - n))
    return np.trapezoid([*hits, 1], [*alarms, 1])


def test_auc_is_judds_but_for_half_a_fixation():
    rng = np.random.default_rng(0)
    truth = np.zeros((30, 30), bool)
    truth[8:15, 5:20] = True
    values = rng.permutation(900).reshape(30, 30) / 900 + 0.3333 * truth
    assert np.unique(values).size == 900
    # The straight lines between fixations add up to half a fixation to the exact area.
    excess = judd_step_by_step(values, truth) - rank(values, truth).auc_judd
    assert 0 < excess < 0.5 / truth.sum()


def test_judds_jitter_breaks_ties_to_one_half():
    rng = np.random.default_rng(1)
    truth = np.zeros((100, 100), bool)
    truth[20:60, 30:70] = True
    values = np.maximum(rng.normal(size=truth.shape) + truth, 0.5)  # ReLU-ed: half of it tied
    jittered = judd_step_by_step(values + rng.random(truth.shape) / 1e7, truth)
    assert jittered == pytest.approx(rank(values, truth).auc_judd, abs=0.01)


def test_auc_without_both_sides_is_nan():
    assert np.isnan(rank(np.ones((3, 3)), np.zeros((3, 3), bool)).auc_judd)
    assert np.isnan(rank(np.ones((3, 3)), np.ones((3, 3), bool)).auc_judd)


def test_pointing():
    truth = np.zeros((10, 10), bool)
    truth[2:4, 2:4] = True
    values = np.zeros((10, 10))
    values[3, 3] = 1
    found = pointing(values, truth)
    assert (found.hit, found.tied_fraction, found.tied_inside) == (True, 0.01, 1)
    values[0, 0] = 1
    found = pointing(values, truth)
    assert (found.hit, found.tied_fraction, found.tied_inside) == (False, 0.02, 0.5)


def test_a_constant_map_points_nowhere():
    truth = np.zeros((10, 10), bool)
    truth[:5] = True
    found = pointing(np.ones((10, 10)), truth)
    assert (found.hit, found.tied_fraction, found.tied_inside) == (False, 1, 0.5)


def test_energy_inside():
    truth = np.array([[True, False], [True, False]])
    assert energy_inside(np.array([[3.0, 1.0], [0.0, 2.0]]), truth) == pytest.approx(0.5)
    assert energy_inside(np.array([[3.0, 1.0], [-9.0, -2.0]]), truth) == pytest.approx(0.75)
    assert np.isnan(energy_inside(np.zeros((2, 2)), truth))


@pytest.mark.parametrize("chunk", [1 << 24, 1000])
def test_energy_does_not_depend_on_the_order_in_memory(monkeypatch, chunk):
    monkeypatch.setattr(localisation, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    for _ in range(10):
        values, truth = rng.random((9, 31, 29)), rng.random((9, 31, 29)) > 0.7
        expected = energy_inside(values, truth)
        fortran = np.asfortranarray(values), np.asfortranarray(truth)
        assert energy_inside(*fortran) == energy_inside(fortran[0], truth) == expected
        view = np.moveaxis(np.moveaxis(values, 1, 0).copy(), 0, 1)
        assert energy_inside(view, truth) == expected


def test_thresholded_iou():
    truth = np.array([[True, False], [True, False]])
    assert thresholded_iou([[0.9, 0.6], [0.5, 0.1]], truth) == pytest.approx(1 / 3)
    assert thresholded_iou([[0.9, 0.6], [0.5, 0.1]], truth, 0.4) == pytest.approx(2 / 3)
    assert thresholded_iou(np.zeros((2, 2)), np.zeros((2, 2), bool)) == 1


def test_a_volume_needs_little_more_than_its_chunk(monkeypatch):
    monkeypatch.setattr(localisation, "_CHUNK", 1 << 18)
    rng = np.random.default_rng(0)
    values = np.asfortranarray(rng.random((64, 256, 256), dtype=np.float32))
    truth = np.zeros(values.shape, bool, order="F")
    truth[20:25, 100:120, 100:120] = True
    tracemalloc.start()
    rank(values, truth)
    energy_inside(values, truth)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6 < values.nbytes


@pytest.mark.parametrize(
    ("values", "truth", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), bool), r"heatmap has shape \(2, 3\)"),
        (np.array([[np.nan, 1]]), np.zeros((1, 2), bool), "not finite"),
        (np.array([["a", "b"]]), np.zeros((1, 2), bool), "array of numbers"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "truth must be a mask"),
    ],
)
def test_what_does_not_fit_is_refused(values, truth, message):
    with pytest.raises(CamSamError, match=message):
        rank(values, truth)


@given(
    hnp.arrays(
        np.float32, st.tuples(*[st.integers(1, 5)] * 3), elements=st.sampled_from([0, 0.5, 1])
    ),
    st.integers(0, 2**32 - 1),
)
def test_pointing_does_not_ask_for_the_order_of_pixels(values, seed):
    truth = np.random.default_rng(seed).random(values.shape) < 0.5
    found = pointing(values, truth)
    for axes in ((0,), (1,), (2,), (0, 1, 2)):
        assert pointing(np.flip(values, axes), np.flip(truth, axes)) == found
    assert pointing(np.asfortranarray(values), np.asfortranarray(truth)) == found
    assert pointing(np.asfortranarray(values), truth) == found
    assert pointing(values.T, truth.T) == found
    assert found.hit == (found.tied_inside > 0.5 and found.tied_fraction < 1)
