"""The layers of heatmaps, and what is known of each plane's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.state.own_layers import OwnLayers

__all__ = ["HeatmapLayers"]


class HeatmapLayers(QObject):
    """The heatmaps of the image worked on: a layer an axis, and a record of each plane computed.

    Parameters
    ----------
    own : OwnLayers
    parent : QObject
    """

    changed = Signal()

    def __init__(self, own: OwnLayers, parent: QObject) -> None:
        super().__init__(parent)
        self._shown, self._own = own.shown, own
        self.records: dict[tuple[str, int], HeatmapRecord] = {}
        own.shown.pixels_replaced.connect(self._forget)

    def layer(self, axis: int, create: bool = False) -> Any:
        """Find, or add, the layer of heatmaps along an axis; planes not computed are 0."""
        found = self._own.find("heatmap", axis)
        if not create or self._is_on_grid(found):
            return found
        for other in self._own.of_role("heatmap"):
            other.visible = False
        return self._own.add("heatmap", axis)

    def explained(self, axis: int) -> Any:
        """Find, or add, the outline of the pixels that a segmentation network's maps explain."""
        found = self._own.find("explained", axis)
        return found if self._is_on_grid(found) else self._own.add("explained", axis)

    def _is_on_grid(self, layer: Any | None) -> bool:
        """Check whether a layer is there; one of another shape than the image is removed."""
        if layer is not None and layer.data.shape != self._shown.image().spatial_shape:
            self._shown.viewer.layers.remove(layer)
            return False
        return layer is not None

    def record(self, axis: int, index: int) -> HeatmapRecord | None:
        """Return what is known of a plane's heatmap, None where it was not computed."""
        layer = self._own.find("heatmap", axis)
        return None if layer is None else self.records.get((str(layer.unique_id), index))

    def set_record(self, layer: Any, index: int, record: HeatmapRecord) -> None:
        """Set what is known of a plane's heatmap.

        Heatmaps of another class, classifier, method or window are cleared: side by side in one
        layer nobody could tell them apart, and prompts would be taken from both.
        """
        name, image = str(layer.unique_id), None
        for key, other in list(self.records.items()):
            if key[0] == name and other.made_by != record.made_by:
                image = image or self._shown.image()
                axis = mark_of(layer)["axis"]
                for one in (layer, self._own.find("explained", axis)):
                    if one is not None:
                        one.data[image.plane_index(axis, key[1])] = 0
                del self.records[key]
        self.records[name, index] = record

    def computed_planes(self, axis: int) -> list[int]:
        """List the planes along an axis whose heatmap was computed."""
        layer = self._own.find("heatmap", axis)
        if layer is None:
            return []
        return sorted(i for key, i in self.records if key == str(layer.unique_id))

    def values(self, axis: int, index: int) -> NDArray[np.float32] | None:
        """Return the heatmap of a plane; None where it was not computed."""
        layer: Any = self._own.find("heatmap", axis)
        if self.record(axis, index) is None:
            return None
        return np.asarray(layer.data[self._shown.image().plane_index(axis, index)])

    def evidence(self, axis: int, index: int) -> tuple[HeatmapRecord, NDArray[np.float32]] | None:
        """Return what is known of a plane's heatmap, and its values; None without evidence."""
        note, values = self.record(axis, index), self.values(axis, index)
        return None if note is None or values is None or note.reason else (note, values)

    def _forget(self) -> None:
        """Clear all heatmaps of the image: its pixels are others now."""
        self.records.clear()
        image: Any = self._shown.layer
        for role in ("heatmap", "explained"):
            for layer in self._own.of_role(role):
                if mark_of(layer).get("of") == image.unique_id:
                    layer.data = np.zeros_like(layer.data)

    def layer_removed(self, layer: Any) -> None:
        """Forget what was known of the heatmaps in a layer that is gone."""
        if mark_of(layer).get("role") == "heatmap":
            gone = str(layer.unique_id)
            self.records = {key: one for key, one in self.records.items() if key[0] != gone}
            self.changed.emit()
