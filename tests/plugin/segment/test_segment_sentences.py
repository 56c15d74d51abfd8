"""What the segment dock says follows what there is: no sentence outlives its state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.segment import segment_run
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts


@pytest.fixture
def dock(qapp: Any, qtbot: Any) -> SegmentDock:
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((6, 20, 24)), name="scan")
    dock = SegmentDock(viewer)
    qtbot.addWidget(dock)
    dock.segmenter.choose("seeded")
    dock.workspace.show_plane(0, 2)
    dock.workspace.shown.look_at_plane()
    return dock


def _draw_box(dock: SegmentDock, index: int) -> None:
    box = ObjectPrompt(1, (), Box(4, 4, 12, 12))
    dock.workspace.prompts.write((PlanePrompts(0, index, (box,)),), "add")


def test_while_a_mask_is_made_nobody_is_asked_to_press(dock: Any, hold: Any, finish: Any) -> None:
    _draw_box(dock, 2)
    dock._refresh()
    assert dock.review.shown.text() == "No mask on this slice yet: press S."
    gate = hold(segment_run, "decode")
    dock.segment()
    assert dock.review.shown.text() == "The mask of this slice is being made…"
    dock.workspace.show_plane(0, 3)
    dock.workspace.shown.look_at_plane()
    assert dock.review.shown.text() == "No prompts on this slice."
    gate.open()
    finish(dock.row)
    dock.workspace.show_plane(0, 2)
    dock.workspace.shown.look_at_plane()
    assert dock.review.shown.text().startswith("Preview (C accepts)")


def test_a_refusal_goes_once_it_is_no_longer_so(dock: Any, finish: Any) -> None:
    dock.segment()
    assert "This slice has no prompts" in dock.row.words.text()
    dock.workspace.show_plane(0, 3)
    dock.workspace.shown.look_at_plane()
    assert "This slice has no prompts" in dock.row.words.text()
    _draw_box(dock, 4)
    dock._refresh()
    dock.segment()
    assert "This slice has no prompts" in dock.row.words.text()
    dock.workspace.show_plane(0, 4)
    dock.workspace.shown.look_at_plane()
    assert "no prompts" not in dock.row.words.text()
    dock.review.accept_masks()
    assert dock.row.words.text() == "No mask to accept on slice 4: press S first."
    # By another dock, where no button of this one is pressed.
    dock.workspace.docks.dispatch("segment")
    finish(dock.row)
    assert "No mask to accept" not in dock.row.words.text()


def test_what_was_accepted_is_said_along_its_own_axis_alone(dock: Any, finish: Any) -> None:
    _draw_box(dock, 2)
    dock.segment()
    finish(dock.row)
    dock.review.accept_masks()
    for index in (2, 3):
        dock.workspace.show_plane(0, index)
        dock.workspace.shown.look_at_plane()
        assert dock.row.words.text() == "Accepted the mask on slice 2; Ctrl-Z undoes it."
    dock.workspace.show_plane(1, 2)
    dock.workspace.shown.look_at_plane()
    assert "slice 2" not in dock.row.words.text()


def test_where_objects_end_is_said_along_their_own_axis_alone(dock: Any, finish: Any) -> None:
    _draw_box(dock, 2)
    dock.through.propagate()
    finish(dock.row)
    said = dock.through.result.text()
    assert said.startswith("Object 1: ")
    dock.workspace.show_plane(1, 2)
    dock.workspace.shown.look_at_plane()
    assert dock.through.result.text() == ""
    dock.through.propagate()
    assert "No slice along this axis has prompts" in dock.row.words.text()
    dock.workspace.show_plane(0, 2)
    dock.workspace.shown.look_at_plane()
    assert dock.through.result.text() == said
    assert "No slice along this axis" not in dock.row.words.text()
