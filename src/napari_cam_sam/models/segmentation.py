"""Segmentation networks: load one from whatever names it, and feed it planes or volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_cam_sam.errors import unknown_name
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.models.bundles import read_bundle
from napari_cam_sam.models.cards import beside, card_in_metadata, card_path
from napari_cam_sam.models.checkpoints import (
    Checkpoint,
    load_into,
    read_checkpoint,
    weights_sha256,
)
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.models.factories import call_factory, is_factory
from napari_cam_sam.models.model import LoadedModel
from napari_cam_sam.models.names import SEGMENTATION_ARCHITECTURES, shipped_networks
from napari_cam_sam.models.segmentation_architectures import (
    build_network,
    check_input_size,
    count_classes,
    default_layer,
)
from napari_cam_sam.models.segmentation_cards import SegmentationCard, merge_segmentation_cards

__all__ = ["SegmentationCard", "SegmentationNetwork", "load_network", "network_of_module"]


@dataclass(frozen=True, eq=False)
class SegmentationNetwork(LoadedModel):
    """A segmentation network ready to use; the attributes are those of a :class:`LoadedModel`."""

    card: SegmentationCard

    def normalise(self, images: Tensor, letterboxes: Sequence[Letterbox] = ()) -> Tensor:
        """Normalise by the card's mean and deviation, or by each image's own.

        Parameters
        ----------
        images : Tensor of float32, shape (n, channels, …)
            Values in [0, 1].
        letterboxes : sequence of Letterbox
            Where each image lies in its frame, whose rest does not count for its own mean and
            deviation and stays 0; empty where it is all of it.
        """
        if self.card.standardise == "no":
            return super().normalise(images, letterboxes)
        counted = images != 0 if self.card.standardise == "nonzero" else torch.ones_like(images) > 0
        for one, letterbox in zip(counted, letterboxes, strict=False):
            (top, left), (rows, columns) = letterbox.offset, letterbox.content_shape
            inside = torch.zeros_like(one)
            inside[:, top : top + rows, left : left + columns] = True
            one &= inside
        axes = tuple(range(1, images.ndim))
        n = counted.sum(axes, keepdim=True).clamp_min(1)
        mean = (images * counted).sum(axes, keepdim=True) / n
        variance = ((images - mean).square() * counted).sum(axes, keepdim=True) / n
        # MONAI's rule: an image of one value is only shifted.
        deviation = torch.where(variance > 0, variance.sqrt(), 1)
        return torch.where(counted, (images - mean) / deviation, images)

    def to_probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits (n, classes, …) into probabilities by the card's activation."""
        if self.card.activation == "sigmoid":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=1)


def load_network(
    name_or_path: str | Path, *, device: str = "auto", **fields: Any
) -> SegmentationNetwork:
    """Load a segmentation network.

    Parameters
    ----------
    name_or_path : str or Path
        The name of a shipped network; the path of a checkpoint; the folder of a MONAI bundle
        (see :func:`models.bundles.read_bundle`); or ``package.module:function``, a factory that
        returns a module. A factory is imported and run; a file never is.
    device : str
        As :func:`models.devices.choose_device` takes it.
    **fields
        Fields of the :class:`SegmentationCard` that neither the file's metadata nor the JSON
        beside it gives; None counts as not given. A factory's module may have a mapping ``card``
        with them. Where nothing gives the number of classes, the weights of a network of
        torchvision do.

    Returns
    -------
    SegmentationNetwork
        In evaluation mode.

    Raises
    ------
    CamSamError
        If there is no such network, its file is unsound or does not fit its architecture, or its
        card is incomplete or contradicts the arguments.
    """
    name = str(name_or_path)
    where = choose_device(device)
    if is_factory(name) and not Path(name).exists():
        return network_of_module(name, call_factory(name), fields, where)
    sources: list[tuple[str, Mapping[str, Any]]] = [("the argument", fields)]
    shipped = shipped_networks()
    if name in shipped:
        checkpoint = read_checkpoint(shipped[name])
    elif Path(name).is_dir():
        checkpoint, card = read_bundle(Path(name))
        sources.insert(0, (f"the bundle {name}", card))
    elif Path(name).exists() or Path(name).suffix or Path(name).name != name:
        checkpoint = read_checkpoint(name)
    else:
        raise unknown_name("segmentation network", name, shipped)
    return _from_checkpoint(name, checkpoint, sources, where)


def _from_checkpoint(
    name: str,
    checkpoint: Checkpoint,
    sources: list[tuple[str, Mapping[str, Any]]],
    device: torch.device,
) -> SegmentationNetwork:
    path = checkpoint.path
    sources = [
        (f"the metadata of {path.name}", card_in_metadata(checkpoint.metadata, path.name)),
        (str(card_path(path)), beside(path)),
        *sources,
    ]
    keys = ("num_classes", "class_names", "arguments")
    if not any(values.get(key) for _, values in sources for key in keys):
        sources.append(("the last layer", {"num_classes": count_classes(checkpoint.state_dict)}))
    card = merge_segmentation_cards(sources, name)
    module = build_network(card, checkpoint.state_dict)
    load_into(module, checkpoint, what=f"{card.architecture} with {card.num_classes} classes")
    check_input_size(module, card)
    layers = card.layers or (default_layer(card.architecture, module),)
    return _checked(
        SegmentationNetwork(module.to(device).eval(), card, name, checkpoint.sha256, layers, device)
    )


def network_of_module(
    name: str, module: nn.Module, fields: Mapping[str, Any], device: torch.device
) -> SegmentationNetwork:
    """Make a network of a factory's module, its ``card`` if it has one, and further fields."""
    own = getattr(module, "card", None)
    sources: list[tuple[str, Mapping[str, Any]]] = [
        (f"the card of {name}", own if isinstance(own, Mapping) else {}),
        ("the argument", fields),
    ]
    if not any(values.get("architecture") for _, values in sources):
        sources.append(("the factory's name", {"architecture": name}))
    card = merge_segmentation_cards(sources, name)
    layers = card.layers
    if not layers and card.architecture in SEGMENTATION_ARCHITECTURES:
        layers = (default_layer(card.architecture, module),)
    return _checked(
        SegmentationNetwork(
            module.to(device).eval(), card, name, weights_sha256(module), layers, device
        )
    )


def _checked(network: SegmentationNetwork) -> SegmentationNetwork:
    for layer in network.default_layers:
        network.layer(layer)
    return network
