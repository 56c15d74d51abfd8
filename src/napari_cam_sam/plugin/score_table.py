"""The table of scores, and the same as text: of planes, of objects, and of the volume."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from napari_cam_sam.comparison import ScoredRow, VariantSummary

__all__ = ["METRICS", "ComparisonTable", "ScoreTable", "as_data", "as_text", "remarks", "spoken"]

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
_OLDER = "before the last edit"

Key = tuple[str, int]


def spoken(row: ScoredRow) -> str:
    """Say what a row is of, e.g. ``"plane 11"``."""
    return row.kind if row.kind in ("volume", "image") else f"{row.kind} {row.number}"


def remarks(row: ScoredRow, older: bool = False) -> str:
    """Say in words what to know before a row's numbers are used."""
    said = [_WORDS.get(flag, flag) for flag in row.scores.flags]
    if row.kind == "object" and row.partner not in (None, row.number):
        said.append(f"is {row.partner} in the prediction")
    return "; ".join([*said, *([_OLDER] if older else [])])


class _NumberItem(QTableWidgetItem):
    """A cell that sorts by its number; what is no number stays last, whichever way."""

    def __init__(self, text: str, key: float) -> None:
        super().__init__(text)
        self._key = key
        self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: Any) -> bool:
        """Compare as Qt asks, which turns the question round for the descending order."""
        finite = math.isfinite(self._key), math.isfinite(other._key)
        if all(finite):
            return bool(self._key < other._key)
        table = self.tableWidget()
        down = table is not None and (
            table.horizontalHeader().sortIndicatorOrder() == Qt.SortOrder.DescendingOrder
        )
        return finite[1] if down and not finite[0] else finite[0] and not down


class ScoreTable(QTableWidget):
    """The rows of a scoring; a click on one asks for its plane."""

    plane_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(METRICS) + 2)
        self._rows: dict[Key, ScoredRow] = {}
        self._older = False
        _dress(self)
        self.horizontalHeader().setStretchLastSection(True)
        self.setMinimumHeight(190)
        self.setToolTip("Click a row to see its plane, a header to sort by it.")
        self.set_unit("px")
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.cellClicked.connect(self._chosen)
        self.cellActivated.connect(self._chosen)

    def set_unit(self, unit: str) -> None:
        """Say what distances are in."""
        heads = [("Scored", "The volume, its objects, and the planes along the axis shown.")]
        heads += METRICS.values()
        heads += [("Remarks", "What to know before the numbers are used.")]
        _head(self, [(text.format(unit=unit), hint.format(unit=unit)) for text, hint in heads])

    def rows(self) -> list[ScoredRow]:
        """Give all rows: the volume, objects, planes."""
        return sorted(self._rows.values(), key=_place)

    def is_older(self, row: ScoredRow) -> bool:
        """Whether a row was scored before the last edit."""
        return self._older and row.kind in ("volume", "object", "extra")

    def set_rows(self, rows: Iterable[ScoredRow]) -> None:
        """Show these rows alone."""
        self._older = False
        self._rows = {(row.kind, row.number): row for row in rows}
        self._fill()
        self.resizeColumnsToContents()

    def set_plane(self, index: int, row: ScoredRow | None) -> None:
        """Replace, add or remove the row of a plane."""
        for kind in ("plane", "image"):
            self._rows.pop((kind, index), None)
        if row is not None:
            self._rows[row.kind, row.number] = row
        self._fill()
        self.select_plane(index)

    def set_older(self) -> None:
        """Mark all that an edit on some plane may have changed, until all is scored again."""
        if self._rows and not self._older:
            self._older = True
            self._fill()
            self.resizeColumnToContents(0)

    def select_plane(self, index: int | None) -> None:
        """Mark the row of the plane shown."""
        for at in range(self.rowCount()):
            row = self._at(at)
            if row is not None and row.kind == "plane" and row.number == index:
                if not self.selectionModel().isRowSelected(at, self.rootIndex()):
                    self.selectRow(at)
                return
        self.clearSelection()

    def shown(self) -> list[ScoredRow]:
        """Give the rows in the order in which they are sorted now."""
        return [row for row in map(self._at, range(self.rowCount())) if row is not None]

    def _fill(self) -> None:
        self.setSortingEnabled(False)
        self.setRowCount(len(self._rows))
        for at, row in enumerate(self.rows()):
            text = f"{spoken(row)} ({_OLDER})" if self.is_older(row) else spoken(row)
            name = _NumberItem(text, _ORDER[row.kind] * 1e9 + row.number)
            name.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            name.setData(Qt.ItemDataRole.UserRole, f"{row.kind} {row.number}")
            self.setItem(at, 0, name)
            for column, metric in enumerate(METRICS, start=1):
                value = row.scores.values.get(metric, math.nan)
                self.setItem(at, column, _NumberItem(_shown(metric, value), value))
            words = remarks(row)
            last = QTableWidgetItem(words)
            last.setToolTip(words)
            self.setItem(at, len(METRICS) + 1, last)
        self.setSortingEnabled(True)

    def _at(self, at: int) -> ScoredRow | None:
        item = self.item(at, 0)
        if item is None:
            return None
        kind, number = str(item.data(Qt.ItemDataRole.UserRole)).split()
        return self._rows.get((kind, int(number)))

    def _chosen(self, at: int, _column: int) -> None:
        row = self._at(at)
        if row is not None and row.plane is not None:
            self.plane_chosen.emit(row.plane)


class ComparisonTable(QTableWidget):
    """The ways to a mask, a line each, beside what the truth's prompts give."""

    def __init__(self) -> None:
        super().__init__(0, 5)
        _dress(self)
        self.setToolTip("The same planes and the same segmenter in every line.")
        _head(
            self,
            [
                ("From", "What the mask is made from."),
                ("Dice", "Mean Dice over the planes with truth or with any of the masks."),
                ("IoU", "Mean IoU over the same planes."),
                ("Volume", "Dice of these planes as one volume."),
                ("% of truth", "Mean Dice as a percentage of that of prompts from the truth."),
            ],
        )

    def set_lines(self, lines: Iterable[VariantSummary]) -> None:
        """Show these lines alone."""
        self.setRowCount(0)
        for line in lines:
            at = self.rowCount()
            self.insertRow(at)
            self.setItem(at, 0, QTableWidgetItem(line.variant))
            values = (line.dice, line.iou, line.volume_dice)
            for column, value in enumerate(values, start=1):
                self.setItem(at, column, _NumberItem(_shown("", value), value))
            share = line.percent_of_truth_prompts
            text = "–" if math.isnan(share) else f"{share:.1f}"
            self.setItem(at, 4, _NumberItem(text, share))
        self.resizeColumnsToContents()


def as_data(rows: Iterable[ScoredRow], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give rows as plain data, as JSON holds it: numbers that are not finite are None."""
    out = []
    for row in rows:
        values = {name: row.scores.values.get(name, math.nan) for name in METRICS}
        numbers = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
        out.append(
            {**about, "scored": spoken(row), "kind": row.kind, "number": row.number}
            | numbers
            | {"flags": list(row.scores.flags), "remarks": remarks(row)}
        )
    return out


def as_text(
    rows: Sequence[ScoredRow],
    about: Mapping[str, Any],
    delimiter: str = ",",
    older: Iterable[ScoredRow] = (),
) -> str:
    """Give rows as a table of text in full precision; an infinite distance stands as ``inf``."""
    text, old = io.StringIO(), list(older)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*about, "scored", "kind", "number", *METRICS, "flags", "remarks"])
    fixed = ["" if value is None else value for value in about.values()]
    for row in rows:
        values = [row.scores.values.get(name, math.nan) for name in METRICS]
        numbers = ["" if math.isnan(value) else repr(float(value)) for value in values]
        named = [spoken(row), row.kind, row.number]
        flags = " ".join(row.scores.flags)
        writer.writerow([*fixed, *named, *numbers, flags, remarks(row, row in old)])
    return text.getvalue()


def _dress(table: QTableWidget) -> None:
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setAlternatingRowColors(True)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)


def _head(table: QTableWidget, heads: Iterable[tuple[str, str]]) -> None:
    for column, (text, hint) in enumerate(heads):
        item = QTableWidgetItem(text)
        item.setToolTip(hint)
        table.setHorizontalHeaderItem(column, item)


def _place(row: ScoredRow) -> tuple[int, int]:
    return _ORDER[row.kind], row.number


def _shown(metric: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if metric == "pointing_hit":
        return "hit" if value else "miss"
    return f"{value:.3f}"
