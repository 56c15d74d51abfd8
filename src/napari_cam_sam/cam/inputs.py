"""A whole image before a network, cut into the windows that slide over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.cam.windows import InfererWindows, Shape, Start, Windows, window_size
from napari_cam_sam.models.plane_order import turned
from napari_cam_sam.models.preparation import Preparation
from napari_cam_sam.models.segment.bundle_frames import Prepared
from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["Frame", "ImageInput", "PreparedInput", "WindowedInput"]

# What numpy calls torch's ways to pad.
_PADDINGS: dict[str, Literal["reflect", "edge", "wrap"]] = {
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


class Frame(Protocol):
    """The way of maps and masks from where a network sees an image back to its own grid."""

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a map on the image's pixels."""

    def back_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask on the image's pixels."""


class ImageInput:
    """What windows are cut from, with what lies around an image that is smaller than one.

    Parameters
    ----------
    network : SegmentationNetwork
    shape : tuple of int
        Of the image, along three axes.
    windows : Windows
        Over the image, or over one window where the image is smaller.

    Attributes
    ----------
    padding : list of (int, int)
        Before and behind the image along each axis.
    inside : tuple of slice
        The image without it.
    of_slices : bool
        Whether it is a 2D network, whose windows are one thick along the first axis.
    """

    def __init__(self, network: SegmentationNetwork, shape: Shape, windows: Windows) -> None:
        self.network = network
        self.of_slices = network.card.spatial_dims == 2
        self.windows = windows
        missing = [max(0, s - n) for s, n in zip(windows.shape, shape, strict=True)]
        self.padding = [(m // 2, m - m // 2) for m in missing]
        self.inside = tuple(
            slice(before, before + n) for (before, _), n in zip(self.padding, shape, strict=True)
        )

    def cut(self, starts: Sequence[Start]) -> Tensor:
        """Cut windows out, as the network gets them, on its device."""
        raise NotImplementedError

    def to_network(self, windows: Tensor) -> Tensor:
        """Lay windows (n, …, a, b, c) out as the module takes them: of a 2D network as planes."""
        if not self.of_slices:
            return windows
        planes = windows.squeeze(windows.ndim - 3)
        return planes.transpose(-1, -2) if turned(self.network.card) else planes

    def from_network(self, maps: Tensor) -> Tensor:
        """Lay what a module gives for windows out along the axes of the image."""
        if not self.of_slices:
            return maps
        planes = maps.transpose(-1, -2) if turned(self.network.card) else maps
        return planes.unsqueeze(planes.ndim - 2)


class WindowedInput(ImageInput):
    """A windowed 8-bit volume, normalised as the network's card says.

    Parameters
    ----------
    network : SegmentationNetwork
        3D.
    pixels : ndarray of uint8, shape (planes, rows, columns)
    """

    def __init__(self, network: SegmentationNetwork, pixels: NDArray[np.uint8]) -> None:
        # A volume smaller than a window lies in the middle of it; around it are zeros after the
        # normalisation, as MONAI has it.
        size = network.card.input_size
        super().__init__(network, pixels.shape, Windows(_at_least(pixels.shape, size), size))
        self.scale, self.shift = self._normalisation(pixels)
        self.pixels = np.pad(pixels, self.padding)
        self.filled = np.pad(np.ones(pixels.shape, dtype=bool), self.padding)

    def cut(self, starts: Sequence[Start]) -> Tensor:
        """Cut windows out, normalised, shape (n, 1, planes, rows, columns)."""
        cut = np.stack([self.pixels[self.windows.slices(start)] for start in starts])
        tensor = torch.from_numpy(cut)[:, None].to(self.network.device).float() / 255
        out = (tensor - self.shift) / self.scale
        if self.network.card.standardise == "nonzero":
            out = torch.where(tensor > 0, out, 0.0)
        filled = np.stack([self.filled[self.windows.slices(start)] for start in starts])
        return out * torch.from_numpy(filled)[:, None].to(out.device)

    def _normalisation(self, pixels: NDArray[np.uint8]) -> tuple[float, float]:
        """Return what values in [0, 1] are divided by, and what is subtracted before."""
        card = self.network.card
        if card.standardise == "no":
            return card.std[0], card.mean[0]
        counts = np.bincount(pixels.ravel(), minlength=256).astype(np.float64)
        if card.standardise == "nonzero":
            counts[0] = 0
        values, n = np.arange(256) / 255, max(1.0, counts.sum())
        mean = float((counts * values).sum() / n)
        deviation = float(np.sqrt((counts * (values - mean) ** 2).sum() / n))
        return deviation or 1.0, mean


class _SlicesFirst:
    """The frame of a 2D network, whose slices are laid along the first axis.

    Windows are then done slice by slice, and the logits of no more than one are held.
    """

    def __init__(self, frame: Frame, axis: int) -> None:
        self.frame = frame
        self.axis = axis

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a map on the image's pixels."""
        return self.frame.back(np.moveaxis(values, 0, self.axis))

    def back_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask on the image's pixels."""
        return self.frame.back_mask(np.moveaxis(mask, 0, self.axis))


class PreparedInput(ImageInput):
    """An image that went through a bundle's transforms, under the windows of its inferer.

    Parameters
    ----------
    network : SegmentationNetwork
    prepared : Prepared
    preparation : Preparation
        Of the network's card.

    Attributes
    ----------
    frame : Frame
        The way back.
    mask : ndarray of bool or None
        What went with the image.
    """

    def __init__(
        self, network: SegmentationNetwork, prepared: Prepared, preparation: Preparation
    ) -> None:
        inferer, values = preparation.inferer, prepared.values
        self.frame: Frame = prepared.frame
        self.mask = prepared.mask
        if network.card.spatial_dims == 2:
            axis = 2 if inferer.slice_axis is None else inferer.slice_axis
            inferer = replace(inferer, slice_axis=0)
            values = np.moveaxis(values, 1 + axis, 1)
            self.mask = None if self.mask is None else np.moveaxis(self.mask, axis, 0)
            self.frame = _SlicesFirst(prepared.frame, axis)
        shape = values.shape[1:]
        size = window_size(inferer, shape, 0 if network.card.spatial_dims == 2 else None)
        windows = InfererWindows(_at_least(shape, size), size, inferer)
        super().__init__(network, shape, windows)
        around = [(0, 0), *self.padding]
        if inferer.padding_mode == "constant":
            self.values = np.pad(values, around, constant_values=inferer.cval)
        else:
            self.values = np.pad(values, around, mode=_PADDINGS[inferer.padding_mode])

    def cut(self, starts: Sequence[Start]) -> Tensor:
        """Cut windows out, shape (n, channels, a, b, c)."""
        slots = [self.windows.slices(start) for start in starts]
        cut = np.stack([self.values[(slice(None), *slot)] for slot in slots])
        return torch.from_numpy(cut).to(self.network.device)


def _at_least(shape: Shape, size: Shape) -> Shape:
    return tuple(map(max, shape, size))
