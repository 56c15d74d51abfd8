"""Placing prompts, and the question what is to happen to those that the user edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.widgets import button, hbox, vbox
from napari_cam_sam.plugin.state.prompt_layers import Conflict
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ConflictPanel"]


class ConflictPanel(QWidget):
    """Places prompts at once, or once the user said what becomes of edited ones; hidden till then.

    Parameters
    ----------
    workspace : Workspace
    """

    placed = Signal(object, int)
    """The planes that were to be placed, and on how many there are prompts now."""
    refused = Signal(str)
    """Why they could not be placed."""
    answered = Signal()
    """The question was answered, and what waited for it is done."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._pending: tuple[PlanePrompts, ...] = ()
        self._first: int | None = None
        self.words = Label(wraps=True)
        self.keep = button("Keep mine", "Places new prompts only on slices that you did not edit.")
        self.replace = button(
            "Replace", "Replaces your edits of these objects; undo restores them."
        )
        self.add = button("Add", "Adds the new prompts to yours.")
        vbox(self, self.words, hbox(self.keep, self.replace, self.add))
        for name in ("keep", "replace", "add"):
            getattr(self, name).clicked.connect(lambda _=False, name=name: self._answer(name))
        self.hide()

    @property
    def asking(self) -> bool:
        """Whether prompts wait for the answer."""
        return bool(self._pending)

    def place(self, planes: tuple[PlanePrompts, ...], first: int | None = None) -> None:
        """Place prompts; where the user has edited what they replace, ask what is to happen there.

        Parameters
        ----------
        planes : tuple of PlanePrompts
        first : int, optional
            As `PromptLayers.write` takes it.
        """
        edited = self._workspace.prompts.edited(first)
        mine = [plane for plane in planes if (plane.axis, plane.index) in edited and plane.objects]
        if mine:
            self._pending, self._first = planes, first
            where = f"Slice {mine[0].index} has" if len(mine) == 1 else f"{len(mine)} slices have"
            self.words.setText(f"{where} prompts that you edited.")
            self.show()
        else:
            self._write(planes, "keep", first)

    def forget(self) -> None:
        """Ask no more: what waits is of another image."""
        self._pending = ()
        self.hide()

    def _answer(self, answer: str) -> None:
        pending = self._pending
        self.forget()
        self._write(pending, cast(Conflict, answer), self._first)
        self.answered.emit()

    def _write(
        self, planes: tuple[PlanePrompts, ...], conflict: Conflict, first: int | None
    ) -> None:
        try:
            count = self._workspace.prompts.write(planes, conflict, first)
        except CamSamError as error:
            self.refused.emit(str(error))
            return
        self.placed.emit(planes, count)
