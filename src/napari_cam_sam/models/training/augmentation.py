"""Random changes of training images, a batch at once, on the device that trains."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_cam_sam.models.training.parameters import AugmentationParameters

__all__ = ["augment", "mix", "move"]


def augment(
    images: Tensor, parameters: AugmentationParameters, generator: torch.Generator
) -> Tensor:
    """Change every image of a batch in its own way.

    Parameters
    ----------
    images : Tensor of float32, shape (n, channels, row, column)
        In [0, 1].
    parameters : AugmentationParameters
    generator : torch.Generator
        On the CPU: the same draws whatever the device.

    Returns
    -------
    Tensor of float32, same shape
        Not clipped where gain and noise leave [0, 1], as the network needs no limits.
    """
    n, _, rows, columns = images.shape
    device = images.device

    def spread(limit: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    def chosen(part: float) -> Tensor:
        return torch.rand(n, generator=generator) < part

    angle = torch.deg2rad(spread(parameters.rotation))
    scale = torch.exp(spread(math.log1p(parameters.zoom)))
    aspect = torch.exp(spread(parameters.aspect) / 2)
    mirror = torch.where(chosen(0.5 if parameters.flip else 0), -1.0, 1.0)
    turn = torch.where(chosen(0.5 if parameters.upside_down else 0), -1.0, 1.0)
    across, down = mirror * aspect / scale, turn / aspect / scale
    right, below = spread(2 * parameters.shift), spread(2 * parameters.shift)
    out = move(images, angle, across, down, right, below)

    def each(values: Tensor) -> Tensor:
        return values.view(n, 1, 1, 1).to(device)

    if parameters.gamma:
        out = out.clamp(min=0) ** each(torch.exp(spread(parameters.gamma)))
    if parameters.gain:
        out = out * each(1 + spread(parameters.gain))
    if parameters.blur:
        out = torch.where(each(chosen(parameters.blur)), _blurred(out), out)
    if parameters.noise:
        noise = torch.randn(out.shape, generator=generator).to(device)
        out = out + noise * each(torch.rand(n, generator=generator) * parameters.noise)
    if parameters.erase:
        inside = _squares(n, rows, columns, generator) & chosen(parameters.erase).view(n, 1, 1, 1)
        out = torch.where(inside.to(device), each(torch.rand(n, generator=generator)), out)
    return out


def move(
    images: Tensor, angle: Tensor, across: Tensor, down: Tensor, right: Tensor, below: Tensor
) -> Tensor:
    """Turn, scale and shift every image of a batch in its own way, with zeros outside.

    Parameters
    ----------
    images : Tensor of float32, shape (n, channels, row, column)
    angle : Tensor, shape (n,)
        In radians; in pixels, so that a frame that is not square is turned and not sheared.
    across, down : Tensor, shape (n,)
        Pixels of the image a pixel of the outcome; negative where it is mirrored.
    right, below : Tensor, shape (n,)
        Where the middle is taken from, in halves of the frame.

    Returns
    -------
    Tensor of float32, same shape
    """
    # From the output's coordinates in [-1, 1] to the input's.
    cos, sin, ratio = torch.cos(angle), torch.sin(angle), images.shape[2] / images.shape[3]
    matrix = torch.stack(
        [
            torch.stack([across * cos, -across * sin * ratio, right], 1),
            torch.stack([down * sin / ratio, down * cos, below], 1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _squares(n: int, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Mark one square an image, of a quarter of the shorter side, at random: (n, 1, h, w)."""
    side = min(rows, columns) // 4
    marked = torch.ones(n, 1, 1, 1, dtype=torch.bool)
    for axis, length in ((2, rows), (3, columns)):
        first = (torch.rand(n, generator=generator) * (length - side + 1)).long().view(n, 1, 1, 1)
        index = torch.arange(length).view([length if a == axis else 1 for a in range(4)])
        marked = marked & (index >= first) & (index < first + side)
    return marked


def _blurred(images: Tensor) -> Tensor:
    channels = images.shape[1]
    line = torch.tensor([0.25, 0.5, 0.25], device=images.device)
    kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)


def mix(
    images: Tensor, targets: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image and its target with another of the batch (Zhang et al., "mixup").

    Parameters
    ----------
    images : Tensor, shape (n, …)
    targets : Tensor of float32, shape (n, classes)
        Probabilities.
    share : float
        Of the image itself, in [0, 1].
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    tuple of Tensor
        Images and targets.
    """
    order = torch.randperm(len(images), generator=generator).to(images.device)
    return torch.lerp(images[order], images, share), torch.lerp(targets[order], targets, share)
