"""Segmentation networks in the heatmap dock: which pixels are explained, and whole volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cam.volume_heatmaps import compute_volume_heatmap
from napari_cam_sam.models import factories
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.layers.conversion import image_of
from napari_cam_sam.plugin.layers.drawn_regions import region_of
from napari_cam_sam.plugin.qt.tasks import report_steps
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.sam.segmenter import Cancelled

Finish = Callable[[Any], None]


class Bright(nn.Module):
    """A network that knows one class, what is bright, from one layer of two features."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        convolution = nn.Conv3d if dims == 3 else nn.Conv2d
        self.features = convolution(1, 2, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, *[1] * dims))
        self.card = {
            "num_classes": 1,
            "class_names": ["bright"],
            "spatial_dims": dims,
            "input_size": [16] * dims,
            "layers": ["features"],
        }

    def forward(self, x: Tensor) -> Tensor:
        both = self.features(x)
        return 10 * (both[:, :1] - 0.5)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let factories of the names ``nets:planes`` and ``nets:volumes`` be found."""

    def make(name: str, **_: Any) -> nn.Module:
        return Bright({"nets:planes": 2, "nets:volumes": 3}[name])

    for module in ("napari_cam_sam.models.loading", "napari_cam_sam.models.segmentation"):
        monkeypatch.setattr(f"{module}.call_factory", make)
    assert factories.is_factory("nets:planes")


@pytest.fixture
def viewer(qapp: Any) -> ViewerModel:
    """Give a viewer with a volume of two bright blocks, of other spacings in other directions."""
    viewer = ViewerModel()
    pixels = np.zeros((6, 16, 16), np.uint8)
    pixels[2:5, 3:6, 4:9] = 255
    pixels[2:5, 10:12, 11:13] = 200
    viewer.add_image(pixels, scale=(3, 1, 0.5), units="mm", name="scan")
    workspace_of(viewer).show_plane(0, 3)
    return viewer


@pytest.fixture
def dock(viewer: ViewerModel, networks: None, finish: Finish) -> Iterator[HeatmapDock]:
    widget = HeatmapDock(viewer)
    widget.least.set_value(0)
    widget.method.set_value("hires-cam")
    yield widget
    widget.follow.setChecked(False)
    finish(widget.row)


def load(dock: HeatmapDock, name: str, finish: Finish) -> None:
    dock.choose(name)
    dock.load()
    finish(dock.row)


def values(dock: HeatmapDock, role: str = "heatmap", axis: int = 0) -> Any:
    return dock.workspace.own(role, axis).data


def expected(viewer: ViewerModel, pixel_set: PixelSet, region: Any = None, index: int = 3) -> Any:
    parameters = CamParameters(method="hires-cam", target="bright", pixel_set=pixel_set)
    plane = viewer.layers["scan"].data[index]
    regions = None if region is None else [region]
    (found,) = compute_heatmaps(load_model("nets:planes"), [plane], parameters, regions=regions)
    return found


def compute(dock: HeatmapDock, finish: Finish) -> None:
    dock.compute()
    finish(dock.row)


def test_pixels_are_asked_for_where_a_network_segments(dock: HeatmapDock, finish: Finish) -> None:
    load(dock, "lesion", finish)
    assert dock.pixels.isHidden()
    load(dock, "nets:planes", finish)
    assert not dock.pixels.isHidden()
    assert not dock.planes.isHidden()
    assert "bright where it is predicted, for slice 3" in dock.row.words.text()


@pytest.mark.parametrize(
    ("kind", "part", "pixel_set"),
    [
        ("predicted", 0, PixelSet("predicted")),
        ("predicted", 2, PixelSet("predicted", component=2)),
        ("probability", 0, PixelSet("probability", threshold=0.99)),
        ("whole", 0, PixelSet("whole")),
    ],
)
def test_the_dock_shows_what_the_core_computes(
    viewer: ViewerModel,
    dock: HeatmapDock,
    finish: Finish,
    kind: str,
    part: int,
    pixel_set: PixelSet,
) -> None:
    load(dock, "nets:planes", finish)
    dock.pixels.kind.set_value(kind)
    dock.pixels.part.setValue(part)
    dock.pixels.threshold.set_value(0.99)
    compute(dock, finish)
    wanted = expected(viewer, pixel_set)
    assert wanted.values.any()
    np.testing.assert_array_equal(values(dock)[3], wanted.values)
    np.testing.assert_array_equal(values(dock, "explained")[3] != 0, wanted.region)
    note = dock.workspace.heatmaps.record(0, 3)
    assert note is not None
    assert note.made_by["pixels"]["kind"] == kind


def test_a_clicked_pixel_is_the_one_under_the_mouse(
    viewer: ViewerModel, dock: HeatmapDock, finish: Finish
) -> None:
    load(dock, "nets:planes", finish)
    dock.pixels.kind.set_value("pixel")
    compute(dock, finish)
    assert "Pick a pixel" in dock.row.words.text()
    points = viewer.add_points(np.zeros((0, 3)), name="not to be drawn into")
    before = list(viewer.mouse_drag_callbacks)
    dock.pixels.pick.setChecked(True)
    scan = viewer.layers["scan"]
    assert viewer.layers.selection.active is scan
    (click,) = [one for one in viewer.mouse_drag_callbacks if one not in before]
    click(viewer, SimpleNamespace(position=scan.data_to_world((3, 400, 0))))
    assert dock.pixels.pick.isChecked(), "a click beside the image chooses nothing"
    click(viewer, SimpleNamespace(position=scan.data_to_world((3, 4.4, 6.6))))
    assert not dock.pixels.pick.isChecked()
    assert viewer.layers.selection.active is points
    assert list(viewer.mouse_drag_callbacks) == before
    compute(dock, finish)
    np.testing.assert_array_equal(np.argwhere(values(dock)[3]), [[4, 7]])
    # Seen from the side the same voxel has another row.
    dock.workspace.show_plane(1, 4)
    dock.workspace.shown.look_at_plane()
    compute(dock, finish)
    np.testing.assert_array_equal(np.argwhere(values(dock, axis=1)[:, 4]), [[3, 7]])


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "polygon"])
def test_a_drawn_region_counts_on_its_own_plane(
    viewer: ViewerModel, dock: HeatmapDock, finish: Finish, kind: str
) -> None:
    load(dock, "nets:planes", finish)
    corners = [[3, 9, 10], [3, 9, 14], [3, 13, 14], [3, 13, 10]]
    # Drawn in the world's millimetres, not in the image's pixels.
    world = [viewer.layers["scan"].data_to_world(c) for c in corners]
    viewer.add_shapes([world], shape_type=kind, name="drawn", units="mm")
    dock.pixels.kind.set_value("region")
    dock.pixels.layer.set_value(viewer.layers["drawn"])
    compute(dock, finish)
    inside = values(dock, "explained")[3] != 0
    assert inside[11, 12]
    assert inside.sum() <= 25
    assert values(dock)[3, 11, 12] == 1
    assert not values(dock)[3, :9].any()
    dock.workspace.show_plane(0, 2)
    dock.workspace.shown.look_at_plane()
    compute(dock, finish)
    note = dock.workspace.heatmaps.record(0, 2)
    assert note is not None
    assert "empty" in str(note.reason)


def test_a_region_counts_in_its_own_frame_of_a_series() -> None:
    series = Image(np.zeros((3, 4, 10, 10), np.uint8), scale=(1, 3, 1, 0.5))
    square = np.array([[2, 2], [2, 6], [6, 6], [6, 2]]) * (1, 0.5)
    timed = Shapes([np.c_[np.full(4, 1), np.full(4, 3), square]], shape_type="polygon")
    always = Shapes([np.c_[np.full(4, 3), square]], shape_type="polygon")
    for frame in range(3):
        image = image_of(series, frame)
        read = region_of(timed, series, image, frame)
        assert [read(0, index).sum() for index in range(4)] == [0, 25 * (frame == 1), 0, 0]
        assert region_of(always, series, image, frame)(0, 1).sum() == 25


def test_a_region_of_labels_and_the_truth(
    viewer: ViewerModel, dock: HeatmapDock, finish: Finish
) -> None:
    load(dock, "nets:planes", finish)
    dock.pixels.kind.set_value("truth")
    compute(dock, finish)
    assert "no truth" in dock.row.words.text()
    marked = np.zeros((6, 16, 16), np.uint8)
    marked[3, 2:5, 4:7] = 5
    viewer.add_labels(marked, scale=(3, 1, 0.5), units="mm", name="truth")
    compute(dock, finish)
    wanted = expected(viewer, PixelSet("truth"), marked[3] != 0)
    np.testing.assert_array_equal(values(dock)[3], wanted.values)
    dock.pixels.kind.set_value("region")
    dock.pixels.layer.set_value(viewer.layers["truth"])
    compute(dock, finish)
    np.testing.assert_array_equal(values(dock)[3], wanted.values)
    viewer.add_shapes([[[3, 0, 0], [3, 5, 5]]], shape_type="line", name="a line")
    dock.pixels.layer.set_value(viewer.layers["a line"])
    compute(dock, finish)
    assert "holds no region" in dock.row.words.text()


def test_a_3d_network_explains_the_whole_volume(
    viewer: ViewerModel, dock: HeatmapDock, finish: Finish
) -> None:
    load(dock, "nets:volumes", finish)
    assert dock.planes.isHidden()
    assert dock.follow.isHidden()
    assert "the whole volume" in dock.row.words.text()
    dock.pixels.part.setValue(1)
    compute(dock, finish)
    parameters = CamParameters(
        method="hires-cam", target="bright", pixel_set=PixelSet("predicted", component=1)
    )
    scan = viewer.layers["scan"].data
    wanted = compute_volume_heatmap(load_model("nets:volumes"), scan, parameters)
    np.testing.assert_array_equal(values(dock), wanted.values)
    assert dock.workspace.heatmaps.computed_planes(0) == list(range(6))
    note = dock.workspace.heatmaps.record(0, 0)
    assert note is not None
    assert "other slices" in str(note.reason)


def test_a_3d_network_refuses_a_single_plane(
    dock: HeatmapDock, viewer: ViewerModel, finish: Finish, notices: list[str]
) -> None:
    flat = viewer.add_image(np.zeros((16, 16), np.uint8), name="flat")
    dock.workspace.choose_image(flat)
    load(dock, "nets:volumes", finish)
    compute(dock, finish)
    assert any("takes gray volumes" in one for one in notices)


def test_the_choice_comes_back_with_a_session(
    viewer: ViewerModel, dock: HeatmapDock, finish: Finish
) -> None:
    load(dock, "nets:planes", finish)
    dock.pixels.kind.set_value("pixel")
    dock.pixels.choose_pixel((3, 4, 7))
    state = dock.state()
    again = HeatmapDock(viewer)
    again.set_state(state)
    assert again.pixels.state() == dock.pixels.state()
    compute(again, finish)
    np.testing.assert_array_equal(np.argwhere(values(again)[3]), [[4, 7]])


def test_a_trained_checkpoint_with_a_card_is_known_as_a_network(
    dock: HeatmapDock, finish: Finish, tmp_path: Any
) -> None:
    torch.manual_seed(0)
    path = tmp_path / "own.safetensors"
    card = (
        '{"architecture": "small-unet", "class_names": ["background", "lesion"], '
        '"input_size": [16, 16]}'
    )
    save_file(SmallUNet(2).state_dict(), path, metadata={"card": card})
    dock.choose(str(path))
    dock.load()
    finish(dock.row)
    assert not dock.pixels.isHidden()
    assert dock.classifier.target.value() == "lesion"
    names = [dock.classifier.layer.itemData(i) for i in range(dock.classifier.layer.count())]
    assert "bottleneck" in names


def test_work_that_tells_is_told_in_steps_and_left_when_closed() -> None:
    told: list[int] = []

    def work(tell: Callable[[int, int], None]) -> str:
        for done in range(1, 8):
            tell(done, 7)
            told.append(done)
        return "done"

    def whole() -> Iterator[str]:
        found = yield from report_steps(work, 4, "step")
        yield found

    assert list(whole()) == ["step"] * 4 + ["done"]
    assert told == list(range(1, 8))

    left: list[type[BaseException]] = []

    def endless(tell: Callable[[int, int], None]) -> None:
        try:
            while True:
                tell(1, 4)
        except BaseException as error:
            left.append(type(error))
            raise

    steps = report_steps(endless, 4, "step")
    assert next(steps) == "step"
    steps.close()
    assert left == [Cancelled]

    def broken(_: object) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        next(report_steps(broken, 4, "step"))
