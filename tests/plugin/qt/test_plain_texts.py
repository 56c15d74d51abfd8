"""Names of classes, files and layers are shown as they are: no label carries out what they say."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QComboBox, QLabel, QTableWidget, QToolTip, QWidget
from safetensors.torch import save_file

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.plain_text import Label, RichLabel, escape_markup, plain_tip
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.training.training_dock import TrainingDock
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock

_OLD = 1_000_000_000


class Bait:
    """A picture that a text names, and whether anybody has opened it since."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bait.png"
        Pillow.fromarray(np.zeros((300, 400), np.uint8)).save(self.path)
        self.text = f'<img src="file://{self.path}"><b>class</b>'
        self.set()

    def set(self) -> None:
        os.utime(self.path, (_OLD, _OLD))

    @property
    def taken(self) -> bool:
        return self.path.stat().st_atime != _OLD


@pytest.fixture
def bait(tmp_path: Path) -> Bait:
    made = Bait(tmp_path)
    made.path.read_bytes()
    if not made.taken:
        pytest.skip("this file system does not say when a file was read")
    made.set()
    return made


def texts(top: QWidget) -> list[str]:
    """Give the texts and tooltips of all labels that may hold markup."""
    found = []
    for widget in top.findChildren(QWidget):
        found.append(widget.toolTip())
        if isinstance(widget, QLabel) and widget.textFormat() != Qt.TextFormat.PlainText:
            found.append(widget.text())
        if isinstance(widget, QComboBox):
            tips = range(widget.count())
            found += [widget.itemData(i, Qt.ItemDataRole.ToolTipRole) or "" for i in tips]
        if isinstance(widget, QTableWidget):
            cells = [(r, c) for r in range(widget.rowCount()) for c in range(widget.columnCount())]
            found += [item.toolTip() for r, c in cells if (item := widget.item(r, c)) is not None]
    return found


def test_a_label_of_qt_would_open_it(qtbot: Any, bait: Bait) -> None:
    label = QLabel(bait.text)
    qtbot.addWidget(label)
    label.show()
    qtbot.waitExposed(label)
    label.grab()
    assert bait.taken  # else the tests below show nothing


@pytest.mark.parametrize("kind", [Label, WrappingLabel])
def test_our_labels_show_it_as_it_is(kind: Any, qtbot: Any, bait: Bait) -> None:
    label = kind(bait.text)
    qtbot.addWidget(label)
    label.setToolTip(bait.text)
    label.show()
    label.grab()
    assert label.text() == bait.text
    QToolTip.showText(label.pos(), label.toolTip(), label)
    for window in QApplication.topLevelWidgets():
        window.grab()
    QToolTip.hideText()
    assert not bait.taken
    assert not Qt.mightBeRichText(escape_markup(bait.text))
    assert plain_tip("a < b") == "<qt>a &lt; b</qt>"


def test_a_name_with_markup_in_every_dock_opens_nothing(
    viewer: Any, bait: Bait, finish: Any
) -> None:
    """Image, truth, class, object, error and file: all are called by the name."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8)
    viewer.add_image(pixels, name=escape_markup(bait.text))
    truth = np.zeros(pixels.shape, np.uint8)
    truth[20:40, 20:50] = 1
    viewer.add_labels(truth, name=escape_markup(f"truth {bait.text}"))
    classifier = load_classifier("lesion")
    card = replace(classifier.card, class_names=(f"{bait.text} 0", f"{bait.text} 1"))
    model = bait.path.parent / "model.safetensors"
    save_file(classifier.module.state_dict(), model, {"card": card.to_json()})
    way = WorkflowDock(viewer)
    viewer.window.add_dock_widget(way)
    training = TrainingDock(viewer)
    viewer.window.add_dock_widget(training)
    viewer.show()
    workspace = workspace_of(viewer)
    workspace.tags.add_class(bait.text)
    workspace.tags.tag(0, [0], bait.text)
    way.heatmap.choose(str(model))
    way.heatmap.load()
    finish(way.heatmap.row)
    assert bait.text in way.heatmap.classifier.target.itemText(1)
    assert way.heatmap.compute()
    finish(way.heatmap.row)
    assert bait.text in way.heatmap.found.text()
    way.heatmap.classifier.name.add_path(str(bait.path.parent / bait.text), 0)
    workspace.prompts.create()
    for row in way.findChildren(TaskProgress) + training.findChildren(TaskProgress):
        row.set_message(f"Something of {bait.text}.")
        row.bar.setFormat(bait.text)
        row.show_error(str(CamSamError(f"This failed for {bait.text}.")))
    way.scores.score()
    finish(way.scores.row)
    for widget in (way, training, viewer.window._qt_window):
        widget.grab()
    for text in texts(way) + texts(training):
        assert "<img" not in text, text
    QApplication.processEvents()
    assert not bait.taken


def test_every_label_of_the_docks_is_plain_or_ours(viewer: Any) -> None:
    viewer.add_image(np.zeros((30, 40), np.uint8))
    docks = WorkflowDock(viewer), TrainingDock(viewer)
    for dock in docks:
        viewer.window.add_dock_widget(dock)
        for label in dock.findChildren(QLabel):
            plain = label.textFormat() == Qt.TextFormat.PlainText
            buddy = type(label) is QLabel and not Qt.mightBeRichText(label.text())
            assert plain or isinstance(label, RichLabel) or buddy, label.text()
