"""Masks before they are labels: choosing among candidates, and accepting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import frame_shown, image_of, is_own
from napari_cam_sam.plugin.qt.dock import connect_to_layers, connect_until_destroyed
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.plain_text import show_info
from napari_cam_sam.plugin.qt.widgets import ValueComboBox, allow, button, form_layout, hbox, vbox
from napari_cam_sam.plugin.segment.live_masks import LiveMasks
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.plugin.state.plane_words import picture_words
from napari_cam_sam.wording import counted, these_planes

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["MaskReview"]

_NOTHING = "Nothing to undo: no mask was accepted."


class MaskReview(QWidget):
    """What the preview shows on the plane shown, and the way from there into labels.

    Parameters
    ----------
    workspace : Workspace
    live : LiveMasks
        Knows whether the masks that are shown are about to be replaced.
    """

    done = Signal(str)
    """What was done, in words."""
    refused = Signal(str)
    """Why nothing was done, in words."""
    truth_drawn = Signal()
    """The truth was drawn anew: perhaps edited, and what is said of the masks is another."""

    def __init__(self, workspace: Workspace, live: LiveMasks) -> None:
        super().__init__()
        self._workspace, self._masks, self._live = workspace, workspace.masks, live
        self._truth: Any = None
        self.before = button("◀", "Previous candidate mask.")
        self.after = button("▶", "Next candidate mask.")
        self.which = ValueComboBox("The object whose candidates the arrows step through.")
        self.shown = WrappingLabel(lines=3)
        self.target = ValueComboBox(
            "The labels layer for accepted masks; each object gets the label of its number."
        )
        self.overlap = ValueComboBox(
            "How to treat pixels labelled as another object. Of its own object a mask replaces "
            "only what was accepted on this slice before.",
            (
                ("keep existing", "keep", "Pixels of other objects stay as they are."),
                ("overwrite", "overwrite", "The new mask wins."),
            ),
        )
        self.accept = button("Accept slice (C)", "Writes the mask of this slice into the labels.")
        self.accept_all = button(
            "Accept all slices",
            "Writes all masks of the preview along this axis, except those whose prompts changed "
            "since.",
        )
        self.undo = button(
            "Undo acceptance",
            "Restores the labels and puts the masks back into the preview, where no newer one is.",
        )

        flip = QHBoxLayout()
        for widget in (self.before, self.after, self.which):
            flip.addWidget(widget)
        into = form_layout((("Into", self.target), ("Overlap", self.overlap)))
        vbox(self, flip, self.shown, into, hbox(self.accept, self.accept_all), self.undo)

        self.before.clicked.connect(lambda: self.flip(-1))
        self.after.clicked.connect(lambda: self.flip(1))
        self.target.chosen.connect(self._target_chosen)
        self.accept.clicked.connect(lambda: self.accept_masks())
        self.accept_all.clicked.connect(lambda: self.accept_masks(everywhere=True))
        self.undo.clicked.connect(self.undo_accept)
        workspace.image_changed.connect(self._list_targets)
        self._masks.accepted_changed.connect(self._list_targets)
        connect_to_layers(self, workspace.viewer, self._list_targets)
        self._list_targets()
        workspace.docks.register("accept", self.accept_masks)
        workspace.docks.register("undo acceptance", self.undo_accept)

    def flip(self, step: int) -> None:
        """Show another candidate on the plane shown."""
        try:
            axis, index = self._workspace.plane()
        except CamSamError as error:
            self.refused.emit(str(error))
            return
        self._masks.flip(axis, index, step, self.which.value())

    def accept_masks(self, everywhere: bool = False) -> None:
        """Write the mask of the plane shown, or all of the preview, into the labels.

        Masks of prompts that were moved since are accepted where they are seen alone.
        """
        try:
            axis, index = self._workspace.plane()
            before = self._masks.outdated(axis)
            planes = [index]
            if everywhere:
                planes = [i for i in self._masks.planes(axis) if i not in before]
            count = self._masks.accept(axis, planes, self.overlap.value())
        except CamSamError as error:
            self.refused.emit(str(error))
            return
        if not everywhere:
            words = self._accepted(index, count > 0, index in before)
        else:
            words = f"Accepted the masks of {counted(count, 'slice')}; Ctrl-Z undoes it."
            if count and self._workspace.shown.is_picture:
                words = self._accepted(index, True, False)
            if not count:
                words = "No mask was accepted."
            if before:
                words += f" Skipped {these_planes(before)}: prompts changed, press Shift-S."
        if count == 0:
            # The dock may be scrolled elsewhere when a key is pressed.
            show_info(words)
        (self.done if count else self.refused).emit(words)

    def _accepted(self, index: int, done: bool, before: bool) -> str:
        """Return in words what became of the mask of one plane; it is read on others, too."""
        where = f" on slice {index}" if self._workspace.image().spatial_ndim == 3 else ""
        if not done:
            return f"No mask to accept{where}: press S first."
        of = ", made before its prompts changed" if before else ""
        return f"Accepted the mask{where}{of}; Ctrl-Z undoes it."

    def undo_accept(self) -> None:
        """Take back what was accepted last."""
        try:
            count = self._masks.undo_accept()
        except CamSamError as error:
            self.refused.emit(str(error))
            return
        if count:
            on = "" if self._workspace.shown.is_picture else f" on {counted(count, 'slice')}"
            self.done.emit(f"Acceptance undone{on}.")
        else:
            self.refused.emit(_NOTHING)

    def refresh(self, also: str = "", awaited: bool = False) -> None:
        """Show what lies on the plane shown, and offer what can be done with it.

        Parameters
        ----------
        also : str
            What else is to be said of this plane.
        awaited : bool
            Whether a run is to make masks of it.

        Raises
        ------
        CamSamError
            Without an image, or where the viewer shows no single plane of it.
        """
        axis, index = self._workspace.plane()
        masks = self._masks.get(axis, index)
        self._hear_truth()
        for one in (self.before, self.after, self.accept):
            one.setEnabled(masks is not None)
        self.accept_all.setEnabled(bool(self._masks.planes(axis)))
        allow(self.undo, "" if self._masks.can_undo else _NOTHING)
        ids = [] if masks is None else sorted({one.object_id for one in masks.found})
        self.which.offer([("all objects", None), *((f"object {i}", i) for i in ids)])
        words = self._words(axis, index, awaited) if masks is None else self._words_of(masks)
        self.shown.setText(picture_words(self._workspace.shown, f"{words} {also}".rstrip()))

    def clear(self) -> None:
        """Show and offer nothing: the viewer shows no plane."""
        self.shown.setText("")
        for one in (self.before, self.after, self.accept, self.accept_all):
            one.setEnabled(False)
        allow(self.undo, "" if self._masks.can_undo else _NOTHING)

    def _hear_truth(self) -> None:
        """Hear of edits of the truth that there is now."""
        truth = self._workspace.truth()
        if truth is not self._truth:
            if self._truth is not None:
                self._truth.events.set_data.disconnect(self._tell_truth)
            self._truth = truth
            if truth is not None:
                connect_until_destroyed(self, truth.events.set_data, self._tell_truth)

    def _tell_truth(self, _: object = None) -> None:
        self.truth_drawn.emit()

    def _list_targets(self, _: object = None) -> None:
        own = [x for x in self._workspace.labels_layers() if not is_own(x)]
        ours = self._workspace.own("labels")
        name = "new layer" if ours is None else ours.name
        self.target.offer([(name, None), *((layer.name, layer) for layer in own)])
        self.target.set_value(self._masks.target)

    def _target_chosen(self) -> None:
        self._masks.target = self.target.value()

    def _words(self, axis: int, index: int, awaited: bool) -> str:
        """Return in words why no mask is shown."""
        accepted = {(a.prompts.axis, a.prompts.index) for a in self._masks.accepted}
        # What stands is asked for only where it may matter: it compares whole planes.
        if (axis, index) in accepted and any(
            (a.prompts.axis, a.prompts.index) == (axis, index) for a in self._masks.standing()
        ):
            dice = self._dice_of_labels(axis, index)
            return f"Mask accepted on this slice{dice}; press S for a new one."
        prompted = self._workspace.prompts.read(axis, index).objects
        if prompted and awaited:
            return "The mask of this slice is being made…"
        return "No mask on this slice yet: press S." if prompted else "No prompts on this slice."

    def _words_of(self, masks: PlaneMasks) -> str:
        """Return in words which candidates are shown, and how good they are held to be."""
        parts = [masks.about] if masks.about else []
        for one, chosen, label in zip(masks.found, masks.chosen, _names(masks), strict=True):
            which = f"mask {chosen + 1} of {len(one.masks)}"
            score = float(one.scores[chosen])
            expects = f", expected IoU {score:.2f}" if np.isfinite(score) else ""
            if len(one.masks) > 1 or not masks.about:
                parts.append(f"{label}{which}{expects}")
            elif expects:
                parts.append(label + expects.removeprefix(", "))
        words = f"Preview (C accepts): {'; '.join(parts)}."
        whole = np.logical_or.reduce(list(masks.masks().values()))
        dice = self._dice(masks.prompts.axis, masks.prompts.index, whole)
        if dice is not None:
            words += f" Dice with the ground truth {dice:.3f}."
        now = self._workspace.prompts.read(masks.prompts.axis, masks.prompts.index)
        if masks.is_stale(now) and not self._live.busy:
            words += " Out of date: prompts changed. Press S."
        return f"{words} To paint, accept it first."

    def _dice_of_labels(self, axis: int, index: int) -> str:
        """Return the Dice of what was accepted on a plane in words, after a comma."""
        labels = self._masks.accept_layer()
        if labels is None or self._workspace.mismatch(labels) is not None:
            return ""
        plane = image_of(labels, frame_shown(self._workspace.viewer, labels)).plane(axis, index)
        dice = self._dice(axis, index, np.asarray(plane) > 0)
        return "" if dice is None else f", Dice with the ground truth {dice:.3f}"

    def _dice(self, axis: int, index: int, mask: Any) -> float | None:
        """Dice of a mask of a plane with the truth, where there is one on it."""
        from napari_cam_sam.metrics.overlap import overlap

        workspace, truth = self._workspace, self._workspace.truth()
        if truth is None or workspace.mismatch(truth) is not None:
            return None
        image = image_of(truth, frame_shown(workspace.viewer, truth))
        answer: Any = image.plane(axis, index) > 0
        if not answer.any():
            return None
        return overlap(mask, answer).dice


def _names(masks: PlaneMasks) -> list[str]:
    """Return how each of a plane's entries is told from the others: by object, by box, or both."""
    ids = [one.object_id for one in masks.found]
    names = []
    for at, object_id in enumerate(ids):
        parts = [f"object {object_id}"] if len(set(ids)) > 1 else []
        if ids.count(object_id) > 1:
            parts.append(f"box {ids[: at + 1].count(object_id)}")
        names.append(f"{', '.join(parts)}: " if parts else "")
    return names
