"""The curves of a heatmap, against scikit-learn's."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.curves import MOST_POINTS, precision_recall_curve, roc_curve
from napari_cam_sam.metrics.localisation import rank

# Few distinct values make many ties.
maps = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(0, 6).map(lambda v: v / 6)
                   | st.floats(0, 1, width=32)),
        hnp.arrays(bool, shape),
    )
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(maps)
def test_every_point_lies_on_scikit_learns_curve(pair: Any) -> None:
    values, truth = pair
    flat = truth.ravel(), values.ravel()
    ranking = rank(values, truth)
    roc, curve = roc_curve(ranking), precision_recall_curve(ranking)
    if truth.any() and not truth.all():
        false, true, _ = sklearn_metrics.roc_curve(*flat, drop_intermediate=False)
        assert roc.area == pytest.approx(sklearn_metrics.roc_auc_score(*flat), abs=1e-9)
        assert sklearn_metrics.auc(roc.x, roc.y) == pytest.approx(roc.area, abs=1e-9)
        theirs = set(zip(false.round(9), true.round(9), strict=True))
        assert set(zip(roc.x.round(9), roc.y.round(9), strict=True)) <= theirs
        assert (np.diff(roc.x) >= 0).all()
        assert (np.diff(roc.y) >= 0).all()
    else:
        assert np.isnan(roc.area)
        assert roc.x.size == 0
    if truth.any():
        precision, recall, _ = sklearn_metrics.precision_recall_curve(*flat)
        expected = sklearn_metrics.average_precision_score(*flat)
        assert curve.area == pytest.approx(expected, abs=1e-9)
        assert np.sum(np.diff(curve.x) * curve.y[1:]) == pytest.approx(expected, abs=1e-9)
        for x, y in zip(curve.x[1:], curve.y[1:], strict=True):
            assert y == pytest.approx(precision[np.isclose(recall, x)].max(), abs=1e-9)
    else:
        assert np.isnan(curve.area)
    assert curve.baseline == pytest.approx(truth.mean())


def test_a_volume_costs_few_points_and_little_memory() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((24, 160, 160), dtype=np.float32)
    truth = np.zeros(values.shape, bool)
    truth[8:16, 50:100, 50:100] = True
    values[truth] += 0.3
    tracemalloc.start()
    ranking = rank(values, truth)
    roc, curve = roc_curve(ranking), precision_recall_curve(ranking)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert roc.area == ranking.auc_judd
    assert curve.area == ranking.auprc
    for one in (roc, curve):
        assert 500 < one.x.size <= MOST_POINTS
        assert one.x[-1] == 1
    assert np.diff(roc.y).max() < 0.01
    assert np.diff(curve.x).max() < 0.01
    # What is left out is not missed.
    assert sklearn_metrics.auc(roc.x, roc.y) == pytest.approx(roc.area, abs=1e-3)
    assert peak < 12 * values.nbytes


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(CamSamError, match="must agree"):
        roc_curve(rank(np.zeros((3, 3)), np.zeros((3, 4), bool)))
    with pytest.raises(CamSamError, match="not finite"):
        precision_recall_curve(rank(np.full((3, 3), np.nan), np.ones((3, 3), bool)))
