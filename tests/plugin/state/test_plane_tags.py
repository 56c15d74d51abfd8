"""Planes tagged in the viewer: by buttons, keys and a truth; kept, listed and trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.training.run import train
from napari_cam_sam.plugin.state.plane_tags import PlaneTags, single_planes
from napari_cam_sam.plugin.training.tagging_panel import TaggingPanel
from napari_cam_sam.plugin.training.training_dock import TrainingDock
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.session import read_session

Finish = Callable[[Any], None]


@pytest.fixture
def tags(workspace: ViewerWorkspace) -> PlaneTags:
    return workspace.tags


def rows(tags: PlaneTags) -> list[tuple[str, int, int, int, str]]:
    return [(r.layer.name, r.axis, r.first, r.last, r.name) for r in tags.runs()]


def test_planes_are_tagged_listed_in_runs_and_counted(
    model: ViewerModel, workspace: ViewerWorkspace, tags: PlaneTags
) -> None:
    tags.tag(0, [0, 1, 4], "a")
    tags.tag(0, [2], " b ")
    tags.tag(1, [7], "a")
    flat = model.add_image(np.zeros((8, 9)), name="flat")
    workspace.choose_image(flat)
    tags.tag(0, [0], "b")
    assert rows(tags) == [
        ("scan", 0, 0, 1, "a"), ("scan", 0, 2, 2, "b"), ("scan", 0, 4, 4, "a"),
        ("scan", 1, 7, 7, "a"), ("flat", 0, 0, 0, "b"),
    ]  # fmt: skip
    assert tags.counts() == {"a": 4, "b": 2}
    assert [(s.label, s.group, s.axis, s.plane) for s in tags.samples().samples] == [
        ("a", "scan", 0, 0), ("a", "scan", 0, 1), ("b", "scan", 0, 2), ("a", "scan", 0, 4),
        ("a", "scan", 1, 7), ("b", "flat", 0, None),
    ]  # fmt: skip
    assert tags.tag_of(0, 0) == "b"
    workspace.choose_image(model.layers["scan"])
    assert (tags.tag_of(0, 2), tags.tag_of(1, 7), tags.tag_of(0, 3)) == ("b", "a", None)
    tags.remove(tags.runs()[0])
    tags.tag(0, [4], None)
    assert tags.counts() == {"a": 1, "b": 2}
    tags.remove_class("b")
    assert rows(tags) == [("scan", 1, 7, 7, "a")]
    # What is gone from the viewer cannot be trained on.
    model.layers.remove("scan")
    assert rows(tags) == []
    with pytest.raises(CamSamError, match="Name the class first"):
        tags.tag(0, [0], " ")


def test_frames_of_a_series_have_tags_of_their_own(qapp: Any) -> None:
    viewer = ViewerModel()
    pixels = np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8)
    viewer.add_image(pixels, name="series")
    workspace = workspace_of(viewer)
    viewer.dims.set_point(0, 0)
    workspace.tags.tag(0, [1], "before")
    viewer.dims.set_point(0, 1)
    assert workspace.tags.tag_of(0, 1) is None
    workspace.tags.tag(0, [1], "after")
    first, second = workspace.tags.samples().samples
    np.testing.assert_array_equal(first.image.plane(0, 1), pixels[0, 1])
    np.testing.assert_array_equal(second.image.plane(0, 1), pixels[1, 1])
    assert first.group == second.group == "series"


def test_a_session_brings_the_tags_back(
    workspace: ViewerWorkspace, tags: PlaneTags, tmp_path: Path, qtbot: Any
) -> None:
    tags.tag(0, [1, 2], "a")
    tags.tag(2, [5], "b")
    with qtbot.waitSignal(workspace.sessions.saved, timeout=20_000):
        workspace.sessions.save(tmp_path / "session")
    before = rows(tags)
    tags.remove_class("a")
    tags.tag(0, [3], "c")
    with qtbot.waitSignal(workspace.sessions.saved, timeout=20_000):
        workspace.sessions.restore(read_session(tmp_path / "session"))
    assert rows(tags) == before
    # An image that is smaller takes those that it has.
    viewer = ViewerModel()
    viewer.add_image(np.zeros((2, 8, 8)), name="small")
    other = workspace_of(viewer).tags
    plain = json.loads(json.dumps(tags.state()))
    other.set_state(plain)
    assert rows(other) == [("small", 0, 1, 1, "a"), ("small", 2, 5, 5, "b")]


def test_buttons_tag_the_planes_that_are_chosen(
    model: ViewerModel, workspace: ViewerWorkspace, tags: PlaneTags
) -> None:
    panel = TaggingPanel(workspace)
    said: list[str] = []
    panel.refused.connect(said.append)
    panel.add.click()
    assert said == ["Name the class first, e.g. lesion."]
    for name in ("lesion", "healthy"):
        panel.name.setText(name)
        panel.add.click()
    buttons = [panel._grid.itemAtPosition(row, 0).widget() for row in range(2)]
    assert [one.text() for one in buttons] == ["Tag as lesion", "Tag as healthy"]
    buttons[0].click()
    assert rows(tags) == [("scan", 0, 2, 2, "lesion")]
    assert panel.shown.text() == "Slice 2 (the slider shows 3): <b>lesion</b>"
    panel.planes.scope.set_value("range")
    panel.planes.first.setValue(3)
    panel.planes.last.setValue(5)
    panel._grid.itemAtPosition(1, 0).widget().click()
    assert [panel.list.item(1, column).text() for column in range(3)] == ["healthy", "3–5", "scan"]
    panel._go(1, 0)
    workspace.shown.look_at_plane()
    assert workspace.plane() == (0, 3)
    assert panel.shown.text() == "Slice 3 (the slider shows 2): <b>healthy</b>"
    panel.list.selectRow(1)
    panel.remove.click()
    assert rows(tags) == [("scan", 0, 2, 2, "lesion")]
    panel.by_truth.click()
    assert said[-1].startswith("No ground truth")


@pytest.mark.parametrize("axis", [0, 2])
def test_a_truth_tags_every_plane_along_the_axis_shown(
    model: ViewerModel, workspace: ViewerWorkspace, tags: PlaneTags, qtbot: Any, axis: int
) -> None:
    image = workspace.image_layer
    assert image is not None
    truth = np.zeros(image.data.shape, np.uint8)
    truth[1:3, 4:9, 10:14] = 2
    model.add_labels(truth, name="truth", scale=image.scale, affine=image.affine, units="mm")
    workspace.show_plane(axis, 1)
    panel = TaggingPanel(workspace)
    panel.by_truth.click()
    n = truth.shape[axis]
    qtbot.waitUntil(lambda: sum(tags.counts().values()) == n, timeout=20_000)
    there = np.moveaxis(truth, axis, 0).reshape(n, -1).any(axis=1)
    assert [tags.tag_of(axis, i) == "present" for i in range(n)] == there.tolist()


def test_keys_tag_the_plane_shown(viewer: Any, qtbot: Any, notices: list[str]) -> None:
    layer = viewer.add_image(np.random.default_rng(0).random((6, 20, 24)), name="scan")
    workspace = workspace_of(viewer)
    workspace.show_plane(0, 2)
    viewer.layers.selection.active = layer
    (canvas,) = [w for w in QApplication.allWidgets() if type(w).__name__ == "CanvasBackendDesktop"]

    def press(key: Qt.Key) -> None:
        qtbot.keyClick(canvas, key, Qt.KeyboardModifier.ControlModifier)

    press(Qt.Key.Key_1)
    assert "CAM to SAM → Train." in notices[-1]
    dock = TrainingDock(viewer)
    viewer.window.add_dock_widget(dock)
    dock.source.kind.set_value("planes")
    press(Qt.Key.Key_2)
    assert notices[-1].startswith("There is no class 2")
    workspace.tags.add_class("a")
    workspace.tags.add_class("b")
    press(Qt.Key.Key_2)
    assert workspace.tags.tag_of(0, 2) == "b"
    press(Qt.Key.Key_1)
    assert workspace.tags.tag_of(0, 2) == "a"
    press(Qt.Key.Key_0)
    assert workspace.tags.tag_of(0, 2) is None


def test_an_image_that_is_removed_is_no_longer_trained_on(
    model: ViewerModel, workspace: ViewerWorkspace, tags: PlaneTags
) -> None:
    dock = TrainingDock(model)
    dock.source.kind.set_value("planes")
    tags.tag(0, [0, 1], "a")
    tags.tag(0, [2, 3], "b")
    assert dock.plan.text().startswith("4 slices, 2 classes")
    assert dock.run.isEnabled()
    model.layers.remove("scan")
    assert dock.plan.text().startswith("Add two classes or more")
    assert not dock.run.isEnabled()


def test_images_are_held_out_whole_where_there_are_enough(
    model: ViewerModel, workspace: ViewerWorkspace, tags: PlaneTags
) -> None:
    for number in range(3):
        layer = model.add_image(np.zeros((4, 8, 8)), name=f"scan {number}")
        workspace.choose_image(layer)
        tags.tag(0, [0], "a")
        tags.tag(0, [1], "b")
    assert single_planes(tags.samples(), 3) is None
    tags.tag(0, [0], None)
    alone = single_planes(tags.samples(), 3)
    assert alone is not None
    assert {sample.group for sample in alone.samples} == {""}
    assert single_planes(tags.samples(), 2) is None


def test_tagged_planes_are_trained_on_as_they_are_shown(
    qapp: Any, finish: Finish, tmp_path: Path
) -> None:
    viewer = ViewerModel()
    pixels = np.random.default_rng(0).normal(40, 4, (12, 32, 32)).astype(np.float32)
    pixels[6:, 8:20, 10:22] += 60
    viewer.add_image(pixels, name="scan")
    workspace = workspace_of(viewer)
    dock = TrainingDock(viewer)
    dock.source.kind.set_value("planes")
    assert not dock.run.isEnabled()
    workspace.tags.tag(0, range(6), "healthy")
    assert "Training needs two classes" in dock.plan.text()
    workspace.tags.tag(0, range(6, 12), "lesion")
    form = dock.parameters
    form.architecture.set_value("small-cnn")
    form.rows.setValue(32)
    form.epochs.setValue(2)
    form.device.set_value("cpu")
    form.rest.widget("batch_size").setValue(4)
    words = dock.plan.text()
    assert "12 slices, 2 classes: healthy 6, lesion 6." in words
    assert "Too few images" in words
    viewer.layers["scan"].contrast_limits = (0, 200)
    dock.output.text.setText(str(tmp_path / "dock"))
    parameters = dock._new_job(resume=False).parameters
    dock.train()
    finish(dock.row)
    assert "expect lower accuracy" in dock.report.words.text()
    record = json.loads((tmp_path / "dock" / "training.json").read_text())
    assert record["parts"] == {"train": 8, "validation": 2, "test": 2}
    samples = single_planes(workspace.tags.samples(), 3)
    assert samples is not None
    expected = train(samples, parameters, tmp_path / "core")
    assert [e.loss for e in dock._epochs] == [e.loss for e in expected.epochs]
    finish(dock.row)
