"""Texts of the docks are plain: what a name or a message holds is shown, never carried out.

Qt takes a text that looks like HTML for HTML, and opens the pictures that it names. What the docks
show comes out of files, so labels are `Label`, tooltips go through `plain_tip`, and the few labels
with markup of our own are `RichLabel`, whose data go through `html.escape`.
"""

from __future__ import annotations

import html
from typing import Any

from napari.utils import notifications
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QMessageBox, QWidget

__all__ = [
    "Label",
    "RichLabel",
    "confirm",
    "escape_markup",
    "plain_tip",
    "show_error",
    "show_info",
    "show_warning",
    "unescape_markup",
]


class Label(QLabel):
    """A label that shows its text as it is.

    Parameters
    ----------
    text : str
    wraps : bool
        Whether it may have several lines.
    """

    def __init__(self, text: str = "", *, wraps: bool = False) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(wraps)
        self.setText(text)

    def setToolTip(self, text: str) -> None:  # noqa: N802 - Qt calls it so
        """Show a tooltip as it is."""
        super().setToolTip(plain_tip(text))


class RichLabel(QLabel):
    """A label with markup of our own: what comes out of data is escaped by whoever sets it.

    Parameters
    ----------
    text : str
        HTML.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setText(text)


def plain_tip(text: Any) -> str:
    """Return what a tooltip shows as this text: tooltips have no switch for plain text.

    Parameters
    ----------
    text : object
        Whose ``str`` is shown.

    Returns
    -------
    str
    """
    text = str(text)
    return f"<qt>{html.escape(text)}</qt>" if "<" in text or "&" in text else text


def escape_markup(text: Any) -> str:
    """Return a text that no label of napari's takes for markup, e.g. for a layer's name.

    A space without width stands in it, so what is seen stays; `unescape_markup` takes it out again.

    Parameters
    ----------
    text : object
        Whose ``str`` is shown.

    Returns
    -------
    str
    """
    return unescape_markup(text).replace("<", "<\u200b")


def unescape_markup(text: Any) -> str:
    """Return the text that `escape_markup` was given.

    Parameters
    ----------
    text : object

    Returns
    -------
    str
    """
    return str(text).replace("<\u200b", "<")


def show_error(text: str) -> None:
    """Show an error as a notification.

    Parameters
    ----------
    text : str
    """
    notifications.show_error(escape_markup(text))


def show_warning(text: str) -> None:
    """Show a warning as a notification.

    Parameters
    ----------
    text : str
    """
    notifications.show_warning(escape_markup(text))


def show_info(text: str) -> None:
    """Show something to know as a notification.

    Parameters
    ----------
    text : str
    """
    notifications.show_info(escape_markup(text))


def confirm(parent: QWidget, title: str, question: str) -> bool:
    """Ask a question of two answers, in plain text.

    Parameters
    ----------
    parent : QWidget
    title, question : str

    Returns
    -------
    bool
        True for yes.
    """
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    box = QMessageBox(QMessageBox.Icon.Question, title, "", yes | no, parent)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(question)
    return bool(box.exec() == yes)
