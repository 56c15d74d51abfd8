"""The keys of the workflow, pressed on the canvas of a real window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_cam_sam.plugin.io.sample_data import ct_sample
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.plugin.viewer.key_bindings import KEYS
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point

Press = Callable[[str], None]
ONE = ObjectPrompt(1, (Point(10, 12),), Box(5, 6, 15, 18))
KINDS = ("image", "points", "boxes", "preview")


@pytest.fixture
def workspace(viewer: Any) -> ViewerWorkspace:
    """Give the workspace of a viewer with a volume whose planes 1, 3 and 4 have prompts."""
    pixels = np.random.default_rng(0).normal(40, 4, (6, 24, 28)).astype(np.float32)
    pixels[:, 6:14, 7:17] += 60
    viewer.add_image(pixels, scale=(3, 1, 1), name="scan")
    found = workspace_of(viewer)
    found.show_plane(0, 3)
    return found


@pytest.fixture
def press(viewer: Any, qtbot: Any) -> Press:
    """Press a key, named as in the table of keys, where the image is drawn."""
    native = [w for w in QApplication.allWidgets() if type(w).__name__ == "CanvasBackendDesktop"]
    assert len(native) == 1

    def send(name: str) -> None:
        *held, key = name.split("-")
        modifiers = Qt.KeyboardModifier.NoModifier
        for one in held:
            modifiers |= getattr(Qt.KeyboardModifier, f"{one}Modifier")
        qtbot.keyClick(native[0], getattr(Qt.Key, f"Key_{key}"), modifiers)

    return send


@pytest.fixture
def docks(workspace: ViewerWorkspace, finish: Any, qtbot: Any) -> Any:
    found = PromptsDock(workspace.viewer), SegmentDock(workspace.viewer)
    for dock in found:
        workspace.viewer.window.add_dock_widget(dock)
    found[1].segmenter.choose("seeded")
    found[1].live.setChecked(False)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        workspace.prompts.write(PlanePrompts(0, i, (ONE,)) for i in (1, 3, 4))
    yield found
    finish(found[1].row)


def activate(workspace: ViewerWorkspace, kind: str) -> Any:
    if kind == "preview":
        workspace.layers.labels("preview")
    layer = workspace.image_layer if kind == "image" else workspace.own(kind)
    workspace.viewer.layers.selection.active = layer
    assert workspace.viewer.layers.selection.active == layer
    return layer


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_made_and_accepted_by_keys(
    workspace: ViewerWorkspace, docks: Any, press: Press, finish: Any, kind: str
) -> None:
    segment = docks[1]
    layer = activate(workspace, kind)
    mode = layer.mode
    press("S")
    assert segment.row.busy
    finish(segment.row)
    assert segment.masks.planes(0) == [3]
    mask = workspace.own("preview").data[3].copy()
    assert mask.any()
    press("C")
    np.testing.assert_array_equal(workspace.own("labels").data[3], mask)
    assert segment.masks.planes(0) == []
    press("Shift-S")
    finish(segment.row)
    assert segment.masks.planes(0) == [1, 3, 4]
    press("Shift-T")
    assert segment.row.busy
    finish(segment.row)
    assert segment.masks.planes(0) == [0, 1, 2, 3, 4, 5]
    # napari's own meaning of the keys, a mode, is not had as well.
    assert layer.mode == mode
    assert workspace.viewer.layers.selection.active == layer


@pytest.mark.parametrize("kind", KINDS)
def test_planes_with_prompts_are_gone_through_by_keys(
    workspace: ViewerWorkspace, docks: Any, press: Press, kind: str
) -> None:
    layer = activate(workspace, kind)
    mode = layer.mode
    seen = []
    for key in ("N", "N", "P", "P", "P"):
        press(key)
        seen.append(workspace.plane()[1])
    assert seen == [4, 4, 3, 1, 1]
    assert layer.mode == mode


@pytest.mark.parametrize("kind", KINDS)
def test_points_turn_and_planes_are_cleared_by_keys(
    workspace: ViewerWorkspace, docks: Any, press: Press, kind: str
) -> None:
    prompts = workspace.prompts
    layer = activate(workspace, kind)
    mode = layer.mode
    press("T")
    assert prompts.polarity == "negative"
    prompts.points.add(np.array([[4.0, 20, 20]]))
    prompts.points.selected_data = set()
    press("T")
    assert prompts.polarity == "positive"
    added = Point(20, 20, False)
    assert prompts.read(0, 3).objects[0].points == (*ONE.points, added)
    prompts.points.selected_data = {1}
    press("T")
    assert prompts.polarity == "positive"
    assert [p.positive for p in prompts.read(0, 3).objects[0].points] == [False, False]
    press("Shift-C")
    assert prompts.planes(0) == [1, 4]
    assert prompts.touched() == {(0, 3)}
    assert layer.mode == mode


@pytest.mark.parametrize("kind", ["image", "points", "boxes"])
def test_edits_of_prompts_are_taken_back_by_keys(
    workspace: ViewerWorkspace, docks: Any, press: Press, qtbot: Any, kind: str
) -> None:
    activate(workspace, kind)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        press("Shift-C")
    assert workspace.prompts.planes(0) == [1, 4]
    press("Control-Z")
    assert workspace.prompts.planes(0) == [1, 3, 4]
    assert workspace.prompts.read(0, 3).objects == (ONE,)
    press("Control-Z")
    assert workspace.prompts.planes(0) == []
    press("Control-Shift-Z")
    press("Control-Shift-Z")
    assert workspace.prompts.planes(0) == [1, 4]


def test_labels_keep_their_own_undo(
    workspace: ViewerWorkspace, docks: Any, press: Press, finish: Any
) -> None:
    press("S")
    finish(docks[1].row)
    press("C")
    labels = activate(workspace, "labels")
    before = labels.data.copy()
    assert before.any()
    press("Control-Z")
    assert not labels.data.any()
    assert workspace.prompts.planes(0) == [1, 3, 4]
    press("Control-Shift-Z")
    np.testing.assert_array_equal(labels.data, before)


@pytest.fixture
def placed_and_accepted(
    workspace: ViewerWorkspace, docks: Any, press: Press, finish: Any, qtbot: Any
) -> Any:
    """Place a box on plane 3 and accept its mask; give what moves the box."""
    activate(workspace, "image")
    press("S")
    finish(docks[1].row)
    press("C")
    assert workspace.own("labels").data[3].any()

    def move() -> None:
        boxes = workspace.prompts.boxes
        boxes.data = [one + np.float32([0, 1, 1]) * (i == 1) for i, one in enumerate(boxes.data)]
        assert workspace.prompts.read(0, 3).objects[0].box == Box(6, 7, 16, 19)

    return move


def test_undo_goes_back_through_edits_and_acceptances_in_their_order(
    workspace: ViewerWorkspace, press: Press, placed_and_accepted: Any, qtbot: Any
) -> None:
    prompts, labels = workspace.prompts, workspace.own("labels")
    with qtbot.waitSignal(prompts.settled, timeout=10_000):
        placed_and_accepted()
    press("Control-Z")
    assert prompts.read(0, 3).objects == (ONE,)
    assert labels.data.any()
    press("Control-Z")
    assert prompts.planes(0) == [1, 3, 4]
    assert not labels.data.any()
    press("Control-Z")
    assert prompts.planes(0) == []
    press("Control-Shift-Z")
    press("Control-Shift-Z")
    assert prompts.read(0, 3).objects[0].box == Box(6, 7, 16, 19)


def test_redo_says_that_an_acceptance_is_to_be_accepted_again(
    workspace: ViewerWorkspace,
    press: Press,
    placed_and_accepted: Any,
    docks: Any,
    qtbot: Any,
    notices: list[str],
) -> None:
    prompts = workspace.prompts
    press("Control-Z")
    with qtbot.waitSignal(prompts.settled, timeout=10_000):
        placed_and_accepted()
    press("Control-Z")
    docks[1].review.accept_masks()
    press("Control-Z")
    assert not workspace.own("labels").data.any()
    # The older edit is not what was undone last.
    press("Control-Shift-Z")
    assert prompts.read(0, 3).objects == (ONE,)
    assert notices == ["Accepting cannot be redone: press C to accept again."]
    press("C")
    assert workspace.own("labels").data.any()
    press("Control-Shift-Z")
    assert prompts.read(0, 3).objects[0].box == Box(6, 7, 16, 19)


def test_undo_right_after_a_drag_takes_back_the_drag(
    workspace: ViewerWorkspace, press: Press, placed_and_accepted: Any
) -> None:
    placed_and_accepted()
    press("Control-Z")
    assert workspace.prompts.read(0, 3).objects == (ONE,)
    assert workspace.own("labels").data[3].any()


def test_an_acceptance_right_after_a_drag_is_taken_back_first(
    workspace: ViewerWorkspace, docks: Any, press: Press, finish: Any, placed_and_accepted: Any
) -> None:
    press("S")
    finish(docks[1].row)
    placed_and_accepted()
    docks[1].review.accept_masks()
    press("Control-Z")
    assert workspace.masks.planes(0) == [3]
    assert workspace.prompts.read(0, 3).objects[0].box == Box(6, 7, 16, 19)


def test_a_key_with_no_plane_ahead_says_so(
    workspace: ViewerWorkspace, docks: Any, press: Press, notices: list[str]
) -> None:
    activate(workspace, "image")
    workspace.show_plane(0, 4)
    press("N")
    assert notices == ["No slice after this one has prompts."]
    workspace.show_plane(0, 1)
    press("P")
    assert notices[1:] == ["No slice before this one has prompts."]


def test_other_layers_keep_their_own_keys(
    workspace: ViewerWorkspace, docks: Any, press: Press
) -> None:
    other = workspace.viewer.add_points(np.zeros((1, 3)))
    workspace.viewer.layers.selection.active = other
    press("S")
    assert other.mode == "select"
    assert not docks[1].row.busy


def test_keys_without_their_dock_say_which_to_open(
    workspace: ViewerWorkspace, press: Press, notices: list[str]
) -> None:
    workspace.prompts.write([PlanePrompts(0, 3, (ONE,))])
    workspace.viewer.layers.selection.active = workspace.image_layer
    for key, dock in (("S", "Segment"), ("Shift-S", "Segment"), ("C", "Segment"),
                      ("Shift-T", "Segment"), ("T", "Prompts"),
                      ("Shift-C", "Prompts")):  # fmt: skip
        notices.clear()
        press(key)
        assert len(notices) == 1
        assert f"CAM to SAM → {dock}." in notices[0]
    # These need none.
    notices.clear()
    press("Control-Z")
    assert workspace.prompts.planes(0) == []
    assert notices == []


def test_in_three_dimensions_a_key_says_why_it_does_nothing(
    workspace: ViewerWorkspace, docks: Any, press: Press, notices: list[str]
) -> None:
    workspace.viewer.layers.selection.active = workspace.image_layer
    workspace.viewer.dims.ndisplay = 3
    press("N")
    assert any("switch to 2D" in notice for notice in notices)
    press("S")
    assert "switch to 2D" in docks[1].row.words.text()
    assert not docks[1].row.busy


def truth_over_an_image() -> tuple[ViewerModel, Any, Any]:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((6, 24, 28)))
    return viewer, image, viewer.add_labels(np.zeros((6, 24, 28), np.uint8), visible=False)


def test_the_image_is_active_once_a_dock_is_open(qapp: Any, qtbot: Any) -> None:
    viewer, image, truth = truth_over_an_image()
    selection = viewer.layers.selection
    assert selection.active is truth
    workspace_of(viewer)
    qtbot.waitUntil(lambda: selection.active is image)
    # From then on it is the user's choice.
    selection.active = truth
    image.data = np.ones((6, 24, 28))
    QApplication.processEvents()
    assert selection.active is truth


def test_a_sample_opened_after_the_dock_has_its_image_active(qapp: Any, qtbot: Any) -> None:
    viewer = ViewerModel()
    workspace_of(viewer)
    for data, meta, kind in ct_sample():
        getattr(viewer, f"add_{kind}")(data, **meta)
    qtbot.waitUntil(lambda: viewer.layers.selection.active is viewer.layers[0])


@pytest.mark.parametrize("edited", ["painted", "ours", "several"])
def test_a_layer_that_the_user_edits_stays_active(qapp: Any, edited: str) -> None:
    viewer, _, truth = truth_over_an_image()
    truth.visible = True
    selection = viewer.layers.selection
    if edited == "painted":
        truth.mode = "paint"
    elif edited == "several":
        selection.select_only(truth)
        selection.add(viewer.layers[0])
    workspace = workspace_of(viewer)
    if edited == "ours":
        workspace.prompts.create()
    before = set(selection)
    QApplication.processEvents()
    assert set(selection) == before


@pytest.mark.parametrize("kind", KINDS)
def test_r_begins_a_box_whatever_layer_is_active(
    workspace: ViewerWorkspace, docks: Any, press: Press, kind: str
) -> None:
    activate(workspace, kind)
    press("R")
    boxes = workspace.own("boxes")
    assert workspace.viewer.layers.selection.active == boxes
    assert boxes.mode == "add_rectangle"


def test_every_key_is_bound_on_the_viewer(workspace: ViewerWorkspace) -> None:
    bound = {
        str(key).replace("+", "-").replace("Ctrl", "Control") for key in workspace.viewer.keymap
    }
    assert set(KEYS) <= bound
