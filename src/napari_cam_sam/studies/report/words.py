"""What a report says in words: what was run, how to read it, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE, PERCENTILE_RULE
from napari_cam_sam.studies.report.tables import metric_name, number

__all__ = ["caveats", "provenance", "readable_time", "story"]

_MOST_NAMED = 6


def story(table: pd.DataFrame, counts: pd.DataFrame, settings: Sequence[str], metric: str) -> str:
    """Tell in a few sentences what was run; of long lists the first.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    counts : DataFrame
        Of `statistics.case_counts`.
    settings : sequence of str
        Those that have the metric.
    metric : str
        That they are compared by.

    Returns
    -------
    str
    """
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
    failed = table[table["status"] == "failed"]["case"].nunique()
    ends = [
        (int(runs["n_no_prompt"].sum()), "run", "without a prompt"),
        (int(runs["n_no_truth"].sum()), "run", "without a truth"),
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


def caveats(table: pd.DataFrame, values: pd.DataFrame, n_pairs: int) -> Iterator[str]:
    """Say what must be known to read the numbers.

    Parameters
    ----------
    table : DataFrame
        Of a study.
    values : DataFrame
        Of `statistics.case_values`.
    n_pairs : int
        Comparisons in the report.

    Yields
    ------
    str
        A sentence or a few.
    """
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


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name what decides the results, the most important first.

    Parameters
    ----------
    record : mapping
        The content of ``study.json``.

    Returns
    -------
    list of (str, str)
        Names and values; what is not known is left out.
    """
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
            ("Encoded slices", f"{encodes.get('done', 0)}, and {encodes.get('found', 0)} found")
        )
    rows += [
        ("Device", record.get("device")),
        ("Workers", record.get("workers")),
        ("Threads a case", record.get("threads")),
        ("Started", readable_time(record.get("started"))),
        ("Finished", readable_time(record.get("finished"))),
        ("Python", record.get("python")),
    ]
    packages = record.get("packages") or {}
    rows.append(("Packages", ", ".join(f"{k} {v}" for k, v in packages.items() if v)))
    return [(name, str(value)) for name, value in rows if value not in (None, "", [])]


def readable_time(stamp: object) -> str:
    """Return a time of ISO 8601 as people read it.

    Parameters
    ----------
    stamp : object
        Text, or None.

    Returns
    -------
    str
    """
    return str(stamp or "").replace("T", " ").replace("+00:00", " UTC")
