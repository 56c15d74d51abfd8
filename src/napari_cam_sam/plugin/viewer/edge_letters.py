"""Letters at the edges of the canvas: where the patient's head, front and right are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_cam_sam.plugin.layers.views import ends_of

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["EdgeLetters"]

_MOVED = ("scale", "translate", "rotate", "shear", "affine")
_PLACES = ("top_center", "bottom_center", "middle_left", "middle_right")


class EdgeLetters(QObject):
    """A letter of A, P, S, I, L and R at each edge, where the file says how the patient lies.

    They are no layers: the canvas shows them over all that is in the viewer. Versions of napari
    whose canvas takes no texts of others (before 0.9) show none.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        viewer = workspace.viewer
        canvas = getattr(viewer, "canvas", None)
        self._overlays: Any = getattr(canvas, "overlays", None)
        if not hasattr(getattr(canvas, "overlay_tiling", None), "middle_left"):
            return
        self._camera = viewer.scene.camera
        self._followed: Any = None
        workspace.image_changed.connect(self._follow)
        for event in (
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.dims.events.ndim,
            self._camera.events.orientation,
        ):
            event.connect(self.show)
        self._follow()

    def _follow(self) -> None:
        """Hear where the image is moved or turned by hand: then nothing says its sides."""
        layer = self._workspace.image_layer
        if layer is not self._followed:
            for name in _MOVED:
                if self._followed is not None:
                    getattr(self._followed.events, name).disconnect(self.show)
                if layer is not None:
                    getattr(layer.events, name).connect(self.show)
            self._followed = layer
        self.show()

    def show(self, _: object = None) -> None:
        """Show the letters of the view as it is, however it was turned."""
        from napari.components.overlays import TextOverlay

        for place, letter in zip(_PLACES, self.letters() or " " * 4, strict=True):
            name = f"napari_cam_sam_{place}"
            if name not in self._overlays:
                self._overlays[name] = TextOverlay(position=place, font_size=14)
            self._overlays[name].text = letter
            self._overlays[name].visible = letter != " "

    def letters(self) -> str:
        """Return the letters at the top, bottom, left and right; none where nothing says them."""
        dims, ends = self._workspace.viewer.dims, ends_of(self._workspace.image_layer)
        shown = [d - (dims.ndim - 3) for d in dims.displayed]
        if ends is None or len(shown) != 2 or min(shown) < 0:
            return ""
        down, right = (ends[axis] for axis in shown)
        vertical, horizontal = (str(one) for one in self._camera.orientation2d)
        return (
            down[:: 1 if vertical == "down" else -1] + right[:: 1 if horizontal == "right" else -1]
        )
