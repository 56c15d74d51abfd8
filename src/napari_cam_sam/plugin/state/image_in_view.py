"""Whether the image worked on is the one that the user sees; if not, it follows or says so."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.plugin.layers.conversion import hides, is_own
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.qt.plain_text import unescape_markup
from napari_cam_sam.plugin.qt.task_progress import any_running
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.state.image_switch import ImageSwitch
from napari_cam_sam.plugin.state.own_layers import OwnLayers

__all__ = ["ImageInView"]

_AGAIN_MS = 500


class ImageInView(QObject):
    """Works on the image that the user brings to the front.

    While something runs it waits, and `words` says so. Maps of the image are no images to work on.

    Parameters
    ----------
    own : OwnLayers
        Over the image that is worked on.
    switch : ImageSwitch
        Shows and hides images, too.
    parent : QObject
    """

    changed = Signal()
    """What `words` returns is another."""

    def __init__(
        self,
        own: OwnLayers,
        switch: ImageSwitch,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._own, self._switch = own, switch
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
        layers.events.reordered.connect(self._brought_up)
        for event in (layers.events.removed, layers.events.renamed):
            event.connect(self._look_soon)
        layers.selection.events.active.connect(self._selected)
        shown.image_chosen.connect(self._chosen)
        shown.asked_for.connect(self._asked_for)
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
        """Work on the image that is seen."""
        if self.seen is not None and self.seen in self._shown.viewer.layers:
            self._shown.choose(self.seen)

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
        self._brought |= not self._switch.switching
        self._soon.start()

    def _look_soon(self, _: object = None) -> None:
        self._soon.start()

    def _chosen(self) -> None:
        self._brought = False
        self._soon.start()

    def _asked_for(self) -> None:
        """Stay with the image that the user chose, also where another was opened just before."""
        self._chosen()
        self._switch.show_image()

    def _when_quiet(self) -> None:
        self._own.layer_list.when_quiet(self.look)

    def look(self) -> None:
        """Work on the image that is in front, if the user brought it there."""
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
            if layer.visible and hides(layer) and not shown.masks.is_mask(layer):
                return layer
        return None

    def _may_follow(self, layer: Any) -> bool:
        """Return whether an image is none that the user looks at for the one worked on."""
        shown = self._shown
        worked_on: Any = shown.layer
        same_grid = shown.mismatch(layer) is None
        maps = (
            not layer.rgb
            and np.dtype(layer.dtype).kind == "f"
            and 0 <= layer.contrast_limits_range[0] <= layer.contrast_limits_range[1] <= 1
            and same_grid
        )
        derived = mark_of(layer).get("of") is not None
        # One volume is hidden to compare it with another, slice by slice.
        compared = same_grid and layer.ndim > 2 and not worked_on.visible
        # A mask is worked on only because the user said so.
        stays = shown.masks.is_mask(worked_on) or (compared and shown.is_used(worked_on))
        return not (maps or derived or stays)
