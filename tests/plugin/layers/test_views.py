"""Axial, coronal and sagittal: which axis, which way up, and the letters, as nibabel says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from numpy.typing import NDArray

from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.heatmap.view_buttons import ViewButtons
from napari_cam_sam.plugin.io.reader import read_nifti_layers
from napari_cam_sam.plugin.layers.views import views_of
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.viewer.attach import workspace_of

# nibabel's codes of the axes (i, j, k): plain, flipped, of both hands, cut along another axis, and
# turned by some degrees.
CODES = ["RAS", "LAS", "LPS", "PSR", "IAL", "oblique"]
VIEWS = ("Axial", "Coronal", "Sagittal")
# Top, bottom, left, right as radiologists hang them.
LETTERS = {"Axial": "APRL", "Coronal": "SIRL", "Sagittal": "SIAP"}


def body() -> NDArray[np.int16]:
    """Give a body in RAS: other grays along each axis, so that no two ways of hanging are alike."""
    i, j, k = np.indices((18, 22, 26))
    return (20 + 4 * i + 3 * j + 2 * k).astype(np.int16)


def saved(code: str, folder: Path) -> Path:
    codes = "LPS" if code == "oblique" else code
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    plain = np.diag([1.0, 1.5, 2.0, 1.0])
    affine = plain @ nib.orientations.inv_ornt_aff(turn, body().shape)
    if code == "oblique":
        a = np.radians(15)
        affine[:3] = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] @ affine[:3]
    image = nib.Nifti1Image(nib.orientations.apply_orientation(body(), turn), affine)
    image.header.set_xyzt_units("mm")
    path = folder / f"{code}.nii"
    nib.save(image, path)
    return path


def opened(viewer: Any, path: Path) -> Any:
    ((values, meta, kind),) = read_nifti_layers(str(path))
    assert kind == "image"
    layer = viewer.add_image(values, **meta)
    workspace_of(viewer).choose_image(layer)
    return layer


def shown_letters(viewer: Any) -> str:
    """Read the letters in the canvas: top, bottom, left, right."""
    found = ""
    for place in ("top_center", "bottom_center", "middle_left", "middle_right"):
        one = viewer.canvas.overlays[f"napari_cam_sam_{place}"]
        found += one.text if one.visible else ""
    return found


needs_letters = pytest.mark.skipif(
    not hasattr(ViewerModel, "model_fields") or "canvas" not in ViewerModel.model_fields,
    reason="the canvas of this napari takes no texts",
)


@pytest.mark.parametrize("code", CODES)
def test_each_button_shows_what_nibabel_says_it_should(
    code: str, qapp: Any, tmp_path: Path
) -> None:
    viewer, path = ViewerModel(), saved(code, tmp_path)
    layer = opened(viewer, path)
    buttons = ViewButtons(workspace_of(viewer))
    codes = nib.aff2axcodes(nib.load(path).affine)[::-1]  # our axes run the other way
    for button, name in zip(buttons.buttons, VIEWS, strict=True):
        assert button.text() == name
        button.click()
        assert [one.isChecked() for one in buttons.buttons] == [n == name for n in VIEWS]
        axis, _ = workspace_of(viewer).plane()
        top, bottom, left, right = LETTERS[name]
        # Along the axis that is not shown runs what has no letter at an edge.
        assert codes[axis] not in LETTERS[name]
        for shown, (low, high) in zip(
            viewer.dims.displayed, ((top, bottom), (left, right)), strict=True
        ):
            step = np.subtract(layer.data_to_world(np.eye(3)[shown]), layer.data_to_world([0] * 3))
            # Down and to the right in the window is up in the world.
            assert codes[shown] == (high if step[shown] > 0 else low)


@needs_letters
@pytest.mark.parametrize("code", ["LAS", "PSR", "oblique"])
def test_the_picture_is_that_of_nibabels_closest_canonical(
    code: str, viewer: Any, tmp_path: Path
) -> None:
    path = saved(code, tmp_path)
    canonical = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    layer = opened(viewer, path)
    layer.contrast_limits, layer.interpolation2d = (0, 255), "nearest"
    viewer.show()
    viewer.reset_view()
    buttons = ViewButtons(workspace_of(viewer))
    # Right to left, front to back, head to feet: what runs to the right and down.
    hung = canonical[::-1, ::-1, ::-1]
    slices = {
        "Axial": lambda i: hung[:, :, i].T,
        "Coronal": lambda i: hung[:, i, :].T,
        "Sagittal": lambda i: hung[i, :, :].T,
    }
    for button, name in zip(buttons.buttons, VIEWS, strict=True):
        button.click()
        shot = viewer.screenshot(canvas_only=True, flash=False)[..., 0].astype(int)
        # The letters are smaller than the body.
        rows, columns = (np.flatnonzero((shot > 15).sum(axis=a) > 40) for a in (1, 0))
        shot = shot[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        down, right = slices[name](0).shape
        seen = shot[
            ((np.arange(down) + 0.5) * shot.shape[0] / down).astype(int)[:, None],
            ((np.arange(right) + 0.5) * shot.shape[1] / right).astype(int),
        ]
        count = hung.shape[2 - VIEWS.index(name)]
        # An even number of slices has two in the middle.
        others = [(np.abs(seen - slices[name](i)) > 1).mean() for i in (count // 2 - 1, count // 2)]
        assert min(others) < 0.03, name  # what the letters lie on


@needs_letters
def test_letters_follow_whoever_turns_the_view(qapp: Any, tmp_path: Path) -> None:
    viewer = ViewerModel()
    opened(viewer, saved("LAS", tmp_path))
    workspace = workspace_of(viewer)
    assert shown_letters(viewer) == "APRL"
    axial, coronal, sagittal = views_of(workspace.image_layer)
    for view, letters in ((coronal, "SIRL"), (sagittal, "SIAP"), (axial, "APRL")):
        workspace.shown.turn(view)
        assert shown_letters(viewer) == letters
    viewer.dims.transpose()
    assert shown_letters(viewer) == "RLAP"
    viewer.scene.camera.orientation2d = ("up", "right")
    assert shown_letters(viewer) == "LRAP"
    viewer.dims.ndisplay = 3
    assert shown_letters(viewer) == ""
    # A button brings all of that back upright.
    workspace.shown.turn(axial)
    assert (viewer.dims.ndisplay, shown_letters(viewer)) == (2, "APRL")
    # They are nobody's layer, and go with the image.
    assert len(viewer.layers) == 1
    viewer.layers.clear()
    assert shown_letters(viewer) == ""


@needs_letters
def test_a_volume_that_is_turned_by_hand_loses_its_letters(qapp: Any, tmp_path: Path) -> None:
    viewer = ViewerModel()
    first = opened(viewer, saved("RAS", tmp_path))
    placed = first.affine
    for name, value in (("scale", (-2, 1.5, 1)), ("rotate", (0, 0, 90)), ("affine", np.eye(4))):
        before = getattr(first, name)
        setattr(first, name, value)
        assert shown_letters(viewer) == "", name
        setattr(first, name, before)
        assert shown_letters(viewer) == "APRL", name
    # Of one that is no longer worked on nothing is heard.
    opened(viewer, saved("LAS", tmp_path))
    first.affine = np.eye(4)
    assert shown_letters(viewer) == "APRL"
    workspace_of(viewer).choose_image(first)
    assert shown_letters(viewer) == ""
    first.affine = placed
    assert shown_letters(viewer) == "APRL"


def test_volumes_without_an_orientation_are_named_by_axis(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 5, 6)), scale=(3, 1, 1), units="mm")
    buttons = ViewButtons(workspace_of(viewer))
    assert [one.text() for one in buttons.buttons] == ["Axis 0", "Axis 1", "Axis 2"]
    for axis, button in enumerate(buttons.buttons):
        button.click()
        assert workspace_of(viewer).plane()[0] == axis
        assert list(viewer.dims.displayed) == [a for a in range(3) if a != axis]


def test_the_slice_seen_before_is_there_again_after_another_view(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 5, 6)))
    workspace = workspace_of(viewer)
    first, second, _ = views_of(workspace.image_layer)
    workspace.show_plane(0, 3)
    workspace.shown.turn(second)
    viewer.dims.set_current_step(1, 4)
    workspace.shown.turn(first)
    assert workspace.plane() == (0, 3)
    workspace.shown.turn(second)
    assert workspace.plane() == (1, 4)


def test_a_series_keeps_its_frame(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 4, 5, 6)))
    viewer.dims.set_current_step(0, 2)
    workspace = workspace_of(viewer)
    for view in views_of(workspace.image_layer):
        workspace.shown.turn(view)
        assert (workspace.plane()[0], workspace.frame()) == (view.axis, 2)


def test_pictures_have_no_views_and_what_is_moved_has_no_sides(viewer: Any, tmp_path: Path) -> None:
    dock = HeatmapDock(viewer)
    assert not dock.views.useful
    viewer.add_image(np.zeros((8, 9)))
    assert not dock.views.useful
    assert dock.views.isHidden()
    layer = opened(viewer, saved("RAS", tmp_path))
    assert dock.views.useful
    assert not dock.views.isHidden()
    assert dock.views.buttons[0].text() == "Axial"
    layer.rotate = (0, 0, 90)
    dock.views.buttons[0].click()
    assert dock.views.buttons[0].text() == "Axis 0"


@pytest.mark.parametrize("code", ["LAS", "PSR", "oblique"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_box_drawn_in_a_view_is_a_mask_on_the_grid_of_the_file(
    code: str, which: int, qapp: Any, tmp_path: Path, finish: Callable[[Any], None]
) -> None:
    viewer, path = ViewerModel(), saved(code, tmp_path)
    volume = nib.load(path)
    values = np.array(volume.dataobj)
    values[...] = 20
    values[3:14, 4:16, 5:19] = 200
    nib.save(nib.Nifti1Image(values, volume.affine, volume.header), path)
    layer = opened(viewer, path)
    workspace = workspace_of(viewer)
    workspace.shown.turn(views_of(layer)[which])
    axis, _ = workspace.plane()
    index = (11, 9, 8)[axis]  # through the middle of it, in our axes
    workspace.show_plane(axis, index)
    lesion = np.argwhere(np.take(layer.data, index, axis) == 200)
    corners = [
        np.insert(lesion.min(0) - 1.0, axis, index),
        np.insert(lesion.max(0) + 1.0, axis, index),
    ]
    boxes = workspace.prompts.create()[1]
    boxes.mode = "add_rectangle"
    draw(viewer, boxes, *corners)
    dock = SegmentDock(viewer)
    dock.segmenter.choose("seeded")
    dock.run.click()
    finish(dock.row)
    dock.review.accept_masks()
    target = tmp_path / "labels.nii.gz"
    dock._to_save().write(target)
    out = nib.load(target)
    np.testing.assert_allclose(out.affine, volume.affine, atol=1e-5)
    labels = np.asarray(out.dataobj)
    there = np.take(labels, index, 2 - axis)  # the file's axes run the other way
    wanted = np.take(values, index, 2 - axis) == 200
    assert overlap(there > 0, wanted).dice > 0.9
    assert np.count_nonzero(labels) == np.count_nonzero(there)


def draw(viewer: Any, layer: Any, first: Any, last: Any) -> None:
    """Drag the mouse in a layer, in the view as it is."""
    event = SimpleNamespace(
        modifiers=(), view_direction=None, up_direction=None, button=1, handled=False,
        dims_displayed=list(viewer.dims.displayed), is_dragging=False,
    )  # fmt: skip
    for kind, place, callbacks in (
        ("mouse_press", first, mouse_press_callbacks),
        ("mouse_move", (first + last) / 2, mouse_move_callbacks),
        ("mouse_move", last, mouse_move_callbacks),
        ("mouse_release", last, mouse_release_callbacks),
    ):
        event.type = kind
        event.position = event.dims_point = layer.data_to_world(place)
        event.pos = 50 * place[list(viewer.dims.displayed)]
        callbacks(layer, event)
