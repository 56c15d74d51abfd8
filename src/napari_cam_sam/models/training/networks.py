"""The network that a training starts from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.cards import ClassifierCard, merge_cards
from napari_cam_sam.models.classify.architectures import ARCHITECTURES, build, last_linear
from napari_cam_sam.models.classify.torchvision_weights import (
    read_torchvision_weights,
    weights_on_disk,
)
from napari_cam_sam.models.training.parameters import TrainingParameters

__all__ = ["card_of", "default_preset", "parameter_groups", "starting_network"]


def default_preset(architecture: str) -> str:
    """Return the preset that suits what is on this machine: S1's needs ImageNet's weights.

    Parameters
    ----------
    architecture : str

    Returns
    -------
    {"s1", "scratch"}
    """
    row = ARCHITECTURES.get(architecture)
    there = row is not None and row.torchvision and weights_on_disk(architecture)
    return "s1" if there else "scratch"


def card_of(
    parameters: TrainingParameters, classes: tuple[str, ...], channels: int
) -> ClassifierCard:
    """Describe the network that a training makes.

    Parameters
    ----------
    parameters : TrainingParameters
    classes : tuple of str
    channels : {1, 3}

    Returns
    -------
    ClassifierCard
    """
    fine = parameters.fine_grid and bool(ARCHITECTURES[parameters.architecture].halving)
    fields = {
        "architecture": parameters.architecture,
        "class_names": classes,
        "input_size": parameters.input_size,
        "channels": channels,
        "fine_grid": fine,
        "head": parameters.head,
    }
    return merge_cards([("the training", fields)], parameters.architecture, parameters.input_size)


def starting_network(parameters: TrainingParameters, card: ClassifierCard) -> tuple[nn.Module, str]:
    """Build the network with its first weights, which the seed decides.

    Parameters
    ----------
    parameters : TrainingParameters
    card : ClassifierCard
        From `card_of`.

    Returns
    -------
    nn.Module
        On the CPU.
    str
        Where the weights are from: ``"imagenet"`` or ``"scratch"``.

    Raises
    ------
    CamSamError
        If ImageNet's weights are asked for and cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        module = build(
            card.architecture,
            num_classes=card.num_classes,
            channels=card.channels,
            input_size=card.input_size,
            fine_grid=card.fine_grid,
            head=card.head,
            dropout=parameters.dropout,
        )
    has_weights = ARCHITECTURES[card.architecture].torchvision
    there = has_weights and weights_on_disk(card.architecture)
    if parameters.start == "scratch" or (parameters.start == "auto" and not there):
        return module, "scratch"
    if not has_weights:
        raise CamSamError(f"There are no ImageNet weights for {card.architecture}: start scratch.")
    _take_imagenet(module, card)
    return module, "imagenet"


def _take_imagenet(module: nn.Module, card: ClassifierCard) -> None:
    checkpoint, _ = read_torchvision_weights(card.architecture)
    own = module.state_dict()
    head = last_linear(module)
    kept = f"{head.rpartition('.')[0]}.0." if card.head == "extra" else ""
    given: dict[str, Tensor] = {}
    for name, value in own.items():
        if name.startswith(f"{head}.") or name.endswith("num_batches_tracked"):
            given[name] = value
            continue
        source = name
        if kept and name.startswith(kept):  # the 1000 outputs under the extra head
            source = name.replace(kept, kept.removesuffix("0."))
        found = checkpoint.state_dict[source]
        if found.ndim == 4 and found.shape[1] == 3 and value.shape[1] == 1:
            found = found.sum(dim=1, keepdim=True)  # what it makes of three equal channels
        if found.shape != value.shape:
            raise CamSamError(
                f"ImageNet's weights of {card.architecture} are for another input size than "
                f"{card.input_size[0]}×{card.input_size[1]}: use 224×224, or start scratch."
            )
        given[name] = found
    module.load_state_dict(given)


def parameter_groups(module: nn.Module, parameters: TrainingParameters) -> list[dict[str, object]]:
    """Split the weights by learning rate: the backbone's, and the last layer's.

    Parameters
    ----------
    module : nn.Module
    parameters : TrainingParameters

    Returns
    -------
    list of dict
        Two groups for an optimiser of PyTorch, with their highest rate as ``peak``.
    """
    head = last_linear(module)
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, value in module.named_parameters():
        groups[name.startswith(f"{head}.")].append(value)
    rate = parameters.learning_rate
    backbone = rate if parameters.backbone_rate is None else parameters.backbone_rate
    return [
        {"params": groups[False], "lr": backbone, "peak": backbone},
        {"params": groups[True], "lr": rate, "peak": rate},
    ]
