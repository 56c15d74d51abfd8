"""Widths of lines follow the view, and the truth gets a look of its own; no window needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.layers.styles import LABELS, PROMPTS, TRUTH
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

VOXELS = np.array([6.5, 0.78, 0.78])


def camera(viewer: Any) -> Any:
    return getattr(viewer, "scene", viewer).camera


@pytest.fixture
def viewer() -> Any:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((25, 256, 256), np.int16), scale=VOXELS, name="brain")
    return viewer


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("zoom", [0.5, 3.0, 20.0])
def test_boxes_of_a_volume_are_thin_lines_along_every_axis(
    viewer: Any, axis: int, zoom: float
) -> None:
    workspace = workspace_of(viewer)
    box = ObjectPrompt(1, box=Box(2, 3, 12, 13))
    workspace.prompts.write([PlanePrompts(axis, 5, (box,))])
    boxes = workspace.prompts.boxes
    workspace.show_plane(axis, 5)
    camera(viewer).zoom = zoom
    workspace.looks.look()
    (width,) = boxes.edge_width
    assert boxes.current_edge_width == width
    # What the two pairs of lines of a box take of the screen.
    lines = np.sort(width * zoom * np.delete(VOXELS, axis))
    assert lines[0] >= 1 - 1e-9
    assert lines[1] == pytest.approx(max(PROMPTS.line, lines[1] / lines[0]))


def test_an_outline_follows_the_zoom_until_the_user_sets_its_width(viewer: Any) -> None:
    workspace = workspace_of(viewer)
    preview = workspace.layers.labels("preview")
    for zoom, contour in ((0.5, 8), (1.3, 3), (50, 1), (0.5, 8)):
        camera(viewer).zoom = zoom
        workspace.looks.look()
        assert preview.contour == contour
    preview.contour = 0
    boxes = workspace.prompts.create()[1]
    workspace.looks.look()
    boxes.current_edge_width = 4
    camera(viewer).zoom = 1.3
    workspace.looks.look()
    assert preview.contour == 0
    assert boxes.current_edge_width == 4


def test_outlines_are_thin_along_every_axis_of_thick_slices(viewer: Any) -> None:
    workspace = workspace_of(viewer)
    preview = workspace.layers.labels("preview")
    truth = viewer.add_labels(np.ones((25, 256, 256), np.uint8), scale=VOXELS, name="truth")
    for axis, order in ((0, None), (1, None), (2, None), (2, (2, 1, 0))):
        workspace.show_plane(axis, 5)
        if order is not None:
            viewer.dims.order = order
        camera(viewer).zoom = 3
        workspace.looks.look()
        pixels = 3 * VOXELS[list(viewer.dims.displayed)]
        for layer, wanted in ((preview, LABELS["preview"].line), (truth, TRUTH.line)):
            lines = pixels / layer.parts * layer.contour
            assert (lines > wanted / 2).all()
            assert (lines < wanted * 2).all()


def test_a_copy_that_napari_makes_of_masks_is_left_as_it_is(viewer: Any) -> None:
    workspace = workspace_of(viewer)
    preview = workspace.layers.labels("preview")
    copy = viewer._add_layer_from_data(*preview.as_layer_data_tuple())[0]
    assert type(copy) is not type(preview)
    camera(viewer).zoom = 0.5
    workspace.looks.look()
    assert preview.contour == 8


def test_zooming_is_followed_by_itself(viewer: Any, qtbot: Any) -> None:
    workspace = workspace_of(viewer)
    preview = workspace.layers.labels("preview")
    camera(viewer).zoom = 0.5
    qtbot.waitUntil(lambda: preview.contour == 8)
    camera(viewer).zoom = 20
    qtbot.waitUntil(lambda: preview.contour == 1)


def test_labels_get_the_look_of_the_truth_once_they_are_it(viewer: Any) -> None:
    workspace = workspace_of(viewer)
    looks, camera(viewer).zoom = workspace.looks, 1.0
    lesion = np.zeros((25, 256, 256), np.uint8)
    empty = viewer.add_labels(lesion.copy(), scale=VOXELS, name="mine")
    looks.look()
    # What was just added to paint in.
    assert empty.contour == 0
    lesion[3:6, 50:90, 50:90] = 1
    truth = viewer.add_labels(lesion, scale=VOXELS, name="truth")
    looks.look()
    assert truth.contour == 2
    assert truth.get_color(1)[:3] == pytest.approx([0, 0xE5 / 255, 1], abs=1e-6)
    assert truth.data is lesion
    truth.contour = 0
    camera(viewer).zoom = 0.5
    looks.look()
    assert truth.contour == 0
    assert empty.contour == 0


def test_labels_that_masks_are_accepted_into_stay_filled(viewer: Any) -> None:
    workspace = workspace_of(viewer)
    mine = viewer.add_labels(np.ones((25, 256, 256), np.uint8), scale=VOXELS, name="mine")
    workspace.masks.target = mine
    workspace.looks.look()
    assert (mine.contour, mine.opacity) == (0, 0.7)
    workspace.masks.target = None
    workspace.looks.look()
    assert mine.contour >= 1
    assert TRUTH.line < 2


def test_a_heatmap_lies_below_masks_and_truth_which_keep_their_colours(viewer: Any) -> None:
    workspace = workspace_of(viewer)
    viewer.add_image(np.zeros((25, 256, 256), np.int16), scale=VOXELS, name="another")
    viewer.add_labels(np.ones((25, 256, 256), np.uint8), scale=VOXELS, name="truth")
    viewer.add_shapes(ndim=3, scale=VOXELS, name="sketch")
    workspace.prompts.create()
    workspace.layers.labels("labels")
    workspace.heatmaps.layer(0, create=True)
    workspace.layers.labels("preview")
    names = [layer.name.split(" of ")[0] for layer in viewer.layers]
    assert names == [
        "brain", "another", "heatmap", "truth", "sketch", "labels", "mask preview", "boxes",
        "points",
    ]  # fmt: skip


def test_a_heatmap_lies_below_a_truth_whose_image_is_put_out_of_sight(viewer: Any) -> None:
    workspace = workspace_of(viewer)
    viewer.add_labels(np.ones((25, 256, 256), np.uint8), scale=VOXELS, name="truth")
    viewer.add_image(np.zeros((25, 256, 256), np.int16), name="mask", visible=False)
    workspace.heatmaps.layer(0, create=True)
    names = [layer.name.split(" of ")[0] for layer in viewer.layers]
    assert names == ["brain", "heatmap", "truth", "mask"]
