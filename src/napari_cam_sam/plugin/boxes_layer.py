"""A shapes layer whose boxes can be clicked wherever they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Shapes

from napari_cam_sam.errors import CamSamError

__all__ = ["BoxesLayer"]


class BoxesLayer(Shapes):
    """napari's shapes, found under the cursor wherever they are drawn.

    napari draws a shape where the viewer stands within half a plane of it, but finds it under the
    cursor only where it stands exactly on it: the last bit of a rounded position, or a second
    image of another spacing, and boxes that can be seen can be neither chosen nor dragged.
    """

    plane_shown: Callable[[], tuple[int, int]] | None = None
    """Gives axis and index of the plane that is shown."""

    def get_value(self, position: Any, **how: Any) -> Any:
        """Give shape and vertex at a position; the parameters are napari's."""
        found = super().get_value(position, **how)
        if found != (None, None) or self.ndim != 3 or self.plane_shown is None:
            return found
        try:
            axis, index = self.plane_shown()
        except CamSamError:
            return found
        place = np.asarray(self.world_to_data(position) if how.get("world") else position)
        place = np.delete(place, axis)
        # The one that was drawn last lies on top.
        for i in reversed(range(len(self.data))):
            vertices = np.asarray(self.data[i])
            along, inside = vertices[:, axis], np.delete(vertices, axis, axis=1)
            if np.ptp(along) > 0.5 or round(float(along.mean())) != index:
                continue
            if (inside.min(axis=0) <= place).all() and (place <= inside.max(axis=0)).all():
                return i, None
        return found


# napari tells kinds of layers, also in files, by the name of their class.
BoxesLayer.__name__ = "Shapes"
