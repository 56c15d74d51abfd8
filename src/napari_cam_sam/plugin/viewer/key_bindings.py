"""The keys of the workflow, on the viewer and on the layers that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import is_own
from napari_cam_sam.plugin.qt.plain_text import show_info
from napari_cam_sam.plugin.qt.timers import single_shot_timer

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["KEYS", "TAG_KEYS", "KeyBindings"]

KEYS: dict[str, tuple[str, str]] = {
    "R": ("draw", "Draw a box: then drag it in the image"),
    "S": ("segment", "Segment this slice"),
    "Shift-S": ("segment all", "Segment all slices with prompts"),
    "Shift-T": ("through", "Propagate through the volume"),
    "C": ("accept", "Accept the mask of this slice"),
    "T": ("switch", "Switch points between positive and negative"),
    "Shift-C": ("clear", "Clear the prompts on this slice"),
    "N": ("next", "Go to the next slice with prompts"),
    "P": ("previous", "Go to the previous slice with prompts"),
    "Control-Z": ("undo", "Undo the last edit of prompts or acceptance"),
    "Control-Shift-Z": ("redo", "Redo the last edit of prompts"),
}
"""Key to action and what it does."""

TAG_KEYS = {f"Control-{digit}": digit for digit in range(10)}
"""Key to the number of a class for the plane shown, from 1; 0 for none."""

_HISTORY = ("undo", "redo")
_DOCKS = {
    "segment": "Segment", "segment all": "Segment", "through": "Segment", "accept": "Segment",
    "draw": "Prompts", "switch": "Prompts", "clear": "Prompts", "tag": "Train",
}  # fmt: skip


class KeyBindings(QObject):
    """The keys of the viewer, and of the layers on which napari means others by them.

    A layer's own keys come before the viewer's: S, P, T and C mean modes and contrast there. On
    the image that is worked on and on the docks' own layers they mean what is said here, and the
    digits still choose modes. Labels keep their own undo.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        self._bound: set[int] = set()
        self._image: Any = None
        # A sample, like a folder, brings further layers behind the image: what is active is looked
        # at after them all.
        self._look = single_shot_timer(self, self._make_image_active)
        for key, (action, _) in KEYS.items():
            workspace.viewer.bind_key(key, _pressed(workspace, action), overwrite=True)
        for key, digit in TAG_KEYS.items():
            workspace.viewer.bind_key(key, _pressed(workspace, "tag", digit), overwrite=True)
        workspace.viewer.layers.events.inserted.connect(self._inserted)
        workspace.viewer.layers.events.removed.connect(self._removed)
        workspace.image_changed.connect(self._bind_image)
        self._bind_image()

    def _bind(self, layer: Any) -> None:
        if id(layer) in self._bound:
            return
        self._bound.add(id(layer))
        prompts = layer.metadata.get("napari_cam_sam", {}).get("role") in ("points", "boxes")
        for key, (action, _) in KEYS.items():
            if action in _HISTORY and not prompts:
                continue
            layer.bind_key(key, _pressed(self._workspace, action), overwrite=True)

    def _bind_image(self) -> None:
        layer = self._workspace.image_layer
        if layer is not None:
            self._bind(layer)
        # Not where it is told anew of the same image, e.g. of another frame.
        if layer is not self._image:
            self._image = layer
            self._look.start()

    def _make_image_active(self) -> None:
        """Make the image the active layer: on a truth above it the keys mean what napari says.

        A layer of ours stays active, and one that the user edits, or has chosen with others.
        """
        selection = self._workspace.viewer.layers.selection
        active = selection.active
        idle = active is None or (not is_own(active) and str(active.mode) == "pan_zoom")
        if idle and len(selection) < 2 and self._image in self._workspace.viewer.layers:
            selection.active = self._image

    def _inserted(self, event: Any) -> None:
        if is_own(event.value):
            self._bind(event.value)

    def _removed(self, event: Any) -> None:
        self._bound.discard(id(event.value))


def _pressed(workspace: Workspace, action: str, *values: int) -> Callable[[Any], None]:
    def press(_: Any) -> None:
        try:
            done = _do(workspace, action, *values)
        except CamSamError as error:
            show_info(str(error))
            return
        if not done and action in _DOCKS:
            show_info(f"This key needs a dock: open Plugins → CAM to SAM → {_DOCKS[action]}.")

    return press


def _do(workspace: Workspace, action: str, *values: int) -> bool:
    if action == "undo":
        # Whatever came last.
        if workspace.masks.accepted_at > workspace.prompts.edited_at:
            # A dock says what was taken back: it may be of planes that are not shown.
            return workspace.docks.dispatch("undo acceptance") or workspace.masks.undo_accept() > 0
        return workspace.prompts.undo()
    if action == "redo":
        prompts = workspace.prompts
        if workspace.masks.taken_back_at > max(prompts.undone_at, prompts.edited_at):
            raise CamSamError("Accepting cannot be redone: press C to accept again.")
        return workspace.prompts.redo()
    if action in ("next", "previous"):
        axis, index = workspace.plane()
        planes = workspace.prompts.planes(axis)
        ahead = [i for i in planes if (i > index if action == "next" else i < index)]
        if not ahead:
            where = "after" if action == "next" else "before"
            raise CamSamError(f"No slice {where} this one has prompts.")
        workspace.show_plane(axis, min(ahead) if action == "next" else max(ahead))
        return True
    return workspace.docks.dispatch(action, *values)
