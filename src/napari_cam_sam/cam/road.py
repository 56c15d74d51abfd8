"""ROAD: what the probability loses without what a heatmap marks, and without the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor

from napari_cam_sam.cam.upscale import resize_grid
from napari_cam_sam.errors import Cancelled

__all__ = ["Road", "road"]


@dataclass(frozen=True)
class Road:
    """The probability of the class with parts of the input removed.

    Attributes
    ----------
    removed : tuple of int
        Percentages of the pixels.
    without_highest, without_lowest : tuple of float
        Probability without that part of the pixels, taken from the top or from the bottom of the
        map.
    """

    removed: tuple[int, ...]
    without_highest: tuple[float, ...]
    without_lowest: tuple[float, ...]

    @property
    def score(self) -> float:
        """Half of the mean difference, -0.5 to 0.5; 0 for a map that says nothing."""
        low, high = np.array(self.without_lowest), np.array(self.without_highest)
        return float((low - high).mean() / 2)


def road(
    probability: Callable[[Tensor], Sequence[float]],
    frame: Tensor,
    raw: NDArray[np.float32],
    removed: Sequence[int],
    seed: int,
    cancelled: Callable[[], bool] | None = None,
) -> Road:
    """Remove what a map marks most, and least, and look what is left of the probability.

    Remove And Debias (Rong et al. 2022), with pytorch-grad-cam's imputation: a removed pixel
    becomes the weighted mean of its neighbours plus a little noise, so that the shape of what was
    removed does not tell the class. Its score is that of the library's ``ROADCombined`` for
    probabilities; unlike there, pixels of the same value are removed in random order, not all
    together.

    Parameters
    ----------
    probability : callable
        Inputs (n, C, h, w) → probabilities of the class (n,).
    frame : Tensor, shape (C, h, w)
    raw : ndarray of float32, shape (rows, columns)
        Signed, on a grid that covers the input.
    removed : sequence of int
        Percentages, between 0 and 100.
    seed : int
        Of ties and of the noise.
    cancelled : callable, optional
        Asked before each imputation, which takes half a second for an input of 224 × 224.

    Returns
    -------
    Road

    Raises
    ------
    Cancelled
        Once `cancelled` says so.
    """
    h, w = frame.shape[1:]
    values = resize_grid(raw, (h, w)).ravel()
    order = np.lexsort((np.random.default_rng(seed).random(len(values)), values))
    place = np.empty(len(values), dtype=np.intp)
    place[order] = np.arange(len(values))
    impute, own = NoisyLinearImputer(), frame.detach().float().cpu()
    inputs = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for percent in removed:
            n = round(len(values) * percent / 100)
            for kept in (place < len(values) - n, place >= n):
                if cancelled is not None and cancelled():
                    raise Cancelled
                mask = torch.from_numpy(kept.reshape(h, w).astype(np.float32))
                inputs.append(impute(own, mask))
    found = probability(torch.stack(inputs).to(frame))
    return Road(tuple(removed), tuple(found[::2]), tuple(found[1::2]))
