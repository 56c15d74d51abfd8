"""Summaries, differences and curves against scipy, closed forms and published figures."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics import summary
from napari_cam_sam.studies.report import statistics
from napari_cam_sam.studies.report.figures import differences
from napari_cam_sam.studies.report.tables import difference_table

BUSI = Path(__file__).resolve().parents[3].parent / "shared/data/busi"


def test_a_setting_is_summarised_as_metrics_summary_does(small_table):
    values = np.random.default_rng(0).random(30)
    row = statistics.summarise(small_table({"x": values}), "dice", seed=3).iloc[0]
    want = summary.summarise(values, seed=3)
    found = (row["mean"], row["median"], row.p25, row.p75, row.ci_low, row.ci_high, row.n)
    assert found == (
        want.mean, want.median, want.q25, want.q75, want.ci_low, want.ci_high, 30,
    )  # fmt: skip
    assert math.isnan(row.percent_of_truth)
    assert row.truth_setting == ""


def test_groups_that_stay_together_widen_the_interval_as_theory_says():
    # Four copies of each value: the variance of the mean is that of the 25 values, not of 100.
    values = np.random.default_rng(1).normal(size=25)
    copies, groups = np.repeat(values, 4), np.repeat(np.arange(25), 4)
    means = summary.bootstrap_means(copies, groups, resamples=40_000)
    assert means.var() == pytest.approx(values.var() / 25, rel=0.03)
    alone = summary.bootstrap_means(copies, resamples=40_000)
    assert alone.var() == pytest.approx(values.var() / 100, rel=0.03)


def test_groups_of_different_sizes_agree_with_scipy():
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 20, 70)
    values = rng.gamma(2, 1, 70) + groups / 10
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    theirs = bootstrap(
        (sums, sizes), lambda s, n, axis: s.sum(axis) / n.sum(axis), paired=True,
        method="percentile", n_resamples=20_000, rng=5,
    ).confidence_interval  # fmt: skip
    found = summary.summarise(values, groups=groups, resamples=20_000)
    assert found.ci_low == pytest.approx(theirs.low, abs=0.02)
    assert found.ci_high == pytest.approx(theirs.high, abs=0.02)
    assert found.mean == pytest.approx(values.mean())


def test_groups_must_be_as_many_as_values():
    with pytest.raises(CamSamError, match="2 values but 1 groups"):
        summary.summarise([1, 2], groups=["a"])


def test_a_paired_difference_agrees_with_scipy(small_table):
    rng = np.random.default_rng(3)
    a, b = rng.random(40), rng.random(40)
    found = statistics.paired_difference(small_table({"a": a, "b": b}), "dice", "a", "b")
    theirs = bootstrap(
        (a - b,), np.mean, method="percentile", n_resamples=20_000, rng=6
    ).confidence_interval
    assert found.mean == pytest.approx((a - b).mean())
    assert found.ci_low == pytest.approx(theirs.low, abs=0.005)
    assert found.ci_high == pytest.approx(theirs.high, abs=0.005)
    assert (found.n_cases, found.n_groups, found.n_left_out) == (40, 40, 0)
    assert (found.wins, found.losses) == (int((a > b).sum()), int((a < b).sum()))
    # p and the interval are of the same draws.
    assert (found.p < 0.05) == (found.ci_low > 0 or found.ci_high < 0)


def test_p_agrees_with_the_normal_approximation(small_table):
    from scipy.stats import norm

    rng = np.random.default_rng(4)
    b = rng.random(200)
    for shift in (0.0, 0.02, 0.04):
        a = b + shift + rng.normal(0, 0.2, 200)
        d = a - b
        found = statistics.paired_difference(small_table({"a": a, "b": b}), "dice", "a", "b")
        z = abs(d.mean()) / (d.std() / math.sqrt(200))
        assert found.p == pytest.approx(2 * norm.sf(z), abs=0.03)


def test_equal_settings_and_opposite_order(small_table):
    rng = np.random.default_rng(5)
    a, b = rng.random(20), rng.random(20)
    table = small_table({"a": a, "b": b, "same": a}, groups=[f"g{i // 3}" for i in range(20)])
    same = statistics.paired_difference(table, "dice", "a", "same")
    assert (same.mean, same.ci_low, same.ci_high, same.p) == (0, 0, 0, 1)
    there = statistics.paired_difference(table, "dice", "a", "b", seed=1)
    back = statistics.paired_difference(table, "dice", "b", "a", seed=1)
    assert there.n_groups == 7
    assert (there.mean, there.ci_low, there.p) == pytest.approx((-back.mean, -back.ci_high, back.p))


def test_cases_that_count_in_one_setting_only_are_left_out_and_counted(small_table):
    table = small_table({"a": [0.5, 0.6, math.nan, math.inf], "b": [0.4, 0.4, 0.4, 0.4]})
    found = statistics.paired_difference(table, "dice", "a", "b")
    assert (found.n_cases, found.n_left_out) == (2, 2)
    assert found.mean == pytest.approx(0.15)
    nothing = statistics.paired_difference(
        small_table({"a": [math.nan], "b": [0.4]}), "dice", "a", "b"
    )
    assert nothing.n_cases == 0
    assert math.isnan(nothing.p)


def test_holm_on_the_example_by_hand():
    # 4 × .01, 3 × .02, then .06 again as 2 × .022 is below it, and .06 as 1 × .05 is.
    assert statistics.holm([0.022, 0.01, 0.05, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    found = statistics.holm([0.03, math.nan, 0.9])
    assert found[[0, 2]] == pytest.approx([0.06, 0.9])
    assert math.isnan(found[1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p):
    raw, found = np.array(p), statistics.holm(p)
    assert (found >= raw).all()
    assert (found <= np.minimum(1, raw * max(1, raw.size)) + 1e-12).all()
    assert (np.diff(found[np.argsort(raw, kind="stable")]) >= 0).all()


def test_many_comparisons_are_corrected_together(lesions):
    names = [s for s in lesions["setting"].unique() if s.startswith(("layer", "hires"))]
    pairs = [(name, "truth-box") for name in names]
    found = statistics.compare_settings(lesions, "dice", pairs)
    assert found["a"].to_list() == names
    assert found["p_holm"].to_numpy() == pytest.approx(statistics.holm(found["p"].to_numpy()))
    one = statistics.paired_difference(lesions, "dice", *pairs[0])
    assert found.iloc[0]["ci_low"] == one.ci_low


def test_two_empty_masks_are_left_out_but_missed_and_invented_objects_stay(make_rows):
    rows_of, factors, frame = make_rows
    x = factors("x")
    table = frame(
        rows_of("found", x, {"dice": 0.8, "hd95": 2.0})
        + rows_of("nothing there", x, {"dice": 1.0, "hd95": 0.0}, status="no-truth")
        + rows_of("missed", x, {"dice": 0.0, "hd95": math.inf}, status="no-prompt")
        + rows_of("invented", x, {"dice": 0.0, "hd95": math.inf}, status="no-truth")
        + rows_of("perfect", x, {"dice": 1.0, "hd95": 0.0})
        + rows_of("broken", x, {"": math.nan}, status="failed", reason="corrupt")
    )
    dice = statistics.summarise(table, "dice").iloc[0]
    assert (dice.n, dice.n_left_out) == (4, 1)
    assert dice["mean"] == pytest.approx(1.8 / 4)
    hd95 = statistics.summarise(table, "hd95").iloc[0]
    assert (hd95.n, hd95.n_left_out, hd95["mean"]) == (2, 3, 1.0)
    counts = statistics.case_counts(table).iloc[0]
    assert counts.to_list() == ["x", 6, 1, 2, 1]


def test_a_case_that_failed_before_its_settings_counts_for_all(make_rows):
    rows_of, factors, frame = make_rows
    table = frame(
        rows_of("a", factors("x"), {"dice": 0.5})
        + rows_of("a", factors("y"), {"dice": 0.5})
        + rows_of("b", {"setting": ""}, {"": math.nan}, status="failed", reason="corrupt")
    )
    counts = statistics.case_counts(table)
    assert counts["setting"].to_list() == ["x", "y"]
    assert counts["n_failed"].to_list() == [1, 1]
    assert counts["n_cases"].to_list() == [2, 2]


def test_a_volume_counts_once_with_its_own_row(make_rows):
    rows_of, factors, frame = make_rows
    x = factors("x")
    table = frame(
        [r for p in range(3) for r in rows_of("a", x, {"dice": 0.2 * p}, plane=p)]
        + rows_of("a", x, {"dice": 0.9}, plane=-1)
        # By label alone: the mean over the labels of each plane, then over the planes.
        + rows_of("b", x, {"dice": 0.4}, plane=3, object=1)
        + rows_of("b", x, {"dice": 0.8}, plane=3, object=2)
    )
    values = statistics.case_values(table, "dice").set_index("case")["value"]
    assert values.to_dict() == pytest.approx({"a": 0.9, "b": 0.6})


def test_a_volume_that_failed_on_a_plane_has_no_value(make_rows):
    rows_of, factors, frame = make_rows
    x = factors("x")
    table = frame(
        rows_of("a", x, {"dice": 0.9}, plane=0)
        + rows_of("a", x, {"": math.nan}, plane=1, status="failed", reason="torn")
        + rows_of("b", x, {"dice": 0.2}, plane=0)
        + rows_of("b", x, {"dice": 0.4}, plane=1)
    )
    (one,) = statistics.summarise(table, "dice").to_dict("records")
    assert (one["n"], one["mean"]) == (1, pytest.approx(0.3))
    clicks = frame(
        rows_of("a", x, {"dice": 0.9}, step=1)
        + rows_of("a", x, {"": math.nan}, plane=1, status="failed", reason="torn")
        + [row for n in (1, 2) for row in rows_of("b", x, {"dice": n / 4}, step=n)]
    )
    assert statistics.annotator_curve(clicks, "dice")["mean"].to_list() == [0.25, 0.5]


def test_one_patient_is_no_evidence_of_others(make_rows):
    rows_of, factors, frame = make_rows
    table = frame(
        [
            row
            for case in "ab"
            for name, dice in (("x", 0.9), ("y", 0.5))
            for row in rows_of(case, factors(name), {"dice": dice}, group="patient")
        ]
    )
    found = statistics.paired_difference(table, "dice", "x", "y")
    assert (found.mean, found.n_cases, found.n_groups) == (pytest.approx(0.4), 2, 1)
    assert np.isnan([found.ci_low, found.ci_high, found.p, found.p_holm]).all()
    assert statistics.summarise(table, "dice")[["ci_low", "ci_high"]].isna().all(axis=None)
    assert "–" in [cell.text for cell in difference_table(pd.DataFrame([found]), "dice").rows[0]]
    assert differences(pd.DataFrame([found]), "Dice").startswith("data:image/svg")


def test_percent_of_truth_prompts_is_of_the_same_segmenter_and_choice(make_rows):
    rows_of, factors, frame = make_rows
    rows = []
    for i, (cam, truth, other) in enumerate([(0.2, 0.8, 0.9), (0.4, 0.4, 0.9)]):
        rows += rows_of(f"{i}", factors("cam"), {"dice": cam})
        rows += rows_of(f"{i}", factors("truth", "truth"), {"dice": truth})
        rows += rows_of(f"{i}", factors("first", "truth", mask_choice="first"), {"dice": other})
        rows += rows_of(f"{i}", factors("sam", "truth", segmenter="vit-l"), {"dice": other})
    table = frame(rows)
    values = statistics.case_values(table, "dice", last_step=True)
    assert statistics.truth_settings(table, values) == {"cam": "truth"}
    found = statistics.summarise(table, "dice").set_index("setting")
    assert found.loc["cam", "percent_of_truth"] == pytest.approx(50)
    assert found.loc["cam", "truth_setting"] == "truth"
    assert math.isnan(found.loc["sam", "percent_of_truth"])
    # A distance of 50 % would mean better, not half as good.
    hd95 = table.assign(metric="hd95")
    assert statistics.summarise(hd95, "hd95")["percent_of_truth"].isna().all()


def test_by_label_and_step(lesions):
    by_label = statistics.summarise(lesions, "dice", ("setting", "label"))
    assert set(by_label["label"]) == {"benign", "malignant"}
    one = by_label[by_label["setting"] == "truth-box"]
    assert one["n"].sum() == 51
    curve = statistics.annotator_curve(lesions, "dice")
    assert curve["step"].to_list() == list(range(1, 10))
    values = lesions[(lesions["setting"] == "annotator") & (lesions["metric"] == "dice")]
    fifth = values[values["step"] == 5]["value"]
    row = curve[curve["step"] == 5].iloc[0]
    assert (row.n, row["median"]) == (51, fifth.median())
    assert (row.p25, row.p75) == pytest.approx(tuple(np.percentile(fifth, [25, 75])))
    # In a table without steps the annotator counts with its last.
    last = statistics.summarise(lesions, "dice").set_index("setting").loc["annotator"]
    assert last["mean"] == pytest.approx(values[values["step"] == 9]["value"].mean())
    assert statistics.annotator_curve(lesions[lesions["step"] == 0], "dice").empty


def test_a_grid_has_the_means_of_settings(lesions):
    found = statistics.grid(lesions, "dice", "strategy", "method")
    assert found.index.to_list() == ["s1", "ours"]
    assert found.columns.to_list() == ["layer-cam", "hirescam"]
    means = statistics.summarise(lesions, "dice").set_index("setting")["mean"]
    assert found.loc["s1", "hirescam"] == pytest.approx(means["hirescam, s1"])
    assert "method" in statistics.varying_factors(lesions)
    assert "mask_choice" not in statistics.varying_factors(lesions)


def test_wrong_arguments_are_refused(lesions):
    with pytest.raises(CamSamError, match="no score 'dise'; it has: auc_judd, auprc, dice"):
        statistics.summarise(lesions, "dise")
    with pytest.raises(CamSamError, match="not by colour"):
        statistics.summarise(lesions, "dice", ("colour",))
    with pytest.raises(CamSamError, match="No setting 'z'"):
        statistics.paired_difference(lesions, "dice", "z", "annotator")
    with pytest.raises(CamSamError, match="no factor"):
        statistics.grid(lesions, "dice", "strategy", "colour")


@pytest.mark.real_data
@pytest.mark.skipif(not BUSI.exists(), reason="the BUSI images are not beside the project")
def test_published_means_and_percent_of_truth_prompts(make_rows):
    """The scores that Dhamale and Pawar published, as a study of their two kinds of prompts."""
    rows_of, factors, frame = make_rows
    published = {
        "truth": pd.read_csv(BUSI / "published_sam_vit_l" / "metrics.csv"),
        "cam": pd.read_csv(BUSI / "published_cam_prompts" / "metrics.csv"),
    }
    rows = [
        row
        for source, scores in published.items()
        for one in scores[scores["prompt"] == "box"].itertuples()
        for row in rows_of(one.image, factors(source, source), {"dice": one.dice}, label=one.label)
    ]
    found = statistics.summarise(frame(rows), "dice").set_index("setting")
    means = {k: v[v["prompt"] == "box"]["dice"].mean() for k, v in published.items()}
    for source, mean in means.items():
        assert found.loc[source, "n"] == 51
        assert found.loc[source, "mean"] == pytest.approx(mean, abs=1e-12)
    percent = found.loc["cam", "percent_of_truth"]
    assert percent == pytest.approx(100 * means["cam"] / means["truth"])
