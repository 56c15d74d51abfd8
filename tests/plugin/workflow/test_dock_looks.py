"""Docks in a window: text of all sizes, narrow docks, several at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontInfo
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QDockWidget,
    QLineEdit,
    QMainWindow,
    QTabBar,
    QTableWidget,
    QTabWidget,
    QWidget,
)

from napari_cam_sam.plugin.qt.widgets import Section

DOCKS = ("CAM → SAM", "Heatmap", "Prompts", "Segment", "Scores", "Train")


@pytest.fixture
def font_size() -> Iterator[Any]:
    """Set napari's size of text; in the end it is as it was."""
    appearance = get_settings().appearance
    before = appearance.font_size

    def set_size(points: int) -> None:
        appearance.font_size = points

    yield set_size
    appearance.font_size = before


def _open(viewer: Any, name: str) -> tuple[QDockWidget, QWidget]:
    frame, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
    for section in dock.findChildren(Section):
        section.title.setChecked(True)
    for _ in range(3):
        QApplication.processEvents()
    return frame, dock


def _cut_off(dock: Any) -> list[str]:
    """List the parts of a dock that have less room than they need."""
    return [
        f"{type(one).__name__} has {one.width()} of {one.minimumSizeHint().width()}"
        for one in dock.scroll.widget().findChildren(QWidget)
        if one.isVisible()
        and not isinstance(one.parent(), QTabBar)  # its arrows
        # What is laid out to nothing is not seen; a few pixels are napari's own styles' slack.
        and 0 < one.width() < one.minimumSizeHint().width() - 4
    ]


@pytest.mark.parametrize("name", DOCKS)
def test_a_dock_is_scrolled_in_a_window_that_is_less_high(
    make_napari_viewer: Any, font_size: Any, name: str, qtbot: Any
) -> None:
    font_size(16)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 720)
    _, dock = _open(viewer, name)
    assert viewer.window.geometry()[3] <= 720
    inside, seen = dock.scroll.widget(), dock.scroll.viewport()
    qtbot.waitUntil(lambda: inside.height() >= inside.heightForWidth(inside.width()))
    assert seen.height() > 300
    assert dock.scroll.verticalScrollBar().maximum() == inside.height() - seen.height()


def test_titles_and_tables_have_the_viewers_size_of_text(viewer: Any, font_size: Any) -> None:
    font_size(9)
    docks = [_open(viewer, name)[1] for name in ("Segment", "Scores")]
    for points in (9, 16, 12):
        font_size(points)
        QApplication.processEvents()
        parts = [one.title for dock in docks for one in dock.findChildren(Section)]
        parts += [one for dock in docks for one in dock.findChildren(QTableWidget)]
        parts += [
            one
            for dock in docks
            for one in dock.findChildren(QLineEdit)
            if not isinstance(one.parent(), QAbstractSpinBox)
        ]
        assert len(parts) > 4
        # One more than the setting, as napari's labels have.
        assert {QFontInfo(one.font()).pointSize() for one in parts} == {points + 1}


def test_a_second_dock_is_a_tab_of_the_first(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 720)
    frame, first = _open(viewer, "Heatmap")
    height = first.height()
    other, second = _open(viewer, "Scores")
    window = frame.parent()
    assert isinstance(window, QMainWindow)
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(frame) == [other])
    # Qt puts a tab that is not seen out of the window.
    qtbot.waitUntil(lambda: first.visibleRegion().isEmpty())
    assert not second.visibleRegion().isEmpty()
    assert second.height() > height - 60


def test_a_dock_stays_where_the_user_drops_it(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    frame, _ = _open(viewer, "Heatmap")
    other, _ = _open(viewer, "Scores")
    window = frame.parent()
    assert isinstance(window, QMainWindow)
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(frame) == [other])
    other.setFloating(True)
    qtbot.wait(50)
    window.addDockWidget(window.dockWidgetArea(frame), other, Qt.Orientation.Vertical)
    other.setFloating(False)
    qtbot.wait(50)
    assert not window.tabifiedDockWidgets(frame)
    for hidden in (True, False):
        other.setHidden(hidden)
        qtbot.wait(50)
    assert not window.tabifiedDockWidgets(frame)


@pytest.mark.parametrize("name", DOCKS)
def test_a_dock_is_narrow_also_with_large_text(
    make_napari_viewer: Any, font_size: Any, name: str, qtbot: Any
) -> None:
    font_size(16)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 720)
    viewer.open_sample("napari-cam-sam", "ct")
    _, dock = _open(viewer, name)
    tabs = dock.findChildren(QTabWidget)
    for page in range(tabs[0].count() if tabs else 1):
        for one in tabs:
            one.setCurrentIndex(page)
        for _ in range(3):
            QApplication.processEvents()
        assert dock.scroll.widget().minimumSizeHint().width() <= 340
        qtbot.waitUntil(lambda: not _cut_off(dock), timeout=3000)


def test_tables_and_their_rows_grow_with_the_text(viewer: Any, font_size: Any) -> None:
    font_size(9)
    _, dock = _open(viewer, "Scores")
    table = dock.table
    before = table.verticalHeader().defaultSectionSize()
    font_size(16)
    QApplication.processEvents()
    assert table.verticalHeader().defaultSectionSize() > 1.4 * before
    assert table.verticalHeader().defaultSectionSize() >= table.fontMetrics().height()
