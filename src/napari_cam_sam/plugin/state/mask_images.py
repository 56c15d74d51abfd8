"""Masks that were opened as images: they become labels, and the truth."""

from __future__ import annotations

from typing import Any

from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.layer_axes import KEY, mark_of
from napari_cam_sam.plugin.layers.layer_geometry import spatial_transform
from napari_cam_sam.plugin.qt.plain_text import escape_markup, show_info
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.state.layer_list import LayerListGuard
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["MaskImages", "add_truth"]


class MaskImages(QObject):
    """Adds labels for each image layer that is a mask of the image, once, and hides that layer.

    Black and white over the image would hide it, and docks and brush need labels.

    Parameters
    ----------
    shown : ShownImage
    layer_list : LayerListGuard
    parent : QObject
    """

    def __init__(self, shown: ShownImage, layer_list: LayerListGuard, parent: QObject) -> None:
        super().__init__(parent)
        self._shown, self._layer_list = shown, layer_list
        self._taken: set[Any] = set()
        # Files that are opened together come one after the other.
        self._soon = single_shot_timer(self, self._when_quiet)
        shown.image_changed.connect(self._soon.start)
        shown.viewer.layers.events.inserted.connect(self._inserted)
        self._soon.start()

    def _inserted(self, _: object = None) -> None:
        self._soon.start()

    def _when_quiet(self) -> None:
        self._layer_list.when_quiet(self._take)

    def _take(self) -> None:
        shown = self._shown
        for layer in shown.images():
            # What was taken once is not taken again: the user may have deleted the labels.
            if layer == shown.layer or layer.unique_id in self._taken or shown.is_used(layer):
                continue
            # Where it lies is known at once; whether it is a mask, once all of it was read.
            if shown.mismatch(layer) is None and shown.masks.is_mask(layer):
                self._taken.add(layer.unique_id)
                self._add_labels(layer, shown.masks.take_labels(layer))

    def _add_labels(self, layer: Any, labels: Image | None) -> None:
        if labels is None:
            return
        known = {name: one for name, one in mark_of(layer).items() if name == "image"}
        name = escape_markup(f"{labels.name}, truth")
        where = spatial_transform(layer, len(labels.spatial_shape))
        add_truth(self._shown, Labels(labels.data, name=name, metadata={KEY: known}, **where))
        layer.visible = False
        said = f"{labels.name} is a mask: it is labels now, and hidden as an image."
        show_info(" ".join((said, *labels.notes)))


def add_truth(shown: ShownImage, labels: Any) -> None:
    """Add labels right above the image, below what the docks draw; what is active stays so.

    Parameters
    ----------
    shown : ShownImage
    labels : napari.layers.Labels
    """
    layers: Any = shown.viewer.layers
    active = layers.selection.active
    layers.insert(layers.index(shown.layer) + 1, labels)
    if active is not None and active in layers:
        layers.selection.active = active
