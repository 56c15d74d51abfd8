"""One object on its way along the axis of a volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.sam.volume.brightness import Brightness

__all__ = ["Way"]


@dataclass(eq=False)
class Way:
    """One object on its way from a prompted plane up or down the axis.

    Attributes
    ----------
    object_id : int
    origin : int
        The prompted plane.
    direction : {1, -1}
    mask : ndarray of bool, shape (rows, columns)
        On the plane before the next one.
    logits : ndarray of float32, shape (h, w)
        Of that mask.
    brightness : Brightness or None
        Of the object on the prompted plane.
    strength : tuple of float
        Of the prompted mask: decides between two origins that are equally far.
    end : int
        Where it may not go: the next prompted plane, or the end of the volume.
    opposite : Way or None
        The way of the same object that comes towards it.
    done : bool
        Whether it has ended.
    position : int
        The plane that comes next.
    """

    object_id: int
    origin: int
    direction: Literal[1, -1]
    mask: NDArray[np.bool_]
    logits: NDArray[np.float32]
    brightness: Brightness | None
    strength: tuple[float, ...]
    end: int
    opposite: Way | None = None
    done: bool = False

    def __post_init__(self) -> None:
        self.position = self.origin + self.direction

    @property
    def last(self) -> int:
        """The last plane that it gave a mask."""
        return self.position - self.direction

    def owns(self, index: int) -> bool:
        """Return whether a plane belongs to this way rather than to the opposite one."""
        if self.opposite is None:
            return True
        here, there = abs(index - self.origin), abs(index - self.opposite.origin)
        if here != there:
            return here < there
        if self.strength != self.opposite.strength:
            return self.strength > self.opposite.strength
        return self.direction == 1

    def may_step(self) -> bool:
        """Return whether it may go on: beyond the middle only once the opposite one has ended."""
        free = self.opposite is None or self.opposite.done
        return not self.done and (free or self.owns(self.position))

    def may_reach(self, index: int) -> bool:
        """Return whether it is still open and may yet come to a plane."""
        ahead = (index - self.position) * self.direction >= 0
        return not self.done and ahead and (self.end - index) * self.direction > 0
