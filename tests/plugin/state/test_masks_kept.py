"""Masks that are not accepted yet: on other frames, along other axes, in another session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication

from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, single_candidate
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.session import Session, image_record, replay


def put(workspace: ViewerWorkspace, *indices: int) -> None:
    """Show a square on planes along axis 0, as one that no prompt makes."""
    _, *shape = workspace.image().spatial_shape
    square = np.zeros(shape, bool)
    square[4:12, 5:15] = True
    for index in indices:
        found = (single_candidate(1, square, None),)
        workspace.masks.put(
            PlaneMasks(
                PlanePrompts(0, index), found, (0,), "seeded", "0" * 64, (0.0, 1.0),
                source="propagated",
            )
        )  # fmt: skip


def seen(workspace: ViewerWorkspace) -> list[int]:
    """List the planes along axis 0 that the preview has masks on."""
    layer = workspace.own("preview")
    return [] if layer is None else np.flatnonzero(layer.data.any(axis=(1, 2))).tolist()


def turn(workspace: ViewerWorkspace, axis: int) -> None:
    workspace.show_plane(axis, 2)
    workspace.shown.look_at_plane()


@pytest.fixture
def series(qapp: object) -> ViewerWorkspace:
    """Give two frames of six planes."""
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((2, 6, 20, 24)), name="series")
    workspace = workspace_of(viewer)
    go(workspace, 0)
    return workspace


def go(workspace: ViewerWorkspace, frame: int) -> None:
    workspace.viewer.dims.set_point(0, frame)
    workspace.shown.look_at_plane()


def test_a_session_brings_its_own_masks_in_place_of_those_that_are_not_accepted(
    workspace: ViewerWorkspace, tmp_path: Path
) -> None:
    put(workspace, 2)
    workspace.masks.accept(0, [2], "keep")
    for index, step in ((3, workspace.sessions.save), (4, workspace.sessions.open)):
        put(workspace, index)
        step(tmp_path / "session")
        for _ in range(3):
            QThreadPool.globalInstance().waitForDone()
            QApplication.processEvents()
    assert workspace.own("labels").data[2].any()
    assert workspace.masks.planes(0) == seen(workspace) == [3]


def test_masks_come_back_with_their_frame(series: ViewerWorkspace) -> None:
    put(series, 2, 3)
    go(series, 1)
    assert series.masks.planes(0) == seen(series) == []
    put(series, 4)
    go(series, 0)
    assert series.masks.planes(0) == seen(series) == [2, 3]
    go(series, 1)
    assert series.masks.planes(0) == seen(series) == [4]


def test_masks_come_back_with_their_image(workspace: ViewerWorkspace) -> None:
    first = workspace.image_layer
    put(workspace, 2)
    workspace.choose_image(workspace.viewer.add_image(np.zeros((4, 20, 24)), name="other"))
    assert workspace.masks.planes(0) == seen(workspace) == []
    workspace.choose_image(first)
    assert workspace.masks.planes(0) == seen(workspace) == [2]


def test_no_layer_is_removed_where_a_frame_is_left(series: ViewerWorkspace) -> None:
    """Others are hidden then: the canvas drew from what was deleted, and the process crashed."""
    put(series, 2)
    gone: list[str] = []
    series.viewer.layers.events.removed.connect(lambda event: gone.append(event.value.name))
    first = series.own("preview")
    go(series, 1)
    assert series.own("preview") is first
    assert first.visible
    assert seen(series) == []
    put(series, 4)
    go(series, 0)
    assert seen(series) == [2]
    first.visible = False  # by the user: it stays hidden
    go(series, 1)
    assert seen(series) == [4]
    assert not first.visible
    assert gone == []
    assert len(series.layers.of_role("preview")) == 1
    series.viewer.layers.remove(first)
    QApplication.processEvents()  # the list of layers is at rest again
    assert series.masks.held() == []
    go(series, 0)
    assert seen(series) == [2]


def test_masks_of_old_pixels_do_not_come_back_on_any_frame(series: ViewerWorkspace) -> None:
    put(series, 2)
    go(series, 1)
    put(series, 4)
    series.image_layer.data = series.image_layer.data + 1
    assert series.masks.planes(0) == seen(series) == []
    go(series, 0)
    assert series.masks.planes(0) == seen(series) == []


def test_a_preview_that_the_user_removes_takes_its_masks_along(workspace: ViewerWorkspace) -> None:
    put(workspace, 2)
    workspace.viewer.layers.remove(workspace.own("preview"))
    assert workspace.masks.planes(0) == []


def test_masks_taken_back_lie_not_across_another_axis(workspace: ViewerWorkspace) -> None:
    put(workspace, 2, 3)
    workspace.masks.accept(0, [2], "keep")
    turn(workspace, 1)
    workspace.masks.undo_accept()
    assert workspace.masks.planes(0) == [2, 3]
    assert seen(workspace) == []
    turn(workspace, 0)
    assert seen(workspace) == [2, 3]


def test_a_newer_mask_stays_where_an_acceptance_is_undone(workspace: ViewerWorkspace) -> None:
    masks = workspace.masks
    put(workspace, 2, 3)
    masks.accept(0, [2, 3], "keep")
    newer = np.zeros(workspace.image().plane_shape(0), bool)
    newer[0, 0] = True
    found = (single_candidate(1, newer, None),)
    masks.put(PlaneMasks(PlanePrompts(0, 2), found, (0,), "seeded", "0" * 64, (0.0, 1.0)))
    assert masks.undo_accept() == 2
    assert not workspace.own("labels").data.any()
    shown = masks.get(0, 2)
    assert shown is not None
    np.testing.assert_array_equal(shown.masks()[1], newer)
    np.testing.assert_array_equal(workspace.own("preview").data[2], newer)
    assert seen(workspace) == masks.planes(0) == [2, 3]


def test_the_mask_accepted_last_of_an_object_stands_for_its_prompts(
    workspace: ViewerWorkspace,
) -> None:
    masks, shape = workspace.masks, workspace.image().plane_shape(0)

    def accept(object_id: int, size: int) -> PlanePrompts:
        square = np.zeros(shape, bool)
        square[:size, :size] = True
        box = ObjectPrompt(object_id, (), Box(0, 0, size, size))
        prompts, found = PlanePrompts(0, 2, (box,)), (single_candidate(object_id, square, None),)
        masks.put(PlaneMasks(prompts, found, (0,), "seeded", "0" * 64, (0.0, 1.0)))
        assert masks.accept(0, [2], "overwrite") == 1
        return prompts

    large, small, other = accept(1, 9), accept(1, 5), accept(2, 2)
    assert [masks.stands_for(one) for one in (large, small, other)] == [False, True, True]


def test_a_mask_that_is_dropped_just_as_the_view_turns_is_not_left_across(
    workspace: ViewerWorkspace,
) -> None:
    put(workspace, 2, 3)
    workspace.show_plane(1, 5)
    workspace.masks.drop(0, 3)
    turn(workspace, 1)
    assert seen(workspace) == []
    turn(workspace, 0)
    assert seen(workspace) == [2]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_every_axis_pixels_painted_since_an_acceptance_stay(
    workspace: ViewerWorkspace, axis: int
) -> None:
    turn(workspace, axis)
    image, masks = workspace.image(), workspace.masks
    mask = np.zeros(image.plane_shape(axis), bool)
    mask[1:4, 5:9] = True
    found = (single_candidate(3, mask, None),)
    masks.put(
        PlaneMasks(
            PlanePrompts(axis, 2), found, (0,), "seeded", "0" * 64, (0.0, 1.0), source="propagated"
        )
    )  # fmt: skip
    masks.accept(axis, [2], "keep")
    labels = workspace.own("labels")
    plane = labels.data[image.plane_index(axis, 2)]
    np.testing.assert_array_equal(plane, 3 * mask)
    assert np.count_nonzero(labels.data) == mask.sum()
    plane[2, 6] = 7
    assert len(masks.standing()) == 1
    masks.undo_accept()
    assert np.argwhere(plane).tolist() == [[2, 6]]
    masks.accept(axis, [2], "keep")
    masks.restore(masks.accepted)
    assert len(masks.standing()) == 1
    plane[plane == 3] = 0
    assert masks.standing() == ()


def accept_rows(workspace: ViewerWorkspace, axis: int, index: int, rows: slice) -> None:
    """Accept some rows of a slice as object 1."""
    mask = np.zeros(workspace.image().plane_shape(axis), bool)
    mask[rows] = True
    prompts = PlanePrompts(axis, index, (ObjectPrompt(1, (), Box(0, 0, 4, 4)),))
    found = (single_candidate(1, mask, None),)
    workspace.masks.put(PlaneMasks(prompts, found, (0,), "seeded", "0" * 64, (0.0, 1.0)))
    assert workspace.masks.accept(axis, [index], "keep") == 1


def test_a_mask_of_another_view_takes_nothing_from_what_was_accepted_or_painted(
    workspace: ViewerWorkspace,
) -> None:
    accept_rows(workspace, 0, 2, slice(4, 12))
    labels = workspace.own("labels")
    axial = labels.data.copy()
    labels.data_setitem((np.array([4]), np.array([6]), np.array([3])), 1)
    accept_rows(workspace, 1, 6, slice(3, 4))  # crosses it, and holds none of its voxels
    assert labels.data[axial == 1].all()
    assert labels.data[4, 6, 3] == 1
    # The first slice again, smaller: its own old voxels go, those of the other view stay.
    accept_rows(workspace, 0, 3, slice(0, 2))
    assert labels.data[3, 6].all()
    accept_rows(workspace, 0, 2, slice(10, 12))
    assert not labels.data[2, :10].any()
    # And each step is taken back.
    for _ in range(4):
        workspace.masks.undo_accept()
    assert np.argwhere(labels.data).tolist() == [[4, 6, 3]]


def test_a_session_run_again_gives_the_labels_of_several_views(
    workspace: ViewerWorkspace,
) -> None:
    masks, shapes = workspace.masks, workspace.image()
    for axis, index, rows in ((0, 2, 8), (1, 3, 4), (2, 5, 5), (0, 2, 2), (1, 3, 1)):
        mask = np.zeros(shapes.plane_shape(axis), bool)
        mask[:rows] = True
        found = (single_candidate(1, mask, None),)
        masks.put(
            PlaneMasks(
                PlanePrompts(axis, index), found, (0,), "seeded", "0" * 64, (0.0, 1.0),
                source="propagated",
            )
        )  # fmt: skip
        masks.accept(axis, [index], "keep")
    session = Session(image_record(shapes), accepted=tuple(masks.accepted))
    np.testing.assert_array_equal(replay(session, shapes), workspace.own("labels").data)
