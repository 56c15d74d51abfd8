"""Layouts of checkpoints as training programs write them, around the weights of real networks."""

import argparse
import warnings
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.checkpoints import read_checkpoint, weights_sha256
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.models.segmentation import load_network
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.models.compact import build_compact_sam

NAME = "mobilenet_v3_small"


def _net(num_classes: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return torchvision.models.mobilenet_v3_small(num_classes=num_classes).eval()


def _load(path: Path, architecture: str = NAME) -> tuple[Classifier, list[str]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = load_classifier(path, architecture=architecture, device="cpu")
    return found, [str(one.message) for one in said]


def _prefixed(prefix: str, state: dict) -> dict:
    return {prefix + key: value for key, value in state.items()}


LAYOUTS = {
    "plain": lambda s: s,
    "tutorial": lambda s: {"epoch": 3, "model_state_dict": s, "optimizer_state_dict": {}},
    "imagenet": lambda s: {"state_dict": _prefixed("module.", s), "epoch": 3},
    "lightning": lambda s: {
        "state_dict": _prefixed("model.", s),
        "hyper_parameters": {"lr": 1e-3, "weights": torch.ones(2)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "loops": {"fit_loop": {"state_dict": {}}},
    },
    "compiled": lambda s: _prefixed("_orig_mod.", s),
    "compiled-inside": lambda s: _prefixed("model._orig_mod.", s),
    "module.model": lambda s: _prefixed("module.model.", s),
    "module.module": lambda s: _prefixed("module.module._orig_mod.", s),
    "backbone": lambda s: {"model": _prefixed("net.backbone.", s)},
    "encoder": lambda s: _prefixed("encoder.", s),
    "net": lambda s: {"net": s, "acc": 93.1},
    "ema": lambda s: {"state_dict_ema": s},
    "model_ema": lambda s: {"model_ema": {"module": s, "decay": 0.99}},
    "an entry of another name": lambda s: {"weights_of_mine": s, "step": torch.tensor(3)},
    "numpy": lambda s: {"state_dict": s, "best": np.float64(0.9), "n": np.int32(3)},
    "optimizer": lambda s: {"model": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar"])
def test_usual_layouts_hold_the_same_weights(tmp_path: Path, name: str, suffix: str) -> None:
    net = _net()
    path = tmp_path / f"weights{suffix}"
    torch.save(LAYOUTS[name](net.state_dict()), path)
    found, said = _load(path)
    assert weights_sha256(found.module) == weights_sha256(net)
    assert found.card.num_classes == 2
    assert said == []


@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".pt", ".PTH"])
def test_usual_endings(tmp_path: Path, suffix: str) -> None:
    torch.save(_net().state_dict(), tmp_path / f"a{suffix}")
    assert _load(tmp_path / f"a{suffix}")[0].card.num_classes == 2


def test_the_card_of_a_pth_tar_lies_beside_it(tmp_path: Path) -> None:
    torch.save(_net().state_dict(), tmp_path / "a.pth.tar")
    (tmp_path / "a.json").write_text(f'{{"architecture": "{NAME}", "class_names": ["a", "b"]}}')
    assert load_classifier(tmp_path / "a.pth.tar", device="cpu").card.class_names == ("a", "b")


def test_numbers_of_numpy_in_a_file_of_before_the_zip(tmp_path: Path) -> None:
    content = {"state_dict": _net().state_dict(), "best": np.float32(0.5)}
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / "old.pth").metadata == {"best": np.float32(0.5)}


def test_averaged_model_of_pytorch(tmp_path: Path) -> None:
    averaged = AveragedModel(_net())
    torch.save({"model_ema": averaged.state_dict()}, tmp_path / "a.pth")
    found, said = _load(tmp_path / "a.pth")
    assert weights_sha256(found.module) == weights_sha256(averaged.module)
    assert said == []


def test_plain_weights_before_averaged_ones_and_it_is_said(tmp_path: Path) -> None:
    plain, averaged = _net(seed=1), _net(seed=2)
    content = {"model_ema": averaged.state_dict(), "model": plain.state_dict()}
    torch.save(content, tmp_path / "a.pth")
    found, said = _load(tmp_path / "a.pth")
    assert weights_sha256(found.module) == weights_sha256(plain)
    assert len(said) == 1
    assert "under 'model' are used, not their running average under 'model_ema'" in said[0]


def test_several_sets_of_weights_are_refused_unless_they_are_the_same(tmp_path: Path) -> None:
    one, two = _net(seed=1).state_dict(), _net(seed=2).state_dict()
    torch.save({"model": one, "net": two}, tmp_path / "a.pth")
    with pytest.raises(CamSamError, match=r"Several sets of weights .* under 'model', 'net'"):
        _load(tmp_path / "a.pth")
    torch.save({"generator": one, "discriminator": two}, tmp_path / "b.pth")
    with pytest.raises(CamSamError, match="under 'generator', 'discriminator'"):
        _load(tmp_path / "b.pth")
    torch.save(_prefixed("student.", one) | _prefixed("teacher.", two), tmp_path / "c.pth")
    with pytest.raises(CamSamError, match=r"2 times, under 'student\.', 'teacher\.'"):
        _load(tmp_path / "c.pth")
    torch.save({"model": one, "state_dict": one}, tmp_path / "d.pth")
    assert _load(tmp_path / "d.pth")[1] == []


def test_what_lies_outside_of_the_network_is_left_out_and_named(tmp_path: Path) -> None:
    net = _net()
    beside = {"criterion.weight": torch.ones(2), "metric.total": torch.zeros(1)}
    torch.save(_prefixed("model.", net.state_dict()) | beside, tmp_path / "a.ckpt")
    found, said = _load(tmp_path / "a.ckpt")
    assert weights_sha256(found.module) == weights_sha256(net)
    assert len(said) == 1
    assert "does not begin with 'model.' is left out: criterion.weight, metric.total" in said[0]


def _with_head(name: str, head: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None)
    whole, _, own = {
        "resnet18": "fc",
        "mobilenet_v3_small": "classifier.3",
        "densenet121": "classifier",
        "efficientnet_b0": "classifier.1",
        "convnext_tiny": "classifier.2",
        "vit_b_16": "heads.head",
    }[name].rpartition(".")
    setattr(net.get_submodule(whole), own, head)
    return net.eval()


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 1024),
        ("densenet121", 1024),
        ("efficientnet_b0", 1280),
        ("convnext_tiny", 768),
    ],
)
def test_a_head_made_a_sequence_counts_its_last_layer(
    tmp_path: Path, name: str, width: int
) -> None:
    net = _with_head(name, nn.Sequential(nn.Dropout(0.5), nn.Linear(width, 2)))
    save_file(
        {"model." + k: v.contiguous() for k, v in net.state_dict().items()},
        tmp_path / "a.safetensors",
    )
    found, said = _load(tmp_path / "a.safetensors", name)
    assert found.card.num_classes == 2
    assert len(said) == 1
    assert "taken for dropout" in said[0]
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(found.module(image), net(image))


def test_a_head_of_a_linear_layer_and_a_softmax_gives_its_logits(tmp_path: Path) -> None:
    net = _with_head("resnet18", nn.Sequential(nn.Linear(512, 3), nn.Softmax(1)))
    torch.save(net.state_dict(), tmp_path / "a.pth")
    found, said = _load(tmp_path / "a.pth", "resnet18")
    assert said == []
    plane = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    with torch.no_grad():
        expected = net(found.prepare([plane])[0]).numpy()
    np.testing.assert_allclose(found.probabilities([plane]), expected, atol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 2)),
        nn.Sequential(nn.BatchNorm1d(512), nn.Linear(512, 2)),
    ],
    ids=["two-layers", "batch-norm"],
)
def test_a_head_whose_layers_cannot_be_told_is_refused(tmp_path: Path, head: nn.Module) -> None:
    torch.save(_with_head("resnet18", head).state_dict(), tmp_path / "a.pth")
    with pytest.raises(CamSamError, match=r"The head 'fc' holds fc\.0.*name a factory"):
        _load(tmp_path / "a.pth", "resnet18")


def test_an_extra_head_is_named_as_a_way(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Linear(512, 1000), nn.ReLU(), nn.Dropout(), nn.Linear(1000, 2))
    path = tmp_path / "a.pth"
    torch.save(_with_head("resnet18", head).state_dict(), path)
    with pytest.raises(CamSamError, match="'head' = 'extra' on its card"):
        _load(path, "resnet18")
    path.with_suffix(".json").write_text('{"architecture": "resnet18", "head": "extra"}')
    assert load_classifier(path, device="cpu").card.num_classes == 2


def test_names_of_another_library_are_named(tmp_path: Path) -> None:
    names = ["conv_stem.weight", "bn1.weight", "blocks.0.0.conv_dw.weight", "classifier.weight"]
    torch.save({name: torch.zeros(3) for name in names}, tmp_path / "timm.pth")
    with pytest.raises(CamSamError) as caught:
        _load(tmp_path / "timm.pth")
    assert "no layer 'classifier.3'" in str(caught.value)
    assert "its names are timm's (conv_stem.weight, bn1.weight" in str(caught.value)
    assert "(features.0.0.weight" not in str(caught.value)
    assert "features.0.0.weight" in str(caught.value)


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        (argparse.Namespace(lr=1), r"argparse\.Namespace"),
        (SimpleNamespace(lr=1), r"types\.SimpleNamespace"),
        (Path("x"), r"pathlib\."),
        (np.zeros(3), r"numpy\._core\.multiarray\._reconstruct"),
    ],
)
def test_objects_beside_the_weights_are_refused_with_a_way_out(
    tmp_path: Path, beside: object, named: str
) -> None:
    torch.save({"model": OrderedDict(_net().state_dict()), "args": beside}, tmp_path / "a.pth")
    with pytest.raises(CamSamError, match=rf"holds code \({named}.*save its weights alone"):
        _load(tmp_path / "a.pth")


def test_a_network_and_a_sam_behind_prefixes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    unet = SmallUNet(2, 1)
    torch.save({"state_dict": _prefixed("net.", unet.state_dict())}, tmp_path / "unet.ckpt")
    network = load_network(tmp_path / "unet.ckpt", architecture="small-unet", device="cpu")
    assert network.card.num_classes == 2
    assert weights_sha256(network.module) == weights_sha256(unet)
    sam = build_compact_sam().state_dict()
    torch.save({"model_state_dict": _prefixed("module.sam.", sam)}, tmp_path / "sam.pth.tar")
    assert load_segmenter(tmp_path / "sam.pth.tar", "cpu").name == "compact (sam.pth.tar)"


@pytest.mark.parametrize("head", ["head.fc", "classifier", "cls_head"])
def test_a_head_of_another_name_is_named(tmp_path, head):
    """As MMPretrain and own classes around a backbone save their weights."""
    weights = torchvision.models.resnet18(num_classes=3).state_dict()
    named = {
        f"{head}{key[2:]}" if key.startswith("fc.") else f"backbone.{key}": value
        for key, value in weights.items()
    }
    torch.save({"state_dict": named}, tmp_path / "a.pth")
    with pytest.raises(CamSamError, match=rf"^The file has no layer 'fc'.* it has '{head}': save"):
        load_classifier(tmp_path / "a.pth", architecture="resnet18")
