"""Segmentation networks: their cards, how they load, and what is refused."""

import json
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier, list_layers, load_classifier
from napari_cam_sam.models.inspection import describe
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.outputs import maps_of
from napari_cam_sam.models.segment.architectures import build_network, default_layer
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.models.segmentation import SegmentationNetwork, load_network
from napari_cam_sam.models.segmentation_cards import merge_segmentation_cards

UNET = {"channels": [4, 8, 12], "strides": [2, 2], "num_res_units": 1}
SEGRESNET = {"init_filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "norm": ["GROUP",
             {"num_groups": 2}]}  # fmt: skip
DYNUNET = {
    "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
    "filters": [4, 6, 8], "deep_supervision": True, "deep_supr_num": 1,
}  # fmt: skip
MONAI = {"monai-unet": UNET, "monai-segresnet": SEGRESNET, "monai-dynunet": DYNUNET}


def card_of(architecture: str, **fields: Any) -> Any:
    given = {"architecture": architecture, "num_classes": 2, **fields}
    return merge_segmentation_cards([("the test", given)], "it")


def saved(folder: Path, fields: dict[str, Any], **tensors: Any) -> Path:
    """Write random weights of a card's architecture, and the card beside them."""
    merged = merge_segmentation_cards([("the test", fields)], "it")
    module = build_network(merged, tensors)
    path = folder / "network.safetensors"
    save_model(module, str(path))  # of weights that DynUNet has twice it keeps one
    path.with_suffix(".json").write_text(json.dumps(fields))
    return path


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("fcn_resnet50", "backbone.layer4"),
        ("deeplabv3_resnet50", "backbone.layer4"),
        ("deeplabv3_mobilenet_v3_large", "backbone.16"),
        ("lraspp_mobilenet_v3_large", "backbone.16"),
        ("small-unet", "bottleneck"),
    ],
)
def test_planar_networks_are_built_with_a_layer_of_a_grid(name: str, layer: str) -> None:
    card = card_of(name, input_size=[64, 96], channels=1)
    module = build_network(card, {}).to("meta")
    assert default_layer(name, module) == layer
    found: list[torch.Tensor] = []
    module.get_submodule(layer).register_forward_hook(lambda *a: found.append(a[2]))
    output = module(torch.zeros(1, 1, 64, 96, device="meta"))
    assert maps_of(output, 2, 2).shape == (1, 2, 64, 96)
    assert found[0].ndim == 4
    assert found[0].shape[2] * found[0].shape[3] > 1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", MONAI)
def test_networks_of_monai_come_back_as_they_were_saved(
    name: str, dims: int, tmp_path: Path
) -> None:
    fields = {
        "architecture": name, "spatial_dims": dims, "input_size": [16] * dims,
        "class_names": ["rest", "organ"], "arguments": MONAI[name],
    }  # fmt: skip
    path = saved(tmp_path, fields)
    found = load_model(path, device="cpu")
    assert isinstance(found, SegmentationNetwork)
    assert found.card.class_names == ("rest", "organ")
    assert found.card.spatial_dims == dims
    assert found.card.channels == 1
    tree = {layer.name: layer.shape for layer in list_layers(found)}
    (layer,) = found.default_layers
    assert len(tree[layer]) == dims + 2
    assert tree[layer][2] < 16
    with torch.no_grad():
        maps = maps_of(found.module(torch.rand(1, 1, *[16] * dims)), 2, dims)
    assert maps.shape == (1, 2, *[16] * dims)
    assert maps.isfinite().all()


def test_a_checkpoint_of_torchvision_says_its_classes_and_auxiliary_head(tmp_path: Path) -> None:
    card = card_of("deeplabv3_mobilenet_v3_large", channels=3, arguments={"aux_loss": True})
    module = build_network(card, {})
    assert module.aux_classifier is not None
    torch.save(module.state_dict(), tmp_path / "organ.pth")
    found = load_model(
        tmp_path / "organ.pth", architecture="deeplabv3_mobilenet_v3_large", channels=3,
        input_size=[64, 64], device="cpu",
    )  # fmt: skip
    assert isinstance(found, SegmentationNetwork)
    assert found.card.num_classes == 2
    assert found.module.aux_classifier is not None


def test_factories_are_networks_by_their_card_or_by_the_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def bare():\n    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 3, 1))\n"
        "def known():\n    net = bare()\n"
        "    net.card = {'spatial_dims': 2, 'num_classes': 3, 'layers': ['0']}\n    return net\n"
    )
    known = load_model("my_nets:known", device="cpu")
    assert isinstance(known, SegmentationNetwork)
    assert known.default_layers == ("0",)
    assert known.card.architecture == "my_nets:known"
    bare = load_model("my_nets:bare", spatial_dims=2, num_classes=3, device="cpu")
    assert isinstance(bare, SegmentationNetwork)
    assert bare.default_layers == ()
    assert isinstance(load_model("my_nets:bare", num_classes=3, device="cpu"), Classifier)


def test_the_shipped_network_loads_by_name_and_describes_itself() -> None:
    found = load_model("phantom-unet", device="cpu")
    assert isinstance(found, SegmentationNetwork)
    data = describe(found)
    assert data["kind"] == "segmentation network"
    assert data["default_layers"] == ["bottleneck"]
    shapes = {layer["name"]: layer["shape"] for layer in data["layers"]}
    assert shapes["bottleneck"] == [1, 128, 8, 8]
    assert isinstance(load_model("lesion", device="cpu"), Classifier)
    with pytest.raises(CamSamError, match="classifier"):
        load_classifier("phantom-unet")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"architecture": "small-unet", "num_classes": 2, "input_size": [60, 64]}, "60 × 64"),
        ({"architecture": "small-unet", "num_classes": 2, "arguments": {"depth": 3}}, "depth"),
        ({"architecture": "small-unett", "num_classes": 2, "spatial_dims": 2}, "small-unet"),
        ({"architecture": "monai-unet", "num_classes": 2}, "channels"),
        ({"architecture": "small-unet", "num_classes": 2, "input_size": [8, 8, 8]}, "2D network"),
        ({"architecture": "small-unet", "num_classes": 2, "spacing": [1, 1, 1]}, "3D networks"),
        ({"architecture": "small-unet", "num_classes": 2, "spacing": [1, 0, 1]}, "above 0"),
        ({"architecture": "small-unet", "num_classes": 2, "orientation": "RAR"}, "RAS"),
        ({"architecture": "small-unet", "num_classes": 2, "activation": "relu"}, "sigmoid"),
        ({"architecture": "small-unet", "num_classes": 2, "spatial_dims": 4}, "2 or 3"),
        ({"architecture": "small-unet", "num_classes": 1, "activation": "softmax"}, "sigmoid"),
        ({"architecture": "monai-unet", "num_classes": 3, "arguments": {"out_channels": 2}},
         "give it once"),
        ({"architecture": "monai-unet", "num_classes": 2, "channels": 3, "spatial_dims": 3},
         "3D networks are supported with one"),
        ({"architecture": "small-unet"}, "class"),
    ],
)  # fmt: skip
def test_cards_that_cannot_be_right_are_refused(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    weights = SmallUNet(2).state_dict()
    if len(fields) == 1:  # else the last layer would say the classes
        del weights["head.weight"], weights["head.bias"]
    save_file(weights, path)
    path.with_suffix(".json").write_text(json.dumps(fields))
    with pytest.raises(CamSamError, match=words):
        load_network(path, device="cpu")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, {"architecture": "small-unet", "num_classes": 2})
    with pytest.raises(CamSamError, match=r"num_classes = 2.*but 3 by the argument"):
        load_model(path, num_classes=3, device="cpu")
    path.with_suffix(".json").write_text('{"architecture": "small-unet", "num_classes": 3}')
    with pytest.raises(CamSamError, match=r"head\.weight"):
        load_model(path, device="cpu")
    with pytest.raises(CamSamError, match="There is no such checkpoint"):
        load_model(tmp_path / "none.pth", architecture="small-unet")


# --- what networks return -----------------------------------------------------------------------

MAPS = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)


@pytest.mark.parametrize(
    "output",
    [
        MAPS,
        OrderedDict(out=MAPS, aux=MAPS * 0),
        SimpleNamespace(logits=MAPS),
        (MAPS, MAPS[..., ::2, ::2]),
        [MAPS[..., ::2, ::2], MAPS],
        ([MAPS[..., :1, :1]], {"out": MAPS}),
        (torch.zeros(2, 5), MAPS),
    ],
)
def test_maps_are_found(output: object) -> None:
    assert torch.equal(maps_of(output, 3, 2), MAPS)


@pytest.mark.parametrize(
    ("output", "dims", "words"),
    [
        (None, 2, "NoneType"),
        ({"masks": MAPS}, 2, "dict"),
        (MAPS[:, :2], 2, r"\(2, 2, 4, 4\)"),
        (MAPS, 3, "slices, rows, columns"),
        (torch.zeros(2, 3), 2, r"\(2, 3\)"),
    ],
)
def test_what_are_no_maps_is_refused(output: object, dims: int, words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        maps_of(output, 3, dims)


def test_images_can_be_normalised_by_their_own_statistics() -> None:
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, (32, 32), dtype=np.uint8) for _ in range(2)]
    planes[1][:16] = 0
    for how in ("image", "nonzero"):
        card = card_of("small-unet", input_size=[32, 32], standardise=how)
        model = SegmentationNetwork(nn.Identity(), card, "it", "", (), torch.device("cpu"))
        tensor, _ = model.prepare(planes)
        for plane, got in zip(planes, tensor[:, 0].numpy(), strict=True):
            x = plane / 255
            kept = x[x > 0] if how == "nonzero" else x
            want = (x - kept.mean()) / kept.std()
            want = np.where(x > 0, want, 0) if how == "nonzero" else want
            np.testing.assert_allclose(got, want, atol=1e-5)
        # What a letterbox adds is no part of the image, and stays 0.
        half, _ = model.prepare([planes[0][:16]])
        alone = (planes[0][:16] / 255 - planes[0][:16].mean() / 255) / (planes[0][:16].std() / 255)
        if how == "image":
            np.testing.assert_allclose(half[0, 0, 8:24], alone, atol=1e-5)
        assert not half[0, 0, [*range(8), *range(24, 32)]].any()


def test_arguments_that_ask_for_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pth")
    card = {"architecture": "monai-unet", "num_classes": 2, "spatial_dims": 3}
    for arguments, words in (
        ({"channels": [60_000, 60_000], "strides": [2]}, "and the file holds 3"),
        (
            {"channels": [16, 32], "strides": [2], "kernel_size": 999},
            "and the file holds 3",
        ),
        ({"channels": [16, -32], "strides": [2]}, "cannot be built"),
        ({"channels": [], "strides": []}, "cannot be built"),
    ):
        with pytest.raises(CamSamError, match=words):
            load_network(tmp_path / "a.pth", arguments=arguments, device="cpu", **card)
