"""Layers of our own over the image: found by their role, and added where they are not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_cam_sam.plugin.layers.conversion import KEY, own_layer
from napari_cam_sam.plugin.layers.layer_geometry import spatial_transform
from napari_cam_sam.plugin.qt.plain_text import escape_markup
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["OwnLayers"]


class OwnLayers:
    """The layers that the docks add; each has a role, and the image, axis and frame it is of.

    Parameters
    ----------
    shown : ShownImage
    """

    def __init__(self, shown: ShownImage) -> None:
        self._shown = shown

    def find(self, role: str, axis: int | None = None) -> Any | None:
        """Find the layer with a role for the image, the axis and the frame shown."""
        shown = self._shown
        if shown.layer is None:
            return None
        return own_layer(shown.viewer, role, shown.layer, axis, shown.frame())

    def of_role(self, role: str) -> list[Any]:
        """List the layers with a role, whatever image, axis or frame they are of."""
        return [x for x in self._shown.viewer.layers if x.metadata.get(KEY, {}).get("role") == role]

    def mark(self, role: str, axis: int | None = None) -> dict[str, Any]:
        """Return the metadata of a new layer over the image."""
        source: Any = self._shown.layer
        known = {k: v for k, v in source.metadata.get(KEY, {}).items() if k == "image"}
        own = {"role": role, "of": source.unique_id, "axis": axis, "frame": self._shown.frame()}
        return {KEY: known | own}

    def placement(self) -> dict[str, Any]:
        """Return the transform of a new layer over the image, without its time."""
        return spatial_transform(self._shown.layer, len(self._shown.image().spatial_shape))

    def add(
        self,
        add: Callable[..., Any],
        data: Any,
        name: str,
        role: str,
        axis: int | None = None,
        **looks: Any,
    ) -> Any:
        """Add a layer below the image's points and boxes; the user keeps what is active.

        Parameters
        ----------
        add : callable
            Of the viewer, e.g. its ``add_labels``.
        data : ndarray
        name : str
        role : str
        axis : int, optional
            Along which its planes lie, for roles that have one layer an axis.
        **looks
            What else ``add`` takes.
        """
        active = self._shown.viewer.layers.selection.active
        made = {"name": escape_markup(name), "metadata": self.mark(role, axis), **self.placement()}
        layer = add(data, **made, **looks)
        self._put_below_prompts(layer)
        if active is not None and active in self._shown.viewer.layers:
            self._shown.viewer.layers.selection.active = active
        return layer

    def labels(self, role: str, create: bool = False, dtype: Any = np.uint8) -> Any:
        """Find, or add, the labels layer of ours: ``"labels"`` accepted, ``"preview"`` not yet."""
        found = self.find(role)
        if found is not None or not create:
            return found
        image, preview = self._shown.image(), role == "preview"
        layer = self.add(
            self._shown.viewer.add_labels,
            np.zeros(image.spatial_shape, dtype),
            f"{'mask preview' if preview else 'labels'} of {image.name}",
            role,
            opacity=1.0 if preview else 0.6,
        )
        if preview:
            # An outline: what is accepted is filled, and the two must not be taken for each other.
            layer.contour = max(1, round(min(image.spatial_shape[-2:]) / 256))
            # What the brush did here would be lost with the next mask, and not be accepted.
            layer.editable = False
        return layer

    def adopt(self, layer: Any) -> None:
        """Mark labels that were made over the image, to be saved on its grid.

        napari's button for new labels copies what is shown, which is not all that a file holds.
        """
        image = self._shown.layer
        source = None if image is None else image.metadata.get(KEY, {})
        if not isinstance(layer, Labels) or not source or "image" not in source:
            return
        if "image" not in layer.metadata.get(KEY, {}) and self._shown.mismatch(layer) is None:
            layer.metadata.setdefault(KEY, {})["image"] = source["image"]

    def _put_below_prompts(self, layer: Any) -> None:
        """Move a new layer below the prompts; it stays above its image, be other prompts below."""
        layers, image = self._shown.viewer.layers, self._shown.layer
        assert image is not None
        marks = [x.metadata.get(KEY, {}) for x in layers]
        prompts = [
            i for i, mark in enumerate(marks)
            if mark.get("role") in ("points", "boxes") and mark.get("of") == image.unique_id
        ]  # fmt: skip
        place = max(min(prompts, default=len(layers)), layers.index(image) + 1)
        if layers.index(layer) > place:
            layers.move(layers.index(layer), place)
