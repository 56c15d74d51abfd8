from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import cosine as cosine_distance

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.everything.ranking import (
    RANKING_RULES,
    RankingParameters,
    choose_by_heatmap,
    heatmap_scores,
)


def disc(radius: float, row: float = 32, column: float = 32) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.hypot(rows - row, columns - column) <= radius


def warmth(row: float = 32, column: float = 32, sigma: float = 8) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))


@settings(max_examples=50, deadline=None)
@given(
    # As fine as a heatmap's float32, whose smallest value can still be squared in float64.
    arrays.arrays(np.float64, (5, 6), elements=st.floats(0, 1, width=32)),
    arrays.arrays(bool, (3, 5, 6)),
)
def test_scores_are_what_they_are_called(heatmap, masks):
    scores = {rule: heatmap_scores(list(masks), heatmap, rule) for rule in RANKING_RULES}
    for i, mask in enumerate(masks):
        inside = heatmap[mask]
        assert scores["mean"][i] == pytest.approx(inside.mean() if inside.size else 0)
        energy = inside.sum() / heatmap.sum() if heatmap.sum() else 0
        assert scores["energy"][i] == pytest.approx(energy)
        both = mask.any() and heatmap.any()
        cosine = 1 - cosine_distance(heatmap.ravel(), mask.ravel().astype(float)) if both else 0
        assert scores["cosine"][i] == pytest.approx(cosine, abs=1e-6)
        if mask.any() or heatmap.any():
            soft = 2 * inside.sum() / (heatmap.sum() + mask.sum())
            assert scores["dice"][i] == pytest.approx(soft)
    for values in scores.values():
        assert ((values >= 0) & (values <= 1)).all()


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.float64, (4, 5), elements=st.floats(0, 1)), arrays.arrays(bool, (6, 4, 5)))
def test_cosine_takes_the_nearest_mask_in_least_squares(heatmap, masks):
    def distance(mask: np.ndarray) -> float:
        constant = heatmap[mask].mean() if mask.any() else 0.0
        return float(((heatmap - constant * mask) ** 2).sum())

    chosen = choose_by_heatmap(list(masks), heatmap)
    if chosen.members:
        nearest = min(distance(mask) for mask in masks)
        assert distance(chosen.mask) == pytest.approx(nearest, abs=1e-9)


def test_speck_object_and_plane():
    speck, thing, plane = disc(1), disc(12), np.ones((64, 64), bool)
    other = disc(12, 50, 10)
    masks = [plane, other, speck, thing]
    heatmap = warmth()
    chosen = {
        rule: choose_by_heatmap(masks, heatmap, RankingParameters(rule)).members
        for rule in RANKING_RULES
    }
    assert chosen == {"cosine": (3,), "dice": (3,), "mean": (2,), "energy": (0,)}


def test_unites_what_scores_alike():
    left, right = disc(6, 32, 12), disc(6, 32, 52)
    heatmap = np.maximum(warmth(32, 12, 5), 0.95 * warmth(32, 52, 5))
    masks = [disc(3, 5, 5), right, left]
    alone = choose_by_heatmap(masks, heatmap)
    assert alone.members == (2,)
    np.testing.assert_array_equal(alone.mask, left)
    both = choose_by_heatmap(masks, heatmap, RankingParameters(union=0.9))
    assert both.members == (2, 1)
    np.testing.assert_array_equal(both.mask, left | right)
    assert both.score == alone.score


@pytest.mark.parametrize(
    ("masks", "heatmap", "parameters"),
    [
        ([], warmth(), RankingParameters()),
        ([disc(5)], np.zeros((64, 64)), RankingParameters(union=0.0)),
        ([np.zeros((64, 64), bool)], warmth(), RankingParameters()),
        ([disc(3, 60, 60)], warmth(5, 5, 3), RankingParameters(min_score=0.2)),
    ],
)
def test_nothing_is_an_answer(masks, heatmap, parameters):
    chosen = choose_by_heatmap(masks, heatmap, parameters)
    assert (chosen.score, chosen.members) == (0.0, ())
    assert chosen.mask.shape == (64, 64)
    assert not chosen.mask.any()


def test_refuses_what_does_not_belong():
    with pytest.raises(CamSamError, match=r"shape \(8, 8\), a mask \(64, 64\)"):
        choose_by_heatmap([disc(4)], np.zeros((8, 8)))
    for wrong in (np.nan, -0.5, 200.0):
        heatmap = warmth()
        heatmap[3, 3] = wrong
        with pytest.raises(CamSamError, match="from 0 to 1"):
            choose_by_heatmap([disc(4)], heatmap)
    with pytest.raises(CamSamError, match="Did you mean cosine"):
        RankingParameters("cosin")
    with pytest.raises(CamSamError, match="union must be in 0 to 1"):
        RankingParameters(union=1.5)


def test_the_benchmark_runs(capsys):
    path = Path(__file__).parents[3] / "benchmarks" / "automatic.py"
    main = runpy.run_path(str(path))["main"]
    main(["--short"])
    table = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert table["CAM box"]["shapes"] > 0.5
    chosen, best = table["everything, cosine"], table["everything, oracle"]
    assert all(chosen[kind] <= best[kind] for kind in chosen)
