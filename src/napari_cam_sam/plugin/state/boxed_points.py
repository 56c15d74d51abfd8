"""Which points go with a box that the user moves: those that came with it and have left it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.plugin.layers.boxes_layer import extents
from napari_cam_sam.plugin.layers.prompt_provenance import column
from napari_cam_sam.plugin.layers.prompt_table import Vertices, places_of
from napari_cam_sam.plugin.state.prompt_history import Held

__all__ = ["points_to_go"]


def points_to_go(points: Held, before: Held, boxes: Any, moved: Iterable[int]) -> set[int]:
    """Return the points that a heatmap or a truth placed, and that moved boxes make wrong.

    They are the points that lay in the box and lie in no box of their object now, and negative
    ones that the box has come over. What the user placed or moved stays.

    Parameters
    ----------
    points, before : Held
        The points, and the boxes before they were moved.
    boxes : napari layer
        With as many boxes, as they are now.
    moved : iterable of int
        Which of them were moved.

    Returns
    -------
    set of int
        Rows of the points.
    """
    at, now = np.asarray(points.data), boxes.data
    if not len(at):
        return set()
    source, polarity, objects = (
        column(points.features, name, len(at)) for name in ("source", "polarity", "object")
    )
    of, places = column(boxes.features, "object", len(now)), places_of(at, points.features)

    def held(shapes: Vertices, i: int) -> NDArray[np.bool_]:
        """Tell which points of its object a box holds."""
        (place,) = places_of([shapes[i]], boxes.features.iloc[[i]])
        low, high, _ = extents([shapes[i]])
        # As `Box.contains`: corners lie half a pixel outside the centres of its pixels.
        within = (low <= at - 0.5) & (at - 0.5 < high)
        if at.shape[1] == 3:
            within[:, place[0]] = True
        there: NDArray[np.bool_] = (places == place).all(axis=1) & within.all(axis=1)
        return there & (objects == of[i])

    gone: set[int] = set()
    for i in moved:
        was, still = held(before.data, i), held(now, i)
        left, covered = was & ~still, still & ~was & (polarity == "negative")
        if left.any():
            left &= ~np.any([held(now, int(j)) for j in np.flatnonzero(of == of[i])], axis=0)
        gone.update(np.flatnonzero((left | covered) & (source != "user")).tolist())
    return gone
