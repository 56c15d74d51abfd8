"""The architectures that a card of a segmentation network may name."""

from __future__ import annotations

import copy
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError, reason_of, unknown_name
from napari_cam_sam.models.classify.architectures import replace_first_convolution
from napari_cam_sam.models.names import SEGMENTATION_ARCHITECTURES
from napari_cam_sam.models.outputs import maps_of
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.models.segmentation_cards import SegmentationCard

__all__ = ["build_network", "check_input_size", "count_classes", "default_layer"]


_FEW_WEIGHTS = 1_000_000
_Build = Callable[[SegmentationCard, Mapping[str, Tensor]], nn.Module]
_Layer = Callable[[nn.Module], str]


def build_network(card: SegmentationCard, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """Build a card's architecture with random weights, leaving the global random state as it was.

    Parameters
    ----------
    card : SegmentationCard
    state_dict : mapping
        The weights that it will get: whether they have an auxiliary head decides whether the
        network has one.

    Returns
    -------
    nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    CamSamError
        If the architecture is unknown, its library is not installed, or it does not take the
        card's arguments.
    """
    build, _ = _kind(card.architecture)
    try:
        if state_dict:
            # Without memory first: a few words can ask for more weights than any machine holds.
            with torch.device("meta"):
                asked = sum(weight.numel() for weight in build(card, state_dict).parameters())
            there = sum(weight.numel() for weight in state_dict.values())
            if asked > 2 * there + _FEW_WEIGHTS:
                raise CamSamError(
                    f"{card.architecture} has {asked} weights with these arguments, and the file "
                    f"holds {there}; give the arguments that it was trained with."
                )
        with torch.random.fork_rng(devices=[]):
            return build(card, state_dict).eval()
    except CamSamError:
        raise
    except Exception as error:  # a builder of a library may raise anything at all
        raise CamSamError(
            f"{card.architecture} cannot be built from {reprlib.repr(dict(card.arguments))} "
            f"({type(error).__name__}: {reason_of(error)}); give the arguments that it was "
            "trained with."
        ) from error


def default_layer(architecture: str, module: nn.Module) -> str:
    """Return the name of a U-Net's bottleneck, or of the backbone's last layer.

    Parameters
    ----------
    architecture : str
        One of those that a card may name.
    module : nn.Module
        A network of it.

    Returns
    -------
    str
        Dotted.
    """
    return _kind(architecture)[1](module)


def count_classes(state_dict: Mapping[str, Tensor]) -> int | None:
    """Count the maps that the weights of our U-Net or of a torchvision network give.

    Parameters
    ----------
    state_dict : mapping of str to Tensor

    Returns
    -------
    int or None
        None where the last layer is not found.
    """
    for name in ("head.bias", "classifier.4.bias", "classifier.low_classifier.bias"):
        found = [value for key, value in state_dict.items() if f".{key}".endswith(f".{name}")]
        if len(found) == 1:
            return len(found[0])
    return None


def check_input_size(module: nn.Module, card: SegmentationCard) -> None:
    """Refuse an input size that a network cannot take, without computing anything.

    Parameters
    ----------
    module : nn.Module
    card : SegmentationCard
        Of the module.

    Raises
    ------
    CamSamError
        Says what is wrong, e.g. that sizes do not suit the strides.
    """
    shapes = copy.deepcopy(module).to("meta")
    image = torch.zeros(1, card.channels, *card.input_size, device="meta")
    size = " × ".join(map(str, card.input_size))
    right = "give an input size that suits its strides, e.g. multiples of 32."
    try:
        output = shapes(image)
    except (RuntimeError, ValueError) as error:
        raise CamSamError(
            f"{card.architecture} cannot take an input of {size} ({reason_of(error)}); {right}"
        ) from error
    maps = maps_of(output, card.num_classes, card.spatial_dims)
    if card.spatial_dims == 3 and maps.shape[2:] != image.shape[2:]:
        answer = " × ".join(map(str, maps.shape[2:]))
        raise CamSamError(
            f"{card.architecture} answers windows of {size} with maps of {answer}; {right}"
        )


def _kind(architecture: str) -> tuple[_Build, _Layer]:
    """Return what builds an architecture, and what finds its deepest layer."""
    if architecture not in SEGMENTATION_ARCHITECTURES:
        raise unknown_name("segmentation architecture", architecture, SEGMENTATION_ARCHITECTURES)
    if architecture == "small-unet":
        return _small_unet, lambda _: "bottleneck"
    if architecture in _MONAI:
        return _monai, _MONAI[architecture][1]
    return _torchvision, lambda module: _last_child(module, "backbone")


def _small_unet(card: SegmentationCard, _: Mapping[str, Tensor]) -> nn.Module:
    return SmallUNet(card.num_classes, card.channels, **card.arguments)


def _torchvision(card: SegmentationCard, state_dict: Mapping[str, Tensor]) -> nn.Module:
    options: dict[str, Any] = dict(card.arguments)
    if any(f".{key}".find(".aux_classifier.") >= 0 for key in state_dict):
        options.setdefault("aux_loss", True)
    module: nn.Module = torchvision.models.get_model(
        card.architecture,
        weights=None,
        weights_backbone=None,
        num_classes=card.num_classes,
        **options,
    )
    if card.channels != 3:
        replace_first_convolution(module, card.channels)
    return module


def _last_child(module: nn.Module, part: str) -> str:
    *_, name = (name for name, _ in module.get_submodule(part).named_children())
    return f"{part}.{name}"


def _monai(card: SegmentationCard, _: Mapping[str, Tensor]) -> nn.Module:
    try:
        from monai.networks import nets
    except ImportError as error:
        raise CamSamError(
            f"{card.architecture} needs MONAI: pip install 'napari-cam-sam[medical]'."
        ) from error
    arguments = {
        "spatial_dims": card.spatial_dims,
        "in_channels": card.channels,
        "out_channels": card.num_classes,
        **card.arguments,
    }
    module: nn.Module = getattr(nets, _MONAI[card.architecture][0])(**arguments)
    return module


def _deepest_of_unet(module: nn.Module) -> str:
    # Each level is a sequence of the way down, the level below and the way up.
    levels = [n for n, _ in module.named_modules() if re.fullmatch(r"model(\.1\.submodule)+", n)]
    deepest: str = max(levels, key=len)
    return deepest


_MONAI: dict[str, tuple[str, _Layer]] = {
    "monai-unet": ("UNet", _deepest_of_unet),
    "monai-segresnet": ("SegResNet", lambda module: _last_child(module, "down_layers")),
    "monai-dynunet": ("DynUNet", lambda _: "bottleneck"),
}
