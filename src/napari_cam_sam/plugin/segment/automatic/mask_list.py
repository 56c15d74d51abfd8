"""The list of the masks of a plane, in an order of merit, to look through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QItemSelectionModel, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QWidget

from napari_cam_sam.plugin.qt.tables import NumberItem, make_read_only, set_headers
from napari_cam_sam.plugin.qt.widgets import ValueComboBox, button, form_layout, hbox, vbox

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.automatic.automatic_run import FoundMasks

__all__ = ["MaskList"]

_MEMBER = Qt.ItemDataRole.UserRole
"""Under which a row keeps which mask it is."""

_HEADS = (
    ("Label", "The most likely text and its probability: a hint, not a finding."),
    ("Heatmap", "How well the mask matches the heatmap, 0 to 1; see Heatmap matching below."),
    ("IoU", "The IoU that the model expects."),
    ("Stable", "How little the mask changes with its threshold, 0 to 1."),
    ("Pixels", "Mask area in pixels."),
)


class MaskList(QWidget):
    """Rows of masks; the user clicks one or several, or steps through them."""

    chosen = Signal()
    """The user chose other rows, or what several of them are."""

    def __init__(self) -> None:
        super().__init__()
        self._filling = False
        self.table = QTableWidget(0, len(_HEADS))
        make_read_only(self.table)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setMinimumHeight(150)
        self.table.setToolTip(
            "Click a row to see its mask; Ctrl or Shift selects several. Best first."
        )
        set_headers(self.table, _HEADS)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.verticalHeader().setVisible(True)
        self.table.resizeColumnsToContents()
        self.before = button("◀", "Previous mask.")
        self.after = button("▶", "Next mask.")
        self.several = ValueComboBox(
            "Whether several rows are one object or one each; numbering starts with the object "
            "of step 2.",
            (("one merged object", False), ("one object each", True)),
        )
        several = form_layout((("Several rows", self.several),))
        vbox(self, self.table, hbox(self.before, self.after), several)
        self.table.itemSelectionChanged.connect(self._selected)
        self.several.chosen.connect(self._selected)
        self.before.clicked.connect(lambda: self.step(-1))
        self.after.clicked.connect(lambda: self.step(1))
        self.clear()

    @property
    def members(self) -> tuple[int, ...]:
        """Which masks are selected, in the order of the list."""
        return tuple(self._member(row) for row in self._rows())

    @property
    def apart(self) -> bool:
        """Whether several masks are an object each."""
        return bool(self.several.value())

    def clear(self) -> None:
        """List nothing."""
        with self._quietly():
            self.table.setRowCount(0)
        self.table.setColumnHidden(0, True)
        self._enable()

    def fill(
        self,
        found: FoundMasks,
        ranked: Sequence[tuple[int, int]],
        scores: NDArray[np.float64] | None,
        names: Sequence[tuple[str, float]] | None,
    ) -> None:
        """List masks.

        Parameters
        ----------
        found : FoundMasks
        ranked : sequence of (int, int)
            Rank of each mask to list, from 1, and which mask it is.
        scores : ndarray of float or None
            By the heatmap, of each mask of `found`.
        names : sequence of (str, float) or None
            Name and probability of each mask of `found`.
        """
        self.table.setColumnHidden(0, names is None)
        with self._quietly():
            # None of the rows before is one of these, whatever it was selected for.
            self.table.setRowCount(0)
            self.table.setRowCount(len(ranked))
            for row, (rank, i) in enumerate(ranked):
                number = QTableWidgetItem(str(rank))
                number.setData(_MEMBER, i)
                self.table.setVerticalHeaderItem(row, number)
                name = "" if names is None else f"{names[i][0]} {names[i][1]:.2f}"
                self.table.setItem(row, 0, QTableWidgetItem(name))
                cells = (
                    "–" if scores is None else f"{scores[i]:.3f}",
                    f"{found.predicted_iou[i]:.2f}",
                    f"{found.stability[i]:.2f}",
                    str(found.area(i)),
                )
                for column, cell in enumerate(cells, start=1):
                    self.table.setItem(row, column, NumberItem(cell, rank))
        self.table.resizeColumnsToContents()
        self._enable()

    def mark(self, members: Sequence[int]) -> None:
        """Select the rows of masks, as if nobody had chosen them."""
        wanted = [row for row in range(self.table.rowCount()) if self._member(row) in members]
        # Not in the middle of a choice of several, which comes back here with the same rows.
        if wanted == self._rows():
            return
        flags = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
        with self._quietly():
            self.table.clearSelection()
            for row in wanted:
                self.table.selectionModel().select(self.table.model().index(row, 0), flags)

    def step(self, step: int) -> None:
        """Choose the next mask of the list, or the one before."""
        n = self.table.rowCount()
        if n:
            rows = self._rows()
            first = rows[0] if rows else (-1 if step > 0 else 0)
            # selectRow would add the row where a modifier key is held.
            flags = QItemSelectionModel.SelectionFlag
            self.table.setCurrentCell((first + step) % n, 0, flags.ClearAndSelect | flags.Rows)

    def _rows(self) -> list[int]:
        return sorted(index.row() for index in self.table.selectionModel().selectedRows())

    def _member(self, row: int) -> int:
        return int(self.table.verticalHeaderItem(row).data(_MEMBER))

    def _selected(self) -> None:
        if not self._filling and self._rows():
            self.chosen.emit()

    def _enable(self) -> None:
        for one in (self.before, self.after):
            one.setEnabled(self.table.rowCount() > 0)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Change the list without taking it for a choice of the user's."""
        before, self._filling = self._filling, True
        try:
            yield
        finally:
            self._filling = before
