"""Axes of layers: the docks and the command line take the same for slices, time and channels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers._source import layer_source
from napari_builtins.io import napari_get_reader
from numpy.typing import NDArray
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.plugin.heatmap.axes_panel import AxesPanel
from napari_cam_sam.plugin.layers.layer_axes import axes_of
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.session import Session, image_record, read_session, write_session

SIZES = {"T": 3, "C": 2, "Z": 5, "Y": 12, "X": 14}
RNG = np.random.default_rng(0)


def array(axes: str) -> NDArray[np.uint16]:
    return RNG.integers(0, 60_000, [SIZES.get(axis, 4) for axis in axes], dtype=np.uint16)


def saved(path: Path, axes: str, kind: str) -> NDArray[np.uint16]:
    data = array(axes)
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": {"axes": axes}}
    tifffile.imwrite(path, data, **options, ome=kind == "ome", imagej=kind == "imagej")
    return data


def opened(path: Path) -> tuple[ViewerModel, ViewerWorkspace]:
    """Open a file as napari's own reader does."""
    viewer = ViewerModel()
    read = napari_get_reader(str(path))
    assert callable(read)
    ((data, *_),) = read(str(path))
    with layer_source(path=str(path), reader_plugin="napari"):
        viewer.add_image(data)
    return viewer, workspace_of(viewer)


@pytest.mark.parametrize(
    ("axes", "kind"),
    [
        ("TZYX", "imagej"), ("TZYX", "ome"), ("CZYX", "ome"), ("ZCYX", "imagej"), ("ZCYX", "ome"),
        ("ZCYX", "shaped"), ("TCYX", "imagej"), ("TCYX", "shaped"), ("CTYX", "ome"),
        ("ZTYX", "shaped"),
    ],
)  # fmt: skip
def test_a_tiff_is_the_same_in_the_docks_and_on_the_command_line(
    tmp_path: Path, qapp: Any, axes: str, kind: str
) -> None:
    path = tmp_path / "a.tif"
    data = saved(path, axes, kind)
    first = "T" if "T" in axes and "Z" in axes else "C"
    slices = "Z" if "Z" in axes else "T"
    viewer, workspace = opened(path)
    row = AxesPanel(workspace)
    layer = viewer.layers[0]
    if axes[0] != first:
        with pytest.raises(CamSamError, match="Reorder axes"):
            workspace.image()
        assert row.apply.isEnabled()
        row.apply.click()
    assert layer.data.shape == tuple(SIZES[axis] for axis in first + slices + "YX")
    for index in range(SIZES[first]):
        viewer.dims.set_point(0, index)
        assert workspace.frame() == index
        expected = read_image(path, index)
        np.testing.assert_array_equal(workspace.image().data, expected.data)
        alone = np.moveaxis(
            data.take(index, axes.index(first)), (axes.replace(first, "")).index(slices), 0
        )
        np.testing.assert_array_equal(expected.data, alone)
        assert expected.spatial_shape == (SIZES[slices], 12, 14)
    workspace.show_plane(0, 2)
    assert workspace.plane() == (0, 2)
    assert ("channel" if first == "C" else "time") in row.words.text()


@pytest.mark.parametrize("axes", ["TCZYX", "TZCYX", "CTZYX"])
def test_of_five_axes_both_are_chosen(tmp_path: Path, qapp: Any, axes: str) -> None:
    path = tmp_path / "a.tif"
    data = saved(path, axes, "shaped")
    expected = np.moveaxis(data, [axes.index(a) for a in "TCZYX"], range(5))
    with pytest.raises(CamSamError, match="3 points in time and 2 channels"):
        read_image(path, 1)
    np.testing.assert_array_equal(read_image(path, 2, channel=1).data, expected[2, 1])
    viewer, workspace = opened(path)
    row = AxesPanel(workspace)
    with pytest.raises(CamSamError, match="Reorder axes"):
        workspace.image()
    row.channel.setValue(1)
    row.apply.click()
    assert len(viewer.layers) == 2
    assert not viewer.layers[0].visible
    viewer.dims.set_point(1, 2)
    assert workspace.frame() == 2
    np.testing.assert_array_equal(workspace.image().data, expected[2, 1])


def test_where_a_file_says_nothing_it_is_asked(tmp_path: Path, qapp: Any) -> None:
    path = tmp_path / "a.tif"
    data = array("ZCYX")
    tifffile.imwrite(path, data, photometric="minisblack")
    with pytest.raises(CamSamError, match="axes QQYX do not say"):
        read_image(path, 0)
    np.testing.assert_array_equal(read_image(path, 1, axes="zcyx").data, data[:, 1])
    np.testing.assert_array_equal(read_image(path, 1, axes="TZYX").data, data[1])
    for wrong in ("ZZYX", "ZYX", "QQYX", "ZCTX"):
        with pytest.raises(CamSamError, match=rf"The axes '?{wrong}"):
            read_image(path, 0, axes=wrong)
    viewer, workspace = opened(path)
    row = AxesPanel(workspace)
    with pytest.raises(CamSamError, match="does not say which of its 4 axes"):
        workspace.image()
    assert not row.apply.isEnabled()
    assert row.choice.set_value("ZCYX")
    row.choice.chosen.emit()
    with pytest.raises(CamSamError, match="Reorder axes"):
        workspace.image()
    row.apply.click()
    viewer.dims.set_point(0, 1)
    np.testing.assert_array_equal(workspace.image().data, data[:, 1])


@pytest.mark.parametrize("labels", [("z", "c", "y", "x"), ("Slice", "Channel", "row", "column")])
def test_labels_of_a_layer_are_heard(qapp: Any, labels: tuple[str, ...]) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(
        array("ZCYX"), axis_labels=labels, scale=(3, 1, 0.5, 0.25), translate=(7, 0, 2, 1)
    )
    workspace = workspace_of(viewer)
    world = layer.data_to_world((1, 1, 2, 3))
    with pytest.raises(CamSamError, match="slices, channels, rows, columns"):
        workspace.image()
    AxesPanel(workspace).put_in_order()
    assert layer.data.shape == (2, 5, 12, 14)
    assert workspace.image().geometry.spacing == (3, 0.5, 0.25)
    moved = layer.data_to_world((1, 1, 2, 3))
    np.testing.assert_allclose([moved[1], moved[0], *moved[2:]], world)


def test_an_array_of_no_origin_is_a_series_and_the_dock_says_so(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(array("TZYX"))
    workspace = workspace_of(viewer)
    assert workspace.image().spatial_shape == (5, 12, 14)
    row = AxesPanel(workspace)
    assert "time, slices, rows, columns" in row.words.text()
    assert not row.choice.isHidden()
    assert row.choice.set_value("CZYX")
    row.choice.chosen.emit()
    assert "channels, slices" in row.words.text()


@pytest.mark.parametrize("axes", ["ZYX", "YX"])
def test_nothing_is_said_where_nothing_is_open(tmp_path: Path, qapp: Any, axes: str) -> None:
    saved(tmp_path / "a.tif", axes, "shaped")
    _, workspace = opened(tmp_path / "a.tif")
    assert AxesPanel(workspace).isHidden()


def test_slices_that_are_points_in_time_are_called_so(tmp_path: Path, qapp: Any) -> None:
    saved(tmp_path / "a.tif", "TYX", "ome")
    _, workspace = opened(tmp_path / "a.tif")
    row = AxesPanel(workspace)
    assert "time points" in row.words.text()
    assert read_image(tmp_path / "a.tif").spatial_shape == workspace.image().spatial_shape


def test_channels_alone_are_no_slices(tmp_path: Path, qapp: Any) -> None:
    data = saved(tmp_path / "a.tif", "CYX", "ome")
    _, workspace = opened(tmp_path / "a.tif")
    row = AxesPanel(workspace)
    with pytest.raises(CamSamError, match="choose a channel"):
        workspace.image()
    row.channel.setValue(1)
    row.apply.click()
    np.testing.assert_array_equal(workspace.image().data, data[1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", 1).data, data[1])
    record = image_record(workspace.image(), workspace.frame())
    assert (record.axes, record.channel, record.frame) == ("CYX", 1, None)


def test_that_napari_passes_a_spacing_over_is_said(tmp_path: Path, qapp: Any) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", array("ZYX"), imagej=True, resolution=(2.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": "microns"},
    )  # fmt: skip
    viewer, workspace = opened(tmp_path / "a.tif")
    row = AxesPanel(workspace)
    assert "states a spacing" in row.words.text()
    viewer.layers[0].units = "mm"
    row.look()
    assert "states a spacing" not in row.words.text()


def test_that_napari_passes_over_that_0_is_white_is_said(tmp_path: Path, qapp: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", array("YX"), photometric="miniswhite")
    _, workspace = opened(tmp_path / "a.tif")
    row = AxesPanel(workspace)
    assert "0 is white" in row.words.text()


def test_colour_and_pyramids_keep_their_last_axis(qapp: Any) -> None:
    viewer = ViewerModel()
    data = RNG.integers(0, 255, (5, 2, 12, 14, 3), dtype=np.uint8)
    layer = viewer.add_image(
        [data, data[..., ::2, ::2, :]], rgb=True, multiscale=True, axis_labels=("z", "c", "y", "x")
    )
    workspace = workspace_of(viewer)
    AxesPanel(workspace).put_in_order()
    assert layer.data[0].shape == (2, 5, 12, 14, 3)
    viewer.dims.set_point(0, 0)
    np.testing.assert_array_equal(workspace.image().data, data[:, 0])
    assert axes_of(layer).letters == "CZYX"


def test_what_was_chosen_is_recorded_and_found_again(tmp_path: Path, qapp: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array("ZCYX"), photometric="minisblack")
    viewer, workspace = opened(path)
    row = AxesPanel(workspace)
    row.choice.set_value("ZCYX")
    row.choice.chosen.emit()
    row.put_in_order()
    viewer.dims.set_point(0, 1)
    record = image_record(workspace.image(), workspace.frame())
    assert (record.axes, record.frame, record.channel) == ("ZCYX", 1, None)
    write_session(tmp_path / "session", Session(record), workspace.image())
    known = read_session(tmp_path / "session").image
    assert known == record
    again = read_image(path, known.frame, channel=known.channel, axes=known.axes)
    assert image_hash(replace(again, path=None)) == record.sha256


def test_a_session_without_a_choice_has_the_fields_that_it_had(tmp_path: Path, qapp: Any) -> None:
    saved(tmp_path / "a.tif", "ZYX", "shaped")
    _, workspace = opened(tmp_path / "a.tif")
    image = workspace.image()
    write_session(tmp_path / "session", Session(image_record(image)), image)
    fields = json.loads((tmp_path / "session" / "session.json").read_text())["image"]
    assert set(fields) == {"name", "path", "sha256", "shape", "spacing", "unit", "frame"}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_that_napari_passes_an_orientation_over_is_said(
    tmp_path: Path, qapp: Any, orientation: int, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    exif = PillowImage.Exif()
    exif[274] = orientation
    PillowImage.fromarray(np.zeros((12, 14), np.uint8)).save(path, exif=exif)
    viewer, workspace = opened(path)
    row = AxesPanel(workspace)
    assert viewer.layers[0].data.shape == (12, 14)
    assert ("orientation tag" in row.words.text()) == (orientation == 6)
    assert row.isHidden() == (orientation == 1)
    assert read_image(path).spatial_shape == ((14, 12) if orientation == 6 else (12, 14))


def test_work_does_not_lose_its_image_to_another_reading_of_the_axes(qapp: Any) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(array("TZYX"))
    workspace = workspace_of(viewer)
    row = AxesPanel(workspace)
    labels = workspace.layers.labels("labels")
    labels.data[1, 2:5, 2:5] = 1
    row.choice.set_value("CZYX")  # another name for the same order
    row.choice.chosen.emit()
    assert axes_of(layer).letters == "CZYX"
    assert workspace.own("labels") is labels
    row.choice.set_value("ZCYX")
    row.choice.chosen.emit()
    assert axes_of(layer).letters == row.choice.value() == "CZYX"
    assert "The axes cannot change while there is work on this image" in row.words.text()
    viewer.layers.remove(labels)
    assert "cannot change" not in row.words.text()
    row.choice.set_value("ZCYX")
    row.choice.chosen.emit()
    row.apply.click()
    assert layer.data.shape == (5, 3, 12, 14)


@pytest.mark.parametrize(("axes", "kind"), [("ZCYX", "ome"), ("TCYX", "ome"), ("CYX", "ome")])
def test_no_two_choices_of_axes_read_alike(tmp_path: Path, qapp: Any, axes: str, kind: str) -> None:
    saved(tmp_path / "a.tif", axes, kind)
    viewer, workspace = opened(tmp_path / "a.tif")
    row = AxesPanel(workspace)
    words = [row.choice.itemText(i) for i in range(row.choice.count())]
    assert len(words) > 2
    assert sorted(set(words)) == sorted(words)
    assert row.choice.value() == axes_of(viewer.layers[0]).letters == axes


def test_the_slice_shown_stays_where_axes_are_put_in_order(tmp_path: Path, qapp: Any) -> None:
    data = saved(tmp_path / "a.tif", "ZCYX", "imagej")
    viewer, workspace = opened(tmp_path / "a.tif")
    row = AxesPanel(workspace)
    viewer.dims.set_current_step((0, 1), (3, 0))
    row.apply.click()
    assert viewer.dims.current_step[:2] == (0, 3)
    assert workspace.plane() == (0, 3)
    np.testing.assert_array_equal(workspace.image().data[3], data[3, 0])
