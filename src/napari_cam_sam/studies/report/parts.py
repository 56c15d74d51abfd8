"""Tables and figures of a report's sections: which there are, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from napari_cam_sam.studies.report import figures as report_figures
from napari_cam_sam.studies.report import statistics
from napari_cam_sam.studies.report import tables as report_tables
from napari_cam_sam.studies.report.tables import Table, metric_name, number

__all__ = [
    "SummaryOf",
    "box_figures",
    "curve_figures",
    "difference_figure",
    "grids",
    "more_scores",
    "ranked_settings",
    "score_tables",
]

SummaryOf = Callable[[str], pd.DataFrame]
"""Gives a metric's summary of each setting, see `statistics.summarise`."""

_MASK_METRICS = ("dice", "iou", "nsd", "hd95")
_PROMPT_METRICS = ("fg_hit_rate", "bg_hit_rate", "box_iou", "distance_px", "distance_mm")
_HEATMAP_METRICS = (
    "auprc", "prevalence", "auc_judd", "pointing_hit", "energy_inside", "thresholded_iou",
)  # fmt: skip
_IN_UNIT_RANGE = frozenset(
    {*_MASK_METRICS, *_PROMPT_METRICS, *_HEATMAP_METRICS, "pixel_accuracy"}
    - statistics.LOWER_IS_BETTER
)
# Rows of a figure; the settings beyond are drawn in further ones.
_ROWS = 24
_CURVES = 6
_MOST_GRIDS = 4


def ranked_settings(values: pd.DataFrame, settings: Sequence[str], metric: str) -> list[str]:
    """Order settings by their mean, the best first.

    Parameters
    ----------
    values : DataFrame
        Of `statistics.case_values`.
    settings : sequence of str
        Some of those in `values`.
    metric : str

    Returns
    -------
    list of str
        Settings without any value last.
    """
    means = values.groupby("setting")["value"].mean()
    sign = 1 if metric in statistics.LOWER_IS_BETTER else -1
    return sorted(settings, key=lambda name: (np.isnan(means[name]), sign * means[name]))


def score_tables(
    table: pd.DataFrame, metric: str, counts: pd.DataFrame, summary_of: SummaryOf
) -> list[Table]:
    """Make a table for masks, one for prompts and one for heatmaps, the main metric's first.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
        The main one.
    counts : DataFrame
        Of `statistics.case_counts`.
    summary_of : callable
        Gives what `statistics.summarise` finds of a metric.

    Returns
    -------
    list of Table
        Without those of which no score is known.
    """
    known = set(table["metric"].dropna().unique())
    families = {
        "Masks against the truth": _MASK_METRICS,
        "Prompts against the truth": _PROMPT_METRICS,
        "Heatmaps against the truth": _HEATMAP_METRICS,
    }
    if not any(metric in family for family in families.values()):
        families = {metric_name(metric): (metric,), **families}
    tables = []
    for caption, family in sorted(families.items(), key=lambda item: metric not in item[1]):
        there = [one for one in family if one in known]
        if "distance_px" in there and _same(table, "distance_px", "distance_mm"):
            there.remove("distance_mm")  # of images whose spacing is not known
        first, *others = sorted(there, key=lambda one: one != metric) or [""]
        if first:
            tables.append(
                report_tables.score_table(table, first, others, caption, counts, summary_of(first))
            )
    return tables


def _same(table: pd.DataFrame, one: str, other: str) -> bool:
    first, second = (
        table[table["metric"] == metric]["value"].to_numpy() for metric in (one, other)
    )
    return bool(second.size) and np.array_equal(first, second)


def _limits(metric: str) -> tuple[float, float] | None:
    return (-0.02, 1.02) if metric in _IN_UNIT_RANGE else None


def box_figures(
    values: pd.DataFrame, settings: Sequence[str], sources: Mapping[str, str], metric: str
) -> list[dict[str, str]]:
    """Draw box plots of all settings, the best first, as many a figure as can be read.

    Parameters
    ----------
    values : DataFrame
        Of `statistics.case_values`.
    settings : sequence of str
    sources : mapping of str to str
        Where the prompts of each setting come from.
    metric : str

    Returns
    -------
    list of dict
        A figure each: ``src``, an SVG as a data address, ``alt``, the same in words, and ``title``.
    """
    found = {
        str(name): part["value"].dropna().to_numpy(dtype=np.float64)
        for name, part in values.groupby("setting")
    }
    ranked = ranked_settings(values, settings, metric)
    figures = []
    for start in range(0, len(ranked), _ROWS):
        names = ranked[start : start + _ROWS]
        medians = "; ".join(
            f"{name}: {number(float(np.median(found[name])))}" for name in names if found[name].size
        )
        figures.append(
            {
                "src": report_figures.box_plots(
                    {name: found[name] for name in names},
                    sources, metric_name(metric), _limits(metric),
                ),
                "alt": f"Box plots of {metric_name(metric)}, medians: {medians}.",
                "title": f"Settings {start + 1} to {start + len(names)} by their mean",
            }
        )  # fmt: skip
    return figures


def curve_figures(curve: pd.DataFrame, metric: str) -> list[dict[str, str]]:
    """Draw the curves of simulated annotators, a few a figure.

    Parameters
    ----------
    curve : DataFrame
        Of `statistics.annotator_curve`.
    metric : str

    Returns
    -------
    list of dict
        As `box_figures` returns them.
    """
    names = [str(name) for name in curve["setting"].unique()]
    figures = []
    for start in range(0, len(names), _CURVES):
        part = curve[curve["setting"].isin(names[start : start + _CURVES])]
        ends = "; ".join(
            f"{name}: {number(one['mean'].iloc[0])} with {one['step'].iloc[0]} to "
            f"{number(one['mean'].iloc[-1])} with {one['step'].iloc[-1]}"
            for name, one in part.groupby("setting", sort=False)
        )
        figures.append(
            {
                "src": report_figures.curves(part, metric_name(metric), _limits(metric)),
                "alt": f"Mean {metric_name(metric)} against number of prompts. {ends}.",
                "title": "",
            }
        )
    return figures


def grids(table: pd.DataFrame, metric: str) -> list[Table]:
    """Make a table for each pair of factors in which settings differ, of the first few.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str

    Returns
    -------
    list of Table
    """
    pairs = combinations(statistics.varying_factors(table), 2)
    found = (report_tables.grid_table(table, metric, rows, columns) for rows, columns in pairs)
    return [one for one in found if one is not None][:_MOST_GRIDS]


def difference_figure(found: pd.DataFrame | None, metric: str) -> dict[str, str] | None:
    """Draw the first paired differences.

    Parameters
    ----------
    found : DataFrame or None
        Of `statistics.compare_settings`.
    metric : str

    Returns
    -------
    dict or None
        As `box_figures` returns them; None where there is nothing to draw.
    """
    if found is None:
        return None
    drawn = found.dropna(subset=["mean"]).head(_ROWS)
    if drawn.empty:
        return None
    words = "; ".join(
        f"{one.a} minus {one.b}: {number(one.mean)}, {number(one.ci_low)} to {number(one.ci_high)}"
        for one in report_tables.lines_of(drawn)
    )
    more = f" (the first {len(drawn)} of {len(found)})" if len(drawn) < len(found) else ""
    return {
        "src": report_figures.differences(drawn, metric_name(metric)),
        "alt": f"Mean paired differences with 95 % intervals. {words}.",
        "title": more,
    }


def more_scores(
    table: pd.DataFrame, metric: str, counts: pd.DataFrame, summary_of: SummaryOf
) -> list[Table]:
    """Summarise in full what the first tables have means of, and all other metrics.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
        The main one, which is left out.
    counts : DataFrame
        Of `statistics.case_counts`.
    summary_of : callable
        As `score_tables` takes it.

    Returns
    -------
    list of Table
        One a metric.
    """
    known = [str(one) for one in table["metric"].dropna().unique() if one not in ("", metric)]
    order = (*_MASK_METRICS, *_PROMPT_METRICS, *_HEATMAP_METRICS)
    known.sort(key=lambda one: (order.index(one) if one in order else len(order), one))
    return [
        report_tables.score_table(table, one, (), metric_name(one), counts, summary_of(one))
        for one in known
    ]
