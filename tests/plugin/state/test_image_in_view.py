"""A second image that is opened over the first: the docks follow, or say which one is drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.state import image_in_view
from napari_cam_sam.plugin.state.image_notice import ImageNotice
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

BOX = PlanePrompts(0, 0, (ObjectPrompt(1, (), Box(4, 5, 12, 15)),))
SAID = "Boxes are drawn on first, but you see second."


def scan(seed: int, shape: tuple[int, ...] = (40, 50)) -> Any:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def settle() -> None:
    for _ in range(5):
        QApplication.processEvents()


@pytest.fixture
def viewer(qapp: Any) -> Iterator[ViewerModel]:
    yield ViewerModel()
    settle()


@pytest.fixture
def first(viewer: ViewerModel) -> Any:
    workspace_of(viewer)
    layer = viewer.add_image(scan(0), name="first")
    settle()
    return layer


def add(viewer: ViewerModel, data: Any = None, **keywords: Any) -> Any:
    data = scan(1, (30, 60)) if data is None else data
    layer = viewer.add_image(data, **{"name": "second", **keywords})
    settle()
    return layer


def test_the_image_opened_last_is_worked_on_where_nothing_is_lost(
    viewer: ViewerModel, first: Any
) -> None:
    workspace = workspace_of(viewer)
    second = add(viewer)
    assert workspace.image_layer is second
    assert workspace.in_view.words() == ""
    # So is one that is shown again, or selected while it is in front.
    second.visible = False
    settle()
    assert workspace.image_layer is first
    second.visible = True
    settle()
    assert workspace.image_layer is second
    workspace.choose_image(first)
    settle()
    assert workspace.image_layer is first  # the user said so
    assert workspace.in_view.words() == SAID
    viewer.layers.selection.active = first
    viewer.layers.selection.active = second
    settle()
    assert workspace.image_layer is second


def test_images_that_hide_nothing_and_masks_are_not_followed(
    viewer: ViewerModel, first: Any
) -> None:
    workspace = workspace_of(viewer)
    add(viewer, blending="additive")
    add(viewer, opacity=0.5)
    add(viewer, visible=False)
    mask = np.zeros((30, 60), np.uint8)
    mask[5:20, 8:30] = 255
    add(viewer, mask)
    assert workspace.image_layer is first
    assert workspace.in_view.words() == ""
    # What may be a heatmap of it is told from a picture by nobody but the user.
    add(viewer, np.random.default_rng(0).random((40, 50)))
    assert workspace.image_layer is first
    assert workspace.in_view.words().startswith("Boxes are drawn on first, but you see second")


def test_work_stays_where_it_is_and_one_press_changes(viewer: ViewerModel, first: Any) -> None:
    workspace = workspace_of(viewer)
    docks = [one(viewer) for one in (HeatmapDock, PromptsDock, SegmentDock, ScoresDock)]
    docks.append(WorkflowDock(viewer))
    notices = [dock.findChild(ImageNotice) for dock in docks[:-1]]
    notices.append(docks[-1].layout().itemAt(0).widget())
    for dock in docks:
        dock.show()
    workspace.prompts.write([BOX])
    second = add(viewer)
    assert workspace.image_layer is first
    assert [one.words.text() for one in notices] == [SAID] * 5
    assert all(one.isVisibleTo(dock) for one, dock in zip(notices, docks, strict=True))
    inner = [one for one in docks[-1].findChildren(ImageNotice) if one is not notices[-1]]
    assert len(inner) == 4
    assert not any(one.isVisible() for one in inner)
    notices[1].change.click()
    settle()
    assert workspace.image_layer is second
    assert workspace.prompts.planes(0) == []
    assert not any(one.isVisible() for one in notices)
    boxes = [one for one in viewer.layers if one.name.startswith("boxes")]
    assert not any(one.visible for one in boxes)  # they are of the first, and lie over the second
    second.visible = False
    settle()
    workspace.choose_image(first)
    settle()
    assert workspace.prompts.read(0, 0).objects == BOX.objects
    assert all(one.visible for one in boxes)


def test_what_runs_is_not_stopped(
    viewer: ViewerModel, first: Any, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    workspace, running = workspace_of(viewer), [True]
    monkeypatch.setattr(image_in_view, "any_running", lambda: bool(running))
    second = add(viewer)
    assert workspace.image_layer is first
    assert workspace.in_view.words() == SAID
    running.clear()
    qtbot.waitUntil(lambda: workspace.image_layer is second)
    assert workspace.in_view.words() == ""


def test_a_task_is_known_to_run(qtbot: Any, finish: Any) -> None:
    row = TaskProgress()
    qtbot.addWidget(row)
    assert not image_in_view.any_running()
    row.start(lambda: iter([1]), 1, "try", lambda _: None)
    assert image_in_view.any_running()
    finish(row)
    assert not image_in_view.any_running()
