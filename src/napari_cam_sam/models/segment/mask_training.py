"""The second stage of weak supervision: a segmentation network from masks that nobody drew.

The masks come from heatmaps of a classifier (see ``pipeline.pseudo_masks``), one image by
itself. A network that has to explain all of them at once learns what they have in common, which
is the object, and not what differs from one to the next, which is their errors. Nothing but
labels of whole images goes into it; images without the object teach what is background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.models.checkpoints import weights_sha256
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.models.segment.architectures import default_layer
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.models.segmentation_cards import SegmentationCard
from napari_cam_sam.models.training.augmentation import move
from napari_cam_sam.schemas import check_fields

__all__ = ["MaskTrainingParameters", "save_network", "train_on_masks"]

_CLASSES = ("background", "lesion")


@dataclass(frozen=True)
class MaskTrainingParameters:
    """How a network is trained on soft masks.

    Attributes
    ----------
    input_size : tuple of int
        Rows and columns that planes are letterboxed into, multiples of 16. Small ones are quick,
        and a segmenter that starts from the prediction finds the edge on the plane's own pixels.
    epochs : int
        Times that as many planes as there are in training are shown.
    batch_size : int
    learning_rate : float
        Highest rate, of AdamW in one cycle.
    empty : float
        Part of the planes shown that have an empty mask, 0 to below 1, if there are both.
    least_weight : float
        How much a pixel counts whose mask is one half, against one that is 0 or 1, 0 to 1.
    rotation, zoom, aspect, shift, gamma, gain, noise : float
        How far planes are changed at random: degrees; logarithms of scale and of proportions;
        part of the side; logarithm of the exponent of the gray values; part of the brightness;
        highest standard deviation, of a range of 1. Half of the planes are mirrored.
    seed : int
        Of the first weights, the order and the changes.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    CamSamError
        For a value out of its range.
    """

    input_size: tuple[int, int] = (128, 128)
    epochs: int = 12
    batch_size: int = 24
    learning_rate: float = 2e-3
    empty: float = 0.2
    least_weight: float = 0.15
    rotation: float = 15.0
    zoom: float = 0.22
    aspect: float = 0.15
    shift: float = 0.1
    gamma: float = 0.4
    gain: float = 0.2
    noise: float = 0.03
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self)
        if any(side < 32 or side % 16 for side in self.input_size) or len(self.input_size) != 2:
            raise CamSamError(
                f"The input size must be two multiples of 16 from 32, not {self.input_size!r}."
            )
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise CamSamError(f"{name} must be 1 or more, not {getattr(self, name)!r}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise CamSamError(f"The learning rate must be above 0, not {self.learning_rate!r}.")
        if not 0 <= self.empty < 1 or not 0 <= self.least_weight <= 1:
            raise CamSamError("empty must be in 0 to below 1, least_weight in 0 to 1.")
        for name in ("rotation", "zoom", "aspect", "shift", "gamma", "gain", "noise"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise CamSamError(f"{name} must be 0 or more, not {getattr(self, name)!r}.")


def train_on_masks(
    planes: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[Any]],
    parameters: MaskTrainingParameters | None = None,
    *,
    class_names: tuple[str, str] = _CLASSES,
    progress: Callable[[int, int], None] | None = None,
) -> SegmentationNetwork:
    """Train a small U-Net on soft masks.

    The loss is the cross-entropy, where a pixel counts the more the surer its mask is, and half
    the soft Dice loss of the planes whose mask is not empty. The same planes, masks, parameters
    and number of threads give the same weights on a CPU.

    Parameters
    ----------
    planes : sequence of ndarray of uint8, shape (rows, columns)
        Windowed gray planes, each of its own shape.
    masks : sequence of ndarray of bool or float, shape of its plane
        Probability of the object, in [0, 1].
    parameters : MaskTrainingParameters, optional
    class_names : tuple of str
        Names of the background and of the object.
    progress : callable, optional
        Told steps done and in all; what it raises ends the training.

    Returns
    -------
    SegmentationNetwork
        In evaluation mode.

    Raises
    ------
    CamSamError
        If there are no planes, a plane is not gray uint8, a mask is of another shape or leaves
        [0, 1], no mask has an object, or the loss does not stay finite.
    """
    settings = parameters or MaskTrainingParameters()
    images, targets, inside = _frames(planes, masks, settings.input_size)
    weights = inside * (2 * targets - 1).abs().clamp_min(settings.least_weight)
    has = targets.flatten(1).amax(1) > 0.5
    if not has.any():
        raise CamSamError("No mask has an object (a value above one half) to learn from.")
    device = choose_device(settings.device)
    mean, deviation = float(images.mean()), max(float(images.std()), 1e-3)
    draw = torch.Generator().manual_seed(settings.seed)
    module = _new_network(settings.seed).to(device).train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    steps = max(1, settings.epochs * len(images) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps + 1, pct_start=0.15
    )
    chances = _chances(has, settings.empty)
    for step in range(steps):
        chosen = torch.multinomial(chances, settings.batch_size, True, generator=draw)
        picked = torch.cat([images[chosen], targets[chosen], weights[chosen]], dim=1)
        changed = _changed(picked, settings, draw).to(device)
        image, target, weight = changed[:, :1], changed[:, 1:2], changed[:, 2:]
        loss = _loss(module((image - mean) / deviation), target, weight)
        if not torch.isfinite(loss):
            raise CamSamError(
                f"The loss is not finite at step {step + 1}: take a lower learning rate."
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
    card = SegmentationCard(
        architecture="small-unet",
        num_classes=1,
        class_names=class_names[1:],
        spatial_dims=2,
        input_size=settings.input_size,
        mean=(mean,),
        std=(deviation,),
        channels=1,
        activation="sigmoid",
    )
    layers = (default_layer("small-unet", module),)
    digest = weights_sha256(module)
    return SegmentationNetwork(module.eval(), card, "masks", digest, layers, device)


def save_network(network: SegmentationNetwork, path: str | Path) -> None:
    """Write weights and card into one safetensors file that ``load_network`` opens.

    Parameters
    ----------
    network : SegmentationNetwork
    path : path-like

    Raises
    ------
    CamSamError
        If the file cannot be written.
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in network.module.state_dict().items()}
    content = save(weights, metadata={"card": network.card.to_json()})
    write_atomically(path, lambda hidden: hidden.write_bytes(content))


def _frames(
    planes: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[Any]], size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Letterbox planes and masks: images and masks in [0, 1], and where the plane lies."""
    if not planes or len(planes) != len(masks):
        raise CamSamError(
            f"There are {len(planes)} slices and {len(masks)} masks: give a mask for each slice."
        )
    images, targets, inside = [], [], []
    for plane, mask in zip(planes, masks, strict=True):
        if plane.dtype != np.uint8 or plane.ndim != 2:
            raise CamSamError(
                f"Training takes gray slices of uint8; got {plane.dtype} of shape {plane.shape}."
            )
        soft = np.asarray(mask, np.float32)
        if soft.shape != plane.shape:
            raise CamSamError(f"A mask has shape {soft.shape}, its slice {plane.shape}.")
        if not (soft.min() >= 0 and soft.max() <= 1):  # so that NaN is refused too
            raise CamSamError("A soft mask must have values from 0 to 1 everywhere.")
        letterbox = Letterbox.fit((plane.shape[0], plane.shape[1]), size)
        images.append(letterbox.apply(plane).astype(np.float32) / 255)
        targets.append(np.clip(letterbox.apply(soft), 0, 1))
        inside.append(np.round(letterbox.apply(np.ones_like(soft))))
    stacks = (torch.from_numpy(np.stack(s)[:, None].copy()) for s in (images, targets, inside))
    return next(stacks), next(stacks), next(stacks)


def _new_network(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = SmallUNet(1)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        # At first nearly everything is background, as it will be.
        assert module.head.bias is not None
        with torch.no_grad():
            module.head.weight.mul_(0.1)
            module.head.bias.fill_(-2.0)
    return module


def _chances(has: Tensor, empty: float) -> Tensor:
    """Return how often each plane is shown."""
    n_full, n_empty = int(has.sum()), int((~has).sum())
    if n_empty == 0:
        return torch.ones(len(has))
    return torch.where(has, (1 - empty) / n_full, empty / n_empty)


def _changed(picked: Tensor, settings: MaskTrainingParameters, draw: torch.Generator) -> Tensor:
    """Turn, scale and move image, mask and weight alike, and change the image's gray values."""
    n = len(picked)

    def spread(limit: float) -> Tensor:
        return (torch.rand(n, generator=draw) * 2 - 1) * limit

    angle, scale, aspect = (
        torch.deg2rad(spread(settings.rotation)),
        torch.exp(spread(settings.zoom)),
        torch.exp(spread(settings.aspect)),
    )
    flip = torch.where(torch.rand(n, generator=draw) < 0.5, -1.0, 1.0)
    across, down = scale * aspect * flip, scale / aspect
    right, below = spread(2 * settings.shift), spread(2 * settings.shift)
    # What comes in from outside is black and, its weight being 0, counts for nothing.
    moved = move(picked, angle, across, down, right, below)

    def each(values: Tensor) -> Tensor:
        return values.view(n, 1, 1, 1)

    image = moved[:, :1].clamp(1e-4, 1) ** each(torch.exp(spread(settings.gamma)))
    image = image * each(1 + spread(settings.gain))
    noise = torch.randn(image.shape, generator=draw)
    image = image + noise * each(torch.rand(n, generator=draw) * settings.noise)
    return torch.cat([image.clamp(0, 1), moved[:, 1:]], dim=1)


def _loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    axes = (1, 2, 3)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (entropy * weight).sum() / weight.sum().clamp_min(1e-6)
    has = target.amax(axes) > 0.5
    if not has.any():
        return loss
    predicted = torch.sigmoid(logits)
    common = (predicted * target * weight).sum(axes)
    both = ((predicted + target) * weight).sum(axes)
    dice = (2 * common + 1) / (both + 1)
    return loss + (1 - dice[has]).mean() / 2
