"""The layers of heatmaps, and what is known of each plane's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils import DirectLabelColormap
from numpy.typing import NDArray

from napari_cam_sam.plugin.layers.layer_geometry import KEY
from napari_cam_sam.plugin.qt.plain_text import unmarked
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["HeatmapLayers"]


class HeatmapLayers:
    """The heatmaps of the image worked on: a layer an axis, and notes on the planes computed.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.notes: dict[tuple[str, int], HeatmapRecord] = {}

    def layer(self, axis: int, create: bool = False) -> Any:
        """Find, or add, the layer of heatmaps along an axis; planes not computed are 0."""
        workspace = self._workspace
        found = workspace.own("heatmap", axis)
        image = workspace.image() if create else None
        if found is not None and image is not None and found.data.shape != image.spatial_shape:
            workspace.viewer.layers.remove(found)
            found = None
        if found is not None or image is None:
            return found
        for other in workspace.layers_of_role("heatmap"):
            other.visible = False
        name = f"heatmap of {image.name}" + (f", axis {axis}" if axis else "")
        active = workspace.viewer.layers.selection.active
        layer = workspace.viewer.add_image(
            np.zeros(image.spatial_shape, np.float32),
            name=unmarked(name),
            colormap="inferno",
            blending="additive",
            opacity=0.6,
            contrast_limits=(0, 1),
            metadata=workspace.mark("heatmap", axis),
            **workspace.placement(),
        )
        workspace.put_below_prompts(layer, active)
        return layer

    def explained(self, axis: int) -> Any:
        """Find, or add, the outline of the pixels that a segmentation network's maps explain."""
        workspace = self._workspace
        found, image = workspace.own("explained", axis), workspace.image()
        if found is not None and found.data.shape == image.spatial_shape:
            return found
        if found is not None:
            workspace.viewer.layers.remove(found)
        active = workspace.viewer.layers.selection.active
        layer = workspace.viewer.add_labels(
            np.zeros(image.spatial_shape, np.uint8),
            name=unmarked(f"explained pixels of {image.name}" + (f", axis {axis}" if axis else "")),
            colormap=DirectLabelColormap(color_dict={None: "transparent", 1: "white"}),
            metadata=workspace.mark("explained", axis),
            **workspace.placement(),
        )
        layer.contour = max(1, round(min(image.spatial_shape[-2:]) / 256))
        workspace.put_below_prompts(layer, active)
        return layer

    def note(self, axis: int, index: int) -> HeatmapRecord | None:
        """Give what is known of a plane's heatmap, None where it was not computed."""
        layer = self._workspace.own("heatmap", axis)
        return None if layer is None else self.notes.get((str(layer.unique_id), index))

    def set_note(self, layer: Any, index: int, note: HeatmapRecord) -> None:
        """Record what is known of a plane's heatmap.

        Heatmaps of another class, classifier, method or window are cleared: side by side in one
        layer nobody could tell them apart, and prompts would be taken from both.
        """
        name, image = str(layer.unique_id), None
        for key, other in list(self.notes.items()):
            if key[0] == name and other.made_by != note.made_by:
                image = image or self._workspace.image()
                axis = layer.metadata[KEY]["axis"]
                layer.data[image.slot(axis, key[1])] = 0
                outline = self._workspace.own("explained", axis)
                if outline is not None:
                    outline.data[image.slot(axis, key[1])] = 0
                del self.notes[key]
        self.notes[name, index] = note

    def noted_planes(self, axis: int) -> list[int]:
        """List the planes along an axis whose heatmap was computed."""
        layer = self._workspace.own("heatmap", axis)
        if layer is None:
            return []
        return sorted(i for key, i in self.notes if key == str(layer.unique_id))

    def values(self, axis: int, index: int) -> NDArray[np.float32] | None:
        """Give the heatmap of a plane; None where it was not computed."""
        layer = self._workspace.own("heatmap", axis)
        if layer is None or self.note(axis, index) is None:
            return None
        return np.asarray(layer.data[self._workspace.image().slot(axis, index)])

    def forget(self) -> None:
        """Clear all heatmaps of the image: its pixels are others now."""
        self.notes.clear()
        image: Any = self._workspace.image_layer
        for role in ("heatmap", "explained"):
            for layer in self._workspace.layers_of_role(role):
                if layer.metadata[KEY].get("of") == image.unique_id:
                    layer.data = np.zeros_like(layer.data)

    def layer_removed(self, layer: Any) -> None:
        """Forget what was known of the heatmaps in a layer that is gone."""
        if layer.metadata.get(KEY, {}).get("role") == "heatmap":
            gone = str(layer.unique_id)
            self.notes = {key: note for key, note in self.notes.items() if key[0] != gone}
            self._workspace.heatmaps_changed.emit()
