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
from napari_cam_sam.plugin.state.image_in_view import ImageInView
from napari_cam_sam.plugin.state.layer_list import LayerListGuard
from napari_cam_sam.plugin.state.truth_layer import TruthLayer

__all__ = ["MaskImages", "add_truth"]


class MaskImages(QObject):
    """Adds labels for each image layer that is a mask of the image, once, and hides that layer.

    Black and white over the image would hide it, and docks and brush need labels.

    Parameters
    ----------
    in_view : ImageInView
        Which image a mask came with: one that is opened over another is worked on first.
    truth : TruthLayer
    layer_list : LayerListGuard
    parent : QObject
    """

    def __init__(
        self, in_view: ImageInView, truth: TruthLayer, layer_list: LayerListGuard, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._in_view, self._truth, self._layer_list = in_view, truth, layer_list
        shown = self._shown = truth.shown
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
        self._in_view.look()
        for layer in shown.images():
            # What was taken once is not taken again: the user may have deleted the labels.
            if layer == shown.layer or layer.unique_id in shown.masks.taken or shown.is_used(layer):
                continue
            # Where it lies is known at once; whether it is a mask, once all of it was read.
            fits = shown.mismatch(layer) is None and self._is_of_image(layer)
            if fits and shown.masks.is_mask(layer):
                self._add_labels(layer, shown.masks.take_labels(layer))

    def _is_of_image(self, mask: Any) -> bool:
        """Return whether no other picture of one size has a name that the mask's begins with."""
        shown = self._shown
        begins = [x for x in shown.images() if x != mask and mask.name.startswith(x.name)]
        fitting = [x for x in begins if shown.mismatch(x) is None]
        named = max(fitting, key=lambda one: len(one.name), default=shown.layer)
        return not shown.is_picture or bool(named == shown.layer)

    def _add_labels(self, layer: Any, labels: Image | None) -> None:
        if labels is None:
            return
        known = {name: one for name, one in mark_of(layer).items() if name == "image"}
        name = escape_markup(f"{labels.name}, truth")
        where = spatial_transform(layer, len(labels.spatial_shape))
        truth = Labels(labels.data, name=name, metadata={KEY: known}, **where)
        self._shown.masks.taken[layer.unique_id] = truth
        add_truth(self._truth, truth)
        layer.visible = False
        said = f"{labels.name} is a mask: it is labels now, and hidden as an image."
        show_info(" ".join((said, *labels.notes)))


def add_truth(truth: TruthLayer, labels: Any) -> None:
    """Add labels right above the image, below what the docks draw; what is active stays so.

    Parameters
    ----------
    truth : TruthLayer
    labels : napari.layers.Labels
    """
    shown = truth.shown
    truth.claim(labels)
    layers: Any = shown.viewer.layers
    active = layers.selection.active
    layers.insert(layers.index(shown.layer) + 1, labels)
    if active is not None and active in layers:
        layers.selection.active = active
