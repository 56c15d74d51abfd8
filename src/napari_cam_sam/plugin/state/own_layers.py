"""Layers of our own over the image: found by their role, and added where they are not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import is_own, own_layer
from napari_cam_sam.plugin.layers.layer_axes import KEY, mark_of
from napari_cam_sam.plugin.layers.layer_geometry import spatial_transform
from napari_cam_sam.plugin.layers.styles import HEATMAP, LABELS
from napari_cam_sam.plugin.qt.plain_text import escape_markup
from napari_cam_sam.plugin.state.layer_list import LayerListGuard
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["OwnLayers"]

# By role: what the layer is called, and what it holds.
_NEW: dict[str, tuple[str, type[np.generic]]] = {
    "heatmap": ("heatmap", np.float32),
    "explained": ("explained pixels", np.uint8),
    "preview": ("mask preview", np.uint16),
    "labels": ("labels", np.uint16),
}


class OwnLayers:
    """The layers that the docks add; each has a role, and the image, axis and frame it is of.

    Parameters
    ----------
    shown : ShownImage
        The image that they lie over.
    layer_list : LayerListGuard
        Knows when layers may come and go.
    """

    def __init__(self, shown: ShownImage, layer_list: LayerListGuard) -> None:
        self.shown, self.layer_list = shown, layer_list
        self._put_away: set[Any] = set()

    def find(self, role: str, axis: int | None = None) -> Any | None:
        """Find the layer with a role for the image, the axis and the frame shown."""
        shown = self.shown
        if shown.layer is None:
            return None
        return own_layer(shown.viewer, role, shown.layer, axis, shown.frame())

    def of_role(self, role: str) -> list[Any]:
        """List the layers with a role, whatever image, axis or frame they are of."""
        return [x for x in self.shown.viewer.layers if mark_of(x).get("role") == role]

    def mark(self, role: str, axis: int | None = None) -> dict[str, Any]:
        """Return the metadata of a new layer over the image."""
        source: Any = self.shown.layer
        mark, frame = mark_of(source), self.shown.frame()
        known = {k: v for k, v in mark.items() if k == "image"}
        if frame is not None and "sources" in mark:
            known["image"] = replace(mark["image"], source=mark["sources"][frame])
        own = {"role": role, "of": source.unique_id, "axis": axis, "frame": frame}
        return {KEY: known | own}

    def placement(self) -> dict[str, Any]:
        """Return the transform of a new layer over the image, without its time."""
        return spatial_transform(self.shown.layer, len(self.shown.image().spatial_shape))

    def add(self, role: str, axis: int | None = None) -> Any:
        """Add a layer of zeros below the image's points and boxes; the user keeps what is active.

        Parameters
        ----------
        role : {"heatmap", "explained", "preview", "labels"}
            Labels are what was accepted, a preview what is not yet.
        axis : int, optional
            Along which its planes lie, for roles that have one layer an axis.
        """
        layers, image = self.shown.viewer.layers, self.shown.image()
        active, (name, dtype) = layers.selection.active, _NEW[role]
        style = HEATMAP if role == "heatmap" else LABELS[role]
        layer = style.add(
            self.shown.viewer,
            np.zeros(image.spatial_shape, dtype),
            name=escape_markup(f"{name} of {image.name}" + (f", axis {axis}" if axis else "")),
            metadata=self.mark(role, axis),
            **self.placement(),
        )
        self._put_below_prompts(layer)
        if active is not None and active in layers:
            layers.selection.active = active
        return layer

    def labels(self, role: str) -> Any:
        """Find, or add, the labels layer of ours: ``"labels"`` accepted, ``"preview"`` not yet."""
        found = self.find(role)
        return self.add(role) if found is None else found

    def adopt(self, layer: Any) -> None:
        """Mark labels that were made over the image, to be saved on its grid.

        napari's button for new labels copies what is shown, which is not all that a file holds.
        """
        image = self.shown.layer
        source = {} if image is None else mark_of(image)
        if not isinstance(layer, Labels) or "image" not in source:
            return
        if "image" not in mark_of(layer) and self.shown.mismatch(layer) is None:
            layer.metadata.setdefault(KEY, {})["image"] = source["image"]

    def show_fitting(self, _: object = None) -> None:
        """Hide layers that are of another frame, or that lie across the view as bands.

        They come back with their frame and axis. What the user has hidden stays hidden, and what
        is of another image than the one worked on is left alone. Where no single plane is shown,
        as in three dimensions, nothing changes.
        """
        image: Any = self.shown.layer
        try:
            axis, frame = self.shown.plane()[0], self.shown.frame()
        except CamSamError:
            return
        for layer in self.shown.viewer.layers:
            mark = mark_of(layer)
            if not is_own(layer) or mark.get("of") != image.unique_id:
                continue
            across = mark["role"] in ("heatmap", "explained") and mark.get("axis") != axis
            if across or mark.get("frame") != frame:
                if layer.visible:
                    layer.visible = False
                    self._put_away.add(layer.unique_id)
            elif layer.unique_id in self._put_away:
                layer.visible = True
                self._put_away.remove(layer.unique_id)

    def _put_below_prompts(self, layer: Any) -> None:
        """Move a new layer below the prompts of its image, but never below the image itself."""
        layers, image = self.shown.viewer.layers, self.shown.layer
        assert image is not None
        prompts = [
            i for i, mark in enumerate(map(mark_of, layers))
            if mark.get("role") in ("points", "boxes") and mark.get("of") == image.unique_id
        ]  # fmt: skip
        place = max(min(prompts, default=len(layers)), layers.index(image) + 1)
        if mark_of(layer)["role"] == "heatmap":
            # It tints what lies below: the image, and not the colours of masks and truth. Below
            # another image that is seen it would be hidden: a mask that was opened as an image is
            # not seen beside its truth. By index: the list of a dock is a proxy, and gives another
            # object each time.
            here, own = layers.index(layer), layers.index(image)
            images = [
                i for i in range(place)
                if i == own or (i != here and isinstance(layers[i], Image) and layers[i].visible)
            ]  # fmt: skip
            place = max(images) + 1
        if layers.index(layer) > place:
            layers.move(layers.index(layer), place)
