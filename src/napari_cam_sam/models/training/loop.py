"""The epochs: batches in an order that the seed decides, and steps of the optimiser.

Whatever is random in an epoch is drawn from the seed and the epoch's number alone. So a training
that goes on from its last complete epoch takes the very steps that it would have taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.colours import LUMA
from napari_cam_sam.models.cards import ClassifierCard
from napari_cam_sam.models.devices import multiplies_bfloat16
from napari_cam_sam.models.model import standardise
from napari_cam_sam.models.outputs import unwrap_logits
from napari_cam_sam.models.training.augmentation import augment, mix
from napari_cam_sam.models.training.figures import figures_of
from napari_cam_sam.models.training.networks import parameter_groups
from napari_cam_sam.models.training.parameters import Balance, TrainingParameters
from napari_cam_sam.models.training.results import Epoch

__all__ = ["StoppedError", "Trainer", "normalised", "order_of", "rate_at"]


class StoppedError(Exception):
    """The caller asked to stop."""


def normalised(pixels: Tensor, card: ClassifierCard) -> Tensor:
    """Convert 8-bit frames to what the network takes, as `Classifier.prepare` does.

    Parameters
    ----------
    pixels : Tensor of uint8, or of float in 0 to 255, shape (n, 1 or 3, row, column)
    card : ClassifierCard

    Returns
    -------
    Tensor of float32, shape (n, card.channels, row, column)
    """
    return standardise(to_channels(pixels, card.channels) / 255, card)


def to_channels(pixels: Tensor, channels: int) -> Tensor:
    """Make colour of gray by repeating it, gray of colour by its luma; float32."""
    values = pixels.float()
    if values.shape[1] == channels:
        return values
    if channels == 3:
        return values.expand(-1, 3, -1, -1)
    luma = torch.tensor(LUMA, device=values.device).view(1, 3, 1, 1)
    return (values * luma).sum(dim=1, keepdim=True)


def order_of(
    classes: NDArray[np.intp], balance: Balance, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return the order in which one epoch shows its images.

    Parameters
    ----------
    classes : ndarray of int, shape (n,)
        Every class has an image.
    balance : {"sampling", "weights", "none"}
        With sampling each class takes the same number of turns, and each of its images as many
        as the others, give or take one.
    rng : numpy Generator

    Returns
    -------
    ndarray of int
        Indices; with sampling n of them, rounded up to a multiple of the classes.
    """
    if balance != "sampling":
        return rng.permutation(len(classes))
    n_classes = int(classes.max()) + 1
    turns = -(-len(classes) // n_classes)
    chosen = []
    for index in range(n_classes):
        own = np.flatnonzero(classes == index)
        rounds = [rng.permutation(own) for _ in range(-(-turns // len(own)))]
        chosen.append(np.concatenate(rounds)[:turns])
    order: NDArray[np.intp] = rng.permutation(np.concatenate(chosen))
    return order


def rate_at(progress: float, warm_up: float) -> float:
    """Return the part of the highest learning rate: a rise, then half a cosine.

    PyTorch's schedulers keep a state that would have to be saved and restored, and take the
    rate of a step's beginning where this takes that of its middle.

    Parameters
    ----------
    progress : float
        Part of all steps that is done, in [0, 1].
    warm_up : float
        Part of them in which the rate rises, 0 to below 1.

    Returns
    -------
    float
        In [0, 1].
    """
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


class Trainer:
    """A network, its optimiser, and the images that it is trained on.

    Parameters
    ----------
    module : nn.Module
        As it starts.
    card : ClassifierCard
    parameters : TrainingParameters
    device : torch.device
    pixels : ndarray of uint8, shape (n, channels, row, column)
        Of the training part.
    classes : ndarray of int, shape (n,)
    """

    def __init__(
        self,
        module: nn.Module,
        card: ClassifierCard,
        parameters: TrainingParameters,
        device: torch.device,
        pixels: NDArray[np.uint8],
        classes: NDArray[np.intp],
    ) -> None:
        self.module = module.to(device).to(memory_format=torch.channels_last)
        self.card, self.parameters, self.device = card, parameters, device
        self._dtype = _product_type(parameters.precision, device)
        self.precision = str(self._dtype).removeprefix("torch.")
        self._pixels = torch.from_numpy(pixels).to(device)
        self._classes = classes
        self._targets = torch.from_numpy(classes).to(device)
        self._weights = None
        if parameters.balance == "weights":
            counts = np.bincount(classes, minlength=card.num_classes)
            weights = len(classes) / (card.num_classes * counts)
            self._weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.module, parameters),
            weight_decay=parameters.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        n = len(order_of(classes, parameters.balance, np.random.default_rng(0)))
        # A batch of one has no statistics for batch norm.
        self.batches = n // parameters.batch_size + (n % parameters.batch_size > 1)

    def epoch(self, number: int, after_batch: Callable[[int], None]) -> tuple[float, float]:
        """Run one epoch.

        Parameters
        ----------
        number : int
            From 1.
        after_batch : callable
            Told how many batches of the epoch are done; it may raise to stop.

        Returns
        -------
        tuple of float
            Mean loss and accuracy over the images shown.
        """
        parameters = self.parameters
        rng = np.random.default_rng((parameters.seed, number))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        order = order_of(self._classes, parameters.balance, rng)
        total, right, seen = 0.0, 0.0, 0
        with _seeded(int(rng.integers(2**62)), self.device):
            self.module.train()
            for batch in range(self.batches):
                chosen = order[batch * parameters.batch_size :][: parameters.batch_size]
                share, mixup = 1.0, parameters.augmentation.mixup
                if mixup:
                    share = float(rng.beta(mixup, mixup))
                done = (number - 1) * self.batches + batch
                rate = rate_at(
                    (done + 0.5) / (parameters.epochs * self.batches), parameters.warm_up
                )
                loss, hits = self._step(torch.from_numpy(chosen), share, rate, generator)
                total, right, seen = total + loss * len(chosen), right + hits, seen + len(chosen)
                after_batch(batch + 1)
        # The last step's weights have had no loss yet.
        state = self.module.state_dict().values()
        if not (math.isfinite(total) and all(bool(value.isfinite().all()) for value in state)):
            raise CamSamError(
                f"The loss or the weights of epoch {number} are no longer finite: choose a lower "
                "learning rate."
            )
        return total / seen, right / seen

    def _step(
        self, chosen: Tensor, share: float, rate: float, generator: torch.Generator
    ) -> tuple[float, float]:
        parameters, chosen = self.parameters, chosen.to(self.device)
        classes = self._targets[chosen]
        images = to_channels(self._pixels[chosen], self.card.channels) / 255
        images = augment(images, parameters.augmentation, generator)
        targets: Tensor = classes
        if parameters.augmentation.mixup:
            targets = F.one_hot(classes, self.card.num_classes).float()
            images, targets = mix(images, targets, share, generator)
        images = standardise(images, self.card).to(memory_format=torch.channels_last)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        self.optimiser.zero_grad(set_to_none=True)
        with self._products():
            logits = unwrap_logits(self.module(images), self.card.num_classes).float()
        loss = F.cross_entropy(
            logits, targets, weight=self._weights, label_smoothing=parameters.label_smoothing
        )
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach()), float((logits.argmax(dim=1) == classes).sum())

    def probabilities(
        self, pixels: NDArray[np.uint8], *, exact: bool = True
    ) -> NDArray[np.float32]:
        """Classify frames.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, channels, row, column)
        exact : bool
            In float32, as the saved classifier does; else in the type of the training.

        Returns
        -------
        ndarray of float32, shape (n, classes)
        """
        self.module.eval()
        parts = []
        with torch.no_grad(), self._products(enabled=not exact):
            for start in range(0, len(pixels), 64):
                part = torch.from_numpy(pixels[start : start + 64]).to(self.device)
                images = normalised(part, self.card).to(memory_format=torch.channels_last)
                logits = unwrap_logits(self.module(images), self.card.num_classes)
                parts.append(torch.softmax(logits.float(), dim=1).cpu().numpy())
        return np.concatenate(parts)

    def report(
        self,
        number: int,
        loss: float,
        accuracy: float,
        validation: tuple[NDArray[np.uint8], NDArray[np.intp]],
        earlier: tuple[Epoch, ...],
        begin: float,
    ) -> Epoch:
        """Evaluate the validation part and report how an epoch went."""
        pixels, classes = validation
        found = (math.nan, math.nan, math.nan)
        best = True
        if len(classes):
            values = self.probabilities(pixels, exact=False)
            own = values[np.arange(len(classes)), classes].astype(np.float64)
            figures = figures_of("validation", values, classes, self.card.class_names)
            found = (float(-np.log(own.clip(1e-7)).mean()), figures.accuracy, figures.f1)
            best = all(found[0] < epoch.validation_loss for epoch in earlier)
        rate = float(self.optimiser.param_groups[-1]["lr"])
        return Epoch(number, loss, accuracy, *found, rate, time.monotonic() - begin, best)

    def _products(self, enabled: bool = True) -> torch.autocast:
        return torch.autocast(
            self.device.type, self._dtype, enabled=enabled and self._dtype != torch.float32
        )


def _product_type(precision: str, device: torch.device) -> torch.dtype:
    """Choose what convolutions multiply in: bfloat16 where the device has instructions for it."""
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        return dtype
    if device.type == "cpu" and multiplies_bfloat16():
        return torch.bfloat16
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8:
        return torch.bfloat16
    return torch.float32


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed what layers such as dropout draw from, and put the callers' random state back after."""
    devices = [device] if device.type == "cuda" else []
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            cudnn.deterministic, cudnn.benchmark = True, False
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = before
