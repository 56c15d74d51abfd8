"""The report of a study: one page that holds all it shows, for a browser or for paper."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_cam_sam.errors import CamSamError, reads, refusal
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.pipeline.overview import COLOUR_WORDS
from napari_cam_sam.studies.record import read_record
from napari_cam_sam.studies.report import figures as report_figures
from napari_cam_sam.studies.report import parts as report_parts
from napari_cam_sam.studies.report import statistics
from napari_cam_sam.studies.report import tables as report_tables
from napari_cam_sam.studies.report import words as report_words
from napari_cam_sam.studies.report.figures import CaseView
from napari_cam_sam.studies.report.tables import metric_name, number
from napari_cam_sam.studies.table import check_table, read_rows

__all__ = [
    "Findings",
    "Render",
    "Results",
    "default_metric",
    "default_pairs",
    "findings_of",
    "picture_cases",
    "read_results",
    "write_page",
    "write_report",
]

Render = Callable[[str, str], CaseView]
"""Runs a case, by its id, with a setting, by its name, and gives what is to be drawn of it."""

_PREFERRED = ("dice", "iou", "auprc", "auc_judd", "fg_hit_rate")
# As many settings as are compared one with another; of more, each with the first.
_MOST_PAIRED = 5


@dataclass(frozen=True, eq=False)
class Results:
    """What a study has left in its folder, or has so far.

    Attributes
    ----------
    table : DataFrame
        See :mod:`napari_cam_sam.studies.table`; settings in the order of the study.
    record : dict
        ``study.json``; empty where it is not there.
    folder : Path
    """

    table: pd.DataFrame
    record: dict[str, Any]
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether all cases are done, as the record says."""
        return bool(self.record.get("state", "finished") == "finished")


@dataclass(frozen=True, eq=False)
class Findings:
    """What a report says in numbers that are drawn by chance: computed once, shown in places.

    Attributes
    ----------
    metric : str
        What settings are ranked and compared by.
    seed : int
        Of the bootstrap.
    counts : DataFrame
        Of :func:`~napari_cam_sam.studies.report.statistics.case_counts`.
    summary_of : callable
        Gives what :func:`~napari_cam_sam.studies.report.statistics.summarise` finds of a metric.
    pairs : list of (str, str)
        Settings that are compared, from `default_pairs`.
    differences : DataFrame
        Of :func:`~napari_cam_sam.studies.report.statistics.compare_settings`; a row a pair.
    """

    metric: str
    seed: int
    counts: pd.DataFrame
    summary_of: report_parts.SummaryOf
    pairs: list[tuple[str, str]]
    differences: pd.DataFrame


@reads("the folder of a study")
def read_results(folder: Path) -> Results:
    """Read the folder of a study, finished or not.

    Parameters
    ----------
    folder : Path
        With ``results.parquet`` or the files of its cases, and ``study.json``.

    Returns
    -------
    Results

    Raises
    ------
    CamSamError
        If it is no such folder, has no case yet, or a file of it is damaged.
    """
    import pyarrow as pa

    if not folder.is_dir():
        raise refusal("This is no folder: name the one that a study was written to", folder)
    path = folder / "study.json"
    record = read_record(path) if path.exists() else {}
    # Hidden files are those that are being written.
    whole, cases = folder / "results.parquet", sorted(folder.glob("cases/[!.]*.parquet"))
    results = Results(pd.DataFrame(), record, folder)
    # While a study goes on, the files of its cases are ahead of the table of all.
    files = [whole] if whole.exists() and (results.finished or not cases) else cases
    if not files:
        raise refusal(
            "This folder has no results.parquet and no case that is done: name the one that a "
            "study was written to",
            folder,
        )
    try:
        tables = [read_rows(file) for file in files]
        if files == [whole]:
            check_table(tables[0], record, whole)
        table = pa.concat_tables(tables).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise refusal(f"A table is damaged, {error}: run the study again", folder) from error
    missing = [name for name in ("case", "setting", "metric", "value") if name not in table]
    if missing or table.empty:
        what = f"has no column {missing[0]!r}" if missing else "has no rows"
        raise refusal(f"This table {what}: it is not of a study", folder)
    order = {name: i for i, name in enumerate((record.get("study") or {}).get("settings") or ())}
    # The table's own order is by case and name; a reader expects the study's.
    place = table["setting"].map(lambda name: order.get(name, len(order)))
    table = table.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)
    return Results(table, record, folder)


def default_metric(table: pd.DataFrame) -> str:
    """Choose the metric that a report is about: Dice where there are masks.

    Parameters
    ----------
    table : DataFrame
        Of a study.

    Returns
    -------
    str

    Raises
    ------
    CamSamError
        If the table has no scores.
    """
    known = [str(one) for one in table["metric"].dropna().unique() if one != ""]
    if not known:
        reasons = [str(r) for r in table["reason"].dropna().unique() if r != ""]
        because = f"; the first reason: {reasons[0]}" if reasons else ""
        raise CamSamError(f"The study has no scores to report{because}.")
    return next((one for one in _PREFERRED if one in known), sorted(known)[0])


def default_pairs(settings: Sequence[str], record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Choose the comparisons: those of the study, else all pairs, or of many each with the first.

    The first setting is the reference because a reference that is picked by its score would be
    flattered by the same cases.

    Parameters
    ----------
    settings : sequence of str
        In the order of the study.
    record : mapping
        The content of ``study.json``.

    Returns
    -------
    list of (str, str)
        The second of each pair is the one that the first is compared with.
    """
    asked = [(str(a), str(b)) for a, b in record.get("compare") or ()]
    asked = [pair for pair in asked if set(pair) <= set(settings)]
    if asked:
        return asked
    if len(settings) <= _MOST_PAIRED:
        return [(a, b) for b, a in combinations(settings, 2)]
    return [(one, settings[0]) for one in settings[1:]]


def findings_of(results: Results, metric: str | None = None, seed: int = 0) -> Findings:
    """Summarise and compare the settings of a study.

    Parameters
    ----------
    results : Results
    metric : str, optional
        By default Dice where there are masks.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Findings

    Raises
    ------
    CamSamError
        If there are no scores, or none of this metric.
    """
    table = results.table
    metric = metric or default_metric(table)
    summary_of = cache(partial(statistics.summarise, table, seed=seed))
    pairs = default_pairs(summary_of(metric)["setting"].to_list(), results.record)
    differences = statistics.compare_settings(table, metric, pairs, seed=seed)
    counts = statistics.case_counts(table)
    return Findings(metric, seed, counts, summary_of, pairs, differences)


def write_report(
    folder: Path,
    *,
    metric: str | None = None,
    output: Path | None = None,
    render: Render | None = None,
    pictures: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report of a study that is finished or still running.

    Parameters
    ----------
    folder : Path
        Of the study.
    metric : str, optional
        What settings are ranked and compared by; by default Dice where there are masks.
    output : Path, optional
        By default ``report.html`` in the folder.
    render : callable, optional
        Runs a case again for its picture; without it there are no pictures.
    pictures : int
        Of the worst, of the median and of the best cases, each.
    seed : int
        Of the bootstrap.
    progress : callable, optional
        Told (pictures done, pictures).

    Returns
    -------
    Path
        The page. It asks nothing of the network, and is the same for the same results.

    Raises
    ------
    CamSamError
        If the folder is not of a study, has no such score, or the page cannot be written.
    """
    results = read_results(folder)
    return write_page(
        results,
        findings_of(results, metric, seed),
        output=output,
        render=render,
        pictures=pictures,
        progress=progress,
    )


def write_page(
    results: Results,
    findings: Findings,
    *,
    output: Path | None = None,
    render: Render | None = None,
    pictures: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report of results that were read and summarised before.

    Parameters
    ----------
    results : Results
    findings : Findings
        Of these results.
    output, render, pictures, progress
        As `write_report` takes them.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    CamSamError
        If the page cannot be written.
    """
    table, metric = results.table, findings.metric
    content = _content(results, findings)
    shown: list[dict[str, Any]] = []
    if render is not None and pictures > 0:
        setting, chosen = picture_cases(table, metric, pictures)
        shown = list(_pictures(table, metric, setting, chosen, render, progress))
        content["picture_setting"] = setting
    page = _template().render(**content, pictures=shown)
    path = output or results.folder / "report.html"
    write_atomically(path, lambda hidden: hidden.write_text(page, encoding="utf-8"))
    return path


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("napari_cam_sam.studies.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names of settings are long: they may break where their parts do.
    environment.filters["breakable"] = lambda text: escape(text).replace("/", Markup("/<wbr>"))
    environment.globals["many_rows"] = report_tables.MANY_ROWS
    return environment.get_template("page.html.jinja")


def _content(results: Results, findings: Findings) -> dict[str, Any]:
    """Put together all but the pictures."""
    table, record = results.table, results.record
    metric, seed, pairs = findings.metric, findings.seed, findings.pairs
    values = statistics.case_values(table, metric, last_step=True)
    settings = [str(one) for one in values["setting"].unique()]
    about = table.drop_duplicates("setting").set_index("setting")
    sources = {name: str(about.loc[name, "source"]) for name in settings}
    found = findings.differences if pairs else None
    curve = statistics.annotator_curve(table, metric)
    counts, summary_of = findings.counts, findings.summary_of
    return {
        "when": report_words.readable_time(record.get("finished")),
        "title": str(record.get("name") or results.folder.resolve().name),
        "finished": results.finished,
        "done": int(table["case"].nunique()),
        "record": record,
        "story": report_words.story(table, counts, settings, metric),
        "score_tables": report_parts.score_tables(table, metric, counts, summary_of),
        "boxes": report_parts.box_figures(values, settings, sources, metric),
        "curves": report_parts.curve_figures(curve, metric),
        "grids": report_parts.grids(table, metric),
        "differences": None if found is None else report_tables.difference_table(found, metric),
        "difference_figure": report_parts.difference_figure(found, metric),
        "reference": pairs[0][1] if len({b for _, b in pairs}) == 1 and pairs else "",
        "asked": bool(pairs)
        and list(pairs[0]) in [list(pair) for pair in record.get("compare") or ()],
        "parts": [
            part
            for by in ("label", "split")
            if (part := report_tables.part_table(table, metric, by, seed=seed)) is not None
        ],
        "reasons": report_tables.reason_table(table),
        "factors": report_tables.factor_table(table),
        "more_scores": report_parts.more_scores(table, metric, counts, summary_of),
        "caveats": list(report_words.caveats(table, values, len(pairs))),
        "provenance": report_words.provenance(record),
        "command": shlex.join(map(str, ["napari-cam-sam", *(record.get("command") or ())])),
        "details": json.dumps(record, indent=2, ensure_ascii=False) if record else "",
        "seed": seed,
        "picture_setting": "",
        "colour_words": COLOUR_WORDS,
    }


def picture_cases(table: pd.DataFrame, metric: str, n: int) -> tuple[str, dict[str, list[str]]]:
    """Choose the cases that are shown: of the best setting without truth prompts.

    Cases without prompts are not among them: they are listed with their reasons.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    metric : str
    n : int
        Of the worst, of those around the median, and of the best.

    Returns
    -------
    setting : str
    cases : dict of str to list of str
        ``worst``, ``median``, ``best``; no case twice.
    """
    values = statistics.case_values(table, metric, last_step=True)
    about = table.drop_duplicates("setting").set_index("setting")["source"]
    names = [str(name) for name in values["setting"].unique()]
    own = [name for name in names if about[name] == "cam"]
    setting = report_parts.ranked_settings(values, own or names, metric)[0]
    rows = table[(table["setting"] == setting) & (table["status"] == "ok")]
    shown = values[(values["setting"] == setting) & values["case"].isin(rows["case"].unique())]
    shown = shown.dropna(subset=["value"]).sort_values(["value", "case"], kind="stable")
    order = [str(case) for case in shown["case"]]
    if metric in statistics.LOWER_IS_BETTER:
        order.reverse()
    n = min(n, len(order) // 3) or min(1, len(order))
    middle = max(n, (len(order) - n) // 2)
    return setting, {
        "worst": order[:n],
        "median": order[middle : middle + n][: max(0, len(order) - 2 * n)],
        "best": order[max(n, len(order) - n) :][::-1],
    }


def _pictures(
    table: pd.DataFrame,
    metric: str,
    setting: str,
    chosen: Mapping[str, Sequence[str]],
    render: Render,
    progress: Callable[[int, int], None] | None,
) -> Iterator[dict[str, Any]]:
    values = statistics.case_values(
        table[table["setting"] == setting], metric, last_step=True
    ).set_index("case")["value"]
    total, done = sum(map(len, chosen.values())), 0
    for kind, cases in chosen.items():
        items = []
        for case in cases:
            score = f"{metric_name(metric)} {number(values[case])}"
            item = {"case": case, "score": score, "src": "", "reason": ""}
            try:
                item["src"] = report_figures.case_picture(render(case, setting))
            except Exception as error:
                # An image may have moved since, or the memory be short today: what the study
                # found holds nevertheless.
                known = isinstance(error, CamSamError)
                item["reason"] = str(error) if known else f"{type(error).__name__}: {error}"
            items.append(item)
            done += 1
            if progress is not None:
                progress(done, total)
        if items:
            yield {"kind": kind, "items": items}
