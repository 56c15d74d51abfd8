"""What is known of a plane since all of its masks were searched for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.sam.everything.ranking import heatmap_scores

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.automatic.automatic_run import FoundMasks
    from napari_cam_sam.plugin.segment.automatic.text_labels import TextLabels
    from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord

__all__ = ["SearchedPlane"]


@dataclass(eq=False)
class SearchedPlane:
    """The masks of a plane, their labels, and which of them are in the preview.

    Attributes
    ----------
    found : FoundMasks
    ids : set of int
        The objects that were put into the preview, also of a search before.
    members : tuple of int
        Which masks were put there last.
    labels : TextLabels or None
    """

    found: FoundMasks
    ids: set[int] = field(default_factory=set)
    members: tuple[int, ...] = ()
    labels: TextLabels | None = None
    _scored: tuple[HeatmapRecord, str, NDArray[np.float64]] | None = None

    def share_words(self, members: Sequence[int], apart: bool = False) -> str:
        """Return in words how many of the masks are shown, e.g. ``"2 of 7 merged"``."""
        several = " separate" if apart else " merged"
        return f"{len(members)} of {len(self.found.masks)}{several * (len(members) > 1)}"

    def scores(
        self, record: HeatmapRecord, heatmap: NDArray[Any], rule: Any
    ) -> NDArray[np.float64]:
        """Return how well each mask matches a heatmap, computed once for a heatmap and a rule.

        Raises
        ------
        CamSamError
            If the rule cannot be used.
        """
        if self._scored is None or self._scored[0] is not record or self._scored[1] != rule:
            self._scored = record, rule, heatmap_scores(self.found.arrays(), heatmap, rule)
        return self._scored[2]
