"""The question whether a factory that a session names may be run: it is code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.widgets import button, hbox, vbox

__all__ = ["CodeQuestion"]


class CodeQuestion(QWidget):
    """Asks before code that a file names is imported; hidden till then. Without an answer: no."""

    def __init__(self) -> None:
        super().__init__()
        self._state: dict[str, Any] = {}
        self._run: Callable[[], None] | None = None
        self.words = Label(wraps=True)
        self.leave = button("Skip", "Imports nothing; the rest of the session is open.")
        self.allow = button("Run this code", "Imports the module and calls the function.")
        self.leave.setDefault(True)
        vbox(self, self.words, hbox(self.leave, self.allow))
        self.leave.clicked.connect(self.forget)
        self.allow.clicked.connect(self._allowed)
        self.hide()

    @property
    def state(self) -> dict[str, Any]:
        """The choices that wait for the answer: a session that is saved meanwhile keeps them."""
        return self._state

    def ask(self, name: str, state: dict[str, Any], run: Callable[[], None]) -> None:
        """Ask for one factory.

        Parameters
        ----------
        name : str
            ``package.module:function``, which is shown.
        state : dict
            The choices that came with it.
        run : callable
            Called if it is allowed.
        """
        self._state, self._run = state, run
        self.words.setText(
            f"The session names the classifier {name}, which is code on this computer. Run it "
            "only if you know what it does."
        )
        self.show()

    def forget(self) -> None:
        """Ask no more, and run nothing."""
        self._state, self._run = {}, None
        self.hide()

    def _allowed(self) -> None:
        run = self._run
        self.forget()
        if run is not None:
            run()
