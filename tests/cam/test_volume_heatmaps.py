"""Heatmaps of 3D networks: windows that are blended, and places that stay what they were."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cam.volume_heatmaps import compute_volume_heatmap
from napari_cam_sam.cam.windows import Windows
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.models.segmentation_cards import merge_segmentation_cards

Volume = NDArray[np.uint8]


class Averaging(nn.Module):
    """Features on a grid twice as coarse, which are the mean of their voxels; logits w·A above.

    Seg-HiRes-Grad-CAM of the whole volume is then A itself but for a factor: its centre of mass
    is that of the volume.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.AvgPool3d(2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv3d(1, 2, 1)
        self.head.weight.data[:, 0, 0, 0, 0] = torch.tensor([-1.0, 1.0])
        self.head.bias.data[:] = torch.tensor([0.5, -0.3])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up(self.features(x)))


def network(module: nn.Module, size: tuple[int, int, int], **card: Any) -> SegmentationNetwork:
    fields = {
        "architecture": "tiny", "num_classes": 2, "spatial_dims": 3, "input_size": list(size),
        "class_names": ["nothing", "spot"], **card,
    }  # fmt: skip
    merged = merge_segmentation_cards([("the test", fields)], "tiny")
    return SegmentationNetwork(
        module.eval(), merged, "tiny", "0" * 64, ("features",), torch.device("cpu")
    )


def spot(shape: tuple[int, int, int], centre: tuple[float, ...], width: Any = 2.5) -> Volume:
    """A bright blob with its centre between voxels."""
    parts = [
        np.exp(-0.5 * ((np.arange(n) - c) / w) ** 2)
        for n, c, w in zip(shape, centre, np.broadcast_to(width, 3), strict=True)
    ]
    return np.rint(255 * np.einsum("i,j,k->ijk", *parts)).astype(np.uint8)


def centre_of(values: NDArray[Any]) -> NDArray[np.float64]:
    where = np.indices(values.shape).reshape(3, -1)
    mass = values.ravel().astype(float)
    return where @ mass / mass.sum()


def explain(model: SegmentationNetwork, volume: Volume, **options: Any) -> Heatmap:
    outer = {k: options.pop(k) for k in ("region", "geometry", "progress") if k in options}
    options = {"method": "hires-cam", "target": "spot"} | options
    return compute_volume_heatmap(model, volume, CamParameters(**options), **outer)


@pytest.mark.parametrize("size", [(16, 16, 16), (8, 12, 10), (64, 64, 64)])
def test_the_peak_is_where_it_must_be(size: tuple[int, int, int]) -> None:
    """Windows inside the volume, of several shapes, and one larger than it."""
    centre = (13.3, 21.8, 9.6)
    volume = spot((26, 40, 22), centre)
    found = explain(network(Averaging(), size), volume, pixel_set=PixelSet("whole"))
    assert found.values.shape == volume.shape
    assert np.abs(centre_of(found.values) - centre_of(volume)).max() < 0.05
    peak = np.unravel_index(found.values.argmax(), volume.shape)
    assert np.abs(np.subtract(peak, centre)).max() <= 1  # the maximum of cells of two voxels
    assert found.values.max() == 1
    assert found.grid_shape == tuple(n // 2 for n in size)


def test_turned_and_resampled_volumes_come_back_to_their_place() -> None:
    """An oblique LPS volume of thick planes, before a network of RAS voxels of 2 mm."""
    centre, spacing = (7.4, 17.2, 22.7), (4.0, 1.5, 2.5)
    volume = spot((16, 40, 36), centre, (1.6, 4.0, 2.5))
    turn = 0.15
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    # Planes run up, rows to the back, columns to the left.
    affine[:3, :3] = rotation @ np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]]) * spacing
    geometry = Geometry(spacing, affine, "mm")
    model = network(Averaging(), (16, 16, 16), orientation="RAS", spacing=[2.0, 2.0, 2.0])
    found = explain(model, volume, geometry=geometry, pixel_set=PixelSet("whole"))
    assert np.abs(centre_of(found.values) - centre_of(volume)).max() < 0.25
    assert found.values.shape == volume.shape
    one = explain(model, volume, geometry=geometry, pixel_set=PixelSet("pixel", pixel=(3, 30, 5)))
    assert one.region[3, 30, 5]
    assert np.abs(np.argwhere(one.region) - (3, 30, 5)).max() <= 1
    with pytest.raises(CamSamError, match="RAS"):
        explain(model, volume)
    with pytest.raises(CamSamError, match="spacing in mm"):
        explain(network(Averaging(), (16, 16, 16), spacing=[2, 2, 2]), volume)


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.features = nn.Sequential(nn.Conv3d(1, 5, 3, 2, 1), nn.LeakyReLU(0.1, inplace=True))
        self.mix = nn.Sequential(nn.Conv3d(5, 5, 3, 1, 1), nn.Softplus())
        self.up = nn.ConvTranspose3d(5, 2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.mix(self.features(x)))


def pooled(weights: Tensor) -> Tensor:
    return weights.sum(dim=(2, 3, 4), keepdim=True)


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad-cam": lambda g, a: g.mean(dim=(2, 3, 4), keepdim=True) * a,
    "hires-cam": lambda g, a: g * a,
    "layer-cam": lambda g, a: g.relu() * a,
    "element-wise": lambda g, a: (g * a).relu(),
    "xgrad-cam": lambda g, a: pooled(g * a / (pooled(a) + 1e-7)) * a,
}


@pytest.mark.parametrize("kind", ["whole", "predicted", "pixel"])
def test_in_one_window_it_is_the_formula(kind: str) -> None:
    volume = np.random.default_rng(1).integers(0, 256, (12, 14, 16), dtype=np.uint8)
    model = network(Deep(), (12, 14, 16), mean=[0.5], std=[0.2])
    pixel_set = PixelSet(kind, pixel=(2, 10, 5) if kind == "pixel" else None)
    kept: list[Tensor] = []
    handle = model.module.features.register_forward_hook(lambda *a: kept.append(a[2]))
    x = (torch.from_numpy(volume)[None, None] / 255 - 0.5) / 0.2
    logits = model.module(x)[0]
    handle.remove()
    for method, formula in FORMULAS.items():
        found = explain(model, volume, method=method, pixel_set=pixel_set)
        assert found.region is not None
        if kind == "predicted":
            assert np.array_equal(found.region, (logits.argmax(0) == 1).numpy())
        else:
            assert found.region.sum() == (volume.size if kind == "whole" else 1)
        y = logits[1][torch.from_numpy(found.region)].sum()
        (gradient,) = torch.autograd.grad(y, kept[0], retain_graph=True)
        grid = formula(gradient, kept[0]).sum(dim=1, keepdim=True)
        want = nn.functional.interpolate(grid, volume.shape, mode="trilinear")[0, 0].detach()
        scale = float(want.abs().max())
        np.testing.assert_allclose(found.raw / scale, want.numpy() / scale, atol=1e-5)
    chances = logits.softmax(0)[1].detach().numpy()
    np.testing.assert_allclose(found.probability_map, chances, atol=1e-5)
    assert found.probability == pytest.approx(chances.max(), abs=1e-5)


def test_weights_of_windows_add_up_to_one_everywhere() -> None:
    for shape, size in (((7, 9, 30), (7, 4, 8)), ((5, 5, 5), (5, 5, 5)), ((11, 6, 3), (1, 6, 2))):
        windows = Windows(shape, size)
        total = np.zeros(shape)
        count = 0
        for starts in windows.layers():
            for start in starts:
                total[windows.slices(start)] += windows.weights(start)
                count += 1
        assert count == len(windows)
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_blended_windows_predict_as_one_pass_does() -> None:
    """A net that sees a voxel's cell alone gives the same logits wherever its window begins."""
    volume = np.random.default_rng(3).integers(0, 256, (20, 16, 24), dtype=np.uint8)
    model = network(Averaging(), (8, 8, 8))
    found = explain(model, volume, batch_size=3)
    with torch.no_grad():
        logits = model.module(torch.from_numpy(volume)[None, None] / 255)[0]
    np.testing.assert_allclose(found.probability_map, logits.softmax(0)[1].numpy(), atol=1e-6)
    assert np.array_equal(found.region, (logits.argmax(0) == 1).numpy())


@pytest.mark.parametrize("card", [{"standardise": "image"}, {"mean": [0.5], "std": [0.5]}])
def test_a_volume_smaller_than_the_window_is_predicted_as_monai_does(card: dict[str, Any]) -> None:
    torch.manual_seed(1)
    module = nn.Sequential()
    module.add_module("features", nn.Conv3d(1, 4, 5, padding=2))
    module.add_module("head", nn.Conv3d(4, 2, 1))
    model = network(module, (8, 8, 8), **card)
    volume = np.random.default_rng(1).integers(0, 256, (5, 8, 6), dtype=np.uint8)
    found = explain(model, volume, pixel_set=PixelSet("whole"))
    seen = torch.from_numpy(volume[None, None] / np.float32(255))
    if card.get("standardise"):
        seen = (seen - seen.mean()) / seen.std(correction=0)
    else:
        seen = (seen - 0.5) / 0.5
    with torch.no_grad():
        logits = sliding_window_inference(seen, (8, 8, 8), 1, module, 0.5, mode="gaussian")
    expected = torch.softmax(logits, 1)[0, 1].numpy()
    np.testing.assert_allclose(found.probability_map, expected, atol=1e-6)


def test_empty_sets_and_their_neighbours() -> None:
    model = network(Averaging(), (16, 16, 16))
    volume = spot((20, 20, 20), (10, 10, 10))
    nothing = np.zeros(volume.shape, dtype=bool)
    found = explain(model, volume, region=nothing, pixel_set=PixelSet("truth"))
    assert not found.values.any()
    assert not found.raw.any()
    assert found.reason == "The truth is empty here."
    dark = explain(model, np.zeros((9, 9, 9), np.uint8))
    assert dark.reason == "No pixel is predicted as 'spot'."
    lit = explain(model, volume, target=None)
    assert lit.target_name == "spot"
    assert lit.evidence


def test_own_statistics_are_those_of_the_whole_volume() -> None:
    volume = spot((20, 20, 20), (9, 11, 8), 6)
    model = network(Averaging(), (8, 8, 8), standardise="nonzero")
    found = explain(model, volume, method="grad-cam", pixel_set=PixelSet("whole"))
    x = volume[volume > 0] / 255
    z = np.where(volume > 0, (volume / 255 - x.mean()) / x.std(), 0)
    with torch.no_grad():
        logits = model.module(torch.from_numpy(z.astype(np.float32))[None, None])[0]
    np.testing.assert_allclose(found.probability_map, logits.softmax(0)[1].numpy(), atol=1e-5)


def test_work_is_told_and_can_be_ended() -> None:
    model = network(Averaging(), (8, 8, 8))
    volume = spot((16, 16, 16), (8, 8, 8))
    told: list[tuple[int, int]] = []
    explain(model, volume, batch_size=5, progress=lambda *step: told.append(step))
    assert told[-1][0] == told[-1][1] == 2 * 27
    assert [done for done, _ in told] == sorted(done for done, _ in told)

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        explain(model, volume, progress=stop)
    assert not any(m._forward_hooks for m in model.module.modules())
    assert all(p.requires_grad for p in model.module.parameters())


def test_networks_of_the_wrong_dimension_are_refused() -> None:
    model = network(Averaging(), (8, 8, 8))
    with pytest.raises(CamSamError, match="3D network and takes a whole volume"):
        compute_heatmaps(model, [np.zeros((8, 8), np.uint8)])
    with pytest.raises(CamSamError, match="3D network and takes a volume"):
        compute_volume_heatmap(model, np.zeros((8, 8), np.uint8))
    with pytest.raises(CamSamError, match="not made for 3D"):
        explain(model, np.zeros((8, 8, 8), np.uint8), method="score-cam")
    with pytest.raises(CamSamError, match="slice, row, column"):
        explain(model, np.zeros((8, 8, 8), np.uint8), pixel_set=PixelSet("pixel", pixel=(1, 2)))
    flat = merge_segmentation_cards(
        [("the test", {"architecture": "tiny", "num_classes": 2})], "flat"
    )
    plane = SegmentationNetwork(nn.Identity(), flat, "flat", "", (), torch.device("cpu"))
    with pytest.raises(CamSamError, match="2D network and takes slices"):
        compute_volume_heatmap(plane, np.zeros((8, 8, 8), np.uint8))
