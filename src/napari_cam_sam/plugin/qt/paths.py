"""Paths that are typed, pasted or looked for, in a dock and in a dialog of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QLineEdit, QWidget

from napari_cam_sam.models.names import CHECKPOINTS
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.widgets import button, hbox, vbox

__all__ = ["CHECKPOINT_FILES", "FolderDialog", "PathRow", "ask_new_folder"]

CHECKPOINT_FILES = f"Checkpoints ({' '.join(f'*{suffix}' for suffix in CHECKPOINTS)})"
"""What a dialog for files with weights lists."""


class PathRow(QWidget):
    """A path that is typed, pasted or looked for.

    Parameters
    ----------
    hint : str
    browse : callable
        Asks for a path, and gives an empty text where none was chosen.
    """

    changed = Signal()

    def __init__(self, hint: str, browse: Callable[[], str]) -> None:
        super().__init__()
        self.text = QLineEdit()
        self.text.setToolTip(hint)
        self.setToolTip(hint)
        self.browse = button("Browse…", hint)
        self._ask = browse
        row = hbox(self.text, self.browse, parent=self)
        row.setStretch(0, 1)
        self.text.textChanged.connect(self.changed)
        self.browse.clicked.connect(self._browse)

    def path(self) -> Path | None:
        """Return the path, None where there is none."""
        text = self.text.text().strip()
        return Path(text).expanduser() if text else None

    def _browse(self) -> None:
        found = self._ask()
        if found:
            self.text.setText(found)


class FolderDialog(QDialog):
    """Ask for a folder that need not exist: its name is marked for typing, and Enter takes it.

    Qt's own dialogs take a new name for files alone.

    Parameters
    ----------
    parent : QWidget
    title, words : str
        Of the window, and above the path.
    start : Path
        What is suggested.
    """

    def __init__(self, parent: QWidget, title: str, words: str, start: Path) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(560)
        self.row = PathRow("A folder that is there, or the name of a new one.", self._browse)
        self.row.browse.setAutoDefault(False)  # Enter is for the dialog
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.Save | kinds.Cancel)
        vbox(self, Label(words, wraps=True), self.row, self.buttons, margins=(12, 12, 12, 12))
        self._save = self.buttons.button(kinds.Save)
        self._save.setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.row.changed.connect(self._look)
        self._folder = start.parent
        text = self.row.text
        text.setText(str(start))
        text.setFocus()
        text.setSelection(len(text.text()) - len(start.name), len(start.name))

    def path(self) -> Path | None:
        """Return the folder, None where none is named; a bare name is beside the suggested one."""
        path = self.row.path()
        return None if path is None else self._folder / path

    def _look(self) -> None:
        self._save.setEnabled(self.row.path() is not None)

    def _browse(self) -> str:
        return str(QFileDialog.getExistingDirectory(self, self.windowTitle(), str(self._folder)))


def ask_new_folder(parent: QWidget, title: str, words: str, start: Path) -> Path | None:
    """Ask for a folder that need not exist.

    Parameters
    ----------
    parent, title, words, start
        As of `FolderDialog`.

    Returns
    -------
    Path or None
        None where the user would rather not.
    """
    dialog = FolderDialog(parent, title, words, start)
    try:
        return dialog.path() if dialog.exec() else None
    finally:
        dialog.deleteLater()
