"""Three buttons that turn the viewer: axial, coronal, sagittal."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from napari_cam_sam.plugin.layers.views import View, views_of
from napari_cam_sam.plugin.qt.widgets import button, hbox
from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ViewButtons"]

_HUNG = {
    "Axial": "From the feet: front up, the patient's right on the left.",
    "Coronal": "From the front: head up, the patient's right on the left.",
    "Sagittal": "From the patient's left: head up, front on the left.",
}


class ViewButtons(QWidget):
    """A button for each view of the volume, the one that is shown pressed in.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._views: tuple[View, ...] = ()
        self.setToolTip("Shows the slices along another axis, upright, at the slice last seen.")
        self.buttons = [button("", "") for _ in range(3)]
        hbox(*self.buttons, parent=self)
        for i, one in enumerate(self.buttons):
            one.setCheckable(True)
            one.clicked.connect(lambda _, i=i: self._pressed(i))
        dims = workspace.viewer.dims.events
        for event in (dims.order, dims.ndisplay, dims.ndim):
            event.connect(self._mark)
        workspace.image_changed.connect(self.look)
        self.look()

    @property
    def useful(self) -> bool:
        """Whether there is more than one view to choose."""
        return bool(self._views)

    def look(self) -> None:
        """Offer the views of the image that is worked on now."""
        self._views = views_of(self._workspace.image_layer)
        for view, one in zip(self._views, self.buttons, strict=False):
            one.setText(view.name)
            one.setToolTip(_HUNG.get(view.name, f"Shows the slices along axis {view.axis}."))
        self._mark()

    def _mark(self, _: object = None) -> None:
        dims = self._workspace.viewer.dims
        shown = [d - (dims.ndim - 3) for d in dims.displayed]
        for view, one in zip(self._views, self.buttons, strict=False):
            one.setChecked(shown == [view.down, view.right])

    def _pressed(self, which: int) -> None:
        self.look()  # the layer may have been moved since
        if which < len(self._views):
            self._workspace.shown.turn(self._views[which])
        self._mark()
