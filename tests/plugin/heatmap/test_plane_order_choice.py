"""The order of rows and columns in the dock, and bundles that see the image itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from napari.components import ViewerModel
from safetensors.torch import save_file

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.volume_heatmaps import compute_volume_heatmap
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.windows import apply_window, resolve_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.models.classify.small_cnn import SmallCNN
from napari_cam_sam.models.segmentation import load_network
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.viewer.attach import workspace_of

NIBABEL = "columns-rows"
STACK = np.random.default_rng(1).normal(200, 40, (4, 48, 64)).astype(np.float32)


@pytest.fixture
def dock(qapp: Any, finish: Callable[[Any], None]) -> Iterator[HeatmapDock]:
    viewer = ViewerModel()
    viewer.add_image(STACK)
    workspace_of(viewer).show_plane(0, 2)
    widget = HeatmapDock(viewer)
    yield widget
    finish(widget.row)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    torch.manual_seed(1)
    save_file(SmallCNN(2, 1).state_dict(), path)
    path.with_suffix(".json").write_text(
        '{"architecture": "small-cnn", "channels": 1, "input_size": [48, 64]}'
    )
    return path


def computed(dock: HeatmapDock) -> Any:
    layer = dock.workspace.heatmaps.layer(0)
    assert layer is not None
    return layer.data[2]


def test_the_order_is_chosen_used_noted_and_kept(
    dock: HeatmapDock, checkpoint: Path, finish: Callable[[Any], None]
) -> None:
    dock.choose(str(checkpoint))
    dock.load()
    finish(dock.row)
    assert dock.classifier.order.isVisibleTo(dock)
    assert dock.classifier.order.value() == "rows-columns"
    image = image_from_array(STACK)
    plane = apply_window(STACK[2], resolve_window(image))
    maps = {}
    for order in ("rows-columns", NIBABEL):
        dock.classifier.order.set_value(order)
        dock.classifier.order.chosen.emit()
        finish(dock.row)
        assert dock.workspace.classifier.card.plane_order == order
        dock.least.set_value(0.0)
        dock.compute()
        finish(dock.row)
        maps[order] = np.array(computed(dock))
        model = load_classifier(checkpoint, device="cpu", plane_order=order)
        target = dock.classifier.target.value()
        how = CamParameters(target=target, layers=(dock.classifier.layer.value(),))
        (wanted,) = compute_heatmaps(model, [plane], how)
        np.testing.assert_allclose(maps[order], wanted.values, atol=1e-5)
    assert np.abs(maps[NIBABEL] - maps["rows-columns"]).max() > 0.05
    note = dock.workspace.heatmaps.record(0, 2)
    assert note is not None
    assert note.made_by["plane_order"] == NIBABEL
    # A session keeps it.
    state = json.loads(json.dumps(dock.state()))
    assert state["plane_order"] == NIBABEL
    dock.choose("lesion")
    assert dock.state()["plane_order"] is None
    dock.set_state(state)
    dock.load()
    finish(dock.row)
    assert dock.workspace.classifier.card.plane_order == NIBABEL
    assert dock.classifier.order.value() == NIBABEL
    # The card of a shipped one is its own.
    dock.choose("lesion")
    dock.load()
    finish(dock.row)
    assert dock.classifier.order.value() == "rows-columns"


def test_an_order_that_contradicts_the_card_is_told_and_not_kept(
    dock: HeatmapDock, checkpoint: Path, finish: Callable[[Any], None], notices: list[str]
) -> None:
    card = json.loads(checkpoint.with_suffix(".json").read_text())
    checkpoint.with_suffix(".json").write_text(json.dumps({**card, "plane_order": NIBABEL}))
    dock.choose(str(checkpoint))
    dock.load()
    finish(dock.row)
    assert dock.classifier.order.value() == NIBABEL
    dock.classifier.order.set_value("rows-columns")
    dock.classifier.order.chosen.emit()
    finish(dock.row)
    assert any("plane_order" in one for one in notices)
    assert dock.classifier.order.value() == NIBABEL
    assert dock.classifier.loaded() is not None


@pytest.mark.parametrize(
    ("inferer", "volumes"),
    [
        ({"_target_": "SliceInferer", "roi_size": [32, 24], "spatial_dim": 2}, True),
        ({"_target_": "SlidingWindowInferer", "roi_size": [32, 24]}, False),
    ],
)
def test_a_bundle_gets_the_image_s_own_values(
    dock: HeatmapDock, inferer: dict[str, Any], volumes: bool, tmp_path: Path,
    finish: Callable[[Any], None],
) -> None:  # fmt: skip
    network = {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2],
    }  # fmt: skip
    step = {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 150, "divisor": 30}
    folder = tmp_path / "bundle"
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True)
    torch.manual_seed(2)
    torch.save(UNet(**network).state_dict(), folder / "models" / "model.pt")
    config = {
        "network_def": {"_target_": "UNet", **network},
        "preprocessing": {"_target_": "Compose", "transforms": [step]},
        "inferer": inferer,
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    dock.choose(str(folder), "class 1")
    dock.load()
    finish(dock.row)
    loaded = dock.classifier.loaded()
    assert loaded is not None
    assert loaded.of_volumes == volumes
    assert not dock.classifier.order.isVisibleTo(dock)
    dock.method.set_value("hires-cam")
    dock.least.set_value(0.0)
    dock.compute()
    finish(dock.row)
    how = CamParameters("hires-cam", "class 1", (dock.classifier.layer.value(),))
    model = load_network(folder, device="cpu")
    if volumes:
        wanted = compute_volume_heatmap(model, STACK, how).values[2]
    else:
        wanted = compute_volume_heatmap(model, STACK[2], how).values
    assert wanted.any()
    np.testing.assert_allclose(computed(dock), wanted, atol=1e-5)
