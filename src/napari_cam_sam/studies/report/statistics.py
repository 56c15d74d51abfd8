"""What the table of a study says: summaries of settings, their differences, curves and grids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics import summary

__all__ = [
    "FACTORS",
    "LOWER_IS_BETTER",
    "Difference",
    "annotator_curve",
    "case_counts",
    "case_values",
    "compare_settings",
    "grid",
    "holm",
    "paired_difference",
    "summarise",
    "truth_settings",
    "varying_factors",
]

FACTORS = (
    "classifier", "method", "layers", "target", "source", "strategy", "segmenter", "mask_choice",
    "mask_from", "preprocessing",
)  # fmt: skip
"""Columns of the table that a setting consists of."""

LOWER_IS_BETTER = frozenset({"hd95", "assd", "distance_px", "distance_mm"})
"""Metrics whose lower values are better, those of distance."""

# Bootstrap samples of a difference.
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """Mean difference of a score between two settings on the same cases.

    Attributes
    ----------
    a, b : str
        Settings; the difference is a − b.
    mean : float
        NaN where no case has both.
    ci_low, ci_high : float
        95 % interval of the mean: percentiles of bootstrap samples of groups. NaN of one group.
    p : float
        Two-sided, in (0, 1]: twice the part of the bootstrap means beyond 0, so that it is below
        .05 where the interval leaves 0 out. NaN of one group.
    p_holm : float
        `p` after Holm's correction for all comparisons that were asked for together.
    n_cases, n_groups : int
        Cases that count in both settings, and groups of them.
    n_left_out : int
        Cases of either setting that do not count in one of them.
    wins, losses : int
        Cases on which a is above b, and below.
    """

    a: str
    b: str
    mean: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float
    n_cases: int
    n_groups: int
    n_left_out: int
    wins: int
    losses: int


def case_values(table: pd.DataFrame, metric: str, *, last_step: bool = False) -> pd.DataFrame:
    """Bring the table to one value of a metric for each case, setting and step.

    Of a volume that is its own row, else the mean over its planes; of several objects the row of
    all together, else the mean over them. What `metrics.summary` leaves out of means is NaN here:
    two empty masks, whose IoU of 1 would raise the mean of lesions that are not there, and values
    that are not finite, as the distances to an empty mask. A case without prompts keeps the 0 of
    its empty mask. A case that failed on one of its planes has no value: the planes before it are
    not the case.

    Parameters
    ----------
    table : DataFrame
        Of a study, see :mod:`napari_cam_sam.studies.run.runner`.
    metric : str
    last_step : bool
        Whether a simulated annotator counts with its last step alone.

    Returns
    -------
    DataFrame
        Columns case, group, split, label, setting, step, value; a group of its own for a case
        that names none. Order of the table.

    Raises
    ------
    CamSamError
        If the table has no such metric.
    """
    rows = table[table["metric"] == metric]
    failed = pd.MultiIndex.from_frame(table.loc[table["status"] == "failed", ["case", "setting"]])
    rows = rows[~pd.MultiIndex.from_frame(rows[["case", "setting"]]).isin(failed)]
    if rows.empty:
        known = ", ".join(sorted(set(table["metric"]) - {""})) or "none"
        raise CamSamError(f"The study has no score {metric!r}; it has: {known}.")
    keys = ["case", "setting", "step"]
    rows = rows.assign(value=rows["value"].where(np.isfinite(rows["value"])))
    rows.loc[_both_empty(table, rows), "value"] = np.nan
    for column, whole in (("object", 0), ("plane", -1)):
        is_whole = rows[column] == whole
        has_whole = is_whole.groupby([rows[key] for key in keys]).transform("any")
        rows = rows[is_whole | ~has_whole]
    values = rows.groupby(keys, sort=False, as_index=False).agg(
        {"group": "first", "split": "first", "label": "first", "value": "mean"}
    )
    alone = values["group"].isna() | (values["group"] == "")
    # A case's own group must not be that of another, whatever the cases are called.
    values["group"] = np.where(
        alone, "case " + values["case"].astype(str), "group " + values["group"].astype(str)
    )
    return _last_step(values) if last_step else values


def _both_empty(table: pd.DataFrame, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows are scores of two empty masks.

    The overlap of an empty prediction or an empty truth is 0 unless the other is empty, too.
    """
    keys = ["case", "plane", "object", "setting", "step"]
    empty = table["status"].isin(["no-prompt", "no-truth"]) & (table["value"] == 1)
    empty &= table["metric"].isin(["dice", "iou"])
    if not empty.any():
        return np.zeros(len(rows), dtype=bool)
    both = pd.MultiIndex.from_frame(table.loc[empty, keys].drop_duplicates())
    return np.asarray(pd.MultiIndex.from_frame(rows[keys]).isin(both))


def summarise(
    table: pd.DataFrame,
    metric: str,
    by: Sequence[str] = ("setting",),
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise a metric for each setting, or for each setting and label, split or group.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    by : sequence of str
        Some of setting, label, split, group, step, with setting among them. Without step a
        simulated annotator counts with its last.
    seed : int
        Of the bootstrap over groups.

    Returns
    -------
    DataFrame
        A row for each combination that occurs, settings in the order of the table: `by`, then
        ``n`` (values that count), ``n_left_out``, ``mean``, ``median``, ``p25``, ``p75``,
        ``ci_low``, ``ci_high`` (95 %, of the mean; NaN of one group), ``truth_setting`` (see
        `truth_settings`; "" where there is none) and ``percent_of_truth``: the mean as a
        percentage of that setting's mean on the same cases, the measure of Dhamale and Pawar; NaN
        without such a setting, and for metrics whose lower values are better.

    Raises
    ------
    CamSamError
        If the table has no such metric, or cannot be summarised by such a column.
    """
    allowed = ("setting", "label", "split", "group", "step")
    if "setting" not in by or not set(by) <= set(allowed):
        raise CamSamError(
            f"A study is summarised by setting and {', '.join(allowed[1:])}, not by "
            f"{', '.join(by) or 'nothing'}."
        )
    values = case_values(table, metric, last_step="step" not in by)
    truths = {} if metric in LOWER_IS_BETTER else truth_settings(table, values)
    last = _last_step(values)
    references = {
        name: last[last["setting"] == name].set_index("case")["value"]
        for name in set(truths.values())
    }
    rows = []
    for names, part in values.groupby(list(by), sort=False, dropna=False):
        found = summary.summarise(part["value"], groups=part["group"], seed=seed)
        row = dict(zip(by, names, strict=True))
        alone = part["group"][part["value"].notna()].nunique() == 1
        truth, percent = truths.get(str(row["setting"]), ""), math.nan
        if truth:
            theirs = references[truth].reindex(part["case"])
            percent = summary.percent_of_reference(part["value"].to_list(), theirs.to_list())
        row |= {
            "n": found.n,
            "n_left_out": found.n_left_out,
            "mean": found.mean,
            "median": found.median,
            "p25": found.q25,
            "p75": found.q75,
            "ci_low": math.nan if alone else found.ci_low,
            "ci_high": math.nan if alone else found.ci_high,
            "percent_of_truth": percent,
            "truth_setting": truth,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _last_step(values: pd.DataFrame) -> pd.DataFrame:
    last = values.groupby(["case", "setting"], sort=False)["step"].transform("max")
    return values[values["step"] == last]


def truth_settings(table: pd.DataFrame, values: pd.DataFrame) -> dict[str, str]:
    """Find the setting with prompts from the truth that each setting is to be held against.

    That is one of the same segmenter; among several those of the same mask choice and
    preprocessing go first, then the one of the highest mean.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    values : DataFrame
        Of `case_values`, of the metric that counts.

    Returns
    -------
    dict of str to str
        Without settings that have none, or are of prompts from the truth or of heatmaps
        themselves.
    """
    means = values.groupby("setting", sort=False)["value"].mean().dropna()
    settings = table.drop_duplicates("setting").set_index("setting")
    truths = settings[(settings["source"] == "truth") & settings.index.isin(means.index)]
    prompted = settings[settings["source"].isin(["cam", "annotator"])]
    found = {}
    for setting, own in prompted.iterrows():
        same = truths[truths["segmenter"] == own["segmenter"]]
        if len(same):
            how = ["mask_choice", "preprocessing"]
            alike = (same[how] == own[how]).sum(axis=1)
            found[str(setting)] = str(means[same.index[alike == alike.max()]].idxmax())
    return found


def case_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Count the cases of each setting by how they ended.

    Parameters
    ----------
    table : DataFrame
        Of a study. A case that failed before any setting was run has an empty setting, and counts
        for all of them.

    Returns
    -------
    DataFrame
        A row for each setting in the order of the table: ``setting``, ``n_cases``,
        ``n_no_prompt`` (no prompt on any plane), ``n_no_truth`` and ``n_failed``.
    """
    known = table[["setting", "case", "status"]].drop_duplicates()
    settings = [one for one in known["setting"].unique() if one != ""]
    everywhere = known[known["setting"] == ""].drop(columns="setting")
    known = pd.concat(
        [
            known[known["setting"] != ""],
            everywhere.merge(pd.DataFrame({"setting": settings}), how="cross"),
        ]
    )
    # Of several endings of a case, on its planes, the first of these is its own.
    endings = {"failed": 0, "ok": 1, "no-prompt": 2, "no-truth": 3}
    first = known["status"].map(endings).groupby([known["setting"], known["case"]]).min()
    own = pd.crosstab(first.index.get_level_values("setting"), first.to_numpy())
    own = own.reindex(index=settings, columns=list(endings.values()), fill_value=0)
    counts = {"n_cases": own.sum(axis=1), "n_no_prompt": own[2], "n_no_truth": own[3]}
    counts["n_failed"] = own[0]
    return pd.DataFrame(counts).rename_axis("setting").reset_index()


def paired_difference(
    table: pd.DataFrame, metric: str, a: str, b: str, *, seed: int = 0
) -> Difference:
    """Compare two settings on the cases that count in both, by a bootstrap over groups.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    a, b : str
        Settings; of a simulated annotator the last step.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Difference
        With `p_holm` equal to `p`.

    Raises
    ------
    CamSamError
        If the table has no such metric or setting.
    """
    return _difference(case_values(table, metric, last_step=True), a, b, seed)


def _difference(values: pd.DataFrame, a: str, b: str, seed: int) -> Difference:
    for name in (a, b):
        if not (values["setting"] == name).any():
            raise CamSamError(f"No setting {name!r} has this score.")
    ours = values[values["setting"] == a].set_index("case")
    theirs = values[values["setting"] == b].set_index("case")
    pairs = ours[["value", "group"]].join(theirs["value"].rename("other"), how="inner")
    pairs = pairs.dropna()
    n_left_out = len(ours.index.union(theirs.index)) - len(pairs)
    if pairs.empty:
        nan = math.nan
        return Difference(a, b, nan, nan, nan, nan, nan, 0, 0, n_left_out, 0, 0)
    change = (pairs["value"] - pairs["other"]).to_numpy(dtype=np.float64)
    groups = pairs["group"].to_numpy()
    means = summary.bootstrap_means(change, groups, resamples=_RESAMPLES, seed=seed)
    low, high = np.percentile(means, [2.5, 97.5])
    # One is added to count and number so that p is never 0 (Davison and Hinkley, 4.2).
    tails = [(np.count_nonzero(side) + 1) / (_RESAMPLES + 1) for side in (means <= 0, means >= 0)]
    p = float(min(1.0, 2 * min(tails)))
    n_groups = int(pairs["group"].nunique())
    if n_groups == 1:  # the one group is drawn again and again, which says nothing of others
        low = high = p = math.nan
    return Difference(
        a=a,
        b=b,
        mean=float(change.mean()),
        ci_low=float(low),
        ci_high=float(high),
        p=p,
        p_holm=p,
        n_cases=len(pairs),
        n_groups=n_groups,
        n_left_out=n_left_out,
        wins=int(np.count_nonzero(change > 0)),
        losses=int(np.count_nonzero(change < 0)),
    )


def compare_settings(
    table: pd.DataFrame,
    metric: str,
    pairs: Iterable[tuple[str, str]],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare pairs of settings, with Holm's correction for all of them.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    pairs : iterable of (str, str)
        Settings, as `paired_difference` takes them.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        The fields of `Difference`, a row a pair.
    """
    values = case_values(table, metric, last_step=True)
    found = [_difference(values, a, b, seed) for a, b in pairs]
    rows = pd.DataFrame(found, columns=list(Difference.__dataclass_fields__))
    rows["p_holm"] = holm(rows["p"].to_numpy(dtype=np.float64))
    return rows


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p values for their number by Holm's step-down method.

    Parameters
    ----------
    p : array of float, shape (n,)
        In [0, 1]; NaN, a comparison that could not be made, stays and does not count.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1], none below its `p` (Holm, "A simple sequentially rejective multiple test
        procedure", 1979).
    """
    raw = np.asarray(p, dtype=np.float64)
    out = np.full(raw.shape, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * factors))
    return out


def annotator_curve(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Summarise a metric by number of prompts, of each setting with a simulated annotator.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str

    Returns
    -------
    DataFrame
        Columns setting, step, n, mean, median, p25, p75, ci_low, ci_high; empty where no setting
        has more than one step.
    """
    columns = ["setting", "step", "n", "mean", "median", "p25", "p75", "ci_low", "ci_high"]
    is_step = (table["metric"] == metric) & (table["step"] > 0)
    several = table[is_step].groupby("setting")["step"].nunique()
    wanted = table["setting"].isin(several.index[several > 1])
    rows = table[wanted & (is_step | (table["status"] == "failed"))]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    found = summarise(rows, metric, ("setting", "step"))
    order = {name: i for i, name in enumerate(found["setting"].unique())}
    found = found.sort_values(
        ["setting", "step"], key=lambda c: c.map(order) if c.name == "setting" else c
    )
    return found[columns].reset_index(drop=True)


def varying_factors(table: pd.DataFrame) -> list[str]:
    """Return the columns in which settings differ, those of most values first.

    Parameters
    ----------
    table : DataFrame
        Of a study.

    Returns
    -------
    list of str
        Some of `FACTORS`.
    """
    settings = table[table["setting"] != ""].drop_duplicates("setting")
    counts = {name: len(set(settings[name].dropna()) - {""}) for name in FACTORS}
    return sorted((n for n in FACTORS if counts[n] > 1), key=lambda n: -counts[n])


def grid(table: pd.DataFrame, metric: str, rows: str, columns: str) -> pd.DataFrame:
    """Compute the mean of a metric for each pair of values of two factors.

    Settings that differ in other factors are averaged, each with the same weight. Prompts from
    the truth and from annotators, which have no method or layer, are left out.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    rows, columns : str
        Two of `FACTORS`.

    Returns
    -------
    DataFrame
        NaN where no setting has the pair; order of the table.

    Raises
    ------
    CamSamError
        If the table has no such metric or factor.
    """
    for name in (rows, columns):
        if name not in FACTORS:
            raise CamSamError(f"{name!r} is no factor of a setting: {', '.join(FACTORS)}.")
    own = table[table["source"].isin(["cam", "heatmap"])]
    values = case_values(own, metric, last_step=True)
    means = values.groupby("setting", sort=False)["value"].mean()
    settings = own.drop_duplicates("setting").set_index("setting").loc[means.index]
    settings = settings.assign(mean=means)
    found = settings.pivot_table(
        values="mean", index=rows, columns=columns, aggfunc="mean", sort=False, dropna=False
    )
    return found.reindex(index=settings[rows].unique(), columns=settings[columns].unique())
