"""What tables of scores are made of: how they look, and cells that sort by their numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem

__all__ = ["NumberItem", "fit_columns", "format_score", "make_read_only", "set_headers", "set_rows"]


class NumberItem(QTableWidgetItem):
    """A cell that sorts by its number; what is no number stays last, whichever way.

    Parameters
    ----------
    text : str
    key : float
        By which it is sorted; NaN and infinity are no numbers.
    """

    def __init__(self, text: str, key: float) -> None:
        super().__init__(text)
        self._key = key
        self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: Any) -> bool:
        # Qt turns the question round for the descending order.
        finite = math.isfinite(self._key), math.isfinite(other._key)
        if all(finite):
            return bool(self._key < other._key)
        order = self.tableWidget().horizontalHeader().sortIndicatorOrder()
        down = order == Qt.SortOrder.DescendingOrder
        return finite[1] if down and not finite[0] else finite[0] and not down


class _FitsText(QObject):
    """Keeps rows and columns of a table as large as its text needs."""

    def __init__(self, table: QTableWidget) -> None:
        super().__init__(table)
        self._fit(table)

    def eventFilter(self, table: Any, event: QEvent) -> bool:  # noqa: N802 - Qt calls it so
        """Fit them when the size of the text changes."""
        if event.type() == QEvent.Type.FontChange:
            self._fit(table)
            fit_columns(table)
        return False

    @staticmethod
    def _fit(table: QTableWidget) -> None:
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 6)


def make_read_only(table: QTableWidget) -> None:
    """Make a table one of rows that are read, not edited.

    Parameters
    ----------
    table : QTableWidget
    """
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.verticalHeader().setVisible(False)
    table.installEventFilter(_FitsText(table))


def fit_columns(table: QTableWidget) -> None:
    """Make columns as wide as what is in them, names in the first at most two fifths of the table.

    Longer names take several lines: the numbers beside them are seen without scrolling.

    Parameters
    ----------
    table : QTableWidget
    """
    table.resizeColumnsToContents()
    names = [item.text() for row in range(table.rowCount()) if (item := table.item(row, 0))]
    words = [word for name in names for word in name.split()]
    metrics = table.fontMetrics()
    longest = max((metrics.horizontalAdvance(f" {word} ") for word in words), default=0)
    room = max(longest, 2 * table.viewport().width() // 5)
    if room < table.columnWidth(0):
        table.setColumnWidth(0, room)
        table.resizeRowsToContents()


def set_headers(table: QTableWidget, heads: Iterable[tuple[str, str]]) -> None:
    """Head the columns of a table.

    Parameters
    ----------
    table : QTableWidget
    heads : iterable of (str, str)
        Text and tooltip of each column.
    """
    for column, (text, hint) in enumerate(heads):
        item = QTableWidgetItem(text)
        item.setToolTip(hint)
        table.setHorizontalHeaderItem(column, item)


def format_score(metric: str, value: float, digits: int = 3) -> str:
    """Return a score as a cell shows it.

    Parameters
    ----------
    metric : str
        ``"pointing_hit"`` is a hit or a miss, any other a number.
    value : float
        NaN is a dash.
    digits : int
        Decimals.

    Returns
    -------
    str
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if metric == "pointing_hit":
        return "hit" if value else "miss"
    return f"{value:.{digits}f}"


def set_rows(
    table: QTableWidget, rows: Collection[Iterable[str | float | QTableWidgetItem]]
) -> None:
    """Show rows in a table, in place of those before.

    Parameters
    ----------
    table : QTableWidget
        Its columns stay.
    rows : collection of iterable of str, int, float or QTableWidgetItem
        The cells of each row; a float is shown as a score.
    """
    table.setRowCount(len(rows))
    for at, row in enumerate(rows):
        for column, cell in enumerate(row):
            if isinstance(cell, str):
                cell = QTableWidgetItem(cell)
            elif isinstance(cell, int | float):
                text = str(cell) if isinstance(cell, int) else format_score("", cell)
                cell = NumberItem(text, cell)
            table.setItem(at, column, cell)
