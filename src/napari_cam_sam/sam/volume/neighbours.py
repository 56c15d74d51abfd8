"""The prompt that a mask makes for the plane beside its own."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import unknown_name
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point

__all__ = ["RULES", "NeighbourRule", "neighbour_prompt", "uses_logits"]

NeighbourRule = Literal["box", "points", "mask", "mask+box"]
RULES: tuple[NeighbourRule, ...] = get_args(NeighbourRule)


def uses_logits(rule: str) -> bool:
    """Return whether a rule hands the logits of the mask on, beside the prompt.

    Parameters
    ----------
    rule : {"box", "points", "mask", "mask+box"}

    Returns
    -------
    bool
    """
    return rule in ("mask", "mask+box")


def neighbour_prompt(
    object_id: int,
    mask: NDArray[np.bool_],
    rule: str,
    margin: float,
    *,
    points: int = 1,
    negatives: bool = False,
) -> ObjectPrompt:
    """Make a mask's prompt for the neighbouring plane.

    Parameters
    ----------
    object_id : int
    mask : ndarray of bool, shape (rows, columns)
        Not empty.
    rule : {"box", "points", "mask", "mask+box"}
        ``box`` and ``mask+box``: the mask's bounds. ``points``: the maxima of its distance
        transform. ``mask``: the deepest of these, as logits alone are no prompt to a segmenter.
    margin : float
        Added to each side of the box, in pixels; it may leave the plane.
    points : int
        How many points, for ``points``; fewer where the mask has no room for them.
    negatives : bool
        For ``points``: negative ones beside the middle of each side of the box with its margin,
        where those lie on the plane.

    Returns
    -------
    ObjectPrompt

    Raises
    ------
    CamSamError
        For an unknown rule.
    """
    if rule not in RULES:
        raise unknown_name("rule of propagation", rule, RULES)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = Box(
        float(rows[0] - margin),
        float(columns[0] - margin),
        float(rows[-1] + 1 + margin),
        float(columns[-1] + 1 + margin),
    )
    if rule in ("box", "mask+box"):
        return ObjectPrompt(object_id, (), box)
    inside = _deepest(mask, points if rule == "points" else 1)
    outside = _beside(box, mask) if rule == "points" and negatives else ()
    return ObjectPrompt(object_id, inside + outside)


def _deepest(mask: NDArray[np.bool_], count: int) -> tuple[Point, ...]:
    """Maxima of the distance transform, each outside the discs that fit around those before."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    found: list[Point] = []
    while len(found) < count and depth.max() > 0:
        row, column = divmod(int(depth.argmax()), mask.shape[1])
        found.append(Point(row, column))
        depth[np.hypot(rows - row, columns - column) < depth[row, column]] = 0
    return tuple(found)


def _beside(box: Box, mask: NDArray[np.bool_]) -> tuple[Point, ...]:
    """Negative points just outside each side of a box, where they lie on the plane."""
    top, left = np.floor(box.row_min) - 1, np.floor(box.column_min) - 1
    bottom, right = np.ceil(box.row_max), np.ceil(box.column_max)
    row, column = (box.row_min + box.row_max - 1) / 2, (box.column_min + box.column_max - 1) / 2
    places = ((top, column), (bottom, column), (row, left), (row, right))
    return tuple(
        Point(float(r), float(c), positive=False)
        for r, c in places
        if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1]
    )
