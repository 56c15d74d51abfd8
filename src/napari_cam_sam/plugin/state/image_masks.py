"""The masks of one image: those not accepted yet, what was accepted, and its undo."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.state.kept_masks import KeptPlane, keep_plane
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.session import Acceptance, Written

__all__ = ["Accepted", "ImageMasks"]

UNDO_BYTES = 64 * 2**20
"""What the masks behind the undo of acceptances may take, of one image."""


@dataclass(frozen=True, eq=False)
class Accepted:
    """An acceptance, and what it wrote on its plane, to take it back or see whether it shows.

    Attributes
    ----------
    record : Acceptance
    layer : napari layer
        The labels that it wrote into.
    written : Written
    """

    record: Acceptance
    layer: Any
    written: Written

    @property
    def plane(self) -> tuple[int, int]:
        """Axis and index."""
        return self.record.prompts.axis, self.record.prompts.index

    def now(self, image: Image) -> NDArray[Any]:
        """Return what the labels hold where it wrote."""
        return np.asarray(self.layer.data[image.plane_index(*self.plane)]).take(self.written.where)

    def write(self, image: Image, where: NDArray[np.uint32], values: NDArray[Any]) -> None:
        """Write on its plane through the layer, not into its array: so its own undo takes it back.

        It shows once the layer is refreshed.
        """
        if not where.size:
            return
        axis, index = self.plane
        lifted: list[Any] = list(np.unravel_index(where, image.plane_shape(axis)))
        if image.spatial_ndim == 3:
            lifted.insert(axis, np.full(where.shape, index))
        self.layer.data_setitem(tuple(lifted), values, refresh=False)

    def shows(self, image: Image) -> bool:
        """Check whether any pixel of what it wrote is left."""
        before, after = self.written.before, self.written.after
        wrote = (after != 0) & (after != before)
        return not wrote.any() or bool((self.now(image) == after)[wrote].any())


@dataclass(frozen=True, eq=False)
class AcceptedTogether:
    """What one undo takes back.

    Attributes
    ----------
    at : float
        When it was accepted, on the clock of `time.monotonic`.
    planes : list
        Each acceptance, and the masks to show again.
    """

    at: float
    planes: list[tuple[Accepted, KeptPlane]]

    @property
    def bytes(self) -> int:
        """About what the masks take in memory."""
        return sum(kept.bytes for _, kept in self.planes)


@dataclass(eq=False)
class ImageMasks:
    """The masks of an image, or of a frame of a series.

    Attributes
    ----------
    masks : dict
        By axis and index, what is not accepted yet.
    accepted : list of Accepted
    undo : list of AcceptedTogether
    target : napari layer or None
        The user's own labels layer to accept into; None for ours.
    """

    masks: dict[tuple[int, int], PlaneMasks] = field(default_factory=dict)
    accepted: list[Accepted] = field(default_factory=list)
    undo: list[AcceptedTogether] = field(default_factory=list)
    target: Any = None

    def last_accepted(self, plane: tuple[int, int], ids: set[int]) -> Accepted | None:
        """Find what was accepted last on a plane of any of these objects."""
        return next(
            (x for x in reversed(self.accepted) if x.plane == plane and ids & x.record.object_ids),
            None,
        )

    def remember(self, together: Iterable[tuple[Accepted, PlaneMasks]]) -> None:
        """Keep masks that were accepted for undo; the oldest give way beyond the budget."""
        kept = [(one, keep_plane(masks)) for one, masks in together]
        self.undo.append(AcceptedTogether(time.monotonic(), kept))
        sizes = [step.bytes for step in self.undo]
        while len(sizes) > 1 and sum(sizes) > UNDO_BYTES:
            del self.undo[0], sizes[0]
