"""What a thread may know of the image that is worked on."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import Window, WindowParameters, apply_window, resolve_window

__all__ = ["Snapshot"]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that a thread may know of the image: read on the main thread, before it starts.

    Attributes
    ----------
    layer : napari layer
        To ask whether it is still there; never read in the thread.
    image : Image
    axis, index : int
        The plane shown.
    parameters : WindowParameters
    frame : int or None
        Point in time, of a series.
    opening : int
        Which image, or which data of it, in the order in which they were worked on.
    """

    layer: Any
    image: Image
    axis: int
    index: int
    parameters: WindowParameters
    frame: int | None
    opening: int
    _windows: dict[Any, Window]
    _lock: threading.Lock

    def window(self) -> Window:
        """Resolve the window, once an image: percentiles read the whole volume."""
        key = self.opening, self.frame, self.parameters
        with self._lock:
            if key not in self._windows:
                self._windows[key] = resolve_window(self.image, self.parameters)
            return self._windows[key]

    def plane(self, index: int) -> NDArray[np.uint8]:
        """Read a plane along the axis and window it."""
        return apply_window(self.image.plane(self.axis, index), self.window())
