"""Overlap of two masks: IoU, Dice and pixel accuracy from four counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_cam_sam.metrics.masks import (
    BOTH_EMPTY,
    PREDICTION_EMPTY,
    TRUTH_EMPTY,
    bounding_box,
    mask_pair,
)

__all__ = ["OverlapCounts", "overlap"]


@dataclass(frozen=True)
class OverlapCounts:
    """Counts of pixels or voxels, and what follows from them.

    Attributes
    ----------
    true_positives, false_positives, false_negatives, true_negatives : int
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def iou(self) -> float:
        """Intersection over union in [0, 1]; 1 where both masks are empty."""
        union = self.true_positives + self.false_positives + self.false_negatives
        return self.true_positives / union if union else 1.0

    @property
    def dice(self) -> float:
        """Dice coefficient in [0, 1], 2·IoU / (1 + IoU); 1 where both masks are empty."""
        both = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / both if both else 1.0

    @property
    def pixel_accuracy(self) -> float:
        """Part of all pixels on which the masks agree, in [0, 1]."""
        right = self.true_positives + self.true_negatives
        return right / (right + self.false_positives + self.false_negatives)

    @property
    def flag(self) -> str | None:
        """``"both-empty"``, ``"prediction-empty"``, ``"truth-empty"``, or None."""
        prediction = self.true_positives + self.false_positives
        truth = self.true_positives + self.false_negatives
        if prediction and truth:
            return None
        if prediction:
            return TRUTH_EMPTY
        return PREDICTION_EMPTY if truth else BOTH_EMPTY


def overlap(prediction: ArrayLike, truth: ArrayLike, size: int | None = None) -> OverlapCounts:
    """Count where two masks agree.

    Parameters
    ----------
    prediction, truth : array of bool or int, of one shape
        What is not 0 is object.
    size : int, optional
        Pixels of the image, where the masks are a window that holds all objects.

    Returns
    -------
    OverlapCounts

    Raises
    ------
    CamSamError
        For arrays of different shapes, without pixels, or of another type.
    """
    predicted, true = mask_pair(prediction, truth)
    n_predicted = int(np.count_nonzero(predicted))
    n_true = int(np.count_nonzero(true))
    window = bounding_box(true)
    # Both are object only within the truth's window: a small lesion costs a small product.
    shared = 0 if window is None else int(np.count_nonzero(predicted[window] & true[window]))
    return OverlapCounts(
        true_positives=shared,
        false_positives=n_predicted - shared,
        false_negatives=n_true - shared,
        true_negatives=(size or predicted.size) - n_predicted - n_true + shared,
    )
