"""Masks of the preview on their way into labels: which are accepted, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, candidates, single_candidate
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

Finish = Callable[[Any], None]
ONE = ObjectPrompt(1, (), Box(5, 6, 15, 18))
TWO = ObjectPrompt(1, (), Box(14, 18, 22, 26))


@pytest.fixture
def dock(qapp: Any, finish: Finish) -> Iterator[SegmentDock]:
    """Give the dock over a volume of six planes, of which it shows plane 2."""
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).normal(40, 4, (6, 24, 28)), name="scan")
    workspace_of(viewer).show_plane(0, 2)
    widget = SegmentDock(viewer)
    widget.segmenter.choose("seeded")
    yield widget
    finish(widget.row)


def square(index: int, object_id: int = 1) -> PlaneMasks:
    """Give masks of the box `ONE`: all of it."""
    mask = np.zeros((24, 28), bool)
    mask[5:15, 6:18] = True
    return PlaneMasks(
        PlanePrompts(0, index, (replace(ONE, object_id=object_id),)),
        (single_candidate(object_id, mask, None),),
        (0,),
        "seeded",
        "0" * 64,
        (0.0, 1.0),
    )


def show(dock: SegmentDock, *indices: int) -> None:
    """Put masks of the prompts of planes into the preview."""
    dock.live.setChecked(False)
    dock.workspace.prompts.write(PlanePrompts(0, i, (ONE,)) for i in indices)
    for index in indices:
        dock.masks.put(square(index))


def labelled(dock: SegmentDock) -> list[int]:
    """List the planes that have labels."""
    layer = dock.workspace.own("labels")
    return [] if layer is None else np.flatnonzero(layer.data.any(axis=(1, 2))).tolist()


def test_masks_of_prompts_that_were_moved_are_passed_over(dock: SegmentDock) -> None:
    show(dock, 0, 1, 2, 4)
    dock.workspace.prompts.write([PlanePrompts(0, i, (TWO,)) for i in (1, 2)], "replace")
    dock.workspace.prompts.clear(0, 4)
    dock.review.accept_all.click()
    assert labelled(dock) == [0]
    assert dock.masks.planes(0) == [1, 2, 4]
    wanted = (
        "Accepted the masks of 1 slice; Ctrl-Z undoes it. Skipped slices 1, 2 and 4: prompts "
        "changed, press Shift-S."
    )
    assert dock.row.words.text() == wanted
    # It is read, and not replaced by what the dock says whenever something changes.
    dock.workspace.show_plane(0, 3)
    dock.workspace.shown.look_at_plane()
    assert dock.row.words.text() == wanted
    dock.review.accept_all.click()
    assert dock.row.words.text().startswith("No mask was accepted. Skipped slices 1, 2 and 4")
    assert labelled(dock) == [0]
    dock.workspace.prompts.write([PlanePrompts(0, 3, (ONE,))])
    dock.workspace.shown.look_at_plane()
    dock.masks.changed.emit()
    assert "with prompts" in dock.row.words.text()


def test_words_of_an_acceptance_go_when_a_key_takes_it_back(dock: SegmentDock) -> None:
    show(dock, 2)
    dock.review.accept.click()
    assert dock.row.words.text() == "Accepted the mask on slice 2; Ctrl-Z undoes it."
    dock.workspace.masks.undo_accept()
    assert "Accepted" not in dock.row.words.text()
    dock.review.accept.click()
    dock.review.undo.click()
    assert dock.row.words.text() == "Acceptance undone on 1 slice."


def test_a_mask_that_is_seen_is_accepted_and_said_to_be_of_before(dock: SegmentDock) -> None:
    show(dock, 2)
    dock.workspace.prompts.write([PlanePrompts(0, 2, (TWO,))], "replace")
    dock.review.accept.click()
    assert labelled(dock) == [2]
    assert dock.row.words.text() == (
        "Accepted the mask on slice 2, made before its prompts changed; Ctrl-Z undoes it."
    )
    dock.review.accept_masks()
    assert dock.row.words.text() == "No mask to accept on slice 2: press S first."


def test_what_is_no_label_yet_cannot_be_painted(dock: SegmentDock) -> None:
    show(dock, 2)
    preview = dock.workspace.own("preview")
    preview.mode = "paint"
    assert preview.mode == "pan_zoom"
    dock.workspace.shown.look_at_plane()
    dock.masks.changed.emit()
    assert dock.review.shown.text().endswith("To paint, accept it first.")
    dock.review.accept.click()
    labels = dock.workspace.own("labels")
    labels.mode = "paint"
    assert labels.mode == "paint"


def test_many_planes_are_shown_and_told_at_once(dock: SegmentDock) -> None:
    show(dock, 0, 1, 2, 4)
    preview = dock.workspace.own("preview")
    shown = preview.data.copy()
    labels = dock.workspace.layers.labels("labels")
    drawn: list[str] = []
    preview.events.set_data.connect(lambda _: drawn.append("preview"))
    labels.events.set_data.connect(lambda _: drawn.append("labels"))
    dock.workspace.labels_changed.connect(lambda: drawn.append("told"))
    dock.review.accept_all.click()
    assert drawn == ["labels", "preview", "told"]
    np.testing.assert_array_equal(labels.data, shown)
    assert not preview.data.any()
    labels.undo()
    assert labelled(dock) == [0, 1, 2]
    labels.redo()
    drawn.clear()
    dock.review.undo.click()
    assert drawn == ["labels", "preview", "told"]
    assert labelled(dock) == []
    np.testing.assert_array_equal(preview.data, shown)


@pytest.mark.parametrize("gone", ["removed", "other data"])
def test_what_was_accepted_into_labels_that_are_gone_is_a_preview_again(
    dock: SegmentDock, gone: str
) -> None:
    show(dock, 2)
    dock.review.accept.click()
    labels = dock.workspace.own("labels")
    other = np.ones((3, 5, 5), np.uint16)
    if gone == "removed":
        dock.workspace.viewer.layers.remove(labels)
    else:
        labels.data = other
    dock.review.undo.click()
    assert dock.masks.accepted == []
    assert dock.workspace.own("preview").data[2].any()
    if gone == "other data":
        assert np.array_equal(labels.data, np.ones((3, 5, 5)))


def test_labels_that_are_not_editable_are_not_written_into_by_undo_either(
    dock: SegmentDock,
) -> None:
    show(dock, 2)
    dock.review.accept.click()
    dock.workspace.own("labels").editable = False
    dock.review.undo.click()
    assert "is not editable: make it so" in dock.row.words.text()
    assert labelled(dock) == [2]
    assert dock.masks.planes(0) == []
    dock.workspace.own("labels").editable = True
    dock.review.undo.click()
    assert labelled(dock) == []


def test_labels_that_are_protected_from_deletion_take_masks(dock: SegmentDock) -> None:
    show(dock, 2)
    labels = dock.workspace.layers.labels("labels")
    if not hasattr(labels, "locked"):
        pytest.skip("this napari cannot lock layers")
    labels.locked = True
    dock.review.accept.click()
    assert labelled(dock) == [2]
    dock.review.undo.click()
    assert labelled(dock) == []


def test_labels_too_small_for_an_object_get_no_mask_at_all(dock: SegmentDock) -> None:
    show(dock, 1)
    dock.masks.put(square(2, object_id=300))
    dock.workspace.prompts.write([PlanePrompts(0, 2, square(2, object_id=300).prompts.objects)])
    mine = dock.workspace.viewer.add_labels(np.zeros((6, 24, 28), np.uint8), name="mine")
    dock.masks.target = mine
    dock.review.accept_all.click()
    assert "ids go from 1 to 255" in dock.row.words.text()
    assert not mine.data.any()
    assert dock.masks.planes(0) == [1, 2]
    assert dock.masks.accepted == []


def test_nothing_can_be_undone_before_a_mask_is_accepted(dock: SegmentDock) -> None:
    undo = dock.review.undo
    hint = "Restores the labels"
    assert not undo.isEnabled()
    assert undo.toolTip() == "Nothing to undo: no mask was accepted."
    show(dock, 2)
    dock.review.accept.click()
    assert undo.isEnabled()
    assert undo.toolTip().startswith(hint)
    undo.click()
    assert not undo.isEnabled()


def test_two_boxes_of_an_object_are_told_apart(dock: SegmentDock) -> None:
    dock.live.setChecked(False)
    masks = np.zeros((3, 24, 28), bool)
    masks[:, 5:15, 6:18] = True

    def seen(*ids: int) -> str:
        prompts = PlanePrompts(0, 2, tuple(replace(ONE, object_id=i) for i in ids))
        found = tuple(candidates(i, masks, (0.9, 0.8, 0.7)) for i in ids)
        chosen = (0,) * len(ids)
        dock.masks.put(PlaneMasks(prompts, found, chosen, "seeded", "0" * 64, (0.0, 1.0)))
        return dock.review.shown.text()

    assert ": mask 1 of 3, expected IoU 0.90. " in seen(1)
    assert ": box 1: mask 1 of 3, expected IoU 0.90; box 2: mask 1" in seen(1, 1)
    assert ": object 1: mask 1 of 3, expected IoU 0.90; object 2: mask 1" in seen(1, 2)
    assert "object 1, box 1: mask" in seen(1, 1, 2)
    assert "; object 2: mask" in seen(1, 1, 2)


def test_of_a_picture_it_counts_no_slices(qapp: Any, finish: Finish) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).normal(40, 4, (24, 28)), name="photo")
    dock = SegmentDock(viewer)
    show(dock, 0)
    dock.review.accept_masks(everywhere=True)
    assert dock.row.words.text() == "Accepted the mask; Ctrl-Z undoes it."
    dock.review.undo_accept()
    assert dock.row.words.text() == "Acceptance undone."
    finish(dock.row)
