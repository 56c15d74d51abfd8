"""Tables of scores show names and numbers, in whichever size of text."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtWidgets import QTableWidget

from napari_cam_sam.plugin.qt.tables import fit_columns, make_read_only, set_rows


@pytest.mark.parametrize("points", [9, 12, 16])
def test_long_names_leave_room_for_numbers_in_every_size_of_text(qtbot: Any, points: int) -> None:
    table = QTableWidget(0, 3)
    qtbot.addWidget(table)
    make_read_only(table)
    set_rows(table, [("CAM", 0.5, 0.6), ("same segmenter, prompts from the truth", 0.7, 0.8)])
    table.resize(380, 300)
    table.show()
    qtbot.waitExposed(table)
    fit_columns(table)
    # What a larger text of napari's does.
    table.setStyleSheet(f"font-size: {points}pt;")
    qtbot.waitUntil(lambda: table.font().pointSize() == points)
    assert table.columnWidth(0) <= 2 * table.viewport().width() // 5
    assert table.columnViewportPosition(1) + table.columnWidth(1) <= table.viewport().width()
    # The name is read all the same, in lines below each other.
    assert table.rowHeight(1) >= 2 * table.fontMetrics().height()
    assert table.rowHeight(0) < 2 * table.fontMetrics().height()


def test_short_names_and_single_words_are_shown_whole(qtbot: Any) -> None:
    table = QTableWidget(0, 2)
    qtbot.addWidget(table)
    make_read_only(table)
    table.resize(200, 200)
    for name in ("volume", "w" * 60):
        set_rows(table, [(name, 0.5)])
        fit_columns(table)
        assert table.columnWidth(0) >= table.fontMetrics().horizontalAdvance(name)
