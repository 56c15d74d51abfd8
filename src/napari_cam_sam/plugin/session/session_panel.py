"""The session in the dock: save, open, and what an earlier process has left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.widgets import ValueComboBox, WrappingLabel, button, hbox, vbox
from napari_cam_sam.plugin.session.manager import OFFER, SessionManager
from napari_cam_sam.plugin.session.recovery import RecoverableSession

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["SessionPanel"]


class SessionPanel(QWidget):
    """Buttons to save and open a session, and the offer of one that was left behind.

    Parameters
    ----------
    workspace : Workspace
    sessions : SessionManager
        The workspace's.
    """

    def __init__(self, workspace: Workspace, sessions: SessionManager) -> None:
        super().__init__()
        self._sessions = sessions
        self._found: RecoverableSession | None = None
        self.save = button(
            "Save session…", "Saves choices, prompts, accepted labels and scores into a folder."
        )
        self.open = button("Open session…", "Opens a session of this image.")
        self.words = WrappingLabel()
        self.offer = QWidget()
        self.question = WrappingLabel()
        self.which = ValueComboBox(
            "Older work on this image that holds something the newest does not."
        )
        self.restore = button("Restore", "Restores prompts, labels and choices.")
        self.discard = button("Discard", "Deletes this autosave; others that hold more stay.")
        vbox(self.offer, self.question, self.which, hbox(self.restore, self.discard))
        vbox(self, self.offer, hbox(self.save, self.open), self.words)
        self.offer.hide()

        self.save.clicked.connect(self._save)
        self.open.clicked.connect(self._open)
        self.which.chosen.connect(self._tell)
        self.restore.clicked.connect(self._restore)
        self.discard.clicked.connect(self._discard)
        sessions.saved.connect(self.words.setText)
        workspace.docks.register(OFFER, self._offer)
        workspace.image_changed.connect(self.offer.hide)
        if sessions.left is not None:
            self._offer(sessions.left)

    def _save(self) -> None:
        self._with_folder("Choose a folder for the session", self._sessions.save)

    def _open(self) -> None:
        self._with_folder("Choose the folder of a session", self._sessions.open)

    def _with_folder(self, title: str, action: Callable[[str], None]) -> None:
        """Ask for a folder, and do something with it."""
        if folder := QFileDialog.getExistingDirectory(self, title):
            try:
                action(folder)
            except CamSamError as error:
                self.words.setText(str(error))

    def _offer(self, found: RecoverableSession) -> None:
        self._found = found
        times = [one.session.saved_at for one in (found, *found.older)]
        self.which.offer((_when(text), i) for i, text in enumerate(times))
        self.which.set_value(0)
        self.which.setVisible(bool(found.older))
        self._tell()
        self.offer.show()

    def _tell(self) -> None:
        one = self._chosen()
        if one is not None:
            self.question.setText(one.words())

    def _chosen(self) -> RecoverableSession | None:
        """Return what is meant of all that was found."""
        found = self._found
        return None if found is None else (found, *found.older)[self.which.value() or 0]

    def _restore(self) -> None:
        self._answer(self._sessions.take)

    def _discard(self) -> None:
        self._answer(self._sessions.discard)

    def _answer(self, action: Callable[[RecoverableSession], None]) -> None:
        """Hide the offer, and do with what is chosen what the user wants."""
        found, self._found = self._chosen(), None
        self.offer.hide()
        if found is not None:
            action(found)


def _when(saved_at: str) -> str:
    return f"as of {datetime.fromisoformat(saved_at).astimezone():%Y-%m-%d %H:%M:%S}"
