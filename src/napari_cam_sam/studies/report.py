"""The report of a study: one page that holds all it shows, for a browser or for paper."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE, PERCENTILE_RULE
from napari_cam_sam.studies import report_figures, report_tables, statistics
from napari_cam_sam.studies.report_figures import CaseView
from napari_cam_sam.studies.report_tables import Table, metric_name, number

__all__ = [
    "REPORT_NAME",
    "Render",
    "Results",
    "default_metric",
    "default_pairs",
    "picture_cases",
    "read_results",
    "write_report",
]

REPORT_NAME = "report.html"

Render = Callable[[str, str], CaseView]
"""Runs a case, by its id, with a setting, by its name, and gives what is to be drawn of it."""

_PREFERRED = ("dice", "iou", "auprc", "auc_judd", "fg_hit_rate")
_MASK_METRICS = ("dice", "iou", "nsd", "hd95")
_PROMPT_METRICS = ("fg_hit_rate", "bg_hit_rate", "box_iou", "distance_px", "distance_mm")
_HEATMAP_METRICS = (
    "auprc", "prevalence", "auc_judd", "pointing_hit", "energy_inside", "thresholded_iou",
)  # fmt: skip
_IN_UNIT_RANGE = frozenset(
    {*_MASK_METRICS, *_PROMPT_METRICS, *_HEATMAP_METRICS, "pixel_accuracy"}
    - statistics.LOWER_IS_BETTER
)
# As many settings as are compared one with another; of more, each with the first.
_MOST_PAIRED = 5
# Rows of a figure; the settings beyond are drawn in further ones.
_ROWS = 24
_CURVES = 6
_MOST_GRIDS = 4
_MOST_NAMED = 6


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
    import pyarrow.parquet as pq

    if not folder.is_dir():
        raise CamSamError(f"{folder} is no folder: name the folder that a study was written to.")
    path = folder / "study.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise CamSamError(f"{path} cannot be read ({error}); run the study again.") from error
    whole, cases = folder / "results.parquet", sorted(folder.glob("cases/*.parquet"))
    results = Results(pd.DataFrame(), record, folder)
    # While a study goes on, the files of its cases are ahead of the table of all.
    files = [whole] if whole.exists() and (results.finished or not cases) else cases
    if not files:
        raise CamSamError(
            f"{folder} has no results.parquet and no case that is done: name the folder that a "
            "study was written to."
        )
    try:
        tables = [pq.read_table(file).replace_schema_metadata(None) for file in files]
        table = pa.concat_tables(tables).to_pandas()
    except (OSError, ValueError) as error:
        raise CamSamError(
            f"A table in {folder} is damaged ({error}); run the study again."
        ) from error
    missing = [name for name in ("case", "setting", "metric", "value") if name not in table]
    if missing or table.empty:
        what = f"has no column {missing[0]!r}" if missing else "has no rows"
        raise CamSamError(f"The table of {folder} {what}: it is not of a study.")
    order = {name: i for i, name in enumerate((record.get("study") or {}).get("settings") or ())}
    # The table's own order is by case and name; a reader expects the study's.
    place = table["setting"].map(lambda name: order.get(name, len(order)))
    table = table.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)
    return Results(table, record, folder)


def default_metric(table: pd.DataFrame) -> str:
    """Choose the metric that a report is about: Dice where there are masks.

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
    """
    asked = [(str(a), str(b)) for a, b in record.get("compare") or ()]
    asked = [pair for pair in asked if set(pair) <= set(settings)]
    if asked:
        return asked
    if len(settings) <= _MOST_PAIRED:
        return [(a, b) for b, a in combinations(settings, 2)]
    return [(one, settings[0]) for one in settings[1:]]


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
    table = results.table
    metric = metric or default_metric(table)
    content = _content(results, metric, seed)
    shown: list[dict[str, Any]] = []
    if render is not None and pictures > 0:
        setting, chosen = picture_cases(table, metric, pictures)
        shown = list(_pictures(table, metric, setting, chosen, render, progress))
        content["picture_setting"] = setting
    page = _template().render(**content, pictures=shown, with_pictures=render is not None)
    path = output or folder / REPORT_NAME
    write_atomically(path, lambda hidden: hidden.write_text(page, encoding="utf-8"))
    return path


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("napari_cam_sam.studies", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names of settings are long: they may break where their parts do.
    environment.filters["breakable"] = lambda text: escape(text).replace("/", Markup("/<wbr>"))
    environment.globals["many_rows"] = report_tables.MANY_ROWS
    return environment.get_template("report.html.jinja")


def _content(results: Results, metric: str, seed: int) -> dict[str, Any]:
    """Put together all but the pictures."""
    table, record = results.table, results.record
    values = statistics.case_values(table, metric, last_step=True)
    settings = [str(one) for one in values["setting"].unique()]
    about = table.drop_duplicates("setting").set_index("setting")
    sources = {name: str(about.loc[name, "source"]) for name in settings}
    label = metric_name(metric)
    pairs = default_pairs(settings, record)
    found = statistics.compare_settings(table, metric, pairs, seed=seed) if pairs else None
    curve = statistics.annotator_curve(table, metric)
    counts = statistics.case_counts(table)
    return {
        "when": _time(record.get("finished")),
        "title": str(record.get("name") or results.folder.resolve().name),
        "finished": results.finished,
        "done": int(table["case"].nunique()),
        "metric": label,
        "record": record,
        "story": _story(table, counts, settings, metric),
        "score_tables": _score_tables(table, metric, counts, seed),
        "boxes": _box_figures(values, settings, sources, metric),
        "curves": _curve_figures(curve, metric),
        "grids": _grids(table, metric),
        "differences": None if found is None else report_tables.difference_table(found, metric),
        "difference_figure": _difference_figure(found, metric),
        "reference": pairs[0][1] if len({b for _, b in pairs}) == 1 and pairs else "",
        "asked": bool(record.get("compare")),
        "parts": [
            part
            for by in ("label", "split")
            if (part := report_tables.part_table(table, metric, by, seed=seed)) is not None
        ],
        "reasons": report_tables.reason_table(table),
        "factors": report_tables.factor_table(table),
        "more_scores": _more_scores(table, metric, counts, seed),
        "caveats": list(_caveats(table, values, metric, len(pairs))),
        "provenance": _provenance(record),
        "command": shlex.join(map(str, ["napari-cam-sam", *(record.get("command") or ())])),
        "details": json.dumps(record, indent=2, ensure_ascii=False) if record else "",
        "seed": seed,
        "picture_setting": "",
    }


def _story(table: pd.DataFrame, counts: pd.DataFrame, settings: Sequence[str], metric: str) -> str:
    """Tell in a few sentences what was run; of long lists the first."""
    cases = table.drop_duplicates("case").fillna({"label": "", "group": ""})
    labels = cases[cases["label"] != ""]["label"].value_counts(sort=False)
    groups = cases["group"].where(cases["group"] != "", cases["case"]).nunique()
    told = _count(len(cases), "case")
    if len(labels) > 1:
        told += f" ({', '.join(f'{n} {name}' for name, n in labels.items())})"
    if groups < len(cases):
        told += f" in {groups} groups"
    story = [f"{told}, each with {_count(len(settings), 'setting')}."]
    run = table[table["source"] != ""]

    def named(column: str, *sources: str) -> str:
        rows = run[run["source"].isin(sources)] if sources else run
        found = sorted({str(one) for one in rows[column].dropna().unique()} - {""})
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        return ", ".join(found[:_MOST_NAMED]) + more

    if classifiers := named("classifier"):
        story.append(f"Heatmaps: {classifiers} by {named('method')}.")
    prompts = [
        text
        for text, there in (
            (f"{named('strategy', 'cam')} from heatmaps", named("strategy", "cam")),
            (f"{named('strategy', 'truth')} from the truth", named("strategy", "truth")),
            ("those of a simulated annotator", (run["source"] == "annotator").any()),
        )
        if there
    ]
    if prompts:
        story.append(f"Prompts: {'; '.join(prompts)}.")
    if segmenters := named("segmenter"):
        story.append(f"Masks: {segmenters}.")
    whole = ", of each volume as a whole" if (table["plane"] > 0).any() else ""
    story.append(f"Settings are compared by {metric_name(metric)}{whole}.")
    runs = counts[counts["setting"].isin(_of_masks(table))]
    failed, no_truth = (
        table[table["status"] == status]["case"].nunique() for status in ("failed", "no-truth")
    )
    ends = [
        (int(runs["n_no_prompt"].sum()), "run", "without a prompt"),
        (no_truth, "case", "without a truth for one setting or more"),
        (failed, "case", "failed in one setting or more"),
    ]
    told = "; ".join(f"{_count(n, what)} {words}" for n, what, words in ends if n)
    story.append(f"{told}." if told else "Every case has a result.")
    return " ".join(story)


def _of_masks(table: pd.DataFrame) -> list[str]:
    """Name the settings themselves, without those that stand for the heatmaps they share."""
    return [str(one) for one in table[table["source"] != "heatmap"]["setting"].unique()]


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _score_tables(table: pd.DataFrame, metric: str, counts: pd.DataFrame, seed: int) -> list[Table]:
    """Make a table for masks, one for prompts and one for heatmaps, the main metric's first."""
    known = set(table["metric"].dropna().unique())
    families = {
        "Masks against the truth": _MASK_METRICS,
        "Prompts against the truth": _PROMPT_METRICS,
        "Heatmaps against the truth": _HEATMAP_METRICS,
    }
    if not any(metric in family for family in families.values()):
        families = {metric_name(metric): (metric,), **families}
    tables = []
    for caption, family in families.items():
        there = [one for one in family if one in known]
        if "distance_px" in there and _same(table, "distance_px", "distance_mm"):
            there.remove("distance_mm")  # of images whose spacing is not known
        if not there:
            continue
        first = metric if metric in there else there[0]
        others = [one for one in there if one != first]
        tables.append(
            (
                metric not in there,
                report_tables.score_table(table, first, others, caption, counts, seed=seed),
            )
        )
    return [one for _, one in sorted(tables, key=lambda pair: pair[0])]


def _same(table: pd.DataFrame, one: str, other: str) -> bool:
    first, second = (
        table[table["metric"] == metric]["value"].to_numpy() for metric in (one, other)
    )
    return bool(second.size) and np.array_equal(first, second)


def _limits(metric: str) -> tuple[float, float] | None:
    return (-0.02, 1.02) if metric in _IN_UNIT_RANGE else None


def _ranked(values: pd.DataFrame, settings: Sequence[str], metric: str) -> list[str]:
    """Order settings by their mean, the best first."""
    means = values.groupby("setting")["value"].mean()
    sign = 1 if metric in statistics.LOWER_IS_BETTER else -1
    return sorted(settings, key=lambda name: (np.isnan(means[name]), sign * means[name]))


def _box_figures(
    values: pd.DataFrame, settings: Sequence[str], sources: Mapping[str, str], metric: str
) -> list[dict[str, str]]:
    found = {
        str(name): part["value"].dropna().to_numpy(dtype=np.float64)
        for name, part in values.groupby("setting")
    }
    ranked = _ranked(values, settings, metric)
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


def _curve_figures(curve: pd.DataFrame, metric: str) -> list[dict[str, str]]:
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


def _grids(table: pd.DataFrame, metric: str) -> list[Table]:
    pairs = combinations(statistics.varying_factors(table), 2)
    found = (report_tables.grid_table(table, metric, rows, columns) for rows, columns in pairs)
    return [one for one in found if one is not None][:_MOST_GRIDS]


def _difference_figure(found: pd.DataFrame | None, metric: str) -> dict[str, str] | None:
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


def _more_scores(table: pd.DataFrame, metric: str, counts: pd.DataFrame, seed: int) -> list[Table]:
    """Summarise in full what the first tables have means of, and all other metrics."""
    known = [str(one) for one in table["metric"].dropna().unique() if one not in ("", metric)]
    order = (*_MASK_METRICS, *_PROMPT_METRICS, *_HEATMAP_METRICS)
    known.sort(key=lambda one: (order.index(one) if one in order else len(order), one))
    return [
        report_tables.score_table(table, one, (), metric_name(one), counts, seed=seed)
        for one in known
    ]


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
    setting = _ranked(values, own or names, metric)[0]
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
            except CamSamError as error:
                # An image may have moved since; what the study found holds nevertheless.
                item["reason"] = str(error)
            items.append(item)
            done += 1
            if progress is not None:
                progress(done, total)
        if items:
            yield {"kind": kind, "items": items}


def _caveats(table: pd.DataFrame, values: pd.DataFrame, metric: str, n_pairs: int) -> Iterator[str]:
    """Say what must be known to read the numbers."""
    from napari_cam_sam.demo import shipped_models

    known = set(table["metric"].dropna().unique())
    groups, cases = values["group"].nunique(), values["case"].nunique()
    yield (
        "Intervals are 95 % percentile intervals of a bootstrap that draws whole groups "
        f"({groups} groups of {cases} cases): images of one patient, or copies of one image, stay "
        "together."
    )
    if groups < 20:
        yield f"With {groups} groups only, bootstrap intervals are narrower than they should be."
    if n_pairs > 1:
        yield (
            f"p values are two-sided and of the same bootstrap; “p, Holm” is corrected for the "
            f"{n_pairs} comparisons of the table."
        )
    yield (
        "A setting that was picked because it is the best on these cases is flattered by them: "
        "its score on other cases will be lower."
    )
    if (table["status"] == "no-prompt").any():
        yield (
            "A case without a prompt has an empty mask. It stays in all means, with its overlap "
            "of 0."
        )
    if "hd95" in known or "assd" in known:
        distance = "hd95" if "hd95" in known else "assd"
        rows = table[table["metric"] == distance]["value"]
        n_infinite = int(np.isinf(rows).sum())
        yield (
            f"HD95: {PERCENTILE_RULE}. Distances use each image's own spacing: mm where the file "
            "says so, else pixels, which are not comparable between images of different scale. "
            f"{n_infinite} infinite distances (mask or truth empty) are left out of means, so a "
            "setting that misses more may look closer: see n."
        )
    if "nsd" in known:
        yield f"NSD at a tolerance of {DEFAULT_TOLERANCE:g} in the unit of the spacing."
    if "auprc" in known:
        mean = float(table[table["metric"] == "prevalence"]["value"].mean())
        floor = f", here {number(mean)} in the mean" if not np.isnan(mean) else ""
        yield (
            f"AUPRC of a heatmap that knows nothing is the prevalence, the truth's part of the "
            f"image{floor}; AUPRC of data sets of different prevalence are not comparable."
        )
    if "pixel_accuracy" in known:
        yield "Pixel accuracy is high wherever most of the image is background."
    yield (
        "Where mask and truth are both empty there is nothing to score: such planes and cases "
        "are left out. Volumes count once, with all their planes as one volume."
    )
    shipped = set(shipped_models()) & set(table["classifier"].dropna().unique())
    if shipped:
        yield (
            f"The classifier {', '.join(sorted(shipped))} learned from phantoms alone: not for "
            "images of patients."
        )


def _provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name what decides the results, the most important first."""
    dataset = (record.get("study") or {}).get("dataset") or {}
    rows = [
        ("Data set", " ".join(str(dataset[key]) for key in ("layout", "path") if key in dataset)),
        ("SHA-256 of the data", record.get("data_sha256")),
        ("SHA-256 of the plan", record.get("plan")),
        ("Seed", (record.get("study") or {}).get("seed")),
    ]
    for name, models in (record.get("models") or {}).items():
        for model in models:
            words = [str(model[key]) for key in ("device", "precision") if model.get(key)]
            weights = f"SHA-256 {model['sha256']}" if model.get("sha256") else "no weights"
            rows.append((f"{str(model['kind']).capitalize()} {name}", ", ".join([weights, *words])))
    encodes = record.get("encodes") or {}
    if encodes:
        rows.append(
            ("Encoded planes", f"{encodes.get('done', 0)}, and {encodes.get('found', 0)} found")
        )
    rows += [
        ("Device", record.get("device")),
        ("Workers", record.get("workers")),
        ("Threads a case", record.get("threads")),
        ("Started", _time(record.get("started"))),
        ("Finished", _time(record.get("finished"))),
        ("Python", record.get("python")),
    ]
    packages = record.get("packages") or {}
    rows.append(("Packages", ", ".join(f"{k} {v}" for k, v in packages.items() if v)))
    return [(name, str(value)) for name, value in rows if value not in (None, "", [])]


def _time(stamp: object) -> str:
    """Write a time of ISO 8601 for people."""
    return str(stamp or "").replace("T", " ").replace("+00:00", " UTC")
