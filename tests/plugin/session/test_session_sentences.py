"""What the session panel says is of the work that is there now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.session.image_work import AUTOSAVED
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.viewer.attach import workspace_of


@pytest.fixture
def panel(model: ViewerModel, qtbot: Any) -> SessionPanel:
    workspace = workspace_of(model)
    panel = SessionPanel(workspace, workspace.sessions)
    qtbot.addWidget(panel)
    return panel


def test_saved_is_said_until_something_is_changed(
    panel: SessionPanel, workspace: Any, tmp_path: Path, qtbot: Any
) -> None:
    with qtbot.waitSignal(workspace.sessions.saved, timeout=60_000):
        workspace.sessions.save(tmp_path / "mine")
    assert panel.words.text() == f"Saved to {tmp_path / 'mine'}."
    workspace.docks.changed.emit()
    assert panel.words.text() == f"Saved to {tmp_path / 'mine'}. You changed something since."


def test_of_another_image_nothing_is_said(panel: SessionPanel, workspace: Any) -> None:
    workspace.sessions.saved.emit(AUTOSAVED)
    assert panel.words.text() == "Autosaved."
    workspace.choose_image(None)
    assert panel.words.text() == ""


def test_autosaved_does_not_deny_what_was_found(panel: SessionPanel, workspace: Any) -> None:
    found = SimpleNamespace(
        session=SimpleNamespace(saved_at="2026-11-30T12:00:00+00:00"),
        older=(),
        words=lambda: "Unsaved work on this image from 2026-11-30 12:00 was found.",
    )
    workspace.sessions.saved.emit(AUTOSAVED)
    panel._offer(found)
    assert panel.words.text() == (
        "What you do now is autosaved, apart from the work that was found."
    )
    workspace.sessions.saved.emit("Not saved: the disk is full.")
    assert panel.words.text() == "Not saved: the disk is full."
    workspace.sessions.saved.emit(AUTOSAVED)
    panel._found = None
    panel._tell_saved(AUTOSAVED)
    assert panel.words.text() == "Autosaved."
