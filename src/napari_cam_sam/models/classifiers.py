"""Classifiers: load one from whatever names it, and classify planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError, refusal, unknown_name
from napari_cam_sam.models.cards import (
    ClassifierCard,
    merge_cards,
    merge_fields,
    sources_of_file,
    sources_of_module,
)
from napari_cam_sam.models.checkpoint_layouts import foreign_names
from napari_cam_sam.models.checkpoints import (
    Checkpoint,
    fit,
    load_into,
    read_checkpoint,
    weights_sha256,
)
from napari_cam_sam.models.classify.architectures import ARCHITECTURES, build, last_linear
from napari_cam_sam.models.classify.output_kinds import as_logits, find_outputs, settle_outputs
from napari_cam_sam.models.classify.torchvision_weights import read_torchvision_weights
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.models.exclusive_eval import borrowed
from napari_cam_sam.models.factories import call_factory, is_factory
from napari_cam_sam.models.model import Layer, LoadedModel, list_layers
from napari_cam_sam.models.names import classifier_names, shipped_classifiers
from napari_cam_sam.models.outputs import unwrap_logits
from napari_cam_sam.models.plane_order import follow_plane_order
from napari_cam_sam.parsing import parse_json

__all__ = [
    "Classifier",
    "ClassifierCard",
    "Layer",
    "classifier_names",
    "classifier_of_module",
    "list_layers",
    "load_classifier",
]

_DEFAULT_SIZE = (224, 224)


@dataclass(frozen=True, eq=False)
class Classifier(LoadedModel):
    """A classifier ready to use.

    Attributes
    ----------
    module : nn.Module
        On ``device``.
    card : ClassifierCard
    name : str
        What it was loaded by.
    sha256 : str
        Of the file; of the weights' bytes for a factory.
    default_layers : tuple of str
        Dotted names of the target layers; empty where none is known.
    device : torch.device
    training : dict or None
        How it was trained, and how it did on images that it had not seen, where its file says so
        (see :mod:`models.training`).
    """

    card: ClassifierCard
    training: dict[str, Any] | None = None

    def to_probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits (n, classes) into probabilities: softmax, or sigmoid for one class.

        Those of a network that gives several probabilities are its own, whether or not they add
        up to 1.
        """
        if self.card.num_classes == 1:
            return torch.sigmoid(logits)
        if self.card.output != "logits":
            return logits.exp()
        return torch.softmax(logits, dim=1)

    def logits(self, output: object) -> Tensor:
        """Take the logits (n, classes) out of whatever the module returned."""
        card = self.card
        scores = unwrap_logits(output, card.num_classes)
        activation = "sigmoid" if card.num_classes == 1 else "softmax"
        return as_logits(scores, card.output, activation, self.name)

    def probabilities(
        self, planes: Sequence[NDArray[np.uint8]], batch_size: int = 16
    ) -> NDArray[np.float32]:
        """Classify planes.

        Parameters
        ----------
        planes : sequence of ndarray of uint8
            As :meth:`prepare` takes them.
        batch_size : int
            Planes in one forward pass; bounds the memory.

        Returns
        -------
        ndarray of float32, shape (n, num_classes)
            In [0, 1]; rows add up to 1 with two classes or more.
        """
        return np.concatenate(
            [
                self.probabilities_of(self.prepare(planes[start : start + batch_size])[0])
                for start in range(0, max(1, len(planes)), batch_size)
            ]
        )

    def probabilities_of(self, tensor: Tensor) -> NDArray[np.float32]:
        """Classify inputs (n, channels, h, w), as :meth:`prepare` makes them, in one pass."""
        with borrowed(self.module), torch.no_grad():
            logits = self.logits(self.module(tensor))
            found: NDArray[np.float32] = self.to_probabilities(logits).float().cpu().numpy()
        return found


def load_classifier(
    name_or_path: str | Path,
    *,
    architecture: str | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    input_size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: int | None = None,
    layers: Sequence[str] | None = None,
    plane_order: str | None = None,
    output: str | None = None,
    device: str = "auto",
) -> Classifier:
    """Load a classifier.

    Parameters
    ----------
    name_or_path : str or Path
        The name of a shipped model; a torchvision name, for torchvision's own weights
        (downloaded once); the path of a checkpoint; or ``package.module:function``, a factory
        that returns a module. A factory is imported and run; a file never is.
    architecture, num_classes, class_names, input_size, mean, std, channels, layers : optional
        Fields of the card that neither the file's metadata nor the JSON beside it gives. A
        factory's module may have a mapping ``card`` with them. The number of classes of a
        checkpoint is counted where nothing gives it.
    plane_order : str, optional
        One more field: ``columns-rows`` for a model of planes cut out of nibabel's arrays.
    output : {"logits", "probabilities", "log-probabilities"}, optional
        The card's, too. Where nothing gives it, a factory's module is looked at, and anything but
        logits is told by a warning.
    device : str
        As :func:`models.devices.choose_device` takes it.

    Returns
    -------
    Classifier
        In evaluation mode.

    Raises
    ------
    CamSamError
        If there is no such classifier, its file is unsound or does not fit its architecture,
        or its card is incomplete or contradicts the arguments.

    Examples
    --------
    >>> classifier = ncs.load_classifier("lesion")  # ships with the package
    >>> classifier.card.class_names
    ('normal', 'lesion')
    >>> probabilities = classifier.probabilities([np.zeros((64, 64), np.uint8)])
    >>> probabilities.shape
    (1, 2)
    """
    name = str(name_or_path)
    where = choose_device(device)
    arguments = {
        "architecture": architecture,
        "num_classes": num_classes,
        "class_names": class_names,
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "channels": channels,
        "layers": layers,
        "plane_order": plane_order,
        "output": output,
    }
    if is_factory(name) and not Path(name).exists():
        return classifier_of_module(name, call_factory(name), arguments, where)
    shipped = shipped_classifiers()
    size = _DEFAULT_SIZE
    if name in shipped:
        checkpoint = read_checkpoint(shipped[name])
    elif name in ARCHITECTURES and ARCHITECTURES[name].torchvision:
        checkpoint, size = read_torchvision_weights(name)
    elif Path(name).exists() or Path(name).suffix or Path(name).name != name:
        checkpoint = read_checkpoint(name)
    else:
        raise unknown_name("classifier", name, classifier_names())
    return _from_checkpoint(name, checkpoint, arguments, size, where)


def _from_checkpoint(
    name: str,
    checkpoint: Checkpoint,
    arguments: Mapping[str, Any],
    size: tuple[int, int],
    device: torch.device,
) -> Classifier:
    sources = sources_of_file(checkpoint.path, checkpoint.metadata)
    sources.append(("the argument", arguments))
    given = merge_fields(sources, name)
    if given.get("architecture") in ARCHITECTURES:
        count = not given.get("num_classes") and not given.get("class_names")
        checkpoint, classes = _fitted(checkpoint, given["architecture"], given.get("head"), count)
        sources.append(("the last layer", {"num_classes": classes}))
    card = merge_cards(sources, name, size)
    module = build(
        card.architecture,
        num_classes=card.num_classes,
        channels=card.channels,
        input_size=card.input_size,
        fine_grid=card.fine_grid,
        head=card.head,
    )
    what = f"{card.architecture} with {card.num_classes} classes and {card.channels} channel(s)"
    load_into(module, checkpoint, what=what)
    layers = card.layers or (ARCHITECTURES[card.architecture].layer,)
    module = follow_plane_order(module, card)
    module = module.to(device).eval()
    training = _training_of(checkpoint)
    return Classifier(module, card, name, checkpoint.sha256, layers, device, training)


def _training_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    try:
        record = parse_json(checkpoint.metadata.get("training", "null"), checkpoint.path)
    except (TypeError, CamSamError):  # another tool's entry of this name
        return None
    return record if isinstance(record, dict) else None


def _fitted(
    checkpoint: Checkpoint,
    architecture: str,
    head: Literal["linear", "extra"] | None,
    count: bool,
) -> tuple[Checkpoint, int | None]:
    """Bring names to those of an architecture, and count its logits where that is asked for."""
    with torch.device("meta"):
        module = build(architecture, num_classes=1, head=head or "linear")
    last = last_linear(module)
    whole = checkpoint.state_dict
    checkpoint = fit(checkpoint, module, last.partition(".")[0], architecture)
    if not count:
        return checkpoint, None
    weight = checkpoint.state_dict.get(f"{last}.weight")
    if weight is None or weight.ndim != 2:
        other = foreign_names(checkpoint.state_dict, module.state_dict())
        heads = [key for key, value in whole.items() if value.ndim == 2]
        if not other and heads:
            found = " and ".join(repr(key.removesuffix(".weight")) for key in heads[-2:])
            other = f"; it has {found}: save its weights with {last!r} as the name of that layer"
        raise refusal(
            f"The file has no layer {last!r}, which makes the logits of {architecture}{other}",
            checkpoint.path,
        )
    return checkpoint, len(weight)


def classifier_of_module(
    name: str, module: nn.Module, arguments: Mapping[str, Any], device: torch.device
) -> Classifier:
    """Make a classifier of a factory's module, its ``card`` if it has one, and arguments.

    Parameters
    ----------
    name : str
        Of the factory.
    module : nn.Module
    arguments : mapping of str to object
        Fields of the card that the user gave.
    device : torch.device

    Returns
    -------
    Classifier
        In evaluation mode.

    Raises
    ------
    CamSamError
        If the card is incomplete or contradicts the arguments.
    """
    sources = sources_of_module(name, module, arguments)
    card = merge_cards(sources, name, _DEFAULT_SIZE)
    module = follow_plane_order(module.to(device).eval(), card)
    take = partial(unwrap_logits, num_classes=card.num_classes)
    found = find_outputs(module, card.channels, card.input_size, take)
    card = replace(card, **settle_outputs(found, merge_fields(sources, name), name))
    layers = card.layers
    if not layers and card.architecture in ARCHITECTURES:
        layers = (ARCHITECTURES[card.architecture].layer,)
    return Classifier(module, card, name, weights_sha256(module), layers, device)
