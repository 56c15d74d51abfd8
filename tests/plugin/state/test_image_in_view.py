"""The docks work on the image that is seen, and what is of the other one goes and comes with it."""

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


def test_the_image_opened_last_is_worked_on(viewer: ViewerModel, first: Any) -> None:
    workspace = workspace_of(viewer)
    second = add(viewer)
    assert workspace.image_layer is second
    assert workspace.in_view.words() == ""
    # So is one that is shown again, or selected while it is in front.
    second.visible = False
    first.visible = True
    settle()
    assert workspace.image_layer is first
    second.visible = True
    settle()
    assert workspace.image_layer is second
    # One that the user chooses is the one that is seen.
    workspace.choose_image(first)
    settle()
    assert workspace.image_layer is first
    assert (first.visible, second.visible) == (True, False)
    assert workspace.in_view.words() == ""
    viewer.layers.move(0, 2)  # to the front
    second.visible = True
    viewer.layers.move(0, 2)
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


def test_work_is_kept_with_its_image_and_comes_back(viewer: ViewerModel, first: Any) -> None:
    workspace = workspace_of(viewer)
    workspace.prompts.write([BOX])
    mine = workspace.layers.labels("labels")
    mine.visible = False  # by hand
    boxes, points = workspace.prompts.boxes, workspace.prompts.points
    truth = viewer.add_labels(np.ones((40, 50), np.uint8), name="truth")
    viewer.layers.selection.active = boxes
    second = add(viewer)
    assert workspace.image_layer is second
    assert workspace.in_view.words() == ""
    assert workspace.prompts.planes(0) == []
    # Of the first nothing is seen, nor drawn into, and nothing went or moved.
    assert [one for one in viewer.layers if one.visible] == [second]
    assert viewer.layers.selection.active is second
    assert workspace.truth() is None
    assert truth not in workspace.labels_layers()
    order = list(viewer.layers)
    workspace.prompts.write([BOX])
    others = workspace.prompts.there()
    workspace.choose_image(first)
    settle()
    assert workspace.prompts.read(0, 0).objects == BOX.objects
    assert {one for one in viewer.layers if one.visible} == {first, boxes, points, truth}
    assert workspace.truth() is truth
    assert viewer.layers.selection.active is first
    workspace.choose_image(second)
    settle()
    assert {one for one in viewer.layers if one.visible} == {second, *others}
    assert list(viewer.layers)[: len(order)] == order


def test_an_image_that_is_chosen_stays_where_another_was_just_opened(
    viewer: ViewerModel, first: Any
) -> None:
    second = viewer.add_image(scan(1, (30, 60)), name="second")
    workspace_of(viewer).choose_image(first)
    settle()
    assert workspace_of(viewer).image_layer is first
    assert (first.visible, second.visible) == (True, False)


def test_the_view_goes_to_the_image(viewer: ViewerModel, first: Any) -> None:
    workspace = workspace_of(viewer)
    camera = getattr(viewer, "scene", viewer).camera
    add(viewer, scan(1, (300, 600)))
    assert camera.center[-2:] == pytest.approx((149.5, 299.5))
    wide = camera.zoom
    workspace.choose_image(first)
    settle()
    assert camera.center[-2:] == pytest.approx((19.5, 24.5))
    assert camera.zoom > 5 * wide
    # On one grid one stays where one looks.
    other = add(viewer, scan(2, (40, 50)), name="third")
    camera.zoom, camera.center = 40, (0, 10, 10)
    workspace.choose_image(first)
    settle()
    assert not other.visible
    assert (camera.zoom, *camera.center[-2:]) == (40, 10, 10)
    # A volume is gone into, and a picture looked at from above.
    volume = add(viewer, scan(3, (8, 30, 40)), name="volume", translate=(100, 0, 0))
    assert workspace.image_layer is volume
    assert 100 <= viewer.dims.point[0] <= 107
    viewer.dims.order = (1, 0, 2)
    settle()
    workspace.choose_image(first)
    settle()
    assert viewer.dims.displayed == (1, 2)


def test_a_truth_stays_with_its_picture(viewer: ViewerModel, first: Any) -> None:
    workspace = workspace_of(viewer)
    dock = HeatmapDock(viewer)

    def mask(rows: slice, name: str) -> Any:
        data = np.zeros((40, 50), np.uint8)
        data[rows, 8:30] = 255
        return viewer.add_image(data, name=name)

    one = mask(slice(5, 10), "first_mask")
    settle()
    truth = workspace.truth()
    assert truth.name == "first_mask, truth"
    # Both are of one size, and come one right after the other.
    second = viewer.add_image(scan(1), name="second")
    another = mask(slice(20, 30), "second_mask")
    settle()
    assert workspace.image_layer is second
    assert workspace.truth().name == "second_mask, truth"
    assert [x.visible for x in (one, another, truth, workspace.truth())] == [False] * 3 + [True]
    # Masks that are labels now are no images to choose.
    assert [dock.image.itemText(i) for i in range(dock.image.count())] == ["first", "second"]
    workspace.choose_image(first)
    settle()
    assert workspace.truth() is truth
    assert truth.visible
    viewer.layers.remove(truth)
    settle()
    assert workspace.truth() is None  # the other one's is none of it
    assert "first_mask" in [dock.image.itemText(i) for i in range(dock.image.count())]


def test_masks_go_by_names_where_all_were_opened_at_once(viewer: ViewerModel) -> None:
    workspace = workspace_of(viewer)
    for i in (1, 10):
        data = np.zeros((40, 50), np.uint8)
        data[i : i + 5, 8:30] = 255
        viewer.add_image(scan(i), name=f"scan{i}")
        viewer.add_image(data, name=f"scan{i}_mask")
    settle()
    for i in (10, 1, 10):
        workspace.choose_image(viewer.layers[f"scan{i}"])
        settle()
        assert workspace.truth().name == f"scan{i}_mask, truth"
        assert not viewer.layers[f"scan{i}_mask"].visible


def test_of_volumes_on_one_grid_a_truth_is_shared_and_hiding_one_changes_nothing(
    viewer: ViewerModel,
) -> None:
    workspace = workspace_of(viewer)
    first = viewer.add_image(scan(0, (5, 40, 50)), name="first")
    second = viewer.add_image(scan(1, (5, 40, 50)), name="second")
    truth = viewer.add_labels(np.ones((5, 40, 50), np.uint8), name="truth")
    settle()
    workspace.choose_image(second)
    workspace.prompts.write([BOX])
    second.visible = False  # to compare it with the first
    settle()
    assert workspace.image_layer is second
    assert workspace.in_view.words() == "Boxes are drawn on second, but you see first."
    workspace.choose_image(first)
    settle()
    assert workspace.truth() is truth
    assert truth.visible


def test_nobody_draws_on_an_image_that_is_not_seen(
    viewer: ViewerModel, first: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_in_view, "any_running", lambda: True)
    workspace, dock = workspace_of(viewer), PromptsDock(viewer)
    second = add(viewer)
    assert workspace.in_view.words() == SAID
    dock.begin_box()
    settle()
    assert (first.visible, second.visible) == (True, False)
    assert workspace.in_view.words() == ""
    first.visible = workspace.prompts.boxes.visible = False
    dock.begin_box()
    assert first.visible
    assert workspace.prompts.boxes.visible


def test_the_docks_say_which_image_is_drawn_on_while_something_runs(
    viewer: ViewerModel, first: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_in_view, "any_running", lambda: True)
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
    workspace.choose_image(first)
    settle()
    assert workspace.prompts.read(0, 0).objects == BOX.objects
    assert all(one.visible for one in boxes)


def test_scores_stay_with_their_image(viewer: ViewerModel, first: Any, finish: Any) -> None:
    workspace, dock = workspace_of(viewer), ScoresDock(viewer)
    viewer.add_labels(np.ones((40, 50), np.uint8), name="truth")
    labels = workspace.layers.labels("labels")
    labels.data = np.ones((40, 50), np.uint16)
    settle()
    assert dock.score()
    finish(dock.row)
    assert dock.row.words.text() == "Dice 1.000."
    second = add(viewer)
    assert dock.table.subject is None
    assert "Dice" not in dock.row.words.text()
    assert dock.choices.prediction.value() is None
    workspace.choose_image(first)
    settle()
    assert dock.row.words.text() == "Dice 1.000."
    assert dock.table.subject is not None
    assert second in viewer.layers


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
