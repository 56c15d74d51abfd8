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
    """One object on its way from a prompted plane up or down the axis."""

    object_id: int
    origin: int
    direction: Literal[1, -1]
    end: int  # where it may not go: the next prompted plane, or the end of the volume
    mask: NDArray[np.bool_]
    logits: NDArray[np.float32]
    brightness: Brightness | None
    strength: tuple[float, ...]  # of the prompted mask: decides between two equally far origins
    position: int  # the plane that comes next
    opposite: Way | None = None
    done: bool = False

    @property
    def last(self) -> int:
        """The last plane that it gave a mask."""
        return self.position - self.direction

    @property
    def is_own(self) -> bool:
        """Whether the next plane is nearer to its own prompted plane than to the opposite one."""
        if self.opposite is None:
            return True
        return self.owns(self.position)

    def owns(self, index: int) -> bool:
        """Whether a plane belongs to this way rather than to the opposite one."""
        assert self.opposite is not None
        here, there = abs(index - self.origin), abs(index - self.opposite.origin)
        if here != there:
            return here < there
        if self.strength != self.opposite.strength:
            return self.strength > self.opposite.strength
        return self.direction == 1

    def may_reach(self, index: int) -> bool:
        """Whether it is still open and may yet come to a plane."""
        ahead = (index - self.position) * self.direction >= 0
        return not self.done and ahead and (self.end - index) * self.direction > 0
