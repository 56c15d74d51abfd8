"""What classifiers and segmentation networks share: a module with its card, fed with planes."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.colours import to_channels
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.models.cards import ClassifierCard
from napari_cam_sam.models.exclusive_eval import borrowed
from napari_cam_sam.models.segmentation_cards import SegmentationCard

__all__ = ["Layer", "LoadedModel", "list_layers", "standardise"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to use.

    Attributes
    ----------
    module : nn.Module
        On ``device``. Whoever runs it goes through :func:`models.exclusive_eval.borrowed`.
    card : ClassifierCard or SegmentationCard
    name : str
        What it was loaded by.
    sha256 : str
        Of the file; of the weights' bytes for a factory.
    default_layers : tuple of str
        Dotted names of the target layers; empty where none is known.
    device : torch.device

    Raises
    ------
    CamSamError
        If the module has no such layer.
    """

    module: nn.Module
    card: ClassifierCard | SegmentationCard
    name: str
    sha256: str
    default_layers: tuple[str, ...]
    device: torch.device

    def __post_init__(self) -> None:
        for layer in self.default_layers:
            self.layer(layer)

    def class_index(self, target: int | str) -> int:
        """Find a class by index or by name (``"3"`` is an index unless a class is called so).

        Raises
        ------
        CamSamError
            If there is no such class.
        """
        names, n = self.card.class_names, self.card.num_classes
        if isinstance(target, str):
            if target in names:
                return names.index(target)
            if not re.fullmatch(r"-?\d+", target):
                raise unknown_name("class", target, names)
            target = int(target)
        try:
            index = operator.index(target)
        except TypeError:
            index = -1
        if isinstance(target, bool) or not 0 <= index < n:
            raise CamSamError(
                f"There is no class {target!r}: {self.name} has {n} classes, 0 to {n - 1}."
            )
        return index

    def layer(self, name: str) -> nn.Module:
        """Find a layer by its dotted name, or raise a CamSamError with the near names."""
        known = [n for n, _ in self.module.named_modules() if n]
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.5)
            raise unknown_name("layer", name, near or [n for n, _ in self.module.named_children()])
        return self.module.get_submodule(name)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of the frame that planes are letterboxed into.

        Raises
        ------
        CamSamError
            Of a 3D network.
        """
        if len(self.card.input_size) != 2:
            raise CamSamError(
                f"{self.name} is a 3D network and takes a whole volume, not a slice: give it a "
                "volume, or choose a 2D network."
            )
        rows, columns = self.card.input_size
        return rows, columns

    def prepare(self, planes: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, list[Letterbox]]:
        """Convert planes to the model's input frame.

        Parameters
        ----------
        planes : sequence of ndarray of uint8, shape (row, column) or (row, column, 3)
            Windowed planes, each of its own shape. Gray is repeated for an RGB model; RGB
            becomes luma (ITU-R BT.601) for a gray one.

        Returns
        -------
        tensor : Tensor of float32, shape (n, channels, h, w)
            Letterboxed, divided by 255, normalised, on the model's device.
        letterboxes : list of Letterbox
            The way back, one a plane.

        Raises
        ------
        CamSamError
            If there are no planes, or one has another shape or dtype.
        """
        if not planes:
            raise CamSamError(f"There are no slices for {self.name}.")
        frames, letterboxes = [], []
        for plane in planes:
            checked = self._checked_plane(plane)
            letterbox = Letterbox.fit((checked.shape[0], checked.shape[1]), self.frame_shape)
            frames.append(self._floats(letterbox.apply(checked)))
            letterboxes.append(letterbox)
        tensor = torch.from_numpy(np.stack(frames)).to(self.device).permute(0, 3, 1, 2)
        return self.normalise(tensor / 255, letterboxes).contiguous(), letterboxes

    def pixels(self, plane: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return a windowed plane with the model's channels last, shape (row, column, channel)."""
        return self._floats(self._checked_plane(plane))

    def _floats(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        return to_channels(frame.astype(np.float32), self.card.channels, rgb=frame.ndim == 3)

    def _checked_plane(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        shape = plane.shape
        if plane.dtype != np.uint8 or plane.ndim not in (2, 3) or shape[2:] not in ((), (3,)):
            raise CamSamError(
                f"{self.name} takes slices of uint8, shape (rows, columns) or (rows, columns, "
                f"3); got {plane.dtype} of shape {shape}. Apply a window first."
            )
        return plane

    def normalise(self, images: Tensor, letterboxes: Sequence[Letterbox] = ()) -> Tensor:
        """Subtract the card's mean and divide by its standard deviation, a channel.

        Parameters
        ----------
        images : Tensor of float32, shape (n, channels, …)
            Values in [0, 1].
        letterboxes : sequence of Letterbox
            Where each image lies in its frame; empty where it is all of it.
        """
        return standardise(images, self.card)


def standardise(images: Tensor, card: ClassifierCard | SegmentationCard) -> Tensor:
    """Return images less the card's mean and divided by its standard deviation, a channel.

    Parameters
    ----------
    images : Tensor of float32, shape (n, channels, …)
        Values in [0, 1].
    card : ClassifierCard or SegmentationCard

    Returns
    -------
    Tensor of float32, same shape
    """
    shape = (1, -1, *[1] * (images.ndim - 2))
    mean = torch.tensor(card.mean, device=images.device).view(shape)
    std = torch.tensor(card.std, device=images.device).view(shape)
    return (images - mean) / std


class Layer(NamedTuple):
    """One layer: dotted name, type, and output shape for one plane (1, …)."""

    name: str
    type: str
    shape: tuple[int, ...]


def list_layers(model: LoadedModel) -> list[Layer]:
    """List the layers whose output is a tensor, by running one empty plane.

    Parameters
    ----------
    model : LoadedModel

    Returns
    -------
    list of Layer
        In the order of the module's definition. Any of them may be a target layer where its
        output has a spatial grid.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def keep(part: nn.Module, _: Any, output: object) -> None:
        if isinstance(output, Tensor):
            shapes[part] = tuple(output.shape)

    module, card = model.module, model.card
    with borrowed(module), torch.no_grad():
        handles = [part.register_forward_hook(keep) for part in module.modules()]
        try:
            module(torch.zeros(1, card.channels, *card.input_size, device=model.device))
        finally:
            for handle in handles:
                handle.remove()
    return [
        Layer(name, type(part).__name__, shapes[part])
        for name, part in module.named_modules()
        if name and part in shapes
    ]
