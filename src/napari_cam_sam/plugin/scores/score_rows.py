"""The rows of a table of scores, apart from any widget: in words, as plain data and as text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.text import cells

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import ScoredRow

__all__ = [
    "METRICS",
    "OLDER",
    "Key",
    "Subject",
    "as_data",
    "as_text",
    "from_data",
    "key",
    "missing",
    "place",
    "remarks",
    "spoken",
]

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
        "Share of both outlines within 2 {unit} of the other: 1 is best, 0 is worst.",
    ),
    "auc_judd": (
        "AUROC",
        "Probability that the heatmap is higher at a ground-truth pixel than at another: 1 "
        "is best, 0.5 is chance.",
    ),
    "auprc": (
        "AUPRC",
        "Average precision of the heatmap over all thresholds: 1 is best; chance is the "
        "ground truth's share of the pixels.",
    ),
    "pointing_hit": ("Pointing", "Whether the heatmap's maximum lies in the ground truth."),
    "energy_inside": (
        "Energy",
        "Share of the heatmap's sum inside the ground truth: 1 is best, 0 is worst.",
    ),
}
"""A score's name to the head of its column and what it means; {unit} is mm or px."""

_WORDS = {
    "both-empty": "both empty",
    "prediction-empty": "missed: no prediction",
    "truth-empty": "not in the ground truth",
    "truth-full": "the ground truth covers everything",
    "heatmap-constant": "the heatmap is constant",
    "heatmap-not-finite": "the heatmap is not finite",
}
_ORDER = {"volume": 0, "image": 0, "object": 1, "extra": 2, "plane": 3}
OLDER = "before the last edit"


Key = tuple[str, int]
"""Kind and number of a row: no two of a table have both in common."""

# What a row says beside its scores of where it lies.
_WHERE = ("plane", "partner", "truth_planes", "empty_planes")


@dataclass(frozen=True)
class Subject:
    """What the rows of a table are scores of.

    Attributes
    ----------
    image : str
    frame : int or None
        Of a series.
    axis : int
        Along which its planes lie.
    label : int or str
        The label that is compared, or ``"all"``.
    prediction, truth : str
    heatmap : str or None
    unit : {"mm", "px"}
        Of distances.
    """

    image: str
    frame: int | None
    axis: int
    label: int | str
    prediction: str
    truth: str
    heatmap: str | None
    unit: str


def key(row: ScoredRow) -> Key:
    """Return what tells a row from all others of its table."""
    return row.kind, row.number


def spoken(row: ScoredRow) -> str:
    """Return what a row is of, for the user, e.g. ``"slice 11"``."""
    return _in_files(row).replace("plane", "slice")


def _in_files(row: ScoredRow) -> str:
    return row.kind if row.kind in ("volume", "image") else f"{row.kind} {row.number}"


def remarks(row: ScoredRow, older: bool = False) -> str:
    """Return in words what to know before a row's numbers are used."""
    said = [_WORDS.get(flag, flag) for flag in row.scores.flags]
    if row.kind == "object" and row.partner not in (None, row.number):
        said.append(f"label {row.partner} in the prediction")
    if row.empty_planes:
        said.append(missing(row))
    return "; ".join([*said, OLDER] if older else said)


def missing(row: ScoredRow) -> str:
    """Return on how many planes nothing is predicted, e.g. of a volume segmented in part."""
    of = "of its slices" if row.kind == "object" else "slices with ground truth"
    verb = "has" if row.empty_planes == 1 else "have"
    return f"{row.empty_planes} of {row.truth_planes} {of} {verb} no mask"


def place(row: ScoredRow) -> tuple[int, int]:
    """Return the place of a row in a table that nobody sorted."""
    return _ORDER[row.kind], row.number


def as_data(
    rows: Iterable[ScoredRow], subject: Subject, is_older: Callable[[ScoredRow], bool]
) -> list[dict[str, Any]]:
    """Return rows as plain data, which JSON holds and `from_data` takes back.

    A number that is not defined is None, an infinite distance the text ``"inf"``.
    """
    out = []
    for row in rows:
        values = ((name, row.scores.values.get(name, math.nan)) for name in METRICS)
        numbers = {name: _to_plain(float(value)) for name, value in values}
        older = is_older(row)
        out.append(
            {**vars(subject), "scored": _in_files(row), "kind": row.kind, "number": row.number}
            | numbers
            | {"flags": list(row.scores.flags), "remarks": remarks(row, older), "older": older}
            | {name: getattr(row, name) for name in _WHERE}
        )
    return out


def from_data(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[list[ScoredRow], Subject | None, set[Key]]:
    """Make rows of what `as_data` gave, what they are of, and which of them are older.

    Raises
    ------
    CamSamError
        If they are no rows of scores.
    """
    from napari_cam_sam.evaluation.score_steps import ScoredRow
    from napari_cam_sam.metrics.scoring import Scores

    found: list[ScoredRow] = []
    subject, older = None, set()
    try:
        for row in rows:
            subject = subject or Subject(**{f.name: row[f.name] for f in fields(Subject)})
            values = {n: math.nan if row[n] is None else float(row[n]) for n in METRICS}
            scores = Scores(values, tuple(row["flags"]))
            where = {name: row[name] for name in _WHERE}
            found.append(ScoredRow(row["kind"], int(row["number"]), scores=scores, **where))
            place(found[-1])
            if row["older"]:
                older.add(key(found[-1]))
    except (KeyError, TypeError, ValueError) as error:
        raise CamSamError("The session's scores cannot be read: press Score.") from error
    return found, subject, older


def as_text(
    rows: Iterable[ScoredRow],
    subject: Subject | None,
    is_older: Callable[[ScoredRow], bool],
    delimiter: str = ",",
) -> str:
    """Return rows as a table of text in full precision; an infinite distance stands as ``inf``."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    about = {} if subject is None else vars(subject)
    writer.writerow([*about, "scored", "kind", "number", *METRICS, "flags", "remarks"])
    fixed = ["" if value is None else value for value in about.values()]
    for row in rows:
        values = [row.scores.values.get(name, math.nan) for name in METRICS]
        numbers = ["" if math.isnan(value) else repr(float(value)) for value in values]
        flags = (" ".join(row.scores.flags), remarks(row, is_older(row)))
        about_row = (*fixed, _in_files(row), row.kind, row.number)
        writer.writerow([*cells(about_row), *numbers, *cells(flags)])
    return text.getvalue()


def _to_plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else repr(value)
