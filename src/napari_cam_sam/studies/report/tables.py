"""Tables of a report: scores, differences, grids, and the cases without a mask."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.studies.report import statistics

__all__ = [
    "MANY_ROWS",
    "Table",
    "difference_table",
    "factor_table",
    "grid_table",
    "lines_of",
    "metric_name",
    "number",
    "part_table",
    "reason_table",
    "score_table",
]

# What readers call the metrics of `metrics.scoring`.
_METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "pixel_accuracy": "Pixel accuracy",
    "hd95": "HD95",
    "assd": "ASSD",
    "nsd": "NSD",
    "fg_hit_rate": "Positive points on truth",
    "bg_hit_rate": "Negative points off truth",
    "box_iou": "IoU of boxes",
    "distance_px": "Points to centre, px",
    "distance_mm": "Points to centre, mm",
    "pointing_hit": "Peak on truth",
    "auprc": "AUPRC",
    "prevalence": "Prevalence",
    "auc_judd": "AUC-Judd",
    "energy_inside": "Energy inside",
    "thresholded_iou": "IoU above .5",
    "tied_fraction": "Tied maxima",
    "tied_inside": "Tied maxima on truth",
    "probability": "Probability of target",
}
MANY_ROWS = 25
"""As many rows as a page shows before it is asked for all."""

_PERCENT_WORDS = "mean as percent of that of truth prompts, same segmenter and cases"
_MOST_NAMES = 12
_MOST_PARTS = 12


@dataclass(frozen=True)
class _Cell:
    """What a cell shows, what it is sorted by, and its share of a colour in [0, 1]."""

    text: str
    key: float | str = ""
    shade: float | None = None


@dataclass(frozen=True)
class _Column:
    """The head of a column; words that explain it are shown where it is pointed at."""

    text: str
    words: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table of a report, as its page shows it.

    Attributes
    ----------
    caption : str
    columns : tuple of column
        Their heads, with words that explain them.
    rows : tuple of tuple of cell
        The first cell of a row is its head.
    """

    caption: str
    columns: tuple[_Column, ...]
    rows: tuple[tuple[_Cell, ...], ...]


def metric_name(metric: str) -> str:
    """Return what readers call a metric.

    Parameters
    ----------
    metric : str
        As in the table of results.

    Returns
    -------
    str
    """
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def number(value: float, digits: int = 3) -> str:
    """Return a number as readers see it: fewer digits above 10, a dash for NaN.

    Parameters
    ----------
    value : float
    digits : int
        After the point, of numbers below 10.

    Returns
    -------
    str
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    digits = digits if abs(value) < 10 else max(0, digits - 2)
    rounded = round(value, digits) + 0.0  # of −0 it makes 0
    return f"{rounded:.{digits}f}".replace("-", "−")


def _interval(low: float, high: float) -> str:
    """Return an interval after a space; nothing for none."""
    return "" if math.isnan(low) else f" [{number(low)}, {number(high)}]"


def lines_of(frame: pd.DataFrame) -> Iterable[Any]:
    """Return the rows of a table, with its columns as attributes of any type.

    Parameters
    ----------
    frame : DataFrame

    Returns
    -------
    iterable of namedtuple
    """
    return frame.itertuples(index=False)


def _value(value: float, text: str | None = None) -> _Cell:
    """Return a number's cell; what there is not is sorted to the end."""
    return _Cell(number(value) if text is None else text, "" if math.isnan(value) else value)


def _text(text: str) -> _Cell:
    return _Cell(text, text)


def _count(count: int, more: str = "") -> _Cell:
    return _Cell(f"{count}{more}", int(count))


def score_table(
    table: pd.DataFrame,
    metric: str,
    others: Sequence[str],
    caption: str,
    counts: pd.DataFrame,
    summary: pd.DataFrame,
) -> Table:
    """Show settings by one metric in full, and by the mean of others.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    others : sequence of str
        Metrics of the table.
    caption : str
    counts : DataFrame
        Of :func:`~napari_cam_sam.studies.report.statistics.case_counts`.
    summary : DataFrame
        Of :func:`~napari_cam_sam.studies.report.statistics.summarise`, of the metric.

    Returns
    -------
    Table
        A row for each setting that has the metric, the best first where there are many.
    """
    found = summary
    if len(found) > MANY_ROWS:
        down = metric not in statistics.LOWER_IS_BETTER
        found = found.sort_values("mean", ascending=not down, kind="stable")
        caption += f", ordered by {metric_name(metric)}"
    counts = counts.set_index("setting")
    means = {other: _means(table, other) for other in others}
    with_truth = bool(found["percent_of_truth"].notna().any())
    own = counts.loc[found["setting"]]
    # A column that says what n says, or that nothing happened, is left out.
    ends = {
        "n_cases": _Column("Cases", "cases of the setting, failed ones among them"),
        "n_no_prompt": _Column("No prompt", "cases without any prompt"),
        "n_failed": _Column("Failed", "cases that ended with an error"),
    }
    told = [name for name in ends if own[name].any()]
    if (own["n_cases"].to_numpy() == found["n"].to_numpy()).all():
        told.remove("n_cases")
    columns = [
        _Column("Setting", numeric=False),
        *(ends[name] for name in told),
        _Column(f"{metric_name(metric)}, mean", "with the 95 % bootstrap interval over groups"),
        _Column("Median", "with the 25th and 75th percentile"),
        _Column("n", "cases that count for it"),
        *([_Column("% of truth prompts", _PERCENT_WORDS)] if with_truth else []),
        *(_Column(metric_name(other), "mean; n where fewer cases count") for other in means),
    ]
    rows = []
    for one in lines_of(found):
        row = [
            _text(one.setting),
            *(_count(counts.loc[one.setting, name]) for name in told),
            _value(one.mean, number(one.mean) + _interval(one.ci_low, one.ci_high)),
            _value(one.median, f"{number(one.median)} ({number(one.p25)}–{number(one.p75)})"),
            _count(one.n),
        ]
        if with_truth:
            row.append(_value(one.percent_of_truth))
        for values in means.values():
            mean, n = values.get(one.setting, (math.nan, 0))
            text = number(mean) + (f" (n {n})" if 0 < n < one.n else "")
            row.append(_value(mean, text))
        rows.append(tuple(row))
    return Table(caption, tuple(columns), tuple(rows))


def _means(table: pd.DataFrame, metric: str) -> dict[str, tuple[float, int]]:
    values = statistics.case_values(table, metric, last_step=True).groupby("setting")["value"]
    return {
        str(name): (float(mean), int(n))
        for name, mean, n in zip(values.groups, values.mean(), values.count(), strict=True)
    }


def part_table(table: pd.DataFrame, metric: str, by: str, *, seed: int) -> Table | None:
    """Make a table of the means of each setting on each label or each split.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    by : {"label", "split"}
    seed : int
        Of the bootstrap.

    Returns
    -------
    Table or None
        None where there are not several labels or splits, or too many for a table.
    """
    found = statistics.summarise(table, metric, ("setting", by), seed=seed)
    counted = found[(found["n"] > 0) & (found[by].fillna("") != "")]
    known = [str(one) for one in counted[by].unique()]
    if not 1 < len(known) <= _MOST_PARTS:
        return None
    cells = {(one["setting"], one[by]): one for one in found.to_dict("records")}
    columns = [_Column("Setting", numeric=False)]
    for part in known:
        columns += [_Column(part, "mean with its 95 % interval"), _Column("n")]
    rows = []
    for setting in found["setting"].unique():
        row = [_text(setting)]
        for part in known:
            one = cells.get((setting, part))
            if one is None:
                row += [_value(math.nan), _count(0)]
                continue
            text = number(one["mean"]) + _interval(one["ci_low"], one["ci_high"])
            row += [_value(one["mean"], text), _count(one["n"])]
        rows.append(tuple(row))
    return Table(f"{metric_name(metric)} by {by}", tuple(columns), tuple(rows))


def difference_table(found: pd.DataFrame, metric: str) -> Table:
    """Make a table of paired differences.

    Parameters
    ----------
    found : DataFrame
        Of :func:`~napari_cam_sam.studies.report.statistics.compare_settings`.
    metric : str

    Returns
    -------
    Table
    """
    columns = (
        _Column("Setting", numeric=False),
        _Column("minus", numeric=False),
        _Column(f"Difference of {metric_name(metric)}", "mean with its 95 % bootstrap interval"),
        _Column("p", "two-sided, of the same bootstrap"),
        _Column("p, Holm", "corrected for all comparisons of this table"),
        _Column("Higher / lower", "cases on which the first setting is above, and below"),
        _Column("Cases", "that count in both; others are left out"),
        _Column("Groups"),
    )
    rows = tuple(
        (
            _text(one.a),
            _text(one.b),
            _value(one.mean, _signed(one.mean) + _interval(one.ci_low, one.ci_high)),
            _value(one.p, _p(one.p)),
            _value(one.p_holm, _p(one.p_holm)),
            _Cell(f"{one.wins} / {one.losses}", int(one.wins - one.losses)),
            _count(one.n_cases, f" ({one.n_left_out} left out)" if one.n_left_out else ""),
            _count(one.n_groups),
        )
        for one in lines_of(found)
    )
    return Table(f"Paired differences of {metric_name(metric)}", columns, rows)


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else number(value)


def grid_table(table: pd.DataFrame, metric: str, rows: str, columns: str) -> Table | None:
    """Make a table of means by two factors, see `statistics.grid`.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    rows, columns : str
        Two of `statistics.FACTORS`.

    Returns
    -------
    Table or None
        None where the metric has no two rows and columns.
    """
    try:
        found = statistics.grid(table, metric, rows, columns)
    except CamSamError:
        return None
    if min(found.shape) < 2:
        return None
    values = found.to_numpy(dtype=float)
    flat = pd.Series(values.ravel())
    low, high = float(flat.min()), float(flat.max())
    # Less than a tenth of the range must not look like all the difference there can be.
    spread = max(high - low, 0.1 * abs(high))

    def shaded(value: float) -> _Cell:
        share = None if math.isnan(value) or not spread > 0 else (value - low) / spread
        return _Cell(number(value), "" if math.isnan(value) else value, share)

    names = [str(name) or "none" for name in found.columns]
    return Table(
        f"Mean {metric_name(metric)} by {_words(rows)} (rows) and {_words(columns)} (columns)",
        (_Column(_words(rows).capitalize(), numeric=False), *(_Column(name) for name in names)),
        tuple(
            (_Cell(str(name) or "none", str(name)), *(shaded(value) for value in line))
            for name, line in zip(found.index, values, strict=True)
        ),
    )


def _words(factor: str) -> str:
    return {"mask_from": "start of the mask"}.get(factor, factor.replace("_", " "))


def factor_table(table: pd.DataFrame) -> Table:
    """Make a table of what each setting consists of, in the columns in which settings differ.

    Parameters
    ----------
    table : DataFrame
        Of a study.

    Returns
    -------
    Table
    """
    settings = table[table["setting"] != ""].drop_duplicates("setting")
    varying = statistics.varying_factors(table)
    shown = [name for name in statistics.FACTORS if name in varying] or ["strategy", "segmenter"]
    return Table(
        "What each setting consists of",
        (
            _Column("Setting", numeric=False),
            *(_Column(_words(name).capitalize(), numeric=False) for name in shown),
        ),
        tuple(
            tuple(_Cell(str(one[name] or "–"), str(one[name])) for name in ("setting", *shown))
            for one in settings.fillna("").to_dict("records")
        ),
    )


def reason_table(table: pd.DataFrame) -> Table | None:
    """Make a table of why cases have no prompt, no truth, or failed, with the cases.

    Numbers in a reason do not make another reason.

    Parameters
    ----------
    table : DataFrame
        Of a study.

    Returns
    -------
    Table or None
        None where every case ended well.
    """
    # A heatmap without evidence is told of by the settings that would have been prompted by it.
    rows = table[table["source"] != "heatmap"]
    # A volume is no such case because some of its planes are: `case_counts` has the same rule.
    ended = pd.MultiIndex.from_frame(rows.loc[rows["status"] == "ok", ["case", "setting"]])
    well = pd.MultiIndex.from_frame(rows[["case", "setting"]]).isin(ended)
    rows = rows[(rows["status"] == "failed") | ((rows["status"] != "ok") & ~well)]
    rows = rows[["case", "setting", "status", "reason"]].drop_duplicates()
    if rows.empty:
        return None
    rows = rows.fillna("").assign(kind=[re.sub(r"\d[\d.,]*", "#", r) for r in rows["reason"]])
    lines = []
    for (status, _), part in rows.groupby(["status", "kind"], sort=False):
        cases = part["case"].drop_duplicates().to_list()
        names = ", ".join(map(str, cases[:_MOST_NAMES]))
        more = len(cases) - _MOST_NAMES
        runs = part[["case", "setting"]].drop_duplicates()
        settings = runs["setting"][runs["setting"] != ""].nunique()
        lines.append(
            (
                _Cell(str(status).replace("-", " "), str(status)),
                _Cell(part["reason"].iloc[0] or "not said", part["reason"].iloc[0]),
                _count(len(cases)),
                _Cell(str(settings or "all"), settings),
                _count(len(runs)),
                _Cell(names + (f" and {more} more" if more > 0 else ""), names),
            )
        )
    lines.sort(key=lambda line: (line[0].text != "failed", -float(line[4].key)))
    columns = (
        _Column("Outcome", numeric=False),
        _Column("Reason", "of the first of these cases", numeric=False),
        _Column("Cases"),
        _Column("Settings"),
        _Column("Runs", "cases × settings"),
        _Column("Which", numeric=False),
    )
    return Table("Cases without a prompt or a truth, or failed", columns, tuple(lines))
