"""Whether the image worked on is the one that the user sees; if not, it follows or says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.plugin.layers.conversion import is_own
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.qt.plain_text import unescape_markup
from napari_cam_sam.plugin.qt.task_progress import any_running
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.state.own_layers import OwnLayers

__all__ = ["ImageInView"]

_AGAIN_MS = 500
# What is more transparent lets the image below be seen.
_OPAQUE = 0.75


class ImageInView(QObject):
    """Works on the image that the user brings to the front, where nothing is lost by that.

    Where work lies on the image before, or something runs, it stays, and `words` says so.

    Parameters
    ----------
    own : OwnLayers
        Over the image that is worked on.
    has_scores : callable
        Whether there are scores, which are of one image.
    parent : QObject
    """

    changed = Signal()
    """What `words` returns is another."""

    def __init__(
        self,
        own: OwnLayers,
        has_scores: Callable[[], bool],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._own, self._has_scores = own, has_scores
        shown = self._shown = own.shown
        self.seen: Any = None
        """The image that is seen while another one is worked on; None where that is seen."""
        self._said = ""
        # Whether the user opened, showed or selected an image since one was chosen.
        self._brought = False
        self._soon = single_shot_timer(self, self._when_quiet)
        self._again = single_shot_timer(self, self._when_quiet, _AGAIN_MS)
        layers = shown.viewer.layers
        layers.events.inserted.connect(self._inserted)
        for event in (layers.events.removed, layers.events.reordered, layers.events.renamed):
            event.connect(self._look_soon)
        layers.selection.events.active.connect(self._selected)
        shown.image_chosen.connect(self._chosen)
        for layer in layers:
            self._hear(layer)

    def words(self) -> str:
        """Return on which image boxes are drawn, where that is not the one seen; else nothing."""
        worked_on, seen = self._shown.layer, self.seen
        if worked_on is None or seen is None:
            return ""
        names = (unescape_markup(one.name) for one in (worked_on, seen))
        return "Boxes are drawn on {}, but you see {}.".format(*names)

    def work_on_seen(self) -> None:
        """Work on the image that is seen; what was drawn on the one before is hidden with it."""
        before, seen = self._shown.layer, self.seen
        if seen is None or seen not in self._shown.viewer.layers:
            return
        self._own.put_away_of(before)
        self._shown.choose(seen)

    def _hear(self, layer: Any) -> None:
        if isinstance(layer, ImageLayer) and not is_own(layer):
            layer.events.visible.connect(self._brought_up)
            for event in (layer.events.opacity, layer.events.blending):
                event.connect(self._look_soon)

    def _inserted(self, event: Any) -> None:
        self._hear(event.value)
        if isinstance(event.value, ImageLayer) and not is_own(event.value):
            self._brought = True
        self._soon.start()

    def _selected(self, event: Any) -> None:
        if isinstance(event.value, ImageLayer) and event.value != self._shown.layer:
            self._brought_up()

    def _brought_up(self, _: object = None) -> None:
        self._brought = True
        self._soon.start()

    def _look_soon(self, _: object = None) -> None:
        self._soon.start()

    def _chosen(self) -> None:
        self._brought = False
        self._soon.start()

    def _when_quiet(self) -> None:
        self._own.layer_list.when_quiet(self._look)

    def _look(self) -> None:
        self.seen = self._in_front()
        if self.seen is not None and self._brought:
            if any_running():
                self._again.start()  # once that is done, it may follow
            elif self._may_follow(self.seen):
                self._shown.follow(self.seen)
                self.seen = None
        if self.words() != self._said:
            self._said = self.words()
            self.changed.emit()

    def _in_front(self) -> Any | None:
        """Return the image that hides the one worked on, or that is shown while that is hidden."""
        shown = self._shown
        if shown.layer is None or shown.layer not in shown.viewer.layers:
            return None
        for layer in reversed(shown.images()):
            if layer == shown.layer and layer.visible:
                return None
            hides = layer.opacity >= _OPAQUE and not str(layer.blending).endswith(
                ("additive", "minimum", "multiplicative")
            )
            if layer.visible and hides and not shown.masks.is_mask(layer):
                return layer
        return None

    def _may_follow(self, layer: Any) -> bool:
        """Return whether nothing is on the image worked on, and the other is no map of it."""
        shown = self._shown
        maps = (
            not layer.rgb
            and np.dtype(layer.dtype).kind == "f"
            and 0 <= layer.contrast_limits_range[0] <= layer.contrast_limits_range[1] <= 1
            and shown.mismatch(layer) is None
        )
        derived = mark_of(layer).get("of") is not None
        # A mask is worked on only because the user said so.
        mask = shown.masks.is_mask(shown.layer)
        stays = shown.is_used(shown.layer) or mask or self._has_scores()
        return not (stays or maps or derived)
