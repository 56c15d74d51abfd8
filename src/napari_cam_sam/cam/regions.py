"""The planes of one batch on their way through a 2D segmentation network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.cam.batch import NetworkBatch
from napari_cam_sam.cam.pixel_sets import PixelSet, find_pixels, nth_component
from napari_cam_sam.cam.upscale import plane_weights
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["RegionBatch", "explained_class", "predicted_classes"]


class RegionBatch(NetworkBatch):
    """A batch of planes whose M is found from what the network predicts.

    Parameters
    ----------
    network : SegmentationNetwork
        2D.
    tensor : Tensor, shape (n, channels, h, w)
    batch_size : int
    letterboxes : sequence of Letterbox
        How each plane lies in the frame.
    target : int or None
        None for the class that :func:`explained_class` chooses.
    pixel_set : PixelSet
    given : sequence of ndarray of bool or None
        M of each plane, on its pixels, for pixel sets that are given.

    Attributes
    ----------
    regions : list of ndarray of bool
        M of each plane, on its pixels; after :meth:`run`.
    weights : Tensor of float32, shape (n, h, w)
        The logits are interpolated to the plane's pixels, and this is the transpose of that,
        applied to M. After :meth:`run`.
    """

    regions: list[NDArray[np.bool_]]

    def __init__(
        self,
        network: SegmentationNetwork,
        tensor: Tensor,
        batch_size: int,
        letterboxes: Sequence[Letterbox],
        target: int | None,
        pixel_set: PixelSet,
        given: Sequence[NDArray[np.bool_]] | None,
    ) -> None:
        super().__init__(network, tensor, batch_size)
        self.network = network
        self.letterboxes = letterboxes
        self.target = target
        self.pixel_set = pixel_set
        self.given = given

    def note(self, output: Tensor) -> None:
        """Find class and M of each plane from the maps (n, classes, h, w)."""
        maps: NDArray[np.float32] = output.float().cpu().numpy()
        self.regions, weights, targets, highest = [], [], [], []
        for i, (plane_maps, letterbox) in enumerate(zip(maps, self.letterboxes, strict=True)):
            down, across = (m.astype(np.float32) for m in plane_weights(letterbox, maps.shape[2:]))
            logits = torch.from_numpy(down @ plane_maps @ across.T)
            probabilities = self.network.to_probabilities(logits[None])[0].numpy()
            peaks = probabilities.max(axis=(1, 2))
            predicted = predicted_classes(probabilities, self.network)
            index = self.target
            if index is None:
                counts = predicted.sum(axis=(1, 2))
                index = explained_class(counts, peaks, self.network)
            found = predicted[index]
            if self.pixel_set.kind == "probability":
                found = probabilities[index] > self.pixel_set.threshold
            elif self.pixel_set.given:
                found = None if self.given is None else self.given[i]
            region = find_pixels(self.pixel_set, letterbox.plane_shape, found)
            region = nth_component(region, self.pixel_set.component)
            self.regions.append(region)
            weights.append(down.T @ region.astype(np.float32) @ across)
            targets.append(index)
            highest.append(peaks)
        self.weights = torch.from_numpy(np.stack(weights)).to(self.tensor.device)
        self.targets = np.asarray(targets, dtype=np.intp)
        self.probabilities = np.stack(highest).astype(np.float32)
        self.finite &= np.isfinite(maps).all(axis=(1, 2, 3))


def predicted_classes(
    probabilities: NDArray[np.float32], network: SegmentationNetwork
) -> NDArray[np.bool_]:
    """Return for each class where it is predicted.

    By softmax where no other class is more probable, the first of equal ones; by sigmoid where
    its own probability is above one half.

    Parameters
    ----------
    probabilities : ndarray of float, shape (classes, …)
    network : SegmentationNetwork

    Returns
    -------
    ndarray of bool, shape (classes, …)
    """
    if network.card.activation == "sigmoid":
        return probabilities > 0.5
    winner = probabilities.argmax(axis=0)
    classes = np.arange(len(probabilities)).reshape(-1, *[1] * (probabilities.ndim - 1))
    return np.asarray(winner == classes)


def explained_class(
    counts: NDArray[np.integer], peaks: NDArray[np.floating], network: SegmentationNetwork
) -> int:
    """Choose the class to explain where none is named.

    Parameters
    ----------
    counts : ndarray of int, shape (classes,)
        Pixels predicted as each.
    peaks : ndarray of float, shape (classes,)
        The highest probability of each.
    network : SegmentationNetwork
        The background is left out, where it has one.

    Returns
    -------
    int
        The class with most pixels; where none has any, the one with the highest probability.
    """
    first = 1 if network.card.background else 0
    by = counts if counts[first:].any() else peaks
    return first + int(np.argmax(by[first:]))
