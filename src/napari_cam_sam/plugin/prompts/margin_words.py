"""What a margin in pixels is in mm, on the slice that is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.messages import Message

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["MarginWords"]


class MarginWords(Message):
    """Says how many mm a margin is, where pixels have a size: of thick slices it is many.

    Parameters
    ----------
    workspace : Workspace
    margin : callable
        Gives the margin, in pixels of the slice.
    """

    def __init__(self, workspace: Workspace, margin: Callable[[], float]) -> None:
        super().__init__()
        self._workspace, self._margin = workspace, margin
        workspace.plane_changed.connect(self.look)
        workspace.image_changed.connect(self.look)
        workspace.viewer.dims.events.order.connect(self.look)
        self.look()

    def look(self, _: object = None) -> None:
        """Say it of the margin as it is now."""
        try:
            margin, spacing = self._margin(), self._spacing()
        except CamSamError:
            margin, spacing = 0, None
        if not margin or spacing is None:
            self.setText("")
            return
        down, across = (f"{margin * one:.3g} mm" for one in spacing)
        pixels = "1 pixel is" if margin == 1 else f"{margin:g} pixels are"
        sides = f"{down} above and below, {across} left and right"
        if down == across:
            sides = f"{down} on each side"
        self.setText(f"{pixels} {sides}.")

    def _spacing(self) -> tuple[float, float] | None:
        """Return the mm of a pixel down and across, as the viewer shows it."""
        geometry, dims = self._workspace.image().geometry, self._workspace.viewer.dims
        self._workspace.plane()  # in three dimensions there is no slice
        spacing = geometry.spacing
        shown = [d - dims.ndim + len(spacing) for d in dims.displayed]
        # A picture beside a volume is seen from its side where the volume is turned.
        if geometry.unit != "mm" or min(shown) < 0:
            return None
        down, across = (spacing[axis] for axis in shown)
        return down, across
