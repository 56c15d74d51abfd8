"""Segmentation networks in the place of a classifier: runs over images, and the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cli import main
from napari_cam_sam.demo.phantoms import ultrasound
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.models.segmentation_cards import merge_segmentation_cards
from napari_cam_sam.pipeline import RunParameters, run_image, run_planes
from napari_cam_sam.sam.segmenter import Segmenter


@pytest.fixture(scope="module")
def unet() -> SegmentationNetwork:
    found = load_model("phantom-unet", device="cpu")
    assert isinstance(found, SegmentationNetwork)
    return found


class Bright(nn.Module):
    """A voxel is a spot where it is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()
        self.head = nn.Conv3d(1, 2, 1)
        self.head.weight.data[:, 0, 0, 0, 0] = torch.tensor([-1.0, 1.0])
        self.head.bias.data[:] = torch.tensor([0.5, -0.5])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def bright() -> SegmentationNetwork:
    fields = {
        "architecture": "bright", "class_names": ["rest", "spot"], "spatial_dims": 3,
        "input_size": [8, 8, 8],
    }  # fmt: skip
    card = merge_segmentation_cards([("the test", fields)], "bright")
    return SegmentationNetwork(
        Bright(), card, "bright", "0" * 64, ("features",), torch.device("cpu")
    )


def blocks() -> tuple[Image, NDArray[np.bool_]]:
    """A dark volume with a bright block on planes 3 to 6."""
    truth = np.zeros((12, 16, 20), dtype=bool)
    truth[3:7, 5:11, 8:16] = True
    return image_from_array(np.where(truth, 250, 10).astype(np.uint8)), truth


def test_a_planar_network_runs_over_planes_with_the_truth_as_its_pixels(
    seeded: Segmenter, unet: SegmentationNetwork
) -> None:
    sample = make_sample("ct")
    truth = np.asarray(sample.truth.data) > 0
    parameters = RunParameters(
        planes=range(6, 14),
        cam=CamParameters("hires-cam", "lesion", pixel_set=PixelSet("truth"), batch_size=3),
    )
    found = {
        plane.index: plane.heatmap
        for plane in run_planes(sample.image, seeded, unet, parameters, sample.truth)
    }
    assert set(found) == set(range(6, 14))
    for index, heatmap in found.items():
        assert heatmap is not None
        assert np.array_equal(heatmap.region, truth[index])
        assert heatmap.evidence <= truth[index].any()
        if not truth[index].any():
            assert heatmap.reason == "The truth is empty here."
    # Of a label that is not there, nothing is M.
    labels = image_from_array(truth.astype(np.uint8) * 3, geometry=sample.truth.geometry)
    labelled = RunParameters(planes=range(9, 10), truth_label=3, cam=parameters.cam)
    (plane,) = run_planes(sample.image, seeded, unet, labelled, labels)
    assert plane.heatmap is not None
    assert np.array_equal(plane.heatmap.region, truth[9])


def test_the_shipped_network_finds_lesions_it_has_not_seen(unet: SegmentationNetwork) -> None:
    """Its card says Dice .6 or so; a network that does not fit its weights is near 0."""
    drawn = [ultrasound(seed, size=128, lesion=True) for seed in range(50_000, 50_016)]
    parameters = CamParameters(target="lesion")
    dice = []
    for heatmap, phantom in zip(
        compute_heatmaps(unet, [p.image for p in drawn], parameters), drawn, strict=True
    ):
        assert heatmap.region is not None
        truth = phantom.labels > 0
        dice.append(2 * (heatmap.region & truth).sum() / (heatmap.region.sum() + truth.sum()))
    assert np.mean(dice) > 0.4


@pytest.mark.parametrize("axis", [0, 2])
def test_a_volume_is_explained_once_and_cut_along_any_axis(seeded: Segmenter, axis: int) -> None:
    image, truth = blocks()
    parameters = RunParameters(
        axis=axis, cam=CamParameters("hires-cam", "spot"), planes=range(2, 12)
    )
    result = run_image(image, seeded, bright(), parameters)
    assert result.heatmap is not None
    run = np.zeros(truth.shape, dtype=bool)
    run[(slice(None),) * axis + (slice(2, 12),)] = True
    # Logits are linear in the voxels: gradient times activation is the bright block on M.
    assert np.array_equal(result.heatmap > 0.5, truth & run)
    for plane in result.prompts:
        there = truth[(slice(None),) * axis + (plane.index,)]
        assert bool(plane.objects) == bool(there.any())
        assert result.probabilities[plane.index] == pytest.approx(
            1 / (1 + np.exp(-2 * (250 / 255 - 0.5 if there.any() else 10 / 255 - 0.5))), abs=1e-4
        )
        if not there.any():
            assert plane.reason == "All positive evidence for 'spot' is on other slices."


def test_a_region_is_read_from_labels_on_the_images_grid(seeded: Segmenter) -> None:
    image, truth = blocks()
    half = truth.copy()
    half[:, :, :12] = False
    parameters = RunParameters(cam=CamParameters("hires-cam", 1, pixel_set=PixelSet("region")))
    region = image_from_array(half.astype(np.uint8))
    result = run_image(image, seeded, bright(), parameters, region=region)
    assert result.heatmap is not None
    assert np.array_equal(result.heatmap > 0.5, half)
    with pytest.raises(CamSamError, match="needs a region"):
        run_image(image, seeded, bright(), parameters)
    with pytest.raises(CamSamError, match="same grid"):
        run_image(image, seeded, bright(), parameters, region=image_from_array(half[1:] * 1))


def test_networks_and_images_of_different_dimension_do_not_go_together(seeded: Segmenter) -> None:
    flat = image_from_array(np.zeros((16, 16), np.uint8))
    colour = image_from_array(np.zeros((9, 9, 9, 3), np.uint8), rgb=True)
    for image, words in ((flat, "single slice"), (colour, "in colour")):
        with pytest.raises(CamSamError, match=f"3D network and takes gray volumes.*{words}"):
            run_image(image, seeded, bright(), RunParameters())
    with pytest.raises(CamSamError, match="needs a truth"):
        run_image(
            blocks()[0], seeded, bright(),
            RunParameters(cam=CamParameters(pixel_set=PixelSet("truth"))),
        )  # fmt: skip


# --- the command line ---------------------------------------------------------------------------


def test_run_takes_a_network_and_a_pixel_set(
    picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = picture
    base = ["run", str(image), "--classifier", "phantom-unet", "--target", "lesion",
            "--sam", "seeded", "--cam", "hires-cam"]  # fmt: skip
    sets = {
        "whole": ("pixel_set: {kind: whole}", []),
        "predicted": ("pixel_set: {component: 1}", []),
        "truth": ("pixel_set: {kind: truth}", ["--truth", str(truth)]),
        "region": ("region: truth.png", []),
        "pixel": ("pixel_set: {kind: pixel, pixel: [40, 60]}", ["--layer", "decoder3"]),
    }
    for kind, (settings, flags) in sets.items():
        output = tmp_path / kind
        (tmp_path / "settings.yaml").write_text(settings)
        flags += ["--config", str(tmp_path / "settings.yaml")]
        assert main([*base, *flags, "--output", str(output)]) == 0
        printed = capsys.readouterr().out
        assert "phantom-unet on cpu" in printed
        record = json.loads((output / "run.json").read_text())
        assert record["parameters"]["cam"]["pixel_set"]["kind"] == kind
        assert record["classifier"]["card"]["architecture"] == "small-unet"
    assert "pixel (40, 60)" in printed


def test_models_info_shows_the_tree_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "phantom-unet", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["kind"] == "segmentation network"
    assert data["class_names"][:2] == ["background", "lesion"]
    assert {"bottleneck", "decoder3.conv2"} <= {layer["name"] for layer in data["layers"]}
    assert main(["models", "list"]) == 0
    assert "phantom-unet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("pixel_set: {kind: truth}", "needs a truth"),
        ("pixel_set: {kind: region}", "needs a region"),
        ("pixel_set: {kind: pixel}", "its row and its column"),
        ("pixel_set: {kind: pixel, pixel: [3]}", "a row and a column"),
        ("pixel_set: {kind: pixel, pixel: [3, 4000]}", "counted from 0"),
        ("{pixel_set: {kind: whole}, region: truth.png}", "kind: region"),
        (["--layer", "bottelneck"], "bottleneck"),
        (["--target", "tumour"], "class"),
        ("card: {spatial_dims: 3}", "spatial_dims"),
    ],
)
def test_the_command_line_refuses_in_one_line(
    flags: list[str] | str,
    words: str,
    picture: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(picture[0].parent)
    argv = ["run", "image.png", "--classifier", "phantom-unet", "--sam", "seeded"]
    if isinstance(flags, str):
        Path("settings.yaml").write_text(flags)
        flags = ["--config", "settings.yaml"]
    assert main([*argv, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert words in err
