"""How good prompts are by themselves, before any model sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.masks import check_labels, check_spacing
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

__all__ = ["box_iou", "score_prompts"]


def box_iou(first: Box, second: Box) -> float:
    """Compute the IoU of two boxes as areas.

    Parameters
    ----------
    first, second : Box
        Parts outside the plane count.

    Returns
    -------
    float
        In [0, 1].
    """
    height = min(first.row_max, second.row_max) - max(first.row_min, second.row_min)
    width = min(first.column_max, second.column_max) - max(first.column_min, second.column_min)
    shared = max(height, 0.0) * max(width, 0.0)
    union = first.height * first.width + second.height * second.width - shared
    return shared / union if union > 0 else 0.0


def score_prompts(
    prompts: PlanePrompts | ObjectPrompt,
    truth: ArrayLike,
    spacing: Sequence[float] = (1.0, 1.0),
) -> dict[str, float]:
    """Score points and boxes against the truth of their plane.

    The rates and the distance are those of Paradowski ("Grad-CAM and automated SAM
    segmentation").

    Parameters
    ----------
    prompts : PlanePrompts or ObjectPrompt
        All points and boxes of it are pooled.
    truth : array of bool or int, shape (rows, columns)
        A mask, or labels where every positive value is an object of its own.
    spacing : sequence of two float
        Distance between rows and between columns, in mm.

    Returns
    -------
    dict of str to float
        ``fg_hit_rate``: part of the positive points on the truth, in [0, 1].
        ``bg_hit_rate``: part of the negative points off the truth, in [0, 1].
        ``distance_px``, ``distance_mm``: mean over the positive points of the distance to the
        centre of mass of the nearest truth object.
        ``box_iou``: mean over the boxes of the IoU with the best-fitting bounding box of a
        truth object. ``box_area``: mean area of the boxes in pixels.
        ``n_positive``, ``n_negative``, ``n_boxes``: how many there are.
        NaN where there is nothing to score: no such prompt, or, for all but ``bg_hit_rate`` and
        ``box_area``, an empty truth.

    Raises
    ------
    CamSamError
        For a truth that is not a 2D mask, or a spacing that is not two positive numbers.
    """
    labels = check_labels(truth, "truth")
    if labels.ndim != 2:
        raise CamSamError(f"The truth of a slice must be 2D, not {labels.ndim}D.")
    scale = check_spacing(spacing, 2)
    objects = prompts.objects if isinstance(prompts, PlanePrompts) else (prompts,)
    points = [point for prompt in objects for point in prompt.points]
    boxes = [prompt.box for prompt in objects if prompt.box is not None]
    positive = [(point.row, point.column) for point in points if point.positive]
    negative = [(point.row, point.column) for point in points if not point.positive]
    centres, truth_boxes = _truth_objects(labels)
    empty = not truth_boxes
    return {
        "fg_hit_rate": _mean([] if empty else [_on(labels, *place) for place in positive]),
        "bg_hit_rate": _mean([not _on(labels, *place) for place in negative]),
        "distance_px": _mean(_distances(positive, centres, (1.0, 1.0))),
        "distance_mm": _mean(_distances(positive, centres, scale)),
        "box_iou": _mean(
            [] if empty else [max(box_iou(box, other) for other in truth_boxes) for box in boxes]
        ),
        "box_area": _mean([box.height * box.width for box in boxes]),
        "n_positive": float(len(positive)),
        "n_negative": float(len(negative)),
        "n_boxes": float(len(boxes)),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _on(labels: NDArray[Any], row: float, column: float) -> bool:
    """Tell whether the pixel that a position lies on is truth; off the plane nothing is."""
    r, c = math.floor(row + 0.5), math.floor(column + 0.5)
    rows, columns = labels.shape
    return 0 <= r < rows and 0 <= c < columns and bool(labels[r, c] > 0)


def _truth_objects(labels: NDArray[Any]) -> tuple[list[tuple[float, float]], list[Box]]:
    """Return the centre of mass and the bounding box of each object."""
    centres, boxes = [], []
    values = np.unique(labels)
    for value in values[values > 0]:
        rows, columns = np.nonzero(labels == value)
        centres.append((float(rows.mean()), float(columns.mean())))
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        boxes.append(Box(float(top), float(left), float(bottom), float(right), "truth"))
    return centres, boxes


def _distances(
    points: list[tuple[float, float]],
    centres: list[tuple[float, float]],
    scale: tuple[float, ...],
) -> list[float]:
    if not centres:
        return []
    return [
        min(math.hypot((row - r) * scale[0], (column - c) * scale[1]) for r, c in centres)
        for row, column in points
    ]
