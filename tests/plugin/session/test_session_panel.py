"""Saving a session from the dock: into a folder whose name is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_cam_sam.plugin.qt.paths import FolderDialog
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.session import read_session


@pytest.fixture
def panel(qapp: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPanel:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    viewer = ViewerModel()
    viewer.add_image(np.arange(64.0).reshape(8, 8), name="scan: left")
    workspace = workspace_of(viewer)
    return SessionPanel(workspace, workspace.sessions)


def in_dialog(act: Callable[[FolderDialog], None]) -> None:
    """Do something in the dialog as soon as it is open."""

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, FolderDialog):
            act(dialog)
        else:
            QTimer.singleShot(20, look)

    QTimer.singleShot(0, look)


def test_a_new_folder_is_named_and_entered(panel: SessionPanel, tmp_path: Path, qtbot: Any) -> None:
    suggested = []

    def name_it(dialog: FolderDialog) -> None:
        text = dialog.row.text
        suggested.append((text.text(), text.selectedText()))
        qtbot.keyClicks(text, "monday")
        qtbot.keyClick(text, Qt.Key.Key_Return)

    for name in ("scan_ left-session", "monday"):
        in_dialog(name_it)
        with qtbot.waitSignal(panel._sessions.saved, timeout=60_000):
            panel.save.click()
        assert read_session(tmp_path / "monday").image.name == "scan: left"
        # The next time it is suggested, so that Enter alone saves it again.
        assert suggested[-1] == (str(tmp_path / name), name)
    assert panel.words.text() == f"Saved to {tmp_path / 'monday'}."


def test_escape_saves_nothing_and_a_name_is_needed(
    panel: SessionPanel, tmp_path: Path, qtbot: Any
) -> None:
    def refuse(dialog: FolderDialog) -> None:
        dialog.row.text.clear()
        assert not dialog._save.isEnabled()
        qtbot.keyClick(dialog.row.text, Qt.Key.Key_Return)
        assert dialog.isVisible()
        qtbot.keyClick(dialog, Qt.Key.Key_Escape)

    in_dialog(refuse)
    panel.save.click()
    assert panel.words.text() == ""
    assert not list(tmp_path.glob("*session*"))


def test_a_folder_that_is_there_is_looked_for(
    panel: SessionPanel, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "there"))

    def look_for_it(dialog: FolderDialog) -> None:
        dialog.row.browse.click()
        dialog._save.click()

    in_dialog(look_for_it)
    with qtbot.waitSignal(panel._sessions.saved, timeout=60_000):
        panel.save.click()
    assert (tmp_path / "there" / "session.json").is_file()


def test_without_an_image_there_is_nothing_to_ask(qapp: Any) -> None:
    workspace = workspace_of(ViewerModel())
    panel = SessionPanel(workspace, workspace.sessions)
    panel.save.click()
    assert "image" in panel.words.text()
