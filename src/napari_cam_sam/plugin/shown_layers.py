"""Which layers of ours are seen: those of the frame and of the axis shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cam_sam.plugin.layers import KEY, is_own

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["ShownLayers"]


class ShownLayers:
    """Hides layers of ours with the frame that they are of, and shows them when it comes back.

    What the user has hidden stays hidden.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._put_away: set[Any] = set()

    def show_frame(self, frame: int | None) -> None:
        """Show the layers of a frame of the image in place of those of another."""
        image: Any = self._workspace.image_layer
        for layer in self._workspace.viewer.layers:
            mark = layer.metadata.get(KEY, {})
            if not is_own(layer) or mark.get("of") != image.unique_id:
                continue
            if mark.get("frame") != frame:
                if layer.visible:
                    layer.visible = False
                    self._put_away.add(layer.unique_id)
            elif layer.unique_id in self._put_away:
                layer.visible = True
                self._put_away.remove(layer.unique_id)

    def show_axis(self, axis: int) -> None:
        """Show the heatmaps along an axis: those of others would lie across as bands."""
        workspace = self._workspace
        for role in ("heatmap", "explained"):
            for layer in workspace.layers_of_role(role):
                layer.visible = layer is workspace.own(role, axis)
                mark = layer.metadata[KEY]
                if mark.get("frame") == workspace.frame():
                    continue
                if mark.get("axis") == axis:
                    self._put_away.add(layer.unique_id)
                else:
                    self._put_away.discard(layer.unique_id)
