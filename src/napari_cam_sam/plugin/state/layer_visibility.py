"""Which layers of ours are seen: those of the frame and of the axis shown."""

from __future__ import annotations

from typing import Any

from napari_cam_sam.plugin.layers.conversion import is_own
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["LayerVisibility"]


_OF_AN_AXIS = ("heatmap", "explained")


class LayerVisibility:
    """Puts layers of ours away that are of another frame or lie across the view as bands.

    They come back with their frame and axis. What the user has hidden stays hidden, and what is of
    another image than the one worked on is left alone.

    Parameters
    ----------
    shown : ShownImage
    """

    def __init__(self, shown: ShownImage) -> None:
        self._shown = shown
        self._put_away: set[Any] = set()

    def show(self, _: object = None) -> None:
        """Show the layers of the frame and the axis shown in place of those of others.

        Raises
        ------
        CamSamError
            Where no single plane is shown.
        """
        image: Any = self._shown.layer
        axis, frame = self._shown.plane()[0], self._shown.frame()
        for layer in self._shown.viewer.layers:
            mark = mark_of(layer)
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
