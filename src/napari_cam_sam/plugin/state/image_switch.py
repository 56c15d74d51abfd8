"""The image that is worked on is the one that is seen: what is of the one before is put aside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import data_position, hides, in_units, is_own
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.state.own_layers import OwnLayers
from napari_cam_sam.plugin.state.truth_layer import TruthLayer

__all__ = ["ImageSwitch"]

# How much of the canvas an image fills, as napari has it.
_FILLED = 0.95
# By which part of an image another may reach beyond it and count as lying within.
_SLACK = 0.01


class ImageSwitch(QObject):
    """Shows the image that is chosen, and hides what is of the others until they are chosen.

    What is of another image: layers of ours, its truth, labels on its grid alone, and that image
    where it would cover this one or show beside it. What the user has hidden stays hidden.

    Parameters
    ----------
    own : OwnLayers
    truth : TruthLayer
    parent : QObject
    """

    def __init__(self, own: OwnLayers, truth: TruthLayer, parent: QObject) -> None:
        super().__init__(parent)
        self._own, self._truth = own, truth
        shown = self._shown = own.shown
        self.switching = False
        """Whether layers are shown and hidden here, and not by the user."""
        self._before: Any = shown.layer
        # By image: which layers to show again with it. All by their ids.
        self._aside: dict[Any, set[Any]] = defaultdict(set)
        self._fit = single_shot_timer(self, self._fit_view)
        shown.image_chosen.connect(lambda: own.layer_list.when_quiet(self._switch))

    def show_image(self) -> None:
        """Show the image that is worked on, and hide the images that cover it."""
        image = self._shown.layer
        if image is None or image not in self._shown.viewer.layers:
            return
        with self._switches():
            image.visible = True
            for layer in self._shown.images():
                if layer != image and layer.visible and self._is_above(layer, image):
                    layer.visible = False

    @contextmanager
    def _switches(self) -> Iterator[None]:
        self.switching = True
        try:
            yield
        finally:
            self.switching = False

    def _switch(self) -> None:
        before, now = self._before, self._shown.layer
        self._before = now
        if before is None or now is None or before == now:
            return
        with self._switches():
            for layer in list(self._shown.viewer.layers):
                owner = self._owner(layer, before)
                if owner not in (None, now.unique_id) and layer.visible:
                    layer.visible = False
                    self._aside[owner].add(layer.unique_id)
            again = self._aside.pop(now.unique_id, set())
            for layer in self._shown.viewer.layers:
                if layer == now or layer.unique_id in again:
                    layer.visible = True
            for layer in self._shown.images():
                if layer != now and layer.visible and self._is_in_the_way(layer, now):
                    layer.visible = False
                    self._aside[before.unique_id].add(layer.unique_id)
        # Nobody draws on what is hidden.
        selection: Any = self._shown.viewer.layers.selection
        if selection.active is None or not selection.active.visible:
            selection.active = now
        if self._shown.mismatch(before) is not None:
            self._fit.start()

    def _owner(self, layer: Any, before: Any) -> Any | None:
        """Return the id of the image that a layer is of, where that is known."""
        owner = self._truth.owner(layer)
        if is_own(layer) or not isinstance(layer, Labels):
            return owner
        # On the grid of both images they may be of both.
        of_before = self._shown.mismatch(layer, before) is None and self._shown.mismatch(layer)
        return before.unique_id if owner is None and of_before else owner

    def _is_above(self, layer: Any, image: Any) -> bool:
        layers = self._shown.viewer.layers
        return hides(layer) and layers.index(layer) > layers.index(image)

    def _is_in_the_way(self, layer: Any, image: Any) -> bool:
        """Return whether an image covers the one worked on, or shows beside it."""
        shown = self._shown
        new_mask = shown.masks.is_mask(layer) and layer.unique_id not in shown.masks.taken
        if new_mask and shown.mismatch(layer) is None:
            return False  # it is about to become the truth, and hidden by that
        beside = hides(layer) and hides(image) and _reaches_beyond(layer, image)
        return beside or self._is_above(layer, image)

    def _fit_view(self) -> None:
        """Bring the view to the image: to its middle, its size, and of a volume to its slices."""
        image, viewer = self._shown.layer, self._shown.viewer
        if image is None or image not in viewer.layers or viewer.dims.ndisplay != 2:
            return
        dims = viewer.dims
        offset = dims.ndim - image.ndim
        if min(dims.displayed) < offset:  # a picture has not the axes that a volume was shown by
            dims.order = tuple(range(dims.ndim))
        self._go_into(image)
        corners = image.extent.world
        if dims.units is not None:
            units = dims.units[offset:]
            corners = np.array([in_units(one, image.units, units) for one in corners])
        low, high = corners[:, [axis - offset for axis in dims.displayed]]
        canvas = getattr(viewer, "canvas", None)
        if canvas is None or not (high > low).all():  # napari before 0.9 does not tell its size
            viewer.fit_to_view()
            return
        camera = getattr(viewer, "scene", viewer).camera
        camera.center = (0, *((low + high) / 2))
        camera.zoom = _FILLED * float(np.min(np.array(canvas.size) / (high - low)))

    def _go_into(self, image: Any) -> None:
        """Scroll to a slice of a volume where the viewer stands outside of it."""
        if image.ndim < 3:
            return
        try:
            axis, index = self._shown.plane()
        except CamSamError:
            return
        place = data_position(self._shown.viewer, image, self._shown.viewer.dims.point)
        if abs(place[image.ndim - 3 + axis] - index) > 0.5:
            self._shown.show_plane(axis, index)


def _reaches_beyond(layer: Any, image: Any) -> bool:
    axes = min(layer.ndim, image.ndim, 3)
    (low, high), (least, most) = (one.extent.world[:, -axes:] for one in (layer, image))
    slack = _SLACK * (most - least)
    return bool((low < least - slack).any() or (high > most + slack).any())
