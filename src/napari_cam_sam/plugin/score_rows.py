"""The rows of a table of scores, apart from any widget: in words, as plain data and as text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cam_sam.comparison import ScoredRow

__all__ = ["METRICS", "OLDER", "as_data", "as_text", "from_data", "place", "remarks", "spoken"]

METRICS = {
    "dice": ("Dice", "Twice the shared area over the sum of both areas: 1 is best, 0 is worst."),
    "iou": ("IoU", "The shared area over the area that either covers: 1 is best, 0 is worst."),
    "hd95": (
        "HD95 {unit}",
        "95 % of each outline lies within this distance of the other: 0 is best, ∞ if one is "
        "empty.",
    ),
    "assd": ("ASSD {unit}", "Mean distance between the outlines, both ways: 0 is best."),
    "nsd": (
        "NSD",
        "Part of both outlines that lies within 2 {unit} of the other: 1 is best, 0 is worst.",
    ),
    "auc_judd": (
        "AUROC",
        "How often the heatmap is higher at a truth pixel than at another: 1 is best, 0.5 is "
        "chance.",
    ),
    "auprc": (
        "AUPRC",
        "Average precision of the heatmap over all thresholds: 1 is best; chance is the truth's "
        "part of the pixels.",
    ),
    "pointing_hit": ("Pointing", "Whether the heatmap's maximum lies in the truth."),
    "energy_inside": (
        "Energy",
        "Part of the heatmap's sum that lies in the truth: 1 is best, 0 is worst.",
    ),
}
"""A score's name to the head of its column and what it means; {unit} is mm or px."""

_WORDS = {
    "both-empty": "nothing in either",
    "prediction-empty": "missed: nothing predicted",
    "truth-empty": "not in the truth",
    "truth-full": "the truth is everywhere",
    "heatmap-constant": "the heatmap is the same everywhere",
    "heatmap-not-finite": "the heatmap is not finite",
}
_ORDER = {"volume": 0, "image": 0, "object": 1, "extra": 2, "plane": 3}
OLDER = "before the last edit"


def spoken(row: ScoredRow) -> str:
    """Say what a row is of, e.g. ``"plane 11"``."""
    return row.kind if row.kind in ("volume", "image") else f"{row.kind} {row.number}"


def remarks(row: ScoredRow, older: bool = False) -> str:
    """Say in words what to know before a row's numbers are used."""
    said = [_WORDS.get(flag, flag) for flag in row.scores.flags]
    if row.kind == "object" and row.partner not in (None, row.number):
        said.append(f"is {row.partner} in the prediction")
    return "; ".join([*said, OLDER] if older else said)


def place(row: ScoredRow) -> tuple[int, int]:
    """Say where a row stands in a table that nobody sorted."""
    return _ORDER[row.kind], row.number


def as_data(
    rows: Iterable[ScoredRow], about: Mapping[str, Any], older: Iterable[ScoredRow] = ()
) -> list[dict[str, Any]]:
    """Give rows as plain data, as JSON holds it: numbers that are not finite are None."""
    out, old = [], list(older)
    for row in rows:
        values = ((name, row.scores.values.get(name, math.nan)) for name in METRICS)
        numbers = {k: float(v) if math.isfinite(v) else None for k, v in values}
        out.append(
            {**about, "scored": spoken(row), "kind": row.kind, "number": row.number}
            | numbers
            | {"flags": list(row.scores.flags), "remarks": remarks(row, row in old)}
        )
    return out


def from_data(rows: Iterable[Mapping[str, Any]]) -> list[ScoredRow]:
    """Make rows of what `as_data` gave; an infinite distance comes back as NaN."""
    from napari_cam_sam.comparison import ScoredRow
    from napari_cam_sam.metrics.scoring import Scores

    out = []
    for row in rows:
        values = {n: math.nan if row.get(n) is None else float(row[n]) for n in METRICS}
        plane = row["number"] if row["kind"] in ("plane", "image") else None
        scores = Scores(values, tuple(row["flags"]))
        out.append(ScoredRow(row["kind"], row["number"], plane, scores))
    return out


def as_text(
    rows: Sequence[ScoredRow],
    about: Mapping[str, Any],
    older: Iterable[ScoredRow] = (),
    delimiter: str = ",",
) -> str:
    """Give rows as a table of text in full precision; an infinite distance stands as ``inf``."""
    text, old = io.StringIO(), list(older)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*about, "scored", "kind", "number", *METRICS, "flags", "remarks"])
    fixed = ["" if value is None else value for value in about.values()]
    for row in rows:
        values = [row.scores.values.get(name, math.nan) for name in METRICS]
        numbers = ["" if math.isnan(value) else repr(float(value)) for value in values]
        flags = (" ".join(row.scores.flags), remarks(row, row in old))
        writer.writerow([*fixed, spoken(row), row.kind, row.number, *numbers, *flags])
    return text.getvalue()
