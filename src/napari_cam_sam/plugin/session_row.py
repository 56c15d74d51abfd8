"""The session in the dock: save, open, and what an earlier process has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.autosaves import Found
from napari_cam_sam.plugin.forms import Words, button, line
from napari_cam_sam.plugin.session_keeper import OFFER

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["SessionRow"]


class SessionRow(QWidget):
    """Buttons to save and open a session, and the offer of one that was left behind.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._keeper = workspace.keeper
        self._found: Found | None = None
        self.save = button(
            "Save session…", "Choices, prompts, accepted labels and scores, into a folder."
        )
        self.open = button("Open session…", "A session of the image that is open.")
        self.words = Words()
        self.offer = QWidget()
        self.question = Words()
        self.restore = button("Bring it back", "Prompts, labels and choices as they were.")
        self.discard = button("Discard", "Deletes what was saved.")
        offer = QVBoxLayout(self.offer)
        offer.setContentsMargins(0, 0, 0, 0)
        offer.addWidget(self.question)
        offer.addLayout(line(self.restore, self.discard))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.offer)
        whole.addLayout(line(self.save, self.open))
        whole.addWidget(self.words)
        self.offer.hide()

        self.save.clicked.connect(self._save)
        self.open.clicked.connect(self._open)
        self.restore.clicked.connect(self._restore)
        self.discard.clicked.connect(self._discard)
        self._keeper.saved.connect(self.words.setText)
        workspace.docks.register(OFFER, self._offer)
        workspace.image_changed.connect(self.offer.hide)
        if self._keeper.left is not None:
            self._offer(self._keeper.left)

    def _save(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A folder for the session")
        if folder:
            try:
                self._keeper.save(folder)
            except CamSamError as error:
                self.words.setText(str(error))

    def _open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "The folder of a session")
        if folder:
            try:
                self._keeper.open(folder)
            except CamSamError as error:
                self.words.setText(str(error))

    def _offer(self, found: Found) -> None:
        self._found = found
        self.question.setText(found.words())
        self.offer.show()

    def _restore(self) -> None:
        found, self._found = self._found, None
        self.offer.hide()
        if found is not None:
            self._keeper.take(found)

    def _discard(self) -> None:
        found, self._found = self._found, None
        self.offer.hide()
        if found is not None:
            self._keeper.discard(found)
