"""Tells when the labels that hold the work on an image change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["LabelWatch"]

# How long after the labels were drawn they are looked at for an undo: scrolling draws them, too.
_LOOK_AGAIN_MS = 500


class LabelWatch(QObject):
    """Listens to the layers that masks were accepted into.

    Parameters
    ----------
    workspace : Workspace
    parent : QObject
    """

    changed = Signal()
    """They were painted on, or the layer's own undo or redo changed which acceptances stand."""

    def __init__(self, workspace: Workspace, parent: QObject) -> None:
        super().__init__(parent)
        self._masks = workspace.masks
        self._drawn = QTimer(self)
        self._drawn.setSingleShot(True)
        self._drawn.setInterval(_LOOK_AGAIN_MS)
        self._drawn.timeout.connect(self._look)
        self.standing: list[int] = []
        """Which acceptances stand; another list after each that comes or goes."""

    def listen(self) -> None:
        """Listen to what holds the work now, after an acceptance or its undo."""
        for layer in self._masks.work_layers():
            # What is painted by hand is work, too.
            layer.events.labels_update.connect(self._painted)
            layer.events.data.connect(self._painted)
            # napari tells of its own undo by no event but that the layer is drawn anew.
            layer.events.set_data.connect(self._layer_drawn)
        self.look_anew()

    def look_anew(self) -> None:
        """Take what stands now as known, e.g. on another image."""
        self.standing = self._what_stands()

    def _painted(self, _: object = None) -> None:
        self.changed.emit()

    def _layer_drawn(self, _: object = None) -> None:
        self._drawn.start()

    def _look(self) -> None:
        standing = self._what_stands()
        if standing != self.standing:
            self.standing = standing
            self.changed.emit()

    def _what_stands(self) -> list[int]:
        return [id(one) for one in self._masks.standing()]
