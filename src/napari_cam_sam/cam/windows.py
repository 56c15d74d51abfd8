"""Windows that slide over a volume, and how they are blended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.cam.batch import NetworkBatch
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.preparation import Inferer
from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["InfererWindows", "Shape", "Start", "WindowBatch", "Windows", "window_size"]

# Of three axes.
Start = tuple[int, ...]
Shape = tuple[int, ...]

# Of the blending weights, in sizes of the window: as MONAI and nnU-Net have it.
_SIGMA = 0.125
# MONAI's least weight of a place in a window.
_LEAST = 1e-3


@dataclass(frozen=True)
class Windows:
    """Windows of one size that cover a volume, each half over the next.

    The weights are a Gaussian around the window's centre, divided by their sum over all windows
    at each voxel: they add up to 1. They are products of one factor an axis, since the windows
    lie on a grid.

    Attributes
    ----------
    shape : tuple of int
        Of the volume, each at least the window's.
    size : tuple of int
        Of a window.
    """

    shape: Shape
    size: Shape

    @cached_property
    def starts(self) -> tuple[list[int], ...]:
        """First index of the windows along each axis; the last one ends with the volume."""
        return tuple(
            sorted({min(start, n - size) for start in range(0, n, max(1, size // 2))})
            for n, size in zip(self.shape, self.size, strict=True)
        )

    @cached_property
    def factors(self) -> tuple[NDArray[np.float32], ...]:
        """Weights of the windows along each axis, shape (windows, size)."""
        return tuple(
            _partition(n, size, starts)
            for n, size, starts in zip(self.shape, self.size, self.starts, strict=True)
        )

    def __len__(self) -> int:
        return math.prod(map(len, self.starts))

    def layers(self) -> Iterator[list[Start]]:
        """Return the windows, those with the same first plane together, in the order of planes."""
        for start in self.starts[0]:
            yield list(product([start], *self.starts[1:]))

    def slices(self, start: Start) -> tuple[slice, ...]:
        """Return where a window lies in the volume."""
        return tuple(slice(at, at + n) for at, n in zip(start, self.size, strict=True))

    def weights(self, start: Start) -> NDArray[np.float32]:
        """Return the blending weights of a window, shape ``size``."""
        i, j, k = (
            factor[starts.index(at)]
            for factor, starts, at in zip(self.factors, self.starts, start, strict=True)
        )
        return np.asarray(i[:, None, None] * j[:, None] * k, dtype=np.float32)


def window_size(inferer: Inferer, shape: Shape, slice_axis: int | None) -> Shape:
    """Return the size of an inferer's windows over an image.

    Parameters
    ----------
    inferer : Inferer
    shape : tuple of int
        Of the image.
    slice_axis : int or None
        The axis that the windows of a 2D network are one thick along.

    Returns
    -------
    tuple of int
        Along the three axes.
    """
    axes = [axis for axis in range(3) if axis != slice_axis]
    roi = inferer.roi_size
    roi = roi * len(axes) if len(roi) == 1 else roi or (0,) * len(axes)
    sizes = [1, 1, 1]
    for axis, size in zip(axes, roi, strict=True):
        sizes[axis] = size if size > 0 else shape[axis]
    return tuple(sizes)


@dataclass(frozen=True)
class InfererWindows(Windows):
    """Windows that lie, overlap and are weighted as a MONAI inferer has it.

    Attributes
    ----------
    shape, size : tuple of int
        As of `Windows`.
    inferer : Inferer
    """

    inferer: Inferer

    @cached_property
    def starts(self) -> tuple[list[int], ...]:
        """First index of the windows along each axis; the last one ends with the volume."""
        overlap = self.inferer.overlap
        axes = [axis for axis in range(3) if axis != self.inferer.slice_axis]
        parts = dict.fromkeys(range(3), overlap[0])
        if len(overlap) == 3:
            parts = dict(enumerate(overlap))
        elif len(overlap) == 2:
            parts |= dict(zip(axes, overlap, strict=False))
        return tuple(
            _starts(n, size, parts[axis])
            for axis, (n, size) in enumerate(zip(self.shape, self.size, strict=True))
        )

    @cached_property
    def importance(self) -> NDArray[np.float32]:
        """How much each place of a window counts, before the division by the sum."""
        if self.inferer.mode == "constant":
            return np.ones(self.size, dtype=np.float32)
        bells = [
            np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (self.inferer.sigma_scale * n)) ** 2)
            for n in self.size
        ]
        bell = np.einsum("i,j,k->ijk", *bells).astype(np.float32)
        return np.asarray(np.maximum(bell, max(float(bell.min()), _LEAST)), dtype=np.float32)

    @cached_property
    def total(self) -> NDArray[np.float32]:
        """Sum of the windows' importance at each voxel."""
        total = np.zeros(self.shape, dtype=np.float32)
        for starts in self.layers():
            for start in starts:
                total[self.slices(start)] += self.importance
        return total

    def weights(self, start: Start) -> NDArray[np.float32]:
        """Return the blending weights of a window, shape ``size``."""
        if len(self) == 1:
            return np.ones(self.size, dtype=np.float32)
        return np.asarray(self.importance / self.total[self.slices(start)], dtype=np.float32)


def _starts(n: int, size: int, overlap: float) -> list[int]:
    """Lay windows along an axis of n places."""
    step = size if size == n else max(1, int(size * (1 - overlap)))
    return [*range(0, n - size, step), n - size]


def _partition(n: int, size: int, starts: Sequence[int]) -> NDArray[np.float32]:
    """Divide Gaussians of windows by their sum, in float64: at their ends they are small."""
    at = np.arange(size) - (size - 1) / 2
    bell = np.exp(-0.5 * (at / (_SIGMA * size)) ** 2)
    total = np.zeros(n)
    for start in starts:
        total[start : start + size] += bell
    return np.stack([bell / total[start : start + size] for start in starts]).astype(np.float32)


class WindowBatch(NetworkBatch):
    """A batch of windows of a volume, whose part of M is known, on its way through a network.

    Grids of three axes are given as two, (planes, rows · columns), so that the formulas of
    planes hold: they only add over places, or work on each by itself. Windows of a 2D network are
    planes.

    Parameters
    ----------
    network : SegmentationNetwork
    tensor : Tensor, shape (n, channels, planes, rows, columns) or (n, channels, rows, columns)
        The windows, lying as the module takes them.
    batch_size : int
    weights : Tensor of float32, shape (n, planes, rows, columns) or (n, rows, columns)
        1 in M, 0 elsewhere.
    target : int

    Attributes
    ----------
    grids : dict of str to tuple of int
        Of each layer the shape of its grid in a window; after its first map.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        tensor: Tensor,
        batch_size: int,
        weights: Tensor,
        target: int,
    ) -> None:
        super().__init__(network, tensor, batch_size)
        self.of_slices = network.card.spatial_dims == 2
        self.weights = weights
        self.targets = np.full(len(tensor), target, dtype=np.intp)
        self.grids: dict[str, tuple[int, int, int]] = {}

    def note(self, output: Tensor) -> None:
        """Check whether the maps (n, classes, planes, rows, columns) are sound."""
        self.finite &= output.flatten(1).isfinite().all(dim=1).cpu().numpy()

    def grid(self, name: str, output: Tensor) -> Tensor:
        """Lay a layer's output (B, C, d, h, w) out as (B, C, d, h · w), and note its shape."""
        if self.of_slices:
            plane = super().grid(name, output)
            self.grids[name] = (1, plane.shape[-2], plane.shape[-1])
            return plane
        if output.ndim != 5 or output[0, 0].numel() < 2:
            raise CamSamError(
                f"Layer {name!r} cannot be a target layer. Its output of shape "
                f"{tuple(output.shape)} has no grid of slices, rows and columns; choose another."
            )
        d, h, w = output.shape[2:]
        self.grids[name] = (d, h, w)
        return output.flatten(3)
