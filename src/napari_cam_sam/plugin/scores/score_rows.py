"""The rows of a table of scores, apart from any widget: in words, as plain data and as text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.text import cells

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import ScoredRow

__all__ = [
    "METRICS",
    "OF_HEATMAPS",
    "OLDER",
    "Key",
    "Subject",
    "as_data",
    "as_text",
    "from_data",
    "key",
    "missing",
    "place",
    "plain_number",
    "remarks",
    "spoken",
    "to_text",
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

OF_HEATMAPS = ("auc_judd", "auprc", "pointing_hit", "energy_inside")
"""Those of `METRICS` that say how good a heatmap is."""

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
    """Return what tells a row from all others of its table.

    Parameters
    ----------
    row : ScoredRow

    Returns
    -------
    tuple of (str, int)
        Its kind and its number.
    """
    return row.kind, row.number


def spoken(row: ScoredRow) -> str:
    """Return what a row is of, for the user.

    Parameters
    ----------
    row : ScoredRow

    Returns
    -------
    str
        E.g. ``"slice 11"``.
    """
    return _in_files(row).replace("plane", "slice")


def _in_files(row: ScoredRow) -> str:
    return row.kind if row.kind in ("volume", "image") else f"{row.kind} {row.number}"


def remarks(row: ScoredRow, older: bool = False) -> str:
    """Return in words what to know before a row's numbers are used.

    Parameters
    ----------
    row : ScoredRow
    older : bool
        Whether it was scored before the last edit.

    Returns
    -------
    str
        Empty where there is nothing to know.
    """
    said = [_WORDS.get(flag, flag) for flag in row.scores.flags]
    if row.kind == "object" and row.partner not in (None, row.number):
        said.append(f"label {row.partner} in the prediction")
    if row.empty_planes:
        said.append(missing(row))
    return "; ".join([*said, OLDER] if older else said)


def missing(row: ScoredRow) -> str:
    """Return in words on how many planes nothing is predicted, as where a part is segmented.

    Parameters
    ----------
    row : ScoredRow
        Of a volume or an object.

    Returns
    -------
    str
        No whole sentence.
    """
    of = "of its slices" if row.kind == "object" else "slices with ground truth"
    verb = "has" if row.empty_planes == 1 else "have"
    return f"{row.empty_planes} of {row.truth_planes} {of} {verb} no mask"


def place(row: ScoredRow) -> tuple[int, int]:
    """Return the place of a row in a table that nobody sorted.

    Parameters
    ----------
    row : ScoredRow

    Returns
    -------
    tuple of (int, int)
        To sort by.
    """
    return _ORDER[row.kind], row.number


def as_data(
    rows: Iterable[ScoredRow], subject: Subject | None, is_older: Callable[[ScoredRow], bool]
) -> list[dict[str, Any]]:
    """Return rows as plain data, which JSON holds and `from_data` takes back.

    Parameters
    ----------
    rows : iterable of ScoredRow
    subject : Subject or None
        What they are scores of; None leaves that out.
    is_older : callable
        Whether a row was scored before the last edit.

    Returns
    -------
    list of dict
        One a row. A number that is not defined is None, an infinite distance the text ``"inf"``.
    """
    about = {} if subject is None else vars(subject)
    out = []
    for row in rows:
        values = row.scores.values
        older = is_older(row)
        out.append(
            {**about, "scored": _in_files(row), "kind": row.kind, "number": row.number}
            | {name: plain_number(values.get(name, math.nan)) for name in METRICS}
            | {"flags": list(row.scores.flags), "remarks": remarks(row, older), "older": older}
            | {name: getattr(row, name) for name in _WHERE}
        )
    return out


def from_data(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[list[ScoredRow], Subject | None, set[Key]]:
    """Return the rows of which `as_data` made plain data.

    Parameters
    ----------
    rows : iterable of mapping

    Returns
    -------
    rows : list of ScoredRow
    subject : Subject or None
        What they are scores of; None without rows.
    older : set of (str, int)
        The keys of those that were scored before the last edit.

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
    """Return rows as a table of text in full precision.

    Parameters
    ----------
    rows, subject, is_older
        As for `as_data`.
    delimiter : str
        Between columns.

    Returns
    -------
    str
        As `to_text` makes it.
    """
    about = [] if subject is None else [field.name for field in fields(subject)]
    names = (*about, "scored", "kind", "number", *METRICS, "flags", "remarks")
    data = as_data(rows, subject, is_older)
    return to_text(names, (row | {"flags": " ".join(row["flags"])} for row in data), delimiter)


def to_text(names: Collection[str], rows: Iterable[Mapping[str, Any]], delimiter: str = ",") -> str:
    """Return a table as text, which no spreadsheet takes for formulas.

    Parameters
    ----------
    names : collection of str
        Of the columns, which head the table.
    rows : iterable of mapping
        By the names of the columns; what has another name is left out, and None is an empty cell.
    delimiter : str
        Between columns.

    Returns
    -------
    str
        A line a row, numbers in full precision.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(cells(row[name] for name in names) for row in rows)
    return text.getvalue()


def plain_number(value: float) -> float | str | None:
    """Return a number as JSON and tables hold it.

    Parameters
    ----------
    value : float

    Returns
    -------
    float, str or None
        None for NaN, the text ``"inf"`` or ``"-inf"`` for what is infinite.
    """
    if math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else repr(float(value))
