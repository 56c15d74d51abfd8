"""Keys that are pressed while a part of a dock has the focus: in a text they are no actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLineEdit, QSlider, QWidget

from napari_cam_sam.plugin.qt.widgets import Section
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.plugin.viewer.key_bindings import KEYS, TAG_KEYS, KeyBindings


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what keys would do, and do none of it."""
    actions: list[str] = []

    def note(_: Any, action: str, *values: int) -> bool:
        actions.append(action)
        return True

    monkeypatch.setattr(f"{KeyBindings.__module__}._do", note)
    return actions


def press(field: QWidget, key: str, qtbot: Any) -> None:
    *held, letter = key.split("-")
    modifiers = Qt.KeyboardModifier.NoModifier
    for one in held:
        modifiers |= getattr(Qt.KeyboardModifier, f"{one}Modifier")
    field.setFocus()
    qtbot.keyClick(field, getattr(Qt.Key, f"Key_{letter}"), modifiers)


def fields(dock: QWidget, kind: Any) -> list[Any]:
    """Give the fields of a kind that can be typed into; a number's own text is not one more."""
    found = [one for one in dock.findChildren(kind) if one.isVisible() and one.isEnabled()]
    return [one for one in found if not isinstance(one.parent(), QAbstractSpinBox)]


@pytest.fixture
def open_dock(make_napari_viewer_proxy: Any) -> Any:
    def make(name: str) -> Any:
        viewer = make_napari_viewer_proxy(show=True)
        viewer.add_image(np.zeros((4, 20, 20)), name="scan")
        _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
        for section in dock.findChildren(Section):
            section.title.setChecked(True)
        QApplication.processEvents()
        viewer.layers.selection.active = workspace_of(viewer).image_layer
        return dock

    return make


@pytest.mark.parametrize("name", ["CAM → SAM", "Train"])
def test_a_key_in_a_text_or_a_number_is_no_action(
    open_dock: Any, name: str, done: list[str], qtbot: Any
) -> None:
    dock = open_dock(name)
    tried = [*fields(dock, QLineEdit), *fields(dock, QAbstractSpinBox)]
    assert len(tried) > 8
    for field in tried:
        for key in (*KEYS, *TAG_KEYS):
            press(field, key, qtbot)
            assert done == [], f"{key} in {type(field).__name__} {field.toolTip()}"


def test_a_key_after_a_choice_is_the_action_and_changes_no_choice(
    open_dock: Any, done: list[str], qtbot: Any
) -> None:
    dock = open_dock("CAM → SAM")
    segmenter = dock.segment.segmenter
    assert isinstance(segmenter, QComboBox)
    before = segmenter.currentText()
    choices = [segmenter.itemText(i)[0].upper() for i in range(segmenter.count())]
    assert choices.count("S") > 1
    for field in (segmenter, dock.segment.run, *fields(dock, QSlider)[:1]):
        done.clear()
        press(field, "S", qtbot)
        assert done == ["segment"], field
    assert segmenter.currentText() == before
    # The arrows still choose.
    press(segmenter, "Down", qtbot)
    assert segmenter.currentText() != before


def test_what_is_typed_stands_in_the_field(make_napari_viewer_proxy: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", "Train")
    text = dock.output.text
    text.setFocus()
    qtbot.keyClicks(text, "Spectra/scans CTPN")
    assert text.text() == "Spectra/scans CTPN"
