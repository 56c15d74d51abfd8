"""A shapes layer whose boxes can be clicked wherever they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError

__all__ = ["LEAST_SIDE", "BoxesLayer", "extents", "too_small"]

LEAST_SIDE = 3
"""In pixels: what is drawn smaller was a click, or a hand that shook."""


class BoxesLayer(Shapes):
    """napari's shapes, found under the cursor wherever they are drawn.

    napari draws a shape where the viewer stands within half a plane of it, but finds it under the
    cursor only where it stands exactly on it: the last bit of a rounded position, or a second
    image of another spacing, and boxes that can be seen can be neither chosen nor dragged.
    """

    plane_shown: Callable[[], tuple[int, int]] | None = None
    """Gives axis and index of the plane that is shown."""

    def get_value(self, position: Any, **how: Any) -> Any:
        """Return shape and vertex at a position; the parameters are napari's."""
        found = super().get_value(position, **how)
        if found != (None, None) or self.ndim != 3 or self.plane_shown is None:
            return found
        try:
            axis, index = self.plane_shown()
        except CamSamError:
            return found
        place = np.asarray(self.world_to_data(position) if how.get("world") else position)
        place = np.delete(place, axis)
        low, high, centre = extents(self.data)
        drawn = high[:, axis] - low[:, axis] <= 0.5
        drawn &= np.rint(centre[:, axis]) == index
        low, high = np.delete(low, axis, axis=1), np.delete(high, axis, axis=1)
        hit = np.flatnonzero(drawn & (low <= place).all(axis=1) & (place <= high).all(axis=1))
        # The one that was drawn last lies on top.
        return (int(hit[-1]), None) if len(hit) else found


def extents(
    shapes: Sequence[NDArray[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the extents of shapes, all at once: they are asked for at every move of the mouse.

    Parameters
    ----------
    shapes : sequence of ndarray, shape (vertices, ndim)

    Returns
    -------
    low, high, centre : ndarray, shape (shapes, ndim)
        The least, the greatest and the mean coordinates of each.
    """
    if not len(shapes):
        return (np.zeros((0, 3)),) * 3
    counts = np.array([len(vertices) for vertices in shapes])
    starts = np.cumsum(counts) - counts
    vertices = np.concatenate(shapes).astype(float)
    low = np.minimum.reduceat(vertices, starts)
    high = np.maximum.reduceat(vertices, starts)
    return low, high, np.add.reduceat(vertices, starts) / counts[:, None]


def too_small(vertices: NDArray[Any]) -> bool:
    """Check whether a shape has a side below `LEAST_SIDE`, on the plane that it was drawn on.

    Parameters
    ----------
    vertices : ndarray, shape (vertices, ndim)

    Returns
    -------
    bool
    """
    sides = np.sort(np.ptp(np.asarray(vertices, float), axis=0))
    return bool(sides[-2] < LEAST_SIDE)


# napari tells kinds of layers, also in files, by the name of their class.
BoxesLayer.__name__ = "Shapes"
