"""Errors through the real docks: the reason comes first, and stays until the next action there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.training.training_dock import TrainingDock
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock

Found = tuple[str, str, TaskProgress | None]


@pytest.fixture
def way(viewer: Any) -> WorkflowDock:
    viewer.add_image(np.random.default_rng(0).random((4, 30, 40)), name="scan")
    dock = WorkflowDock(viewer)
    viewer.window.add_dock_widget(dock)
    viewer.show()
    return dock


def long_folder(tmp_path: Path) -> Path:
    """Give a folder whose path alone would fill a toast."""
    folder = tmp_path / ("a folder with a long name " * 4).strip()
    folder.mkdir()
    return folder


def damaged_classifier(way: WorkflowDock, folder: Path, finish: Any, _: Any) -> Found:
    (folder / "net.pth").write_bytes(b"PK\x03\x04 no archive")
    way.heatmap.choose(str(folder / "net.pth"))
    way.heatmap.load()
    finish(way.heatmap.row)
    return way.heatmap.row.words.text(), "This is damaged", way.heatmap.row


def empty_classifier(way: WorkflowDock, folder: Path, finish: Any, _: Any) -> Found:
    (folder / "net.safetensors").touch()
    way.heatmap.choose(str(folder / "net.safetensors"))
    way.heatmap.load()
    finish(way.heatmap.row)
    return way.heatmap.row.words.text(), "empty", way.heatmap.row


def damaged_segmenter(way: WorkflowDock, folder: Path, finish: Any, _: Any) -> Found:
    (folder / "sam.pth").write_bytes(b"\x80\x02no pickle")
    way.workspace.show_plane(0, 0)
    boxes = way.workspace.prompts.create()[1]
    boxes.add(np.array([[0, 5, 5], [0, 5, 20], [0, 20, 20], [0, 20, 5]]), shape_type="rectangle")
    way.segment.segmenter.choose(str(folder / "sam.pth"))
    assert way.segment.segment()
    finish(way.segment.row)
    return way.segment.row.words.text(), "This", way.segment.row


def no_prompts(way: WorkflowDock, _folder: Path, _finish: Any, _: Any) -> Found:
    assert not way.segment.segment()
    return way.segment.row.words.text(), "no prompts", way.segment.row


def no_heatmap(way: WorkflowDock, _folder: Path, _finish: Any, _: Any) -> Found:
    assert not way.prompts.extract()
    return way.prompts.row.words.text(), "No heatmap", way.prompts.row


def no_mask(way: WorkflowDock, _folder: Path, _finish: Any, _: Any) -> Found:
    way.segment.review.accept_masks()
    return way.segment.row.words.text(), "No mask to accept", way.segment.row


def no_place_to_save(way: WorkflowDock, folder: Path, finish: Any, patch: Any) -> Found:
    way.workspace.layers.labels("labels")
    patch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(folder / "gone" / "l.nii.gz"), "")
    )
    row = way.segment.saving
    row.save()
    finish(row.row)
    return row.row.words.text(), "could not be written: No such file", row.row


class _Opening:
    """A session that is being opened, as something to wait for."""

    def __init__(self, row: SessionPanel) -> None:
        self._row = row

    @property
    def busy(self) -> bool:
        return "Opening" in self._row.words.text()


def no_session(way: WorkflowDock, folder: Path, finish: Any, patch: Any) -> Found:
    patch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    (row,) = way.findChildren(SessionPanel)
    row.open.click()
    finish(_Opening(row))
    return row.words.text(), "holds no session", None


CASES: list[Callable[..., Found]] = [
    damaged_classifier, empty_classifier, damaged_segmenter, no_prompts, no_heatmap, no_mask,
    no_place_to_save, no_session,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_reason_is_in_front_and_stays(
    case: Callable[..., Found], way: WorkflowDock, tmp_path: Path, finish: Any, qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = long_folder(tmp_path)
    text, reason, row = case(way, folder, finish, monkeypatch)
    assert reason in text[:60]
    assert not text.startswith(str(tmp_path)[:5])
    if row is None:
        return
    assert row.has_error
    # Scrolling, and what the dock would say of its state, are no action there.
    way.workspace.show_plane(0, 2)
    way.workspace.shown.look_at_plane()
    row.set_message("The plan.")
    assert row.words.text() == text
    qtbot.mouseClick(way.heatmap.follow, Qt.MouseButton.LeftButton)
    assert not row.has_error
    assert row.words.text() != text


def test_long_words_are_seen_to_their_end(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.zeros((30, 40)), name="scan")
    dock = PromptsDock(viewer)
    viewer.window.add_dock_widget(dock)
    viewer.show()
    words = dock.row.words
    qtbot.waitUntil(lambda: words.width() > 50)
    for said in (dock.row.show_error, dock.row.set_message, dock.row.set_result):
        said("What is said here takes more than one line of the dock. " * 3)
        qtbot.waitUntil(lambda: words.height() >= words.heightForWidth(words.width()))


def test_training_says_what_is_wrong_with_its_folder_in_front(
    viewer: Any, tmp_path: Path, finish: Any, notices: list[str]
) -> None:
    folder = long_folder(tmp_path)
    (folder / "one").mkdir()
    Pillow.fromarray(np.zeros((20, 20), np.uint8)).save(folder / "one" / "a.png")
    dock = TrainingDock(viewer)
    viewer.window.add_dock_widget(dock)
    dock.source.folder.text.setText(str(folder))
    dock.output.text.setText(str(tmp_path / "out"))
    dock.train()
    finish(dock.row)
    assert notices
    assert "has only images of 'one'" in notices[-1][:60]
    assert dock.row.has_error
    assert "has only images of 'one'" in dock.row.words.text()[:60]
