"""Segmentation networks: load one from whatever names it, and feed it planes or volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.models.cards import (
    Sources,
    merge_fields,
    sources_of_file,
    sources_of_module,
)
from napari_cam_sam.models.checkpoints import (
    Checkpoint,
    load_into,
    read_checkpoint,
    weights_sha256,
)
from napari_cam_sam.models.classify.output_kinds import as_logits, find_outputs, settle_outputs
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.models.factories import call_factory, is_factory
from napari_cam_sam.models.model import LoadedModel
from napari_cam_sam.models.names import SEGMENTATION_ARCHITECTURES, shipped_networks
from napari_cam_sam.models.outputs import maps_of
from napari_cam_sam.models.plane_order import follow_plane_order
from napari_cam_sam.models.preparation import INTENSITY
from napari_cam_sam.models.segment.architectures import (
    build_network,
    check_input_size,
    count_classes,
    default_layer,
)
from napari_cam_sam.models.segment.bundle_frames import check_precision, scaled_intensities
from napari_cam_sam.models.segment.bundles import read_bundle
from napari_cam_sam.models.segment.sliding import follow_inferer
from napari_cam_sam.models.segmentation_cards import SegmentationCard, merge_segmentation_cards

__all__ = ["SegmentationCard", "SegmentationNetwork", "load_network", "network_of_module"]


@dataclass(frozen=True, eq=False)
class SegmentationNetwork(LoadedModel):
    """A segmentation network ready to use.

    Attributes
    ----------
    module : nn.Module
        On ``device``.
    card : SegmentationCard
    name : str
        What it was loaded by.
    sha256 : str
        Of the file; of the weights' bytes for a factory.
    default_layers : tuple of str
        Dotted names of the target layers; empty where none is known.
    device : torch.device
    """

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
        if self.card.preparation is not None:
            each = [scaled_intensities(one, self.card.preparation) for one in images]
            for before, after in zip(images, each, strict=True):
                check_precision(before, after, self.card.preparation)
            return torch.stack(each).to(images.device)
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

    def prepare(self, planes: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, list[Letterbox]]:
        """Convert windowed planes to the network's input frame.

        As :meth:`LoadedModel.prepare`; but the planes of a bundle are taken as they are, since
        MONAI resizes none, and its module slides over them. Of a bundle that
        prepares volumes give all planes of one at once, windowed alike, where its transforms
        take statistics.

        Raises
        ------
        CamSamError
            As there; and if windowed planes do not say what a bundle's transforms need.
        """
        preparation = self.card.preparation
        if preparation is None or not planes:
            return super().prepare(planes)
        spatial = [step.name for step in preparation.steps if step.name not in INTENSITY]
        if spatial:
            raise CamSamError(
                f"{spatial[0]} of the bundle needs the image itself, and not its slices: give "
                "that, as run and the docks do."
            )
        frames = [self.pixels(plane) for plane in planes]
        images = [
            torch.from_numpy(frame).to(self.device).permute(2, 0, 1) / 255 for frame in frames
        ]
        if not preparation.of_slices:
            images = [scaled_intensities(one, preparation) for one in images]
        elif images:
            if len({one.shape for one in images}) > 1:
                raise CamSamError(f"{self.name} takes slices of one volume, which have one shape.")
            volume = torch.stack(images, dim=1)
            images = list(scaled_intensities(volume, preparation, whole=False).unbind(1))
        if len({one.shape for one in images}) != 1:
            raise CamSamError(f"{self.name} takes slices of one shape at a time.")
        shapes = [(one.shape[1], one.shape[2]) for one in images]
        letterboxes = [Letterbox.fit(shape, shape) for shape in shapes]
        return torch.stack(images).to(self.device).contiguous(), letterboxes

    def check_planes(self, planes: Sequence[NDArray[np.uint8]]) -> None:
        """Refuse windowed planes that a bundle would slide over, or not see by themselves.

        Raises
        ------
        CamSamError
            Says that the image itself is needed.
        """
        preparation = self.card.preparation
        if preparation is None:
            return
        alone = preparation.pointwise or not preparation.of_slices
        roi = preparation.inferer.roi_size[::-1]
        roi = roi * 2 if len(roi) == 1 else roi
        whole = all(
            size in (side, 0, -1)
            for plane in planes
            for size, side in zip(roi, plane.shape[:2], strict=False)
        )
        if not alone or not whole:
            raise CamSamError(
                f"{self.name} is a bundle that prepares the whole image, or slides over its "
                "slices: explain the image itself, as run and the docks do."
            )

    def logits(self, output: object) -> Tensor:
        """Return the maps of logits in whatever the module returned."""
        card = self.card
        maps = maps_of(output, card.num_classes, card.spatial_dims)
        return as_logits(maps, card.output, card.activation, self.name)

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
        (see :func:`models.segment.bundles.read_bundle`); or ``package.module:function``, a
        factory that returns a module. A factory is imported and run; a file never is.
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
    given: Sources = [("the argument", fields)]
    shipped = shipped_networks()
    if name in shipped:
        checkpoint = read_checkpoint(shipped[name])
    elif Path(name).is_dir():
        checkpoint, card = read_bundle(Path(name))
        given.insert(0, (f"the bundle {name}", card))
    elif Path(name).exists() or Path(name).suffix or Path(name).name != name:
        checkpoint = read_checkpoint(name)
    else:
        raise unknown_name("segmentation network", name, shipped)
    return _from_checkpoint(name, checkpoint, given, where)


def _from_checkpoint(
    name: str, checkpoint: Checkpoint, given: Sources, device: torch.device
) -> SegmentationNetwork:
    sources = [*sources_of_file(checkpoint.path, checkpoint.metadata), *given]
    keys = ("num_classes", "class_names", "arguments")
    if not any(values.get(key) for _, values in sources for key in keys):
        sources.append(("the last layer", {"num_classes": count_classes(checkpoint.state_dict)}))
    card = merge_segmentation_cards(sources, name)
    module = build_network(card, checkpoint.state_dict)
    load_into(module, checkpoint, what=f"{card.architecture} with {card.num_classes} classes")
    if card.preparation is not None:
        module = follow_inferer(module, card.preparation.inferer)
    follow_plane_order(module, card)
    check_input_size(module, card)
    layers = card.layers or (default_layer(card.architecture, module),)
    module = module.to(device).eval()
    return SegmentationNetwork(module, card, name, checkpoint.sha256, layers, device)


def network_of_module(
    name: str, module: nn.Module, fields: Mapping[str, Any], device: torch.device
) -> SegmentationNetwork:
    """Make a network of a factory's module, its ``card`` if it has one, and further fields.

    Parameters
    ----------
    name : str
        Of the factory.
    module : nn.Module
    fields : mapping of str to object
        Fields of the card that the user gave.
    device : torch.device

    Returns
    -------
    SegmentationNetwork
        In evaluation mode.

    Raises
    ------
    CamSamError
        If the card is incomplete or contradicts the fields.
    """
    sources = sources_of_module(name, module, fields)
    card = merge_segmentation_cards(sources, name)
    module = follow_plane_order(module.to(device).eval(), card)
    take = partial(maps_of, num_classes=card.num_classes, spatial_dims=card.spatial_dims)
    found = find_outputs(module, card.channels, card.input_size, take)
    known = merge_fields(sources, name)
    changes = settle_outputs(found, known, name)
    if found.activation is not None and known.get("output") != "logits":
        changes |= {} if known.get("activation") else {"activation": found.activation}
    card = replace(card, **changes)
    layers = card.layers
    if not layers and card.architecture in SEGMENTATION_ARCHITECTURES:
        layers = (default_layer(card.architecture, module),)
    return SegmentationNetwork(module, card, name, weights_sha256(module), layers, device)
