"""The table of scores: of the volume, its objects and its planes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QTableWidget, QTableWidgetItem

from napari_cam_sam.plugin.score_cells import NumberItem, dress, head, shown
from napari_cam_sam.plugin.score_rows import METRICS, OLDER, place, remarks, spoken

if TYPE_CHECKING:
    from napari_cam_sam.comparison import ScoredRow

__all__ = ["ScoreTable"]


class ScoreTable(QTableWidget):
    """The rows of a scoring; a click on one asks for its plane."""

    plane_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(METRICS) + 2)
        self._rows: dict[tuple[str, int], ScoredRow] = {}
        self._older = False
        dress(self)
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
        head(self, [(text.format(unit=unit), hint.format(unit=unit)) for text, hint in heads])

    def rows(self) -> list[ScoredRow]:
        """Give all rows: the volume, objects, planes."""
        return sorted(self._rows.values(), key=place)

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
            text = f"{spoken(row)} ({OLDER})" if self.is_older(row) else spoken(row)
            name = NumberItem(text, place(row)[0] * 1e9 + row.number)
            name.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            name.setData(Qt.ItemDataRole.UserRole, f"{row.kind} {row.number}")
            self.setItem(at, 0, name)
            for column, metric in enumerate(METRICS, start=1):
                value = row.scores.values.get(metric, math.nan)
                self.setItem(at, column, NumberItem(shown(metric, value), value))
            last = QTableWidgetItem(remarks(row))
            last.setToolTip(remarks(row))
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
