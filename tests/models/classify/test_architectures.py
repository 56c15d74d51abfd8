import pytest
import torch
from torch import nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classify.architectures import (
    ARCHITECTURES,
    build,
    to_grid,
)


def _output(module: nn.Module, layer: str, size: int, channels: int = 3) -> torch.Tensor:
    found = []
    part = module.get_submodule(layer)
    handle = part.register_forward_hook(lambda _m, _i, out: found.append(out))
    with torch.no_grad():
        device = next(module.parameters()).device
        logits = module(torch.zeros(1, channels, size, size, device=device))
    handle.remove()
    assert logits.shape == (1, 4)
    return found[0]


# Total strides and widths of the published nets.
@pytest.mark.parametrize(
    ("name", "channels", "cells"),
    [
        ("resnet18", 512, 2),
        ("resnet34", 512, 2),
        ("resnet50", 2048, 2),
        ("mobilenet_v3_small", 576, 2),
        ("mobilenet_v3_large", 960, 2),
        ("densenet121", 1024, 2),
        ("efficientnet_b0", 1280, 2),
        ("convnext_tiny", 768, 2),
        ("swin_t", 768, 2),
        ("vit_b_16", 768, 4),
        ("small-cnn", 192, 8),
        ("resnet18-narrow", 128, 8),
    ],
)
def test_default_layer_is_a_grid(name: str, channels: int, cells: int) -> None:
    with torch.device("meta"):  # shapes without numbers: no time to fill 86 million weights
        module = build(name, num_classes=4, input_size=(64, 64))
    layer = ARCHITECTURES[name].layer
    grid = to_grid(_output(module, layer, 64), module.get_submodule(layer), name)
    assert grid.shape == (1, channels, cells, cells)
    assert not module.training


def test_every_architecture_is_tested_above() -> None:
    assert len(ARCHITECTURES) == 12


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "small-cnn"])
def test_gray_variants_read_one_channel(name: str) -> None:
    module = build(name, num_classes=4, channels=1, input_size=(64, 64))
    _output(module, ARCHITECTURES[name].layer, 64, channels=1)


def test_building_leaves_the_random_state() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    build("small-cnn", num_classes=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_names_and_sizes() -> None:
    with pytest.raises(CamSamError, match=r"Did you mean .*resnet18"):
        build("resnet-18", num_classes=2)
    with pytest.raises(CamSamError, match="square"):
        build("vit_b_16", num_classes=2, input_size=(224, 192))


def test_layouts_keep_each_position() -> None:
    first = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    relu = nn.ReLU()
    assert torch.equal(to_grid(first, relu, "resnet18"), first)
    last = first.permute(0, 2, 3, 1).contiguous()
    assert torch.equal(to_grid(last, relu, "swin_t"), first)
    assert torch.equal(to_grid(last, nn.LayerNorm(3), "convnext_tiny"), first)
    assert torch.equal(to_grid(first, nn.Conv2d(1, 1, 1), "swin_t"), first)
    square = first[..., :4]
    tokens = square.flatten(2).transpose(1, 2)
    assert torch.equal(to_grid(tokens, relu, "vit_b_16"), square)
    with_class = torch.cat([torch.full((2, 1, 3), -1.0), tokens], dim=1)
    assert torch.equal(to_grid(with_class, relu, "vit_b_16"), square)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1), (2, 7, 3), (2, 3, 4, 4, 4)])
def test_what_is_no_grid_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CamSamError, match="choose"):
        to_grid(torch.zeros(shape), nn.ReLU(), "resnet18")


@pytest.mark.parametrize("name", [row.name for row in ARCHITECTURES.values() if row.halving])
def test_a_finer_grid_has_twice_the_rows_and_the_same_weights(name: str) -> None:
    with torch.device("meta"):
        plain = build(name, num_classes=4)
        fine = build(name, num_classes=4, fine_grid=True)
    layer = "layer4.1" if name == "resnet18-narrow" else ARCHITECTURES[name].layer
    before, after = (_output(module, layer, 64).shape for module in (plain, fine))
    rows, columns = before[2:]
    assert after[2:] == (2 * rows, 2 * columns)
    assert before[1] == after[1]
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in fine.state_dict().items()
    }


@pytest.mark.parametrize("name", ["small-cnn", "convnext_tiny", "swin_t", "vit_b_16"])
def test_architectures_without_a_finer_grid(name: str) -> None:
    with pytest.raises(CamSamError, match=f"{name} has no finer grid; these have: resnet18"):
        build(name, num_classes=2, fine_grid=True)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_an_extra_head_leaves_the_layers_where_they_are(name: str) -> None:
    with torch.device("meta"):
        module = build(name, num_classes=4, input_size=(64, 64), head="extra")
    assert _output(module, ARCHITECTURES[name].layer, 64).shape[0] == 1
