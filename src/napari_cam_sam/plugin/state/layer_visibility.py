"""Which layers of ours are seen: those of the frame and of the axis shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cam_sam.plugin.layers.conversion import KEY, is_own

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ShownLayers"]


_OF_AN_AXIS = ("heatmap", "explained")


class ShownLayers:
    """Puts layers of ours away that are of another frame or lie across the view as bands.

    They come back with their frame and axis. What the user has hidden stays hidden, and what is of
    another image than the one worked on is left alone.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._put_away: set[Any] = set()

    def show(self) -> None:
        """Show the layers of the frame and the axis shown in place of those of others."""
        workspace = self._workspace
        image: Any = workspace.image_layer
        axis, frame = workspace.plane()[0], workspace.frame()
        for layer in workspace.viewer.layers:
            mark = layer.metadata.get(KEY, {})
            if not is_own(layer) or mark.get("of") != image.unique_id:
                continue
            across = mark.get("role") in _OF_AN_AXIS and mark.get("axis") != axis
            if across or mark.get("frame") != frame:
                if layer.visible:
                    layer.visible = False
                    self._put_away.add(layer.unique_id)
            elif layer.unique_id in self._put_away:
                layer.visible = True
                self._put_away.remove(layer.unique_id)
