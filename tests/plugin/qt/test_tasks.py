"""Work in threads: its errors, and PyTorch, which comes when a window is open."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils import progress
from qtpy.QtCore import QObject, QThreadPool, QTimer

from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.tasks import Task
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.viewer.attach import workspace_of


def test_every_error_of_a_task_is_a_notification_and_ends_it(
    qapp: Any, qtbot: Any, notices: list[str]
) -> None:
    def steps() -> Any:
        yield 1
        raise torch.OutOfMemoryError("out of memory, as torch says it")

    task = Task(steps, 2, "fails", lambda _: None)
    with qtbot.waitSignal(task.ended, timeout=60_000) as ended:
        task.start()
    assert ended.args == [False]
    assert any("out of memory" in notice for notice in notices)


def test_an_answer_that_nobody_waits_for_any_more_is_dropped(qapp: Any, qtbot: Any) -> None:
    entered, opened, answers = threading.Event(), threading.Event(), []

    def question() -> int:
        entered.set()
        assert opened.wait(60)
        return 1

    window = QObject()
    LatestOnly(answers.append, answers.append, window).ask(question)
    qtbot.waitUntil(entered.is_set, timeout=60_000)
    with qtbot.waitSignal(window.destroyed, timeout=10_000):
        window.deleteLater()
    opened.set()
    # An error in the thread would be raised here by the test's Qt.
    QThreadPool.globalInstance().waitForDone()
    qapp.processEvents()
    assert answers == []


def test_what_is_answered_here_leaves_no_other_answer_pending(qapp: Any, qtbot: Any) -> None:
    entered, opened, answers = threading.Event(), threading.Event(), []

    def slow() -> str:
        entered.set()
        assert opened.wait(60)
        return "slow"

    newest = LatestOnly(answers.append, answers.append)
    newest.ask(slow)
    qtbot.waitUntil(entered.is_set, timeout=60_000)
    assert newest.pending
    newest.answer(lambda: "quick")
    assert answers == ["quick"]
    assert newest.busy
    assert not newest.pending
    assert not newest.overtaken
    opened.set()
    qtbot.waitUntil(lambda: not newest.busy, timeout=60_000)
    qapp.processEvents()
    assert answers == ["quick"]


@pytest.mark.parametrize("kind", [HeatmapDock, PromptsDock, SegmentDock])
def test_a_dock_that_nobody_holds_goes_quietly(qtbot: Any, qtlog: Any, kind: Any) -> None:
    # What Python's collector takes apart tells Qt's slots of its end meanwhile.
    with qtbot.captureExceptions() as raised:
        for _ in range(3):
            kind(ViewerModel())
            gc.collect()
        qtbot.wait(1)
    assert raised == []
    assert not [one for one in qtlog.records if "delete" in one.message]


@pytest.mark.parametrize("name", ["CAM → SAM", "Train", "Scores"])
def test_a_dock_that_is_closed_ends_at_once(viewer: Any, qtbot: Any, name: str) -> None:
    shell, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
    workspace = workspace_of(viewer)
    with qtbot.waitSignal(dock.destroyed, timeout=10_000):
        viewer.window.remove_dock_widget(shell)
    assert workspace_of(viewer) is workspace
    # What it listened to may come now.
    viewer.add_image(np.zeros((3, 20, 20)), name="later")
    viewer.dims.set_current_step(0, 2)
    qtbot.wait(50)


def test_a_dock_that_is_closed_leaves_no_bar_in_the_activity(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, opened, closed = threading.Event(), threading.Event(), threading.Event()

    class Bar(progress):  # type: ignore[misc]
        def close(self) -> None:
            super().close()
            closed.set()

    monkeypatch.setattr("napari_cam_sam.plugin.qt.tasks.progress", Bar)

    def steps() -> Iterator[int]:
        entered.set()
        yield 1
        assert opened.wait(60)
        yield 2

    shell, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", "Segment")
    assert dock.row.start(steps, 2, "rests", lambda _: None)
    qtbot.waitUntil(entered.is_set, timeout=60_000)
    assert not closed.is_set()
    with qtbot.waitSignal(dock.destroyed, timeout=10_000):
        viewer.window.remove_dock_widget(shell)
    assert closed.is_set()
    opened.set()


def test_what_is_collected_in_a_thread_is_deleted_by_the_window(qapp: Any, qtbot: Any) -> None:
    gc.collect()  # what is left of earlier tests
    gc.disable()
    workspace = workspace_of(ViewerModel())
    threads: list[threading.Thread] = []
    beats: list[int] = []
    workspace.destroyed.connect(lambda *_: threads.append(threading.current_thread()))
    timer = QTimer(workspace)
    timer.timeout.connect(lambda: beats.append(1))
    timer.start(1)
    del timer, workspace
    collector = threading.Thread(target=gc.collect)
    collector.start()
    collector.join()
    qtbot.waitUntil(lambda: bool(threads), timeout=10_000)
    gc.enable()
    assert threads == [threading.main_thread()]
    # A timer that were left over would call here what is not there any more.
    before = len(beats)
    qtbot.wait(50)
    assert len(beats) == before


DOCKS = """
import os, sys, napari
viewer = napari.Viewer(show=False)
viewer.open_sample("napari-cam-sam", "ct")
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
docks = [kind(viewer) for kind in (HeatmapDock, PromptsDock, SegmentDock)]
assert docks[0].classifier.name.value() == "lesion"
assert "torch" not in sys.modules
from napari_cam_sam.plugin.qt.torch_import import import_torch
import_torch()
import torch, torchvision
assert torch.ones(2).sum() == 2
print("both")
os._exit(0)
"""


@pytest.mark.slow
def test_docks_open_without_torch_and_it_may_come_after_the_window(tmp_path: Path) -> None:
    # With Mesa's LLVM in the process, an import of torch as it is ends the process.
    script = tmp_path / "docks.py"
    script.write_text(DOCKS)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=400
    )
    assert done.stdout.strip().endswith("both"), done.stderr[-2000:]
    assert done.returncode == 0


def test_a_task_that_is_over_holds_nobody(qapp: Any, finish: Callable[[Any], None]) -> None:
    class Listener:
        def take(self, step: object) -> None:
            self.step = step

    row, listener = TaskProgress(), Listener()
    assert row.start(lambda: (n for n in [7]), 1, "one step", listener.take)
    finish(row)
    assert listener.step == 7
    gone = weakref.ref(listener)
    del listener
    gc.collect()
    assert gone() is None
