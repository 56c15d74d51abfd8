"""Bundles in the place of a classifier: what is explained, and where that comes to lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai import transforms as monai
from monai.networks.nets import UNet
from numpy.typing import NDArray
from PIL import Image as Picture
from torch import Tensor

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cam.predictions import predict_planes
from napari_cam_sam.cam.upscale import upscale_volume
from napari_cam_sam.cam.volume_heatmaps import compute_volume_heatmap, planes_of, predict_image
from napari_cam_sam.cli import main
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.models.cards import card_in_metadata
from napari_cam_sam.models.segmentation import SegmentationNetwork, load_network
from napari_cam_sam.models.segmentation_cards import merge_segmentation_cards
from napari_cam_sam.models.volume_frames import VolumeFrame
from napari_cam_sam.pipeline import RunParameters, run_planes
from napari_cam_sam.sam.loading import load_segmenter

LAYER = "model.1.submodule"
READ = [monai.LoadImage(image_only=True), monai.EnsureChannelFirst()]
TARGET = 1


def write_bundle(
    folder: Path, dims: int, steps: list[dict[str, Any]], inferer: dict[str, Any], **more: Any
) -> UNet:
    arguments = {
        "spatial_dims": dims, "in_channels": 1, "out_channels": 3, "channels": [4, 8, 16],
        "strides": [2, 2], "num_res_units": 1, **more,
    }  # fmt: skip
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True)
    read = [{"_target_": "LoadImaged", "keys": "image"}]
    config = {
        "network_def": {"_target_": "UNet", **arguments},
        "preprocessing": {"_target_": "Compose", "transforms": read + steps},
        "inferer": inferer,
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    module = UNet(**arguments).eval()
    torch.save(module.state_dict(), folder / "models" / "model.pt")
    return module


def write_volume(path: Path, shape: tuple[int, int, int] = (32, 24, 12)) -> Image:
    rng = np.random.default_rng(4)
    at = np.indices(shape)
    blob = sum(((a - c) / w) ** 2 for a, c, w in zip(at, (9, 15, 5), (6, 3, 4), strict=True))
    values = 900 * np.exp(-blob) + rng.normal(0, 20, shape)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.diag([-1.0, 1, 2, 1])), path)
    return read_image(path)


def step(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **arguments}


def hires(module: Any, x: Tensor, region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Compute Σ_k ∂y/∂A_k ⊙ A_k of the summed logits over M by a hook, on the input's grid."""
    kept: list[Tensor] = []
    handle = module.get_submodule(LAYER).register_forward_hook(lambda *a: kept.append(a[2]))
    logits = module(x.requires_grad_(True))[0, TARGET]
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[torch.from_numpy(region)].sum(), kept)
    found = (gradient * kept[0]).sum(1)[0].detach().numpy()
    grid = found if found.ndim == 3 else found[..., None]
    size = region.shape if region.ndim == 3 else (*region.shape, 1)
    return upscale_volume(grid, size).reshape(region.shape)


def scaled(values: NDArray[Any]) -> NDArray[Any]:
    positive = np.maximum(values, 0)
    return positive / positive.max()


def test_the_map_of_a_volume_is_the_formula_of_monai_s_input_brought_back(tmp_path: Path) -> None:
    image = write_volume(tmp_path / "v.nii.gz")
    steps = [
        step("Orientationd", axcodes="PSR"),
        step("Spacingd", pixdim=[1.5, 1.5, 1.5]),
        step("DivisiblePadd", k=4),
        step("NormalizeIntensityd", nonzero=True),
    ]
    module = write_bundle(tmp_path / "b", 3, steps, {"_target_": "SimpleInferer"})
    before = [
        monai.Orientation("PSR"), monai.Spacing((1.5,) * 3), monai.DivisiblePad(4),
        monai.NormalizeIntensity(nonzero=True),
    ]  # fmt: skip
    seen = monai.Compose([*READ, *before])(str(tmp_path / "v.nii.gz"))
    x = torch.as_tensor(np.asarray(seen))[None]
    network = load_network(tmp_path / "b", device="cpu")
    values = np.asarray(image.data[:])
    how = CamParameters("hires-cam", TARGET, (LAYER,), pixel_set=PixelSet("predicted"))
    found = compute_volume_heatmap(network, values, how, geometry=image.geometry)

    with torch.no_grad():
        chances = module(x).softmax(1)[0]
    region = (chances.argmax(0) == TARGET).numpy()

    def back(what: Any) -> NDArray[np.float32]:
        one = monai.Compose(before)
        carried = seen.clone()
        carried[0] = torch.as_tensor(np.asarray(what, dtype=np.float32))
        return np.asarray(one.inverse(carried))[0].transpose()

    wanted = back(hires(module, x, region))
    assert found.region is not None
    assert found.probability_map is not None
    assert region.mean() > 0.02
    np.testing.assert_allclose(found.values, scaled(wanted), atol=2e-3)
    np.testing.assert_array_equal(found.region, back(region) >= 0.5)
    np.testing.assert_allclose(found.probability_map, back(chances[TARGET]), atol=1e-5)
    assert found.values.shape == image.spatial_shape
    # A given region goes there and back.
    given = np.zeros(image.spatial_shape, bool)
    given[3:8, 10:18, 4:12] = True
    how = CamParameters("hires-cam", TARGET, (LAYER,), pixel_set=PixelSet("region"))
    found = compute_volume_heatmap(network, values, how, region=given, geometry=image.geometry)
    assert found.region is not None
    # Voxels of 1 and 2 mm through those of 1.5 mm: its faces may move by half a voxel.
    middles = [np.argwhere(mask).mean(0) for mask in (found.region, given)]
    assert np.abs(middles[0] - middles[1]).max() <= 0.5
    assert 0.5 < found.region.sum() / given.sum() < 1.5
    one = CamParameters("hires-cam", TARGET, (LAYER,), pixel_set=PixelSet("pixel", pixel=(4, 9, 7)))
    found = compute_volume_heatmap(network, values, one, geometry=image.geometry)
    assert found.region is not None
    assert np.abs(np.argwhere(found.region) - (4, 9, 7)).max() <= 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_map_of_slices_is_the_formula_of_each_slice(axis: int, tmp_path: Path) -> None:
    image = write_volume(tmp_path / "v.nii.gz")
    inferer = {"_target_": "SliceInferer", "roi_size": [-1, -1], "spatial_dim": axis}
    module = write_bundle(tmp_path / "b", 2, [step("NormalizeIntensityd")], inferer)
    seen = monai.Compose([*READ, monai.NormalizeIntensity()])(str(tmp_path / "v.nii.gz"))
    x = torch.as_tensor(np.asarray(seen))
    network = load_network(tmp_path / "b", device="cpu")
    how = CamParameters("hires-cam", TARGET, (LAYER,))
    values = np.asarray(image.data[:])
    found = compute_volume_heatmap(network, values, how, geometry=image.geometry)
    maps = []
    for i in range(x.shape[axis + 1]):
        one = x.select(axis + 1, i)[None].clone()
        with torch.no_grad():
            region = (module(one)[0].argmax(0) == TARGET).numpy()
        maps.append(hires(module, one, region) if region.any() else np.zeros(region.shape))
    wanted = np.stack(maps, axis).transpose()
    assert found.region is not None
    assert 0.02 < found.region.mean() < 0.98
    np.testing.assert_allclose(found.values, scaled(wanted), atol=1e-3)
    cut = list(planes_of(found, 0))
    np.testing.assert_array_equal(cut[4].values, found.values[4])


def test_a_run_gives_a_bundle_the_image_and_not_its_window(tmp_path: Path) -> None:
    image = write_volume(tmp_path / "v.nii.gz")
    steps = [step("NormalizeIntensityd", subtrahend=10.0, divisor=50.0)]
    roi = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 8]}
    write_bundle(tmp_path / "b", 3, steps, roi)
    network = load_network(tmp_path / "b", device="cpu")
    wanted = predict_image(network, np.asarray(image.data[:]), image.geometry)
    cam = CamParameters("hires-cam", TARGET, (LAYER,))
    for window in ("limits:-100,100", "minmax"):
        parameters = RunParameters(cam=cam, window=parse_window(window))
        results = list(run_planes(image, load_segmenter("seeded"), network, parameters))
        peaks = [result.heatmap.probability for result in results if result.heatmap is not None]
        np.testing.assert_allclose(peaks, wanted[TARGET].max((1, 2)), atol=1e-5)


def test_slices_of_a_bundle_on_the_command_line(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.nii.gz")
    inferer = {"_target_": "SliceInferer", "roi_size": [16, 24], "spatial_dim": 2, "overlap": 0.5}
    write_bundle(tmp_path / "b", 2, [step("ScaleIntensityd")], inferer)
    command = ["run", str(tmp_path / "v.nii.gz"), "--classifier", str(tmp_path / "b")]
    more = ["--sam", "seeded", "--target", "1", "--cam", "hires-cam", "--planes", "3:7"]
    assert main([*command, *more, "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    card = record["classifier"]["card"]
    assert card["plane_order"] == "columns-rows"
    assert card["preparation"]["inferer"]["roi_size"] == [16, 24]
    assert card["preparation"]["steps"][0]["name"] == "ScaleIntensityd"
    # What is recorded is a card again.
    again = merge_segmentation_cards([("it", card_in_metadata({"card": card}, "it"))], "it")
    assert again == load_network(tmp_path / "b", device="cpu").card


def test_windowed_planes_are_taken_as_far_as_they_say_the_same(tmp_path: Path) -> None:
    image = write_volume(tmp_path / "v.nii.gz")
    window = resolve_window(image, parse_window("minmax"))
    planes = [apply_window(image.plane(0, k), window) for k in range(12)]

    def network(name: str, inferer: dict[str, Any], *steps: dict[str, Any]) -> SegmentationNetwork:
        write_bundle(tmp_path / name, 2, list(steps), {"_target_": "SliceInferer", **inferer})
        return load_network(tmp_path / name, device="cpu")

    whole = {"roi_size": [32, 24], "spatial_dim": 2}
    minmax, own = step("ScaleIntensityd"), step("NormalizeIntensityd")
    for name, inferer, steps in (
        ("one", whole, [minmax]),
        ("statistics", whole, [minmax, own]),
        ("sliding", {"roi_size": [16, 16], "spatial_dim": 2, "overlap": 0.5}, [minmax]),
    ):
        model = network(name, inferer, *steps)
        exact = predict_image(model, np.asarray(image.data[:]), image.geometry)
        found = np.stack(list(predict_planes(model, planes, TARGET, batch_size=5)))
        # Eight bits, before a network with random weights.
        assert np.abs(found - exact[TARGET]).mean() < 0.01
        assert ((found > 0.4) == (exact[TARGET] > 0.4)).mean() > 0.97
    how = CamParameters("hires-cam", TARGET, (LAYER,))
    model = load_network(tmp_path / "one", device="cpu")
    (heatmap,) = compute_heatmaps(model, planes[5:6], how)
    exact_map = compute_volume_heatmap(
        model, np.asarray(image.data[:]), how, geometry=image.geometry
    )
    assert heatmap.region is not None
    assert exact_map.region is not None
    assert (heatmap.region == exact_map.region[5]).mean() > 0.98
    for name in ("statistics", "sliding"):
        with pytest.raises(CamSamError, match="explain the image itself"):
            next(compute_heatmaps(load_network(tmp_path / name, device="cpu"), planes, how))
    turned = network("turned", whole, step("Orientationd", axcodes="RAS"), minmax)
    with pytest.raises(CamSamError, match="Orientationd"):
        turned.prepare(planes)


def test_pictures_go_one_by_one_also_out_of_a_stack(tmp_path: Path) -> None:
    roi = {"_target_": "SlidingWindowInferer", "roi_size": [16, 24], "overlap": 0.5}
    module = write_bundle(tmp_path / "b", 2, [step("ScaleIntensityd")], roi)
    rng = np.random.default_rng(2)
    stack = np.rint(np.cumsum(rng.random((3, 32, 48)), axis=1) * 8).astype(np.uint8)
    network = load_network(tmp_path / "b", device="cpu")
    how = CamParameters("hires-cam", TARGET, (LAYER,))
    from monai.inferers import SlidingWindowInferer

    from napari_cam_sam.images.image import image_from_array
    from napari_cam_sam.pipeline.heatmaps import explain_planes

    image = image_from_array(stack)
    window = resolve_window(image)
    maps = list(explain_planes(image, network, how, window, 0, range(3)))
    for plane, heatmap in zip(stack, maps, strict=True):
        Picture.fromarray(plane).save(tmp_path / "plane.png")
        x = monai.Compose([*READ, monai.ScaleIntensity()])(str(tmp_path / "plane.png"))
        with torch.no_grad():
            wanted = SlidingWindowInferer((16, 24), overlap=0.5)(
                torch.as_tensor(np.asarray(x))[None], module
            ).softmax(1)[0, TARGET]  # type: ignore[union-attr]
        assert heatmap.probability_map is not None
        np.testing.assert_allclose(heatmap.probability_map, wanted.numpy().T, atol=1e-5)
    sideways = list(explain_planes(image, network, how, window, 2, range(1, 3)))
    assert [one.values.shape for one in sideways] == [(3, 32), (3, 32)]


def test_what_an_image_lacks_for_a_bundle_is_said(tmp_path: Path) -> None:
    simple = {"_target_": "SimpleInferer"}
    for name, step_of in (
        ("turned", step("Orientationd", axcodes="RAS")),
        ("spaced", step("Spacingd", pixdim=[1, 1, 1])),
        ("huge", step("Spacingd", pixdim=[0.01, 0.01, 0.01])),
        ("plain", step("ScaleIntensityd")),
    ):
        write_bundle(tmp_path / name, 3, [step_of], simple)
    image = write_volume(tmp_path / "v.nii.gz")
    values = np.asarray(image.data[:])
    for name, words in (("turned", "orientation"), ("spaced", "spacing in mm")):
        with pytest.raises(CamSamError, match=words):
            predict_image(load_network(tmp_path / name, device="cpu"), values)
    with pytest.raises(CamSamError, match="Spacingd of the bundle would make"):
        predict_image(load_network(tmp_path / "huge", device="cpu"), values, image.geometry)
    plain = load_network(tmp_path / "plain", device="cpu")
    with pytest.raises(CamSamError, match="strides ask for another size"):
        predict_image(plain, values[:, :23])
    values[0, 0, 0] = np.nan
    with pytest.raises(CamSamError, match="NaN"):
        predict_image(plain, values)


RANGE = {"a_min": 100.0, "a_max": 700.0, "b_min": -1.0, "b_max": 1.0, "clip": True}
PERCENTILES = {"lower": 1, "upper": 99, "b_min": 0.0, "b_max": 1.0, "clip": True}


@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        ([("ScaleIntensity", {"minv": -1.0, "maxv": 2.0})], ""),
        ([("ScaleIntensityRange", RANGE)], ""),
        ([("ScaleIntensityRange", RANGE), ("NormalizeIntensity", {})], ""),
        ([("ScaleIntensityRangePercentiles", PERCENTILES)], ""),
        ([("ClipIntensityPercentiles", {"lower": 2, "upper": 98}), ("ScaleIntensity", {})], ""),
        ([("NormalizeIntensity", {"channel_wise": True}), ("ScaleIntensity", {})], ""),
        ([("ScaleIntensity", {}), ("ScaleIntensityRange", RANGE | {"a_min": 0.2, "a_max": 1})], ""),
        ([("ScaleIntensity", {}), ("ShiftIntensity", {"offset": -0.5})], ""),
        ([("ScaleIntensity", {}), ("NormalizeIntensity", {"subtrahend": 0.4, "divisor": 0.2})], ""),
        ([], "range of their own"),
        ([("ScaleIntensityRange", RANGE | {"clip": False})], "ScaleIntensityRanged"),
        ([("NormalizeIntensity", {"nonzero": True})], "which values are 0"),
        ([("ScaleIntensity", {}), ("NormalizeIntensity", {"nonzero": True})], "values are 0"),
        ([("NormalizeIntensity", {"subtrahend": 100.0, "divisor": 90.0})], "NormalizeIntensityd"),
        ([("ThresholdIntensity", {"threshold": 100.0}), ("ScaleIntensity", {})], "Threshold"),
        ([("ShiftIntensity", {"offset": 5.0}), ("ScaleIntensity", {})], "ShiftIntensityd"),
        ([("ScaleIntensity", {"minv": None, "maxv": None, "factor": 0.1})], "ScaleIntensityd"),
        ([("ScaleIntensity", {"maxv": 1000.0})], "too coarse"),
        ([("CropForeground", {}), ("ScaleIntensity", {})], "CropForegroundd"),
        ([("ScaleIntensity", {}), ("Spacing", {"pixdim": [2.0] * 3})], "Spacingd"),
        ([("Spacing", {"pixdim": [2.0] * 3}), ("ScaleIntensityRange", RANGE)], "before they clip"),
        ([("Spacing", {"pixdim": [2.0] * 3}), ("ScaleIntensity", {})], ""),
        ([("Orientation", {"axcodes": "SPR"}), ("ScaleIntensityRange", RANGE)], ""),
        ([("Flip", {"spatial_axis": 1}), ("ScaleIntensity", {})], ""),
        ([("CenterSpatialCrop", {"roi_size": [8, 8, 8]}), ("ScaleIntensity", {})], ""),
    ],
)  # fmt: skip
def test_a_windowed_volume_becomes_monai_s_input_or_is_refused(
    steps: list[tuple[str, dict[str, Any]]], refused: str, tmp_path: Path
) -> None:
    image = write_volume(tmp_path / "v.nii.gz")
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]}
    as_keys = [step(f"{name}d", **arguments) for name, arguments in steps]
    for one in as_keys:
        if one["_target_"] == "CropForegroundd":
            one["source_key"] = "image"
    write_bundle(tmp_path / "b", 3, as_keys, inferer)
    network = load_network(tmp_path / "b", device="cpu")
    chosen = None if network.card.window is None else parse_window(network.card.window)
    window = resolve_window(image, chosen)
    volume = np.stack([apply_window(image.plane(0, k), window) for k in range(12)])

    def ours() -> Tensor:
        frame = VolumeFrame.fit((12, 24, 32), network.card, image.geometry)
        entered = torch.from_numpy(np.ascontiguousarray(frame.apply(volume)).astype(np.float32))
        return network.normalise(entered[None, None] / 255)[0]

    if refused:
        with pytest.raises(CamSamError, match=refused):
            ours()
        return
    own = [getattr(monai, name)(**arguments) for name, arguments in steps]
    theirs = monai.Compose([*READ, *own])(str(tmp_path / "v.nii.gz"))
    np.testing.assert_allclose(ours().numpy(), np.asarray(theirs), atol=0.06)


@pytest.mark.parametrize(
    ("roi", "more"),
    [
        ((32, 24), {}),
        ((16, 12), {"overlap": 0.5}),
        ((16, 24), {"overlap": 0.25, "mode": "gaussian"}),
        ((48, 24), {"padding_mode": "replicate"}),
        ((48, 40), {"cval": -2.0}),
    ],
)
def test_the_module_of_a_2d_bundle_answers_whole_slices_as_monai_slides(
    roi: tuple[int, int], more: dict[str, Any], tmp_path: Path
) -> None:
    from monai.inferers import SliceInferer

    image = write_volume(tmp_path / "v.nii.gz")
    inferer = {"_target_": "SliceInferer", "roi_size": list(roi), "spatial_dim": 2, **more}
    plain = write_bundle(tmp_path / "b", 2, [step("ScaleIntensityRanged", **RANGE)], inferer)
    network = load_network(tmp_path / "b", device="cpu")
    seen = monai.Compose([*READ, monai.ScaleIntensityRange(**RANGE)])(str(tmp_path / "v.nii.gz"))
    x = torch.as_tensor(np.asarray(seen))[None]
    with torch.no_grad():
        wanted = SliceInferer(roi_size=roi, spatial_dim=2, **more)(x, plain)[0]  # type: ignore[index]
    window = resolve_window(image, parse_window(network.card.window or ""))
    tensor, boxes = network.prepare([apply_window(image.plane(0, k), window) for k in range(12)])
    assert tensor.shape == (12, 1, 24, 32)
    assert boxes[0].plane_shape == boxes[0].content_shape == (24, 32)
    # The very slices of MONAI: rows are j, columns i.
    np.testing.assert_allclose(tensor[:, 0].numpy(), x[0, 0].numpy().T, atol=0.01)
    with torch.no_grad():
        found = network.module(x[0].permute(3, 0, 2, 1))  # k, channel, j, i
    np.testing.assert_allclose(found.permute(1, 3, 2, 0), wanted, atol=1e-5)
    # Layers are called as in the checkpoint, and a window itself passes them once.
    assert network.default_layers == (f"{LAYER}.1.submodule",)
    assert isinstance(network.module, UNet)


def test_the_module_of_a_3d_bundle_does_so_too(tmp_path: Path) -> None:
    from monai.inferers import SlidingWindowInferer

    more: dict[str, Any] = {"overlap": 0.5, "mode": "gaussian"}
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [16, 24, 16], **more}
    plain = write_bundle(tmp_path / "b", 3, [step("ScaleIntensityd")], inferer)
    network = load_network(tmp_path / "b", device="cpu")
    x = torch.rand(1, 1, 32, 24, 12)
    with torch.no_grad():
        wanted = SlidingWindowInferer((16, 24, 16), **more)(x, plain)
        np.testing.assert_allclose(network.module(x), wanted, atol=1e-4)  # type: ignore[arg-type]
        one = torch.rand(1, 1, 16, 24, 16)
        np.testing.assert_array_equal(network.module(one), plain(one))
