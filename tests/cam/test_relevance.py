"""Relevance: conserved, the same as zennit's own canonizers give, and refused where undefined."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlusFlat
from zennit.rules import Epsilon
from zennit.torchvision import ResNetCanonizer, VGGCanonizer

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.relevance import canonical, relevance
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.checkpoints import weights_sha256
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.models.classify.architectures import build

Make = Callable[..., Classifier]
Planes = list[NDArray[np.uint8]]


def _lrp(classifier: Classifier, planes: Planes, **options: object) -> list[Heatmap]:
    return list(compute_heatmaps(classifier, planes, CamParameters("lrp", **options)))


def _with_statistics(net: nn.Module, x: Tensor) -> nn.Module:
    """Let batch norm see something, so that merging it changes the weights."""
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(x * 2 + 1)
    return net.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_relevance_of_a_resnet_adds_up_to_the_logit(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 64, 64)
    net = _with_statistics(build(name, num_classes=4), x)
    found = relevance(canonical(net, name), x, [0, 1, 2, 3])
    with torch.no_grad():
        expected = net(x)[range(4), range(4)] - net.fc.bias
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), expected, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["lesion", "shapes"])
def test_relevance_of_the_shipped_nets_adds_up_to_the_logit(name: str) -> None:
    classifier = load_classifier(name, device="cpu")
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, (100, 128), dtype=np.uint8) for _ in range(3)]
    tensor, _ = classifier.prepare(planes)
    with torch.no_grad():
        logits = classifier.module(tensor) - classifier.module.head.bias
    for heatmap, row in zip(_lrp(classifier, planes, target=1), logits, strict=True):
        assert heatmap.raw.sum() == pytest.approx(float(row[1]), rel=0.02)
        assert heatmap.grid_shape == classifier.card.input_size


@pytest.mark.parametrize(
    ("name", "canonizer"), [("resnet18", ResNetCanonizer), ("vgg11_bn", VGGCanonizer)]
)
def test_agrees_with_zennit_and_its_own_canonizers(name: str, canonizer: type) -> None:
    """The graph finds what zennit finds by the names of torchvision's blocks."""
    from torchvision.models import get_model

    torch.manual_seed(1)
    x = torch.randn(2, 3, 64, 64)
    net = _with_statistics(get_model(name, weights=None, num_classes=4), x)
    mine = relevance(canonical(net, name), x, [2, 1])
    composite = EpsilonPlusFlat(
        layer_map=[(nn.Linear, Epsilon())], zero_params=["bias"], canonizers=[canonizer()]
    )
    with Gradient(net, composite) as attributor:
        _, theirs = attributor(
            x.clone().requires_grad_(True), lambda logits: logits * torch.eye(4)[[2, 1]]
        )
    torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=1e-3 * float(theirs.abs().max()))


class _Functional(nn.Module):
    """A net as people write one: functional ReLUs, sums and means, a ReLU that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.body = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = functional.relu(self.stem(x))
        x = self.relu(self.norm(self.body(x)) + x)
        return {"logits": self.head(self.relu(x).mean((2, 3)))}


def test_functional_steps_are_found(make: Make, planes: Planes) -> None:
    torch.manual_seed(2)
    net = _with_statistics(_Functional(), torch.randn(4, 1, 32, 32))
    classifier = make(net, layers=())
    tensor, _ = classifier.prepare(planes)
    with torch.no_grad():
        logits = net(tensor)["logits"] - net.head.bias
    for heatmap, row in zip(_lrp(classifier, planes, target=3), logits, strict=True):
        assert heatmap.raw.sum() == pytest.approx(float(row[3]), rel=1e-3)


def test_a_linear_net_by_hand(make: Make, planes: Planes) -> None:
    """One convolution of the size of the input, one linear layer: flat, then epsilon."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 3, 32, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(3, 4))
    (heatmap,) = _lrp(make(net.eval(), layers=()), planes[:1], target=0)
    tensor, _ = make(net, layers=()).prepare(planes[:1])
    with torch.no_grad():
        hidden = net[:3](tensor)[0]
        share = (hidden * net[3].weight[0]).sum() / (32 * 32)
    np.testing.assert_allclose(heatmap.raw, float(share), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mobilenet_v3_small", "Hardsigmoid, Hardswish"),
        ("efficientnet_b0", "SiLU"),
        ("convnext_tiny", "GELU"),
        ("vit_b_16", "MultiheadAttention"),
        ("densenet121", "BatchNorm2d that follows no convolution"),
    ],
)
def test_refused_where_a_step_has_no_rule(name: str, what: str) -> None:
    net = build(name, num_classes=2, input_size=(32, 32))
    with pytest.raises(CamSamError, match=f"lrp is not defined for {name}, which has .*{what}"):
        canonical(net, name)


class _Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.amax((2, 3), keepdim=True)


class _Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class _Shifted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (_Gate(), "amax, mul"),
        (_Branching(), "steps that depend on its values"),
        (_Shifted(), "an added constant"),
        (nn.GroupNorm(1, 4), "GroupNorm"),
    ],
)
def test_steps_of_own_nets_are_looked_at_too(step: nn.Module, what: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), step, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(CamSamError, match=what):
        canonical(net.eval(), "mine")


def test_the_model_is_left_as_it_was(shallow: Classifier, planes: Planes) -> None:
    net = shallow.module
    modules, weights = list(net.modules()), weights_sha256(net)
    net.train()
    _lrp(shallow, planes)
    assert net.training
    assert all(a is b for a, b in zip(net.modules(), modules, strict=True))
    assert weights_sha256(net) == weights
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_missing_extra_says_how_to_install_it(
    shallow: Classifier, planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("zennit"):
            raise ImportError(name)
        return plain(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CamSamError, match=r"napari-cam-sam\[explain\]"):
        _lrp(shallow, planes)
