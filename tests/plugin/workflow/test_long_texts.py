"""Docks that are given long names, long messages and long lists stay as wide as they are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from qtpy.QtWidgets import QApplication, QLabel, QTabBar, QWidget

from napari_cam_sam.models.classify.architectures import build
from napari_cam_sam.models.training.figures import ClassFigures, Figures, ReliabilityBin
from napari_cam_sam.models.training.results import TrainingResult
from napari_cam_sam.plugin.qt.widgets import Section
from napari_cam_sam.plugin.viewer.attach import workspace_of

DOCKS = ("CAM → SAM", "Heatmap", "Prompts", "Segment", "Scores", "Train")
MANY = 300


def settle() -> None:
    for _ in range(4):
        QApplication.processEvents()


def opened(viewer: Any, name: str) -> Any:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
    for section in dock.findChildren(Section):
        section.title.setChecked(True)
    settle()
    return dock


def inside(dock: Any) -> Any:
    return dock.scroll.widget()


def cut_off(dock: Any) -> list[str]:
    """List the parts of a dock that have less room than they need."""
    return [
        f"{type(one).__name__} has {one.width()} of {one.minimumSizeHint().width()}"
        for one in inside(dock).findChildren(QWidget)
        if one.isVisible() and not isinstance(one.parent(), QTabBar)
        and 0 < one.width() < one.minimumSizeHint().width() - 4
        # A text that wraps has the room of the dock, whatever its longest word asks for.
        and not (isinstance(one, QLabel) and one.wordWrap())
    ]  # fmt: skip


@pytest.mark.parametrize("name", DOCKS)
def test_layers_of_long_names_ask_for_no_wider_dock(
    make_napari_viewer_proxy: Any, name: str, qtbot: Any
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    dock = opened(viewer, name)
    width, needs, before = dock.width(), inside(dock).minimumSizeHint().width(), cut_off(dock)
    pixels = np.random.default_rng(0).normal(40, 4, (3, 20, 22)).astype(np.float32)
    viewer.add_image(pixels, name="W" * 200)
    viewer.add_labels((pixels > 42).astype(np.uint8), name="truth" * 40)
    workspace_of(viewer).layers.labels("preview")
    qtbot.waitUntil(lambda: workspace_of(viewer).truth() is not None, timeout=10_000)
    settle()
    assert (dock.width(), inside(dock).minimumSizeHint().width()) == (width, needs)

    def is_whole() -> None:
        assert cut_off(dock) == before

    qtbot.waitUntil(is_whole, timeout=3000)


@pytest.mark.parametrize("text", ["W" * 4000, "The file cannot be read. " * 160, "/a" * 2000])
def test_a_very_long_message_is_read_by_scrolling(
    make_napari_viewer_proxy: Any, text: str, qtbot: Any
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    dock = opened(viewer, "CAM → SAM")
    width, height = dock.width(), inside(dock).height()
    row = dock.heatmap.row
    row.show_error(text)
    qtbot.waitUntil(lambda: inside(dock).height() > height + 200, timeout=3000)
    assert row.words.text() == text
    assert dock.width() == width
    assert viewer.window.geometry()[2:] == (1280, 720)
    # The button below it is still there, and once the message goes it is where it was, but for
    # the three lines that a message may take.
    assert dock.heatmap.saving.button.isVisible()
    row.clear_error()
    qtbot.waitUntil(lambda: inside(dock).height() < height + 100, timeout=3000)


def test_a_classifier_of_many_classes(
    make_napari_viewer_proxy: Any, tmp_path: Path, qtbot: Any, finish: Any
) -> None:
    path = tmp_path / "many.pth"
    names = [f"class number {i} of many" for i in range(MANY)]
    torch.save(build("small-cnn", num_classes=MANY, input_size=(32, 32)).state_dict(), path)
    card = {"architecture": "small-cnn", "class_names": names, "input_size": [32, 32]}
    path.with_suffix(".json").write_text(json.dumps(card))
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    viewer.add_image(np.random.default_rng(0).random((40, 40)).astype(np.float32), name="scan")
    dock = opened(viewer, "Heatmap")
    width = dock.width()
    dock.choose(str(path))
    finish(dock.row)
    assert dock.classifier.target.count() == MANY + 1
    dock.classifier.target.set_value(names[-1])
    dock.least.set_value(0)
    assert dock.compute()
    finish(dock.row)
    # Of all probabilities the line names the highest three.
    assert sum(name in dock.found.text() for name in names) <= 6
    assert dock.width() == width


def test_a_folder_of_many_classes(
    make_napari_viewer_proxy: Any, tmp_path: Path, qtbot: Any
) -> None:
    folder = tmp_path / "pictures"
    for i in range(MANY):
        (folder / f"class-{i:03}").mkdir(parents=True)
        Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(folder / f"class-{i:03}" / "one.png")
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    dock = opened(viewer, "Train")
    width = dock.width()
    dock.source.folder.text.setText(str(folder))
    qtbot.waitUntil(lambda: f"{MANY} classes" in dock.plan.text(), timeout=20_000)
    words = dock.plan.text()
    assert "class-000 1, class-001 1" in words
    assert "and 292 more" in words
    # Its figures are tables that scroll, with columns that can be read.
    classes = tuple(ClassFigures(f"class-{i:03}", 1, 1, 1, 1, 1) for i in range(MANY))
    confusion = tuple(tuple(int(i == j) for j in range(MANY)) for i in range(MANY))
    bins = (ReliabilityBin(0.9, 1, MANY, 1, 1),)
    figures = Figures("test", MANY, 1, 1, 1, 1, 0, classes, confusion, bins)
    result = TrainingResult(
        Path("model.safetensors"), True, (), 1, figures, None, {"test": MANY}, None, (), "", 1.0
    )
    begin = time.monotonic()
    dock.report.show_result(result)
    dock.sections[3].show()
    settle()
    assert time.monotonic() - begin < 10
    assert dock.width() == width
    assert dock.report.confusion.columnWidth(0) > 20
    assert dock.report.confusion.height() < 600


def test_many_classes_for_slices(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    viewer.add_image(np.zeros((4, 8, 8), np.float32), name="scan")
    tags = workspace_of(viewer).tags
    for i in range(MANY):
        tags.add_class(f"class number {i}")
    dock = opened(viewer, "Train")
    width = dock.width()
    dock.source.kind.set_value("planes")
    panel = dock.source.tagging
    first = panel._grid.itemAtPosition(0, 0).widget()
    panel.tag("class number 299")
    settle()
    assert "class number 299" in panel.shown.text()
    # A tag counts; it does not make 300 rows of buttons anew.
    assert panel._grid.itemAtPosition(MANY - 1, 1).widget().text() == "1 slice"
    assert panel._grid.itemAtPosition(0, 0).widget() is first
    assert dock.width() == width
