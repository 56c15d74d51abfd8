"""What a segmentation network predicts, as maps of planes that a segmenter can start from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cam_sam.cam.tracing import LogitsModel
from napari_cam_sam.cam.upscale import grid_to_plane
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.exclusive_eval import borrowed
from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["predict_planes"]


def predict_planes(
    network: SegmentationNetwork,
    planes: Iterable[NDArray[np.uint8]],
    target: int | str,
    *,
    mirrored: bool = False,
    batch_size: int = 16,
) -> Iterator[NDArray[np.float32]]:
    """Predict the probability of a class at every pixel of planes.

    Parameters
    ----------
    network : SegmentationNetwork
        A 2D one. Of a bundle that prepares volumes the planes are those of one volume, windowed
        alike; :func:`cam.volume_heatmaps.predict_image` takes the image itself, and is exact.
    planes : iterable of ndarray of uint8, shape (row, column) or (row, column, 3)
        Windowed planes; no more than a batch of them is held at a time.
    target : int or str
        The class, by index or name.
    mirrored : bool
        Average with the prediction of the plane mirrored left to right.
    batch_size : int

    Yields
    ------
    ndarray of float32, shape (row, column)
        On the plane's pixels, in [0, 1].

    Raises
    ------
    CamSamError
        If there is no such class, the batch size is below 1, the network is 3D, or a plane does not
        suit it.
    """
    if batch_size < 1:
        raise CamSamError(f"The batch size is {batch_size}; expected 1 or more.")
    index = network.class_index(target)
    preparation = network.card.preparation
    if preparation is not None and preparation.of_slices and not preparation.pointwise:
        batch_size = sys.maxsize  # statistics are of the volume
    remaining = iter(planes)
    while batch := list(islice(remaining, batch_size)):
        found = _predict(network, batch, index)
        if mirrored:
            turned = [np.ascontiguousarray(plane[:, ::-1]) for plane in batch]
            other = _predict(network, turned, index)
            both = zip(found, other, strict=True)
            found = [np.asarray((a + b[:, ::-1]) / 2, np.float32) for a, b in both]
        yield from found


def _predict(
    network: SegmentationNetwork, planes: list[NDArray[np.uint8]], index: int
) -> list[NDArray[np.float32]]:
    with borrowed(network.module), torch.no_grad():
        tensor, letterboxes = network.prepare(planes)
        logits = LogitsModel(network)(tensor)
        maps = network.to_probabilities(logits)[:, index].float().cpu().numpy()
    pairs = zip(maps, letterboxes, strict=True)
    return [np.clip(grid_to_plane(m, letterbox), 0, 1) for m, letterbox in pairs]
