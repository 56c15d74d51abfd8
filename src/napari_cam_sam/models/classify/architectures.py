"""The architectures that a classifier's card may name, and where to look into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.models.classify.narrow_resnet import NarrowResNet18
from napari_cam_sam.models.classify.small_cnn import SmallCNN

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "build",
    "last_linear",
    "replace_first_convolution",
    "to_grid",
]

_IMAGENET_CLASSES = 1000  # outputs that an architecture keeps under an extra head

Layout = Literal["channels-first", "channels-last", "tokens"]


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes
    ----------
    name : str
    layer : str
        Dotted name of the default target layer.
    layout : {"channels-first", "channels-last", "tokens"}
        How the layer's output is laid out: (B, C, h, w), (B, h, w, C), or (B, 1 + h·w, C) with
        the class token first.
    builder : callable or None
        Takes ``num_classes`` and ``in_channels``; None for torchvision's, which has weights too.
    halving : str
        Dotted name of the part that halves the grid last, and can be kept from it; empty where
        there is none.
    """

    name: str
    layer: str
    layout: Layout = "channels-first"
    builder: Callable[..., nn.Module] | None = None
    halving: str = ""

    @property
    def torchvision(self) -> bool:
        """Whether torchvision builds it and has weights for it."""
        return self.builder is None


# Last spatial layer of each; for the ViT the input norm of its last block, since what follows
# the last attention only reaches the score through the class token and gives an all-zero map.
_ROWS = (
    Architecture("resnet18", "layer4.1", halving="layer4"),
    Architecture("resnet34", "layer4.2", halving="layer4"),
    Architecture("resnet50", "layer4.2", halving="layer4"),
    Architecture("mobilenet_v3_small", "features.12", halving="features.9"),
    Architecture("mobilenet_v3_large", "features.16", halving="features.13"),
    Architecture("densenet121", "features.norm5", halving="features.transition3"),
    Architecture("efficientnet_b0", "features.8", halving="features.6"),
    Architecture("convnext_tiny", "features.7.2"),
    Architecture("swin_t", "features.7.1.norm1", "channels-last"),
    Architecture("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", "tokens"),
    Architecture("small-cnn", "stage4", builder=SmallCNN),
    Architecture("resnet18-narrow", "layer3.1", builder=NarrowResNet18, halving="layer4"),
)
ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in _ROWS}


def build(
    name: str,
    *,
    num_classes: int,
    channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    fine_grid: bool = False,
    head: Literal["linear", "extra"] = "linear",
    dropout: float = 0.0,
) -> nn.Module:
    """Build an architecture with random weights, leaving the global random state as it was.

    Parameters
    ----------
    name : str
        A key of ``ARCHITECTURES``.
    num_classes : int
        Number of logits.
    channels : {1, 3}
        Gray or RGB. A torchvision net of one channel is the same net with a first convolution
        that reads one channel.
    input_size : tuple of int
        Rows and columns. It matters for ``vit_b_16``, whose position table has its size.
    fine_grid : bool
        Leave out the last halving of the grid: the same weights, on twice as many rows and
        columns of the last layers.
    head : {"linear", "extra"}
        As :class:`models.cards.ClassifierCard` says.
    dropout : float
        Of the extra head, in training.

    Returns
    -------
    nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    CamSamError
        If the name is unknown, or the input size or the finer grid does not suit the
        architecture.
    """
    if name not in ARCHITECTURES:
        raise unknown_name("architecture", name, ARCHITECTURES)
    architecture = ARCHITECTURES[name]
    if fine_grid and not architecture.halving:
        fitting = ", ".join(row.name for row in _ROWS if row.halving)
        raise CamSamError(f"{name} has no finer grid; these have: {fitting}.")
    outputs = num_classes if head == "linear" else _IMAGENET_CLASSES
    with torch.random.fork_rng(devices=[]):
        if architecture.builder is not None:
            module = architecture.builder(num_classes=outputs, in_channels=channels)
        else:
            options: dict[str, Any] = {}
            if architecture.layout == "tokens":
                if input_size[0] != input_size[1] or input_size[0] % 16:
                    raise CamSamError(
                        f"{name} needs a square input whose side is a multiple of 16; "
                        f"got {input_size[0]}×{input_size[1]}."
                    )
                options["image_size"] = input_size[0]
            module = torchvision.models.get_model(
                name, weights=None, num_classes=outputs, **options
            )
            if channels != 3:
                replace_first_convolution(module, channels)
        if fine_grid:
            _keep_grid(module.get_submodule(architecture.halving))
        if head == "extra":
            _add_head(module, num_classes, dropout)
    return module.eval()


def last_linear(module: nn.Module) -> str:
    """Return the name of the layer that makes the logits.

    Parameters
    ----------
    module : nn.Module
        Of one of the architectures.

    Returns
    -------
    str
        Dotted.
    """
    names: list[str] = [n for n, part in module.named_modules() if isinstance(part, nn.Linear)]
    return names[-1]


def _keep_grid(part: nn.Module) -> None:
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.stride = (1, 1)
        elif isinstance(layer, nn.AvgPool2d):
            layer.kernel_size = layer.stride = 1


def _add_head(module: nn.Module, num_classes: int, dropout: float) -> None:
    name = last_linear(module)
    parent, _, own = name.rpartition(".")
    extra = nn.Sequential(
        module.get_submodule(name),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(_IMAGENET_CLASSES, num_classes),
    )
    setattr(module.get_submodule(parent), own, extra)


def replace_first_convolution(module: nn.Module, channels: int) -> None:
    """Make a network's first 2D convolution read another number of channels, untrained.

    Parameters
    ----------
    module : nn.Module
        Is changed.
    channels : int
    """
    name, old = next((n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d))
    parent = module.get_submodule(name.rpartition(".")[0])
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    setattr(parent, name.rpartition(".")[2], new)


def to_grid(output: Tensor, layer: nn.Module, architecture: str) -> Tensor:
    """Lay a layer's output out as (B, C, h, w), whatever the architecture.

    Parameters
    ----------
    output : Tensor
        (B, C, h, w), (B, h, w, C), or (B, n, C) with n = h·w or 1 + h·w tokens; a class token
        is dropped.
    layer : nn.Module
        The layer that made it: a linear layer or layer norm has its channels last.
    architecture : str
        Name; one that is not in the table counts as channels-first.

    Returns
    -------
    Tensor
        A view of shape (B, C, h, w), differentiable.

    Raises
    ------
    CamSamError
        If the output is not spatial: of another rank, or a 1×1 grid.
    """
    row = ARCHITECTURES.get(architecture)
    layout = row.layout if row is not None else "channels-first"
    grid = output
    if output.ndim == 3:
        n = output.shape[1]
        if isqrt(n) ** 2 != n and isqrt(n - 1) ** 2 == n - 1:
            output, n = output[:, 1:], n - 1
        if isqrt(n) ** 2 != n:
            raise CamSamError(f"The layer's {n} tokens are no square grid; choose another layer.")
        grid = output.transpose(1, 2).view(output.shape[0], output.shape[2], isqrt(n), isqrt(n))
    elif output.ndim == 4:
        last = type(layer) in (nn.Linear, nn.LayerNorm)
        if last or (layout == "channels-last" and not isinstance(layer, nn.Conv2d)):
            grid = output.permute(0, 3, 1, 2)
    if grid.ndim != 4 or grid.shape[2] * grid.shape[3] < 2:
        raise CamSamError(
            f"The layer's output of shape {tuple(output.shape)} has no spatial grid; "
            "choose a layer before the pooling."
        )
    return grid
