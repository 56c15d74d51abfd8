"""The session in the dock: save, open, and what an earlier process has left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.layer_geometry import path_of
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.paths import ask_new_folder
from napari_cam_sam.plugin.qt.saving import file_name, folder_beside
from napari_cam_sam.plugin.qt.widgets import ValueComboBox, button, hbox, vbox
from napari_cam_sam.plugin.session.image_work import AUTOSAVED
from napari_cam_sam.plugin.session.manager import OFFER, SessionManager
from napari_cam_sam.plugin.session.recovery import RecoverableSession

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["SessionPanel"]

_SAVED = "Saved to "


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
        self._workspace, self._sessions = workspace, sessions
        # Where the session of this image was saved last.
        self._folder: Path | None = None
        self._found: RecoverableSession | None = None
        # What was told last, and whether something was done since.
        self._told, self._changed = "", False
        self.save = button(
            "Save session…",
            "Saves choices, prompts, accepted labels and scores into a folder that you name.",
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
        sessions.saved.connect(self._tell_saved)
        sessions.changed.connect(self._work_changed)
        workspace.docks.register(OFFER, self._offer)
        workspace.image_changed.connect(self._image_changed)
        if sessions.left is not None:
            self._offer(sessions.left)

    def _save(self) -> None:
        try:
            image = self._workspace.image()
            file = path_of(self._workspace.image_layer)
            beside = folder_beside(file) or Path.home()
            start = self._folder or beside / f"{file_name(image.name, 'image')}-session"
            words = "Save the session into this folder; it is made where there is none:"
            folder = ask_new_folder(self, "Save session", words, start)
            if folder is not None:
                self._sessions.save(folder)
                self._folder = folder
        except CamSamError as error:
            self._tell_saved(str(error))

    def _open(self) -> None:
        title, before = "Choose the folder of a session", str(self._folder or "")
        if folder := QFileDialog.getExistingDirectory(self, title, before):
            try:
                self._sessions.open(folder)
            except CamSamError as error:
                self._tell_saved(str(error))

    def _image_changed(self) -> None:
        self._found = self._folder = None
        self.offer.hide()
        self._tell_saved("")

    def _tell_saved(self, words: str) -> None:
        self._told, self._changed = words, False
        self.words.setText(self._sentence())

    def _work_changed(self) -> None:
        self._changed = True
        self.words.setText(self._sentence())

    def _sentence(self) -> str:
        """Return what is saved of the work on this image, as far as that is known."""
        if self._told == AUTOSAVED and self._found is not None:
            return "What you do now is autosaved, apart from the work that was found."
        if self._told.startswith(_SAVED) and self._changed:
            return f"{self._told} You changed something since."
        return self._told

    def _offer(self, found: RecoverableSession) -> None:
        self._found = found
        times = [one.session.saved_at for one in (found, *found.older)]
        self.which.offer((_when(text), i) for i, text in enumerate(times))
        self.which.set_value(0)
        self.which.setVisible(bool(found.older))
        self._tell()
        self.offer.show()
        self.words.setText(self._sentence())

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
        self.words.setText(self._sentence())
        if found is not None:
            action(found)


def _when(saved_at: str) -> str:
    return f"as of {datetime.fromisoformat(saved_at).astimezone():%Y-%m-%d %H:%M:%S}"
