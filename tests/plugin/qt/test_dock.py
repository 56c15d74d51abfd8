"""A dock that comes forward is seen, wherever it lies."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QWidget

from napari_cam_sam.plugin.qt.dock import Dock
from napari_cam_sam.plugin.qt.widgets import Section, vbox


class Step(Dock):
    def __init__(self) -> None:
        super().__init__()
        label = QLabel("what it shows")
        label.setMinimumHeight(200)
        vbox(self, label)


def test_a_part_of_a_dock_behind_a_tab_comes_forward(qtbot: Any) -> None:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.setCentralWidget(QWidget())
    window.resize(500, 300)
    whole, other, steps = Dock(), Step(), [Step(), Step(), Step()]
    sections = [Section(str(i), step, opened=False) for i, step in enumerate(steps)]
    for section in (sections[0], sections[1]):
        section.title.setChecked(True)
    vbox(whole, *sections)
    frames = [QDockWidget("a"), QDockWidget("b")]
    for frame, dock in zip(frames, (whole, other), strict=True):
        frame.setWidget(dock)
        window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, frame)
    window.tabifyDockWidget(*frames)
    window.show()
    frames[1].raise_()
    qtbot.waitUntil(lambda: whole.visibleRegion().isEmpty() and other.isVisible())
    steps[2].come_forward()
    assert sections[2].title.isChecked()
    qtbot.waitUntil(lambda: not steps[2].visibleRegion().isEmpty())
    other.come_forward()
    qtbot.waitUntil(lambda: whole.visibleRegion().isEmpty())
