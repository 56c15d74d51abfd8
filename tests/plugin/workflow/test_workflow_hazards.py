"""The docks of the way where memory runs out, windows close and buttons are pressed twice."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from qtpy.QtCore import QThreadPool

from napari_cam_sam.cam import heatmaps
from napari_cam_sam.evaluation import score_steps
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.state.snapshot import Snapshot
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock
from napari_cam_sam.prompts import strategies

Finish = Callable[[Any], None]


def open_sample(viewer: Any, kind: Any) -> Any:
    """Open the CT with its truth, with something to score and to place prompts from."""
    viewer.open_sample("napari-cam-sam", "ct")
    dock = kind(viewer)
    viewer.window.add_dock_widget(dock)
    workspace = dock.workspace
    if kind is not HeatmapDock and kind is not WorkflowDock:
        layer = workspace.heatmaps.layer(0, create=True)
        for index in (10, 11, 12):
            layer.data[index, 50:60, 50:60] = 1
            workspace.heatmaps.set_record(layer, index, HeatmapRecord("lesion", {}, None, {}))
        workspace.layers.labels("preview").data[11, 50:60, 50:60] = 1
    workspace.show_plane(0, 11)
    return dock


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a shape is wrong")]
)
def test_an_error_of_the_classifier_is_a_notification_and_the_way_goes_on(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, notices: list[str], error: Exception
) -> None:
    way = open_sample(viewer, WorkflowDock)

    def fails(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(heatmaps, "compute_heatmaps", fails)
        way.run.click()
        qtbot.waitUntil(way.run.isEnabled, timeout=60_000)
    assert any(str(error) in notice for notice in notices)
    assert way.words.text() == "Stopped while computing heatmaps."
    assert not way.heatmap.row.bar.isVisibleTo(way)
    assert way.workspace.heatmaps.computed_planes(0) == []
    way.run.click()
    qtbot.waitUntil(way.run.isEnabled, timeout=60_000)
    assert way.words.text().startswith("Done")


def compute(dock: HeatmapDock) -> None:
    dock.planes.scope.set_value("all")
    dock.compute()


def place(dock: PromptsDock) -> None:
    dock.place_all.click()


def press(dock: ScoresDock | WorkflowDock) -> None:
    dock.run.click()


AT_WORK = {
    # Planes of one pass of the model are read together.
    "heatmaps": (HeatmapDock, compute, Snapshot, "plane", 4),
    "prompts": (PromptsDock, place, strategies, "prompts_from_heatmap", 1),
    "scores": (ScoresDock, press, score_steps, "score_slice", 1),
    "the way": (WorkflowDock, press, strategies, "prompts_from_heatmap", 1),
}


@pytest.mark.parametrize("what", AT_WORK)
def test_a_window_that_is_closed_takes_the_work_with_it(
    make_napari_viewer_proxy: Any, qtbot: Any, hold: Any, notices: list[str], what: str
) -> None:
    kind, begin, module, name, most = AT_WORK[what]
    viewer = make_napari_viewer_proxy()
    dock = open_sample(viewer, kind)
    held = hold(module, name)
    begin(dock)
    qtbot.waitUntil(held.entered.is_set, timeout=60_000)
    with qtbot.waitSignal(dock.destroyed, timeout=10_000):
        viewer.close()
    held.open()
    del dock
    gc.collect()
    assert QThreadPool.globalInstance().waitForDone(60_000)
    qtbot.wait(50)  # what it sent meanwhile comes to nobody
    assert held.calls <= most
    assert notices == []


def test_pressed_twice_the_way_goes_once(viewer: Any, qtbot: Any, hold: Any) -> None:
    way = open_sample(viewer, WorkflowDock)
    held = [hold(heatmaps, "compute_heatmaps"), hold(score_steps, "score_slice")]
    way.run.click()
    for one in held:
        qtbot.waitUntil(one.entered.is_set, timeout=60_000)
        # A click does nothing to a button that is switched off; a key or a script may call it.
        for _ in range(2):
            way.run.click()
            way.run_all()
        assert way.stop.isEnabled()
        one.open()
    qtbot.waitUntil(way.run.isEnabled, timeout=60_000)
    assert held[0].calls == 1
    assert way.words.text().startswith("Done. ")
    assert way.workspace.heatmaps.computed_planes(0) == list(range(24))


def test_pressed_twice_scores_are_computed_once(viewer: Any, hold: Any, finish: Finish) -> None:
    dock = open_sample(viewer, ScoresDock)
    held = hold(score_steps, "score_steps")
    scored: list[bool] = []
    dock.scored.connect(lambda: scored.append(True))
    dock.run.click()
    for _ in range(2):
        dock.run.click()
        assert not dock.score()
    held.open()
    finish(dock.row)
    assert held.calls == 1
    assert scored == [True]
    assert dock.run.isEnabled()
