"""A line at the top of a dock where the image worked on is not the one that is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_sam.plugin.qt.dock import Dock
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.widgets import button, vbox

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ImageNotice"]


class ImageNotice(QWidget):
    """Says on which image boxes are drawn, and goes to the one that is seen by one press.

    Parameters
    ----------
    workspace : Workspace
    dock : Dock
        It is put on top of its layout; inside of another dock it leaves the word to that one.
    """

    def __init__(self, workspace: Workspace, dock: Dock) -> None:
        super().__init__()
        self._in_view, self._dock = workspace.in_view, dock
        self.words = WrappingLabel()
        self.change = button(
            "Work on the image you see",
            "Prompts, masks and scores of the other image stay with it, and come back with it.",
        )
        vbox(self, self.words, self.change)
        self.change.clicked.connect(self._in_view.work_on_seen)
        self._in_view.changed.connect(self._refresh)
        layout = dock.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.insertWidget(0, self)
        self._refresh()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Look once more: by now it is known what the dock is a part of."""
        super().showEvent(event)
        self._refresh()

    def _refresh(self) -> None:
        words, outer = self._in_view.words(), self._dock.parentWidget()
        while outer is not None and not isinstance(outer, Dock):
            outer = outer.parentWidget()
        self.words.setText(words)
        self.setVisible(bool(words) and outer is None)
