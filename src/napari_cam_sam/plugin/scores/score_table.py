"""The table of scores: of the volume, its objects and its planes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QTableWidget, QTableWidgetItem

from napari_cam_sam.plugin.qt.plain_text import plain_tip
from napari_cam_sam.plugin.qt.tables import NumberItem, format_score, make_read_only, set_headers
from napari_cam_sam.plugin.scores.score_rows import (
    METRICS,
    OF_HEATMAPS,
    OLDER,
    Key,
    Subject,
    as_data,
    as_text,
    key,
    place,
    remarks,
    spoken,
)

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import ScoredRow

__all__ = ["ScoreTable"]


class ScoreTable(QTableWidget):
    """The rows of a scoring; a click on one asks for its plane."""

    plane_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(METRICS) + 2)
        self._rows: dict[Key, ScoredRow] = {}
        self._older: set[Key] = set()
        self.subject: Subject | None = None
        """What the rows are scores of; None where there was no scoring."""
        make_read_only(self)
        self.horizontalHeader().setStretchLastSection(True)
        self.setMinimumHeight(190)
        self.setToolTip("Click a row to go to its slice, a header to sort.")
        self._unit = ""
        self.set_unit("px")
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.cellClicked.connect(self._chosen)
        self.cellActivated.connect(self._chosen)

    def set_unit(self, unit: str) -> None:
        """Say in the headings in which unit distances are, or will be."""
        if unit == self._unit:
            return
        self._unit = unit
        heads = (
            ("Scored", "The volume, its objects, and the slices along the axis shown."),
            *METRICS.values(),
            ("Remarks", "What to know before using the numbers."),
        )
        set_headers(
            self, ((text.format(unit=unit), hint.format(unit=unit)) for text, hint in heads)
        )

    def rows(self) -> list[ScoredRow]:
        """Return all rows: the volume, objects, planes."""
        return sorted(self._rows.values(), key=place)

    def is_older(self, row: ScoredRow) -> bool:
        """Whether a row was scored before the last edit."""
        return key(row) in self._older

    def set_rows(
        self, rows: Iterable[ScoredRow], subject: Subject | None, older: Iterable[Key] = ()
    ) -> None:
        """Show these rows alone, and mark those that were scored before the last edit."""
        self.subject, self._older = subject, set(older)
        self._rows = {key(row): row for row in rows}
        if subject is not None:
            self.set_unit(subject.unit)
            for column, metric in enumerate(METRICS, start=1):
                self.setColumnHidden(column, subject.heatmap is None and metric in OF_HEATMAPS)
        self._fill()
        self.resizeColumnsToContents()

    def set_plane(self, index: int, row: ScoredRow | None) -> None:
        """Replace, add or remove the row of a plane."""
        for kind in ("plane", "image"):
            self._rows.pop((kind, index), None)
            self._older.discard((kind, index))
        if row is not None:
            self._rows[key(row)] = row
        self._fill()
        self.select_plane(index)

    def set_older(self, planes: Collection[int] | None = ()) -> None:
        """Mark all that an edit may have changed, until it is scored again.

        Parameters
        ----------
        planes : collection of int or None
            Which planes are marked, too: nobody scores them again by itself. None for all.
        """
        marked = {
            (kind, number)
            for kind, number in self._rows
            if kind not in ("plane", "image") or planes is None or number in planes
        }
        if not marked <= self._older:
            self._older |= marked
            self._fill()
            self.resizeColumnToContents(0)

    def set_current(self, index: int) -> None:
        """Mark a plane no longer: it was looked at, and is what it was."""
        marked = self._older & {("plane", index), ("image", index)}
        if marked:
            self._older -= marked
            self._fill()
            self.select_plane(index)

    def select_plane(self, index: int | None) -> None:
        """Mark the row of the plane shown."""
        for at in range(self.rowCount()):
            row = self._at(at)
            if row is not None and row.kind == "plane" and row.number == index:
                if not self.selectionModel().isRowSelected(at, self.rootIndex()):
                    self.selectRow(at)
                self.scrollTo(self.model().index(at, 0))
                return
        self.clearSelection()

    def shown(self) -> list[ScoredRow]:
        """Return the rows in the order in which they are sorted now."""
        return [row for row in map(self._at, range(self.rowCount())) if row is not None]

    # Out of the viewer

    def as_data(self) -> list[dict[str, Any]]:
        """Return the rows as plain data, each with what was compared."""
        return [] if self.subject is None else as_data(self.rows(), self.subject, self.is_older)

    def as_shown(self) -> str:
        """Return the rows as they are sorted, with tabs between their columns."""
        return as_text(self.shown(), None, self.is_older, "\t")

    def as_csv(self) -> str:
        """Return all rows as CSV, each with what was compared."""
        return as_text(self.rows(), self.subject, self.is_older)

    # The cells

    def _fill(self) -> None:
        self.setSortingEnabled(False)
        self.setRowCount(len(self._rows))
        for at, row in enumerate(self.rows()):
            text = f"{spoken(row)} ({OLDER})" if self.is_older(row) else spoken(row)
            name = NumberItem(text, place(row)[0] * 1e9 + row.number)
            name.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            name.setData(Qt.ItemDataRole.UserRole, f"{row.kind} {row.number}")
            self.setItem(at, 0, name)
            for column, metric in enumerate(METRICS, start=1):
                value = row.scores.values.get(metric, math.nan)
                self.setItem(at, column, NumberItem(format_score(metric, value), value))
            last = QTableWidgetItem(remarks(row))
            last.setToolTip(plain_tip(remarks(row)))
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
