"""Masks from heatmaps alone, soft enough to train a segmentation network on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.seeded.segmenter import SeededSegmenter
from napari_cam_sam.schemas import check_fields

__all__ = ["PseudoMaskParameters", "pseudo_masks"]


@dataclass(frozen=True)
class PseudoMaskParameters:
    """How the probability of a walk from a heatmap becomes a soft mask.

    Attributes
    ----------
    middle : float
        The walk's probability that becomes one half, above 0 and below 1.
    slope : float
        By how much the probability is spread around it, 1 or more.
    min_area, max_area : float
        A mask that covers less or more of its plane is no mask: parts of the plane, 0 to 1.

    Raises
    ------
    CamSamError
        For a value out of its range.
    """

    middle: float = 0.42
    slope: float = 2.5
    min_area: float = 0.01
    max_area: float = 0.6

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.middle < 1 or not self.slope >= 1:
            raise CamSamError("middle must be above 0 and below 1, slope 1 or more.")
        if not 0 <= self.min_area < self.max_area <= 1:
            raise CamSamError("min_area and max_area must be in 0 to 1, the first the smaller.")


def pseudo_masks(
    planes: Iterable[NDArray[np.uint8]],
    heatmaps: Iterable[NDArray[np.float32]],
    segmenter: SeededSegmenter | None = None,
    parameters: PseudoMaskParameters | None = None,
) -> Iterator[NDArray[np.float32] | None]:
    """Make a soft mask of each plane by a random walk that its heatmap seeds.

    Parameters
    ----------
    planes : iterable of ndarray of uint8, shape (row, column) or (row, column, 3)
        Windowed planes.
    heatmaps : iterable of ndarray of float32, shape of its plane
        In [0, 1], e.g. by :func:`cam.averaging.average_heatmaps`, or a network's prediction by
        :func:`cam.predictions.predict_planes` for a further round. Each is divided by its maximum.
    segmenter : SeededSegmenter, optional
    parameters : PseudoMaskParameters, optional

    Yields
    ------
    ndarray of float32, shape of the plane, or None
        In [0, 1], above one half only in the component with the highest sum, its holes filled;
        None where the mask is too small or too large to be believed.

    Raises
    ------
    CamSamError
        If a heatmap is not of its plane's shape.
    """
    segmenter = segmenter or SeededSegmenter()
    settings = parameters or PseudoMaskParameters()
    for plane, heatmap in zip(planes, heatmaps, strict=True):
        highest = float(np.max(heatmap, initial=0.0))
        values = heatmap / highest if highest > 0 else heatmap
        embedding = segmenter.encode(plane)
        probability = segmenter.heatmap_probability(embedding, values.astype(np.float32))
        soft = np.clip((probability - settings.middle) * settings.slope + 0.5, 0, 1)
        mask = _main_part(soft)
        if settings.min_area <= mask.mean() <= settings.max_area and mask.any():
            # What is taken in or left out by the rule of one part is said, but not surely.
            yield np.where(mask, np.maximum(soft, 0.55), np.minimum(soft, 0.45)).astype(np.float32)
        else:
            yield None


def _main_part(soft: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mark the component of {soft > ½} with the highest sum, its holes filled."""
    parts, n = ndimage.label(soft > 0.5)
    if n == 0:
        return np.zeros(soft.shape, bool)
    sums = ndimage.sum_labels(soft, parts, np.arange(1, n + 1))
    return np.asarray(ndimage.binary_fill_holes(parts == 1 + int(np.argmax(sums))))
