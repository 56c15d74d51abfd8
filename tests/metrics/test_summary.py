import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.metrics.summary import percent_of_reference, summarise, summarise_scores


def test_known_values():
    found = summarise([1, 2, 3, 4, 10])
    assert (found.mean, found.median, found.q25, found.q75) == (4, 3, 2, 4)
    assert (found.n, found.n_left_out) == (5, 0)
    assert 1 <= found.ci_low < found.mean < found.ci_high <= 10


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2, 1, 80)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1)
    found = summarise(values, resamples=5000)
    assert found.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert found.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_the_bootstrap_is_seeded_and_does_not_depend_on_how_it_is_cut(monkeypatch):
    values = np.random.default_rng(0).random(30)
    assert summarise(values, seed=1) == summarise(values, seed=1)
    assert summarise(values, seed=1) != summarise(values, seed=2)
    whole = summarise(values)
    monkeypatch.setattr("napari_cam_sam.metrics.summary._DRAWS", 700)
    assert summarise(values) == whole


def test_what_is_not_finite_or_flagged_is_left_out_and_counted():
    found = summarise([1, 2, math.nan, math.inf, 9], [False, False, False, False, True])
    assert (found.mean, found.n, found.n_left_out) == (1.5, 2, 3)


def test_no_values_and_one_value():
    empty = summarise([math.nan])
    assert math.isnan(empty.mean)
    assert math.isnan(empty.ci_low)
    assert (empty.n, empty.n_left_out) == (0, 1)
    one = summarise([0.7])
    assert one.mean == one.median == one.ci_low == one.ci_high == 0.7


def test_scores_of_two_empty_masks_are_left_out_but_missed_objects_stay():
    scores = [
        Scores({"iou": 0.8, "hd95": 2.0}),
        Scores({"iou": 1.0, "hd95": 0.0}, ("both-empty",)),
        Scores({"iou": 0.0, "hd95": math.inf}, ("prediction-empty",)),
        Scores({"auc_judd": 0.9}),
    ]
    found = summarise_scores(scores)
    assert list(found) == ["iou", "hd95", "auc_judd"]
    assert found["iou"].mean == pytest.approx(0.4)
    assert (found["iou"].n, found["iou"].n_left_out) == (2, 1)
    assert (found["hd95"].mean, found["hd95"].n, found["hd95"].n_left_out) == (2, 1, 2)
    assert found["auc_judd"].n == 1


def test_percent_of_truth_prompts():
    assert percent_of_reference([0.3, 0.5, math.nan], [0.8, 0.8, 0.9]) == pytest.approx(50)
    assert math.isnan(percent_of_reference([], []))
    assert math.isnan(percent_of_reference([0.5], [0.0]))


def test_wrong_arguments_are_refused():
    with pytest.raises(CamSamError, match="2 values but 1 flags"):
        summarise([1, 2], [True])
    with pytest.raises(CamSamError, match="1 sample or more"):
        summarise([1, 2], resamples=0)
    with pytest.raises(CamSamError, match="must pair up"):
        percent_of_reference([1], [1, 2])
