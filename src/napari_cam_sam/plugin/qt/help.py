"""The help of a dock: its part of the page on the docks, which comes with the package."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from importlib.resources import files

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QDialog, QTextBrowser, QWidget

from napari_cam_sam.plugin.qt.widgets import button, vbox

__all__ = ["HelpWindow", "help_address", "help_text"]

_SITE = "Documentation, "


def help_text(section: str) -> str:
    """Return a section of the page on the docks.

    Parameters
    ----------
    section : str
        Its title: the name of a dock.

    Returns
    -------
    str
        As Markdown, from its title to the next.
    """
    page = files("napari_cam_sam.plugin.qt").joinpath("docks.md").read_text(encoding="utf-8")
    rest = page.partition(f"\n## {section}\n")[2]
    text = rest.partition("\n## ")[0]
    return f"## {section}\n{text}"


def help_address(section: str) -> str:
    """Return where the same section stands on the project's site.

    Parameters
    ----------
    section : str
        As of `help_text`.

    Returns
    -------
    str
    """
    named = metadata("napari-cam-sam").get_all("Project-URL", [])
    (site,) = (one.removeprefix(_SITE) for one in named if one.startswith(_SITE))
    anchor = re.sub(r"[^a-z]+", "-", section.lower())
    return f"{site.rstrip('/')}/docks/#{anchor}"


class HelpWindow(QDialog):
    """A section of the page on the docks, to be read beside the dock; no network is needed.

    Parameters
    ----------
    parent : QWidget
        The dock, with which it closes.
    section : str
        As of `help_text`.
    """

    def __init__(self, parent: QWidget, section: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Help: {section}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(560, 560)
        self.text = QTextBrowser()
        self.text.setOpenExternalLinks(True)
        self.browse = button("Open on the web", "Opens this page of the project's site.")
        self.browse.setAutoDefault(False)
        vbox(self, self.text, self.browse, margins=(8, 8, 8, 8))
        self.text.setMarkdown(help_text(section))
        self._show_links()
        address = QUrl(help_address(section))
        self.browse.clicked.connect(lambda: QDesktopServices.openUrl(address))

    def _show_links(self) -> None:
        """Underline the links: Qt's blue for them cannot be read in a dark theme."""
        self.text.ensurePolished()
        style = f"text-decoration: underline; color: {self.text.palette().text().color().name()}"
        html = re.sub(r'(<a href="[^"]*"><span style=")[^"]*', rf"\1{style}", self.text.toHtml())
        self.text.setHtml(html)
