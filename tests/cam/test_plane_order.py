"""Models that were trained on planes cut in nibabel's order: columns first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.methods import METHODS
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.cam.predictions import predict_planes
from napari_cam_sam.cam.volume_heatmaps import predict_image
from napari_cam_sam.cli import main
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.models.cards import ClassifierCard
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.models.classify.small_cnn import SmallCNN
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.plane_order import follow_plane_order
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.models.segmentation import SegmentationNetwork, load_network
from napari_cam_sam.models.segmentation_cards import merge_segmentation_cards

NIBABEL = "columns-rows"
RNG = np.random.default_rng(2)
# Not square: a mistake has another shape at once.
PLANE = RNG.integers(0, 256, (32, 48), dtype=np.uint8)


class _Net(nn.Module):
    """Random, so that a transposed plane gives something else."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.third(self.second(self.first(x)))).flatten(1))


class _Maps(_Net):
    def forward(self, x: Tensor) -> Any:
        deep = self.second(self.first(x))
        weights = torch.sin(5 * torch.arange(16.0)).reshape(2, 8, 1, 1)
        maps = nn.functional.conv2d(deep, weights)
        return {"out": nn.functional.interpolate(maps, x.shape[2:], mode="bilinear")}


def classifier(order: str, size: tuple[int, int]) -> Classifier:
    card = ClassifierCard(
        "tiny", 3, ("a", "b", "c"), size, (0.4,), (0.3,), 1, plane_order=order,  # type: ignore[arg-type]
    )  # fmt: skip
    module = follow_plane_order(_Net().eval(), card)
    return Classifier(module, card, "tiny", "0" * 64, ("second",), torch.device("cpu"))


def network(order: str, size: tuple[int, int]) -> SegmentationNetwork:
    fields = {
        "architecture": "tiny", "num_classes": 2, "input_size": list(size), "plane_order": order,
    }  # fmt: skip
    card = merge_segmentation_cards([("the test", fields)], "tiny")
    module = follow_plane_order(_Maps().eval(), card)
    return SegmentationNetwork(module, card, "tiny", "0" * 64, ("second",), torch.device("cpu"))


def both(make: Any, **options: Any) -> tuple[Heatmap, Heatmap, Heatmap]:
    """Explain a plane columns first, its transpose rows first, and the plane rows first."""
    parameters = CamParameters(occlusion=OcclusionParameters(8, 4), **options)
    (turned,) = compute_heatmaps(make(NIBABEL, (32, 48)), [PLANE], parameters)
    (other,) = compute_heatmaps(make("rows-columns", (48, 32)), [PLANE.T.copy()], parameters)
    (as_it_is,) = compute_heatmaps(make("rows-columns", (32, 48)), [PLANE], parameters)
    return turned, other, as_it_is


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", list(METHODS))
def test_every_map_of_a_classifier_is_that_of_the_transposed_plane(method: str) -> None:
    if method == "lrp":
        pytest.importorskip("zennit")
    target = 1
    turned, other, as_it_is = both(classifier, method=method, target=target)
    assert turned.values.shape == PLANE.shape
    assert turned.evidence
    np.testing.assert_allclose(turned.probabilities, other.probabilities, atol=1e-6)
    np.testing.assert_allclose(turned.values, other.values.T, atol=2e-4)
    assert np.abs(turned.values - as_it_is.values).max() > 0.1


@pytest.mark.parametrize("method", ["hires-cam", "grad-cam", "score-cam", "occlusion"])
def test_maps_of_a_network_and_its_pixel_set_too(method: str) -> None:
    target = 1
    turned, other, as_it_is = both(network, method=method, target=target)
    assert turned.region is not None
    assert other.region is not None
    assert turned.region.any()
    np.testing.assert_array_equal(turned.region, other.region.T)
    np.testing.assert_allclose(turned.values, other.values.T, atol=2e-4)
    assert np.abs(turned.values - as_it_is.values).max() > 0.1
    (chances,) = predict_planes(network(NIBABEL, (32, 48)), [PLANE], target)
    (wanted,) = predict_planes(network("rows-columns", (48, 32)), [PLANE.T.copy()], target)
    np.testing.assert_allclose(chances, wanted.T, atol=1e-6)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        lambda m: {"out": m, "n": 1},
        lambda m: (m, m[:, :, ::2, ::2]),
        lambda m: [m],
        lambda m: SimpleNamespace(logits=m),
    ],
)
def test_whatever_wraps_the_maps_is_turned_with_them(wrap: Any) -> None:
    class Wrapping(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return wrap(torch.cat([x, 2 * x], 1) * torch.arange(1.0, x.shape[-1] + 1))

    card = replace(network(NIBABEL, (8, 16)).card, input_size=(8, 16))
    module = follow_plane_order(Wrapping(), card)
    # Twice the same module, as a factory may return it, is still turned once.
    model = SegmentationNetwork(
        follow_plane_order(module, card), card, "it", "", (), torch.device("cpu")
    )
    plane = np.full((8, 16), 255, np.uint8)
    (chances,) = predict_planes(model, [plane], 1)
    ramp = np.arange(1.0, 9)  # along the last axis of what it saw: our rows
    wanted = 1 / (1 + np.exp(-ramp))
    np.testing.assert_allclose(chances, np.repeat(wanted[:, None], 16, axis=1), atol=1e-5)
    follow_plane_order(module, replace(card, plane_order="rows-columns"))
    assert not module._forward_pre_hooks


def test_it_is_said_by_the_card_the_argument_or_both(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(SmallUNet(2, 1).state_dict(), path)
    fields = {"architecture": "small-unet", "num_classes": 2, "input_size": [64, 64]}
    path.with_suffix(".json").write_text(json.dumps(fields))
    assert load_network(path, device="cpu").card.plane_order == "rows-columns"
    told = load_model(path, device="cpu", plane_order=NIBABEL)
    assert told.card.plane_order == NIBABEL
    path.with_suffix(".json").write_text(told.card.to_json())
    assert load_network(path, device="cpu").card == told.card
    with pytest.raises(CamSamError, match="give it once"):
        load_network(path, device="cpu", plane_order="rows-columns")
    with pytest.raises(CamSamError, match="'rows-columns' or 'columns-rows'"):
        load_network(path, device="cpu", plane_order="xy")
    save_file(SmallCNN(3, 1).state_dict(), path)
    path.with_suffix(".json").write_text('{"architecture": "small-cnn", "channels": 1}')
    assert load_classifier(path, device="cpu", plane_order=NIBABEL).card.plane_order == NIBABEL


class _Ramp(nn.Module):
    """Logits that grow along the first axis of what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(-2, 2, x.shape[2]).reshape(1, 1, -1, 1, 1)
        return torch.cat([-ramp * torch.ones_like(x), ramp * torch.ones_like(x)], 1)


def test_a_3d_network_sees_columns_rows_and_planes() -> None:
    fields = {
        "architecture": "ramp", "num_classes": 2, "spatial_dims": 3, "input_size": [24, 16, 8],
        "plane_order": NIBABEL,
    }  # fmt: skip
    card = merge_segmentation_cards([("the test", fields)], "ramp")
    model = SegmentationNetwork(
        _Ramp().eval(), card, "ramp", "", ("features",), torch.device("cpu")
    )
    volume: NDArray[np.uint8] = np.zeros((8, 16, 24), np.uint8)
    found = predict_image(model, volume)
    assert found.shape == (2, 8, 16, 24)
    wanted = 1 / (1 + np.exp(-2 * np.linspace(-2, 2, 24)))
    np.testing.assert_allclose(found[1], np.broadcast_to(wanted, (8, 16, 24)), atol=1e-5)
    with pytest.raises(CamSamError, match="give one of them"):
        merge_segmentation_cards([("the test", fields | {"orientation": "RAS"})], "ramp")
    with pytest.raises(CamSamError, match="2D network"):
        predict_image(network(NIBABEL, (32, 48)), PLANE, Geometry((1.0, 1.0)))


def test_the_command_line_takes_it_and_records_it(tmp_path: Path) -> None:
    from PIL import Image as Picture

    path = tmp_path / "net.safetensors"
    torch.manual_seed(0)
    save_file(SmallCNN(2, 1).state_dict(), path)
    path.with_suffix(".json").write_text(
        '{"architecture": "small-cnn", "channels": 1, "input_size": [64, 96]}'
    )
    plane = RNG.integers(0, 256, (64, 96), dtype=np.uint8)
    Picture.fromarray(plane).save(tmp_path / "plane.png")
    found = {}
    for order in ("rows-columns", NIBABEL):
        folder = tmp_path / order
        command = ["run", str(tmp_path / "plane.png"), "--classifier", str(path), "--sam"]
        settings = tmp_path / f"{order}.yaml"
        settings.write_text(f"card: {{plane_order: {order}}}")
        more = ["seeded", "--target", "1", "--config", str(settings), "--output", str(folder)]
        assert main([*command, *more]) == 0
        record = json.loads((folder / "run.json").read_text())
        assert record["classifier"]["card"]["plane_order"] == order
        found[order] = np.array(list(record["probabilities"].values()), dtype=float)
    model = load_classifier(path, device="cpu", plane_order=NIBABEL)
    by_hand = SmallCNN(2, 1)
    by_hand.load_state_dict(model.module.state_dict())
    seen = torch.from_numpy(plane.T.copy())[None, None] / 255
    with torch.no_grad():
        logits = by_hand.eval()((seen - model.card.mean[0]) / model.card.std[0])
    wanted = logits.softmax(1)[0, 1].item()
    assert found[NIBABEL].ravel()[0] == pytest.approx(wanted, abs=1e-4)
    assert abs(found["rows-columns"].ravel()[0] - wanted) > 1e-6
