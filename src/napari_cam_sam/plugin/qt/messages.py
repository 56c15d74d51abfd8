"""Lines of text in a dock that wrap, and that move nothing when they change."""

from __future__ import annotations

import re
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication, QKeySequence
from qtpy.QtWidgets import QMenu, QSizePolicy

from napari_cam_sam.plugin.qt.plain_text import Label

__all__ = ["Message", "WrappingLabel"]


class WrappingLabel(Label):
    """A text that wraps where the dock ends; a long one, or a long path, asks for no wider dock.

    It keeps the height of what it showed, up to three lines, so that a shorter text does not move
    the buttons below.

    Parameters
    ----------
    text : str
    lines : int
        For how many lines it has room from the start.
    """

    def __init__(self, text: str = "", lines: int = 0) -> None:
        super().__init__(wraps=True)
        self._lines = lines
        policy = self.sizePolicy()
        policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
        self.setSizePolicy(policy)
        self.setText(text)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt calls it so
        """Show a text, which may break after each part of a path, and within a very long word."""
        broken = re.sub(r"([/\\_])", "\\1\u200b", text)
        super().setText(re.sub(r"([^\s\u200b]{20})(?=[^\s\u200b]{20})", "\\1\u200b", broken))
        self._keep_height()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Begin anew with the height at another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.setMinimumHeight(0)
            self._keep_height()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Take the room that it is to have, in the size of text that it has by now."""
        super().showEvent(event)
        self._keep_height()

    def _keep_height(self) -> None:
        if self.isVisible():
            line = self.fontMetrics().lineSpacing()
            height = min(self.heightForWidth(self.width()), 3 * line)
            self.setMinimumHeight(max(self.minimumHeight(), height, self._lines * line))

    def text(self) -> str:
        """Return the text as it was set."""
        return super().text().replace("\u200b", "")

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Copy what is selected as it was set: a path with signs that nobody sees is no path."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self._copy()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Offer to copy what is selected, where one can select."""
        if not self.textInteractionFlags() & Qt.TextInteractionFlag.TextSelectableByMouse:
            super().contextMenuEvent(event)
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Copy", self._copy).setEnabled(self.hasSelectedText())
        menu.exec(event.globalPos())

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.selectedText().replace("\u200b", ""))


class Message(WrappingLabel):
    """A text that takes no room while it is empty."""

    def setText(self, text: str) -> None:  # noqa: N802 - Qt calls it so
        """Show a text, or nothing."""
        super().setText(text)
        self.setVisible(bool(text))
