"""The preview layer: masks that are not accepted yet, along the axis that the viewer shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.state.own_layers import OwnLayers
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.session import place_masks

__all__ = ["MaskPreview"]


class MaskPreview(QObject):
    """Draws the masks of an image into a layer of their own.

    Parameters
    ----------
    own : OwnLayers
    masks : callable
        Returns by axis and index the masks of the image and frame worked on.
    parent : QObject
    """

    drawn = Signal()
    """All of it was drawn anew, for the image and frame worked on."""

    def __init__(
        self,
        own: OwnLayers,
        masks: Callable[[], Mapping[tuple[int, int], PlaneMasks]],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._shown, self._own, self._masks = own.shown, own, masks
        self._axis = 0

    def draw(self, keys: Iterable[tuple[int, int]]) -> None:
        """Write planes along the axis shown, and let them be shown once.

        Masks along another axis are bands across its planes: they wait until the view is turned.
        """
        masks = self._masks()
        layer = self._own.find("preview")
        if layer is None and masks:
            if self._own.layer_list.busy:
                self.draw_all_soon()
                return
            layer = self._own.labels("preview")
        if layer is None:
            return
        image = self._shown.image()
        axis = self._axis
        with suppress(CamSamError):  # in 3D display it stays the last one
            axis, _ = self._shown.plane()
        if axis != self._axis:
            self._axis = axis
            layer.data[:] = 0
            keys = list(masks)
        for key in keys:
            if key[0] != axis:
                continue
            plane = layer.data[image.plane_index(*key)]
            plane[:] = 0
            if key in masks:
                plane[:] = place_masks(plane, masks[key].masks(), "overwrite")
        # Neither thumbnail nor extent: this comes with every move of the mouse.
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def draw_all_soon(self) -> None:
        """Show the preview of the image and frame worked on alone, as its masks are."""
        self._own.layer_list.when_quiet(self._draw_all)

    def _draw_all(self) -> None:
        mine = self._own.find("preview") or self._take_over()
        masks = self._masks()
        images = {layer.unique_id for layer in self._shown.viewer.layers}
        previews = self._own.of_role("preview")
        # That of another image is hidden with it. It is not removed: see `_take_over`.
        key = None if mine is None else mine.unique_id
        others = {
            one.unique_id
            for one in previews
            if one.unique_id != key and mark_of(one).get("of") in images
        }
        # Of a series it stays, be it empty, and beside one that is hidden, for the same reason.
        stays = bool(masks or others) or self._shown.frame() is not None
        if mine is not None and not masks:
            mine.data[:] = 0
            mine.refresh()
        for layer in previews:
            if layer.unique_id not in others and (layer.unique_id != key or not stays):
                # It would say nothing true any more; its masks are kept, and come back with it.
                mark_of(layer)["role"] = "old preview"
                self._shown.viewer.layers.remove(layer)
        if self._shown.layer is not None and masks:
            self.draw(list(masks))
        self.drawn.emit()

    def _take_over(self) -> Any | None:
        """Use the preview of another frame of the image for this one.

        Where a layer is removed while others are hidden, as those of a frame that is left are, the
        canvas (vispy) draws from what was deleted, and the process may end in a segmentation fault.
        """
        image = self._shown.layer
        for layer in self._own.of_role("preview"):
            if image is not None and mark_of(layer).get("of") == image.unique_id:
                mark_of(layer)["frame"] = self._shown.frame()
                layer.data[:] = 0
                self._own.show_fitting()
                return layer
        return None
