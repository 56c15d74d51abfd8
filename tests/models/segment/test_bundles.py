"""MONAI bundle folders: read as data, and what is refused."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.transforms import ScaleIntensity

from napari_cam_sam.cam.volume_heatmaps import predict_image
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.segmentation import SegmentationNetwork

NETWORK = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": "@classes",
    "channels": [4, 8], "strides": [2], "norm": "batch",
}  # fmt: skip
PREPARATION = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": "@pixdim", "mode": "bilinear"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164,
     "b_min": -1.0, "b_max": 1.0, "clip": True},
    {"_target_": "FlyToTheMoond", "_disabled_": True},
]  # fmt: skip
CONFIG = {
    "imports": ["$import glob"],
    "classes": 2,
    "pixdim": [1.5, 1.5, 2.0],
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": PREPARATION},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.5},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
    },
}
CHANNELS = {"0": "background", "1": "spleen"}
METADATA = {"network_data_format": {"outputs": {"pred": {"channel_def": CHANNELS}}}}


def prepared(step: dict[str, Any]) -> dict[str, Any]:
    return {"preprocessing": {"transforms": [step]}}


def bundle(folder: Path, config: dict[str, Any], suffix: str = "json") -> Path:
    from monai.networks.nets import UNet

    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    text = json.dumps(config) if suffix == "json" else yaml.safe_dump(config)
    (folder / "configs" / f"inference.{suffix}").write_text(text)
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    module = UNet(
        spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,), norm="batch"
    )
    torch.save(module.state_dict(), folder / "models" / "model.pt")
    return folder


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_bundle_loads_with_what_its_configuration_says(tmp_path: Path, suffix: str) -> None:
    found = load_model(bundle(tmp_path, CONFIG, suffix), device="cpu")
    assert isinstance(found, SegmentationNetwork)
    card = found.card
    assert card.class_names == ("background", "spleen")
    assert (card.spatial_dims, card.input_size) == (3, (16, 16, 16))
    assert (card.orientation, card.spacing) == ("RAS", (1.5, 1.5, 2.0))
    assert card.window == "limits:-57,164"
    # From the window's 0 to 1 to the bundle's -1 to 1.
    ends = found.normalise(torch.tensor([0.0, 1.0]).view(1, 1, 2, 1, 1)).flatten().tolist()
    assert ends == pytest.approx([-1, 1])
    assert card.activation == "softmax"
    assert found.default_layers == ("model.1.submodule",)


def test_a_network_beside_its_own_normalisation(tmp_path: Path) -> None:
    steps = [{"_target_": "monai.transforms.NormalizeIntensityd", "nonzero": True}]
    after = [{"_target_": "Activationsd", "sigmoid": True}]
    config = CONFIG | {
        "preprocessing": {"transforms": steps},
        "postprocessing": {"transforms": after},
    }
    card = load_model(bundle(tmp_path, config), device="cpu").card
    assert (card.window, card.activation) == ("minmax", "sigmoid")
    assert [step.name for step in card.preparation.steps] == ["NormalizeIntensityd"]
    # Which values are 0 is not to be seen in windowed ones.
    network = load_model(tmp_path, device="cpu")
    with pytest.raises(CamSamError, match=r"NormalizeIntensityd.*which values are 0"):
        network.normalise(torch.zeros(1, 1, 4, 4, 4))


def test_min_and_max_are_scaled_to_the_range_that_is_named(tmp_path: Path) -> None:
    step = {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 2.0}
    network = load_model(bundle(tmp_path, CONFIG | prepared(step)), device="cpu")
    seen = np.array([[[[0, 51, 255]]]], np.float32)
    ours = network.normalise(torch.from_numpy(seen[None] / 255))[0]
    np.testing.assert_allclose(ours, ScaleIntensity(minv=-1.0, maxv=2.0)(seen), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network_def": NETWORK | {"_target_": "SwinUNETR"}}, "SwinUNETR"),
        ({"network_def": NETWORK | {"_target_": "evil.UNet"}}, "evil.UNet"),
        ({"network_def": NETWORK | {"norm": "$__import__('os').getcwd()"}}, "never run"),
        ({"network_def": NETWORK | {"norm": "@nothing::there"}}, "not there"),
        ({"network_def": NETWORK | {"norm": "%other.json::norm"}}, "another file"),
        ({"network_def": NETWORK | {"norm": "@circle"}, "circle": "@circle"}, "circles"),
        (prepared({"_target_": "Rotate90d"}), "Rotate90d is not followed"),
        (prepared({"_target_": "Lambdad", "func": "$lambda x: x"}), "Lambdad|never run"),
        (
            prepared({"_target_": "evil.transforms.Spacingd", "pixdim": 1}),
            "evil.transforms.Spacingd",
        ),
        (prepared({"_target_": "os.system", "command": "touch x"}), "os.system"),
        (prepared(PREPARATION[3] | {"b_min": None}), "b_min should be a number, not None"),
        (prepared(PREPARATION[3] | {"a_min": "low"}), "a_min should be a number, not 'low'"),
        (prepared(PREPARATION[3] | {"b_max": -1.0}), "the first the lower"),
        (prepared(PREPARATION[3] | {"a_min": "$__import__('os').getpid()"}), "never run"),
        (prepared(PREPARATION[3] | {"dtype": "$np.uint8"}), "dtype"),
        (
            prepared({"_target_": "Spacingd", "pixdim": 1e-9}),
            r"pixdim\[0\] should be 0.01 to 1000 mm, not 1e-09",
        ),
        (
            prepared({"_target_": "Spacingd", "pixdim": [1, 1, 1], "mode": "eval"}),
            r"mode\[0\] should be 'bilinear', .*, not 'eval'",
        ),
        (
            prepared({"_target_": "SpatialPadd", "spatial_size": 10**9}),
            r"spatial_size\[0\] should be 4096 or less, not 1000000000",
        ),
        (prepared({"_target_": "CropForegroundd", "select_fn": "$lambda x: x"}), "never run"),
        (prepared({"_target_": "NormalizeIntensityd", "divisor": 0}), "divides by 0"),
        (prepared({"_target_": "LoadImaged", "reader": "$__import__('os')"}), "never run"),
        ({"preprocessing": "$monai.transforms.Compose([])"}, "never run"),
        ({"preprocessing": {"transforms": "@nothing"}}, "not there"),
        ({"preprocessing": "@ring", "ring": "@ring"}, "circles"),
        ({"preprocessing": {"transforms": [], "lazy": True}}, "lazy"),
        ({"inferer": {"_target_": "evil.SlidingWindowInferer", "roi_size": [16] * 3}}, "evil"),
        ({"inferer": {"_target_": "PatchInferer"}}, "PatchInferer"),
        ({"inferer": {"roi_size": [4096] * 3}}, "voxels in all"),
        (
            {"inferer": {"roi_size": [16] * 3, "overlap": 1.0}},
            r"overlap\[0\] should be below 1.0, not 1.0",
        ),
        ({"inferer": {"roi_size": [16] * 3, "padding_mode": "wrap"}}, "padding_mode"),
        ({"inferer": {"_target_": "SliceInferer", "roi_size": [16, 16]}}, "SliceInferer.*3 dim"),
        ({"postprocessing": {"transforms": [{"_target_": "MeanEnsembled"}]}}, "MeanEnsembled"),
        ({"postprocessing": {"transforms": [{"_target_": "LoadImaged"}]}}, "LoadImaged"),
        (
            {"postprocessing": {"transforms": [{"_target_": "AsDiscreted", "threshold": 0.3}]}},
            "0.3",
        ),
        (
            {"network_def": NETWORK | {"channels": [10**9, 8]}},
            "channels is 1000000000, at most 65536",
        ),
        ({"network_def": NETWORK | {"num_res_units": 10**6}}, "num_res_units"),
        ({"network_def": NETWORK | {"kernel_size": [3] * 1000}}, "1000 values"),
        (
            {"network_def": NETWORK | {"norm": "@l0"}, "l6": [1] * 10}
            | {f"l{i}": [f"@l{i + 1}"] * 10 for i in range(6)},
            "more than 10000 values",
        ),
        ({"network_def": NETWORK | {"in_channels": 4}}, "1 .gray. or 3"),
        ({"inferer": {"roi_size": [15, 16, 16]}}, "15 × 16 × 16"),
    ],
)
def test_what_is_not_supported_is_named(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = bundle(tmp_path, CONFIG | changes)
    with pytest.raises(CamSamError, match=words):
        load_model(folder, device="cpu")


def test_a_few_words_make_no_giant(tmp_path: Path) -> None:
    """65,536 × 65,536 × 27 weights would be 464 GB: refused by counting, in no memory."""
    changes = {"network_def": NETWORK | {"channels": [65536, 65536]}}
    with pytest.raises(CamSamError, match=r"weights with these arguments.*the file holds"):
        load_model(bundle(tmp_path, CONFIG | changes), device="cpu")


HOSTILE = "__import__('pathlib').Path('MARK').write_text('ran')"


@pytest.mark.parametrize(
    "code", [f"${HOSTILE}", f"$({HOSTILE}, 1)[1]", f"$[{HOSTILE} for _ in 'a']"]
)
@pytest.mark.parametrize(
    "where",
    [
        "imports", "initialize", "run", "network_def", "network_def.norm", "network_def._target_",
        "network_def._requires_", "network_def._desc_", "preprocessing", "preprocessing.transforms",
        "preprocessing.transforms.0", "preprocessing.transforms.0._target_",
        "preprocessing.transforms.0.keys", "preprocessing.transforms.2.pixdim",
        "preprocessing.transforms.3.a_min", "preprocessing.transforms.3._disabled_",
        "preprocessing.transforms.3.dtype", "preprocessing.transforms.0.reader", "inferer",
        "inferer._target_", "inferer.roi_size", "inferer.overlap", "inferer.device",
        "postprocessing", "postprocessing.transforms.0.other",
        "postprocessing.transforms.0.softmax", "postprocessing.transforms.0._target_", "classes",
        "pixdim", "checkpointloader", "evaluator", "handlers", "device", "output_dtype",
    ],
)  # fmt: skip
def test_no_expression_runs_wherever_it_stands(
    where: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, or passed over where it is none of the image's way; MONAI itself would run it."""
    monkeypatch.chdir(tmp_path)
    config = json.loads(json.dumps(CONFIG))
    *path, last = where.split(".")
    part = config
    for key in path:
        part = part[int(key)] if isinstance(part, list) else part[key]
    part[int(last) if isinstance(part, list) else last] = code
    folder = bundle(tmp_path / "bundle", config)
    with suppress(CamSamError):
        network = load_model(folder, device="cpu")
        assert isinstance(network, SegmentationNetwork)
        volume = np.random.default_rng(0).normal(0, 50, (8, 16, 16)).astype(np.float32)
        predict_image(
            network, volume, Geometry((2.0, 1.5, 1.5), np.diag([2.0, 1.5, 1.5, 1.0]), "mm")
        )
    assert not (tmp_path / "MARK").exists()


def test_folders_that_are_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match="no MONAI bundle"):
        load_model(tmp_path)
    folder = bundle(tmp_path, CONFIG)
    (folder / "models" / "model.pt").rename(folder / "models" / "model.ts")
    with pytest.raises(CamSamError, match="TorchScript"):
        load_model(folder)
    (folder / "configs" / "inference.json").write_text("{")
    with pytest.raises(CamSamError, match="JSON"):
        load_model(folder)


def test_a_configuration_of_the_usual_form_is_read_with_all_its_references(tmp_path: Path) -> None:
    """Parts of the truth are passed over, modes are the image's own, devices are not looked at."""
    both = {"keys": ["image", "label"]}
    steps = [
        {"_target_": "LoadImaged", **both},
        {"_target_": "EnsureChannelFirstd", **both},
        {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Orientationd", **both, "axcodes": "RAS"},
                {"_target_": "Spacingd", **both, "pixdim": "@pixdim",
                 "mode": ["bilinear", "nearest"]},
            ],
        },
        {"_target_": "AsDiscreted", "keys": "label", "argmax": True},
        {"_target_": "monai.transforms.NormalizeIntensityd", "keys": "@key", "nonzero": True},
        {"_target_": "EnsureTyped", **both, "device": "@device", "dtype": "$torch.float32"},
    ]  # fmt: skip
    after = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
         "orig_keys": "image", "device": "@device"},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
    ]  # fmt: skip
    config = CONFIG | {
        "key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "preprocessing": {"_target_": "Compose", "transforms": "$@all_steps"},
        "all_steps": steps,
        "inferer": "@sliding",
        "sliding": {
            "_target_": "monai.inferers.SlidingWindowInferer", "roi_size": "$[16, 16, 16]",
            "sw_batch_size": 4, "overlap": 0.625, "mode": "gaussian", "padding_mode": "replicate",
            "device": "$torch.device('cpu')",
        },
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "evaluator": {"_target_": "SupervisedEvaluator", "val_data_loader": "@dataloader"},
    }  # fmt: skip
    card = load_model(bundle(tmp_path, config), device="cpu").card
    names = [step.name for step in card.preparation.steps]
    assert names == ["Orientationd", "Spacingd", "NormalizeIntensityd"]
    assert card.preparation.steps[1].arguments == {"pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"}
    inferer = card.preparation.inferer
    assert (inferer.roi_size, inferer.overlap, inferer.mode) == ((16,) * 3, (0.625,), "gaussian")
    assert inferer.padding_mode == "replicate"
