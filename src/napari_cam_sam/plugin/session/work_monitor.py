"""Tells when the work on an image changes: prompts, masks, labels, choices."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_cam_sam.plugin.qt.timers import single_shot_timer

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["WorkMonitor"]

# How long after the labels were drawn they are looked at for an undo: scrolling draws them, too.
_LOOK_AGAIN_MS = 500


class WorkMonitor(QObject):
    """Listens to all that is work, and to the layers that masks were accepted into.

    Parameters
    ----------
    workspace : Workspace
    parent : QObject
    """

    changed = Signal()

    def __init__(self, workspace: Workspace, parent: QObject) -> None:
        super().__init__(parent)
        self._shown, self._masks, self._docks = workspace.shown, workspace.masks, workspace.docks
        self._drawn = single_shot_timer(self, self._look_at_labels, _LOOK_AGAIN_MS)
        self.standing: list[int] = []
        """Which acceptances stand; another list after each that comes or goes."""
        # Masks that are not accepted are work, too.
        self._held: list[PlaneMasks] = []
        workspace.prompts.settled.connect(self._edited)
        self._masks.accepted_changed.connect(self._accepted)
        self._masks.changed.connect(self._masks_changed)
        self._docks.changed.connect(self._edited)

    def look_anew(self) -> None:
        """Keep what is there now as known, e.g. on another image."""
        self._held = self._masks.held()
        self.standing = self._what_stands()

    def _edited(self) -> None:
        if self._shown.changing:
            return  # what is told while another image comes is no edit of the user's
        # A window that closes destroys its docks before anybody can ask them.
        self._docks.cache_states()
        self.changed.emit()

    def _masks_changed(self) -> None:
        before, self._held = self._held, self._masks.held()
        same = len(before) == len(self._held) and all(map(is_, before, self._held))
        if not same and not self._shown.changing:
            self.changed.emit()

    def _accepted(self) -> None:
        for layer in self._masks.work_layers():
            # What is painted by hand is work, too.
            layer.events.labels_update.connect(self._painted)
            layer.events.data.connect(self._painted)
            # napari tells of its own undo by no event but that the layer is drawn anew.
            layer.events.set_data.connect(self._layer_drawn)
        self.standing = self._what_stands()
        self._edited()

    def _painted(self, _: object = None) -> None:
        self.changed.emit()

    def _layer_drawn(self, _: object = None) -> None:
        self._drawn.start()

    def _look_at_labels(self) -> None:
        """Check for an undo or redo of the layer's own, which changes what acceptances stand."""
        standing = self._what_stands()
        if standing != self.standing:
            self.standing = standing
            self.changed.emit()

    def _what_stands(self) -> list[int]:
        return [id(one) for one in self._masks.standing()]
