"""Likeness of heatmaps: closed forms, and scikit-image and scipy on the same cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from napari_cam_sam.cam.similarity import Similarity, compare_maps, mean_similarity

rng = np.random.default_rng(0)
SMOOTH = np.add.outer(np.linspace(0, 1, 64), np.linspace(0, 2, 64)).astype(np.float32)


def test_the_figures_are_those_of_their_libraries() -> None:
    one, other = (rng.random((64, 48)).astype(np.float32) for _ in range(2))
    found = compare_maps(one, other, 0.25)
    one, other = one / one.max(), other / other.max()
    assert found.ssim == pytest.approx(structural_similarity(one, other, data_range=1), abs=1e-6)
    assert found.rank == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic, abs=1e-6)
    a, b = one >= np.quantile(one, 0.75), other >= np.quantile(other, 0.75)
    assert found.top_iou == pytest.approx((a & b).sum() / (a | b).sum(), abs=1e-3)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 90), st.integers(1, 90)),
        elements=st.floats(0, 1, width=32),
    ),
    st.floats(0.01, 0.9),
)
def test_any_map_is_like_itself_however_bright(values: np.ndarray, top: float) -> None:
    values = np.round(values, 3)
    found = compare_maps(values, np.float32(0.25) * values, top)
    if not values.any():
        assert found == Similarity(0, 0, 0)
        return
    for value in (found.ssim, found.rank):
        assert np.isnan(value) or value == pytest.approx(1, abs=1e-6)
    assert found.top_iou == pytest.approx(1)


def test_opposite_and_disjoint_maps() -> None:
    assert compare_maps(SMOOTH, SMOOTH.max() - SMOOTH).rank == pytest.approx(-1)
    left = np.zeros((40, 40), np.float32)
    left[:, :10] = 1
    assert compare_maps(left, left[:, ::-1], 0.25).top_iou == 0


def test_a_map_that_vanishes_is_like_nothing() -> None:
    assert compare_maps(SMOOTH, np.zeros_like(SMOOTH)) == Similarity(0, 0, 0)


def test_the_resolution_of_the_plane_does_not_matter() -> None:
    other = np.flipud(SMOOTH) * SMOOTH
    small = compare_maps(SMOOTH, other)
    large = compare_maps(*(np.kron(m, np.ones((5, 5), np.float32)) for m in (SMOOTH, other)))
    for name, value in vars(small).items():
        assert getattr(large, name) == pytest.approx(value, abs=1e-5), name


def test_means_leave_out_what_is_not_defined() -> None:
    mean = mean_similarity([Similarity(0.5, np.nan, 1), Similarity(1, 0.25, 0)])
    assert mean == Similarity(0.75, 0.25, 0.5)
    assert np.isnan(mean_similarity([]).ssim)
