"""Which plane is shown, and what a layer is as an image; no window needed."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import frame_shown, image_of, own_layer, plane_shown
from napari_cam_sam.plugin.viewer.attach import workspace_of


@pytest.mark.parametrize(("order", "axis"), [((0, 1, 2), 0), ((1, 0, 2), 1), ((2, 0, 1), 2)])
def test_the_axis_follows_the_view_and_the_index_the_scale(
    order: tuple[int, ...], axis: int
) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 5, 6)), scale=(3, 2, 1), translate=(7, -2, 30))
    viewer.dims.order = order
    for index in (0, 2, 3):
        viewer.dims.set_current_step(axis, index)
        assert plane_shown(viewer, layer) == (axis, index)


def test_a_flipped_volume_and_one_that_is_turned_a_little() -> None:
    for where in ({"scale": (-2, 1, 1), "translate": (10, 0, 0)}, {"rotate": (0, 20, 0)}):
        viewer = ViewerModel()
        layer = viewer.add_image(np.zeros((4, 5, 6)), **where)
        viewer.dims.set_point(range(3), layer.data_to_world((3, 2, 2)))
        assert plane_shown(viewer, layer) == (0, 3)


def test_planes_of_a_permuted_volume_are_worked_on_where_the_viewer_shows_them() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 5, 6)), affine=np.eye(4)[[1, 0, 2, 3]], name="scan")
    for axis in (0, 1):
        viewer.dims.order = (axis, 1 - axis, 2)
        with pytest.raises(CamSamError, match="scan is turned so far"):
            plane_shown(viewer, layer)
    workspace_of(viewer).show_plane(2, 3)
    assert plane_shown(viewer, layer) == (2, 3)


def test_units_of_the_viewer_and_of_the_layer_may_differ() -> None:
    viewer = ViewerModel()
    if not hasattr(viewer.dims, "units"):
        pytest.skip("this napari has one unit for all layers")
    coarse = viewer.add_image(np.zeros((4, 5, 6)), scale=(3, 1, 1), units="mm")
    fine = viewer.add_image(np.zeros((40, 50, 60)), scale=(300, 100, 100), units="um")
    viewer.dims.set_point(0, float((6 * coarse.units[0]).to(viewer.dims.units[0]).magnitude))
    assert plane_shown(viewer, coarse) == (0, 2)
    assert plane_shown(viewer, fine) == (0, 20)


def test_where_the_viewer_stands_outside_the_nearest_plane_counts() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((3, 8, 8)))
    viewer.add_image(np.zeros((30, 8, 8)))
    viewer.dims.set_current_step(0, 25)
    assert plane_shown(viewer, layer) == (0, 2)


def test_series_over_time() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.arange(3)[:, None, None, None] * np.ones((3, 4, 5, 6)))
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 1)
    assert frame_shown(viewer, layer) == 2
    assert plane_shown(viewer, layer) == (0, 1)
    assert image_of(layer, 2).plane(0, 1).max() == 2
    with pytest.raises(CamSamError, match="choose a frame"):
        image_of(layer)
    viewer.dims.order = (1, 2, 0, 3)
    with pytest.raises(CamSamError, match="along time"):
        plane_shown(viewer, layer)


def test_three_dimensional_display_shows_no_plane() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((3, 8, 8)))
    viewer.dims.ndisplay = 3
    with pytest.raises(CamSamError, match="switch to 2D"):
        plane_shown(viewer, layer)


def test_pyramids_colour_and_lazy_layers_are_images() -> None:
    viewer = ViewerModel()
    levels = [np.zeros((3, 8, 8)), np.zeros((3, 4, 4))]
    assert image_of(viewer.add_image(levels, multiscale=True)).spatial_shape == (3, 8, 8)
    assert image_of(viewer.add_image(np.zeros((8, 9, 3), np.uint8), rgb=True)).rgb
    lazy = image_of(viewer.add_image(da.zeros((5, 8, 9), chunks=(1, 8, 9))))
    assert isinstance(lazy.data, da.Array)


def test_own_layers_are_known_by_their_mark_not_their_name() -> None:
    viewer = ViewerModel()
    source = viewer.add_image(np.zeros((8, 8)), name="scan")
    mark = {"napari_cam_sam": {"role": "heatmap", "of": source.unique_id}}
    heat = viewer.add_image(np.zeros((8, 8)), name="x", metadata=mark)
    heat.name = source.name = "renamed"
    assert own_layer(viewer, "heatmap", source) is heat
    assert own_layer(viewer, "masks", source) is None


def test_each_frame_and_each_image_has_its_own_window(qapp: Any) -> None:
    viewer = ViewerModel()
    random = np.random.default_rng(0)
    series = 10 * np.arange(3)[:, None, None, None] + random.random((3, 4, 8, 8))
    layer = viewer.add_image(series, name="series")
    workspace = workspace_of(viewer)
    for frame in (0, 1, 2, 0):
        viewer.dims.set_current_step(0, frame)
        window = workspace.snapshot().window()
        assert 10 * frame <= window.low < window.high <= 10 * frame + 1
    for low in (30, 40):
        viewer.layers.remove(layer)
        layer = viewer.add_image(low + random.random((4, 8, 8)))
        assert low <= workspace.snapshot().window().low


def test_a_snapshot_is_of_the_data_that_were_there(model: ViewerModel) -> None:
    workspace = workspace_of(model)
    snapshot = workspace.snapshot()
    assert workspace.is_current(snapshot)
    layer = workspace.image_layer
    layer.data = np.flip(layer.data)
    assert not workspace.is_current(snapshot)
    again = workspace.snapshot()
    # Another image and back: what runs for the first opening may have been told to stop.
    other = model.add_image(np.zeros((4, 5, 6)))
    workspace.choose_image(other)
    workspace.choose_image(layer)
    assert not workspace.is_current(again)
    assert workspace.is_current(workspace.snapshot())


def test_layers_come_back_with_their_frame_but_for_those_the_user_hid(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((2, 4, 20, 24)), name="series")
    workspace = workspace_of(viewer)

    def go(order: tuple[int, ...], frame: int) -> None:
        viewer.dims.order = order
        viewer.dims.set_point(0, frame)
        workspace.shown.look_at_plane()

    along_0, along_1 = (0, 1, 2, 3), (0, 2, 1, 3)
    go(along_0, 0)
    labels = workspace.layers.labels("labels")
    first = workspace.heatmaps.layer(0, create=True)
    go(along_1, 0)
    second = workspace.heatmaps.layer(1, create=True)
    go(along_0, 0)
    labels.visible = False

    def seen() -> list[bool]:
        return [layer.visible for layer in (labels, first, second)]

    assert seen() == [False, True, False]
    go(along_0, 1)
    assert seen() == [False, False, False]
    go(along_0, 0)
    assert seen() == [False, True, False]
    # Turned while it was away: it comes back with what lies along the axis shown.
    go(along_0, 1)
    go(along_1, 1)
    go(along_1, 0)
    assert seen() == [False, False, True]
    first.visible, second.visible, labels.visible = False, False, True
    go(along_1, 1)
    go(along_1, 0)
    assert seen() == [True, False, False]


def test_layers_of_a_frame_that_a_shorter_series_has_not_are_put_away(qapp: Any) -> None:
    viewer = ViewerModel()
    series = np.random.default_rng(0).random((2, 4, 20, 24))
    layer = viewer.add_image(series, name="series")
    workspace = workspace_of(viewer)
    viewer.dims.set_point(0, 1)
    workspace.shown.look_at_plane()
    labels = workspace.layers.labels("labels")
    assert labels.visible
    layer.data = series[:1]
    workspace.shown.look_at_plane()
    assert workspace.frame() == 0
    assert not labels.visible


def test_a_heatmap_that_the_user_hid_stays_hidden_when_the_view_is_turned(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 20, 24)))
    workspace = workspace_of(viewer)

    def turn(axis: int) -> None:
        workspace.show_plane(axis, 2)
        workspace.shown.look_at_plane()

    turn(0)
    heatmap = workspace.heatmaps.layer(0, create=True)
    heatmap.visible = False
    turn(1)
    turn(0)
    assert not heatmap.visible
    # One that a heatmap along another axis put away comes back.
    heatmap.visible = True
    turn(1)
    workspace.heatmaps.layer(1, create=True)
    turn(0)
    assert heatmap.visible


def test_turning_over_one_image_is_not_for_the_heatmaps_of_another(qapp: Any) -> None:
    viewer = ViewerModel()
    first = viewer.add_image(np.zeros((4, 20, 24)))
    workspace = workspace_of(viewer)

    def turn(axis: int) -> None:
        workspace.show_plane(axis, 2)
        workspace.shown.look_at_plane()

    turn(0)
    heatmap = workspace.heatmaps.layer(0, create=True)
    workspace.choose_image(viewer.add_image(np.ones((4, 20, 24))))
    turn(1)
    turn(0)
    assert not heatmap.visible  # it went with its image, and comes with it
    # Chosen again while the view is turned, what lies across it is put away.
    turn(1)
    workspace.choose_image(first)
    workspace.shown.look_at_plane()
    assert not heatmap.visible
    turn(0)
    assert heatmap.visible


def test_a_series_that_gets_shorter_in_three_dimensions_is_no_error(qapp: Any) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((3, 4, 20, 24)))
    workspace = workspace_of(viewer)
    viewer.dims.set_point(0, 2)
    workspace.shown.look_at_plane()
    viewer.dims.ndisplay = 3
    workspace.shown.look_at_plane()
    layer.data = np.zeros((2, 4, 20, 24))
    assert workspace.frame() == 1
