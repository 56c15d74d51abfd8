"""Tooltips of the docks are sentences for whoever uses them, not for whoever calls the code."""

from __future__ import annotations

import re
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QWidget

from napari_cam_sam.plugin.training.training_dock import TrainingDock
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock

# Names of Python's values and types, names with underscores, markup, and what only code needs.
CODE = re.compile(
    r"`|\b(True|False|None|float|int|str|bool|tuple|dict)\b|\b[a-z]+_[a-z_]+\b|\[0, 1\]|\{\w|::"
    r"|\blogits\b|\bargmax\b|\bcuda:N\b"
)
# A library that is named by its name.
NAMES = re.compile(r"open_clip")


def tips(dock: QWidget) -> list[str]:
    """Give the tooltips of all parts of a dock, and of what its lists hold."""
    found = []
    for one in dock.findChildren(QWidget):
        found.append(one.toolTip())
        if isinstance(one, QComboBox):
            role = Qt.ItemDataRole.ToolTipRole
            found += [one.itemData(i, role) or "" for i in range(one.count())]
    return [tip for tip in found if tip]


def test_tooltips_are_in_plain_words(qapp: Any) -> None:
    docks = WorkflowDock(ViewerModel()), TrainingDock(ViewerModel())
    found = {tip for dock in docks for tip in tips(dock)}
    assert len(found) > 150
    assert [tip for tip in found if CODE.search(NAMES.sub("", tip))] == []


def test_what_code_says_would_be_found() -> None:
    for tip in ("None for the mean.", "In [0, 1].", "See box_overlap.", "True makes it one."):
        assert CODE.search(tip), tip
