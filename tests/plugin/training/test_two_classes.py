"""Two classes of one image, one after the other: whose prompts, whose masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.io.sample_data import ct_sample
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of

Finish = Callable[[Any], None]
MADE = {"classifier": "lesion", "target": "lesion", "method": "layer-cam"}
CHOSEN = {"classifier": "lesion", "target": "lesion", "method": "layer-cam", "layer": "layer4"}


@pytest.fixture
def workspace(qapp: Any) -> ViewerWorkspace:
    """Open the CT sample on a plane with a lesion."""
    (data, meta, _), (truth, _, _) = ct_sample()
    viewer = ViewerModel()
    viewer.add_image(data, **meta)
    found = workspace_of(viewer)
    found.show_plane(0, int(truth.any(axis=(1, 2)).argmax()))
    return found


def put_heatmap(workspace: ViewerWorkspace, target: str, row: int, column: int) -> None:
    """Put a heatmap of a class on the plane shown and the next, with its summit at a place."""
    axis, index = workspace.plane()
    rows, columns = np.indices((128, 128))
    heat = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 36)
    layer = workspace.heatmaps.layer(axis, create=True)
    note = HeatmapRecord(target, {target: 1.0}, None, MADE | {"target": target})
    for i in (index, index + 1):
        workspace.heatmaps.set_record(layer, i, note)
        layer.data[i] = heat
    workspace.heatmaps_changed.emit()


def test_a_second_class_is_another_object_beside_the_first(
    workspace: ViewerWorkspace, finish: Finish
) -> None:
    prompts, segment = PromptsDock(workspace.viewer), SegmentDock(workspace.viewer)
    segment.segmenter.choose("seeded")
    segment.live.setChecked(False)
    axis, index = workspace.plane()

    def place(target: str, *where: int) -> tuple[Any, ...]:
        put_heatmap(workspace, target, *where)
        prompts.place_all.click()
        finish(prompts.row)
        assert prompts.row.words.text() == f"Prompts of {target} on 2 slices."
        return workspace.prompts.read(axis, index).objects

    (lesion,) = place("lesion", 40, 40)
    segment.segment()
    finish(segment.row)
    segment.review.accept_masks()
    first = workspace.own("labels").data[index] == 1
    assert first.any()

    prompts.object.setValue(2)
    both = place("vessel", 90, 80)
    assert [one.object_id for one in both] == [1, 2]
    assert both[0] == lesion
    assert len(workspace.prompts.read(axis, index + 1).objects) == 2
    segment.segment()
    finish(segment.row)
    segment.review.accept_masks()
    labels = workspace.own("labels").data[index]
    assert (labels == 2).any()
    np.testing.assert_array_equal(labels == 1, first)

    # The second class anew takes the place of itself alone.
    assert place("vessel", 95, 80) == (lesion, workspace.prompts.read(axis, index).objects[1])
    prompts.object.setValue(1)
    assert [one.object_id for one in place("lesion", 45, 40)] == [1, 2]


def test_the_preview_is_of_the_object_that_is_chosen(
    workspace: ViewerWorkspace, finish: Finish, qtbot: Any
) -> None:
    dock = PromptsDock(workspace.viewer)
    qtbot.addWidget(dock)
    dock.show()
    put_heatmap(workspace, "lesion", 40, 40)
    qtbot.waitUntil(lambda: workspace.own("sketch") is not None)
    dock.place.click()
    finish(dock.row)
    # What is placed needs no preview; for another object nothing is placed yet.
    qtbot.waitUntil(lambda: not workspace.own("sketch").visible)
    dock.object.setValue(2)
    qtbot.waitUntil(lambda: workspace.own("sketch").visible)
    dock.place.click()
    finish(dock.row)
    qtbot.waitUntil(lambda: not workspace.own("sketch").visible)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"target": "normal"}, "of the class lesion, but normal is chosen in step 1"),
        ({"target": ""}, "of the class lesion, but the predicted class is chosen"),
        ({"classifier": "mine.pth"}, "of the classifier lesion, but mine.pth is chosen"),
        ({"method": "grad-cam"}, "of the method layer-cam, but grad-cam is chosen"),
        ({"classifier": None}, ""),
    ],
)
def test_heatmaps_of_what_was_chosen_before_are_said(
    workspace: ViewerWorkspace, finish: Finish, change: dict[str, Any], words: str
) -> None:
    class Chooser:
        def state(self) -> dict[str, Any]:
            return CHOSEN | change

        def set_state(self, state: dict[str, Any]) -> None:
            raise AssertionError

    chooser = Chooser()
    workspace.docks.register_state("heatmap", chooser.state, chooser.set_state)
    dock = PromptsDock(workspace.viewer)
    put_heatmap(workspace, "lesion", 40, 40)
    assert "heatmap of lesion, no box" in dock.found.text()
    dock.place.click()
    finish(dock.row)
    said, _, other = dock.row.words.text().partition(". ")
    assert said.rstrip(".") == "Prompts of lesion on 1 slice"
    assert words in other
    assert bool(other) == bool(words)


def test_the_predicted_class_is_whichever_the_heatmap_explains(workspace: ViewerWorkspace) -> None:
    note = HeatmapRecord("lesion", {"lesion": 1.0}, None, MADE | {"target": None})
    assert note.other_words(CHOSEN | {"target": ""}) == ""
    assert note.other_words(CHOSEN) == ""
    assert "normal is chosen" in note.other_words(CHOSEN | {"target": "normal"})
