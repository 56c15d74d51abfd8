"""Which planes are ready to be segmented, to be seen in the dock."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_cam_sam.plugin.qt.dock import connect_until_destroyed
from napari_cam_sam.plugin.qt.messages import Message
from napari_cam_sam.plugin.qt.plots import theme_colours
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.widgets import checkbox, vbox
from napari_cam_sam.plugin.segment.encode_ahead import EncodeAhead, Readiness, is_instant
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["EncodeAheadPanel", "EncodedSlicesStrip"]

_HEIGHT = 18
_HINT = (
    "Slices along this axis, the first at the left. Top: slices with prompts. Bottom: "
    "encoded slices, whose masks come at once (hollow: being encoded). Line: this slice."
)


class EncodedSlicesStrip(QWidget):
    """A line of marks for the planes of an axis, in the colours of the viewer's theme.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._known: Readiness | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        connect_until_destroyed(self, viewer.events.theme, self._repaint)

    def show_readiness(self, known: Readiness | None) -> None:
        """Draw what is known; None for nothing."""
        if known != self._known:
            self._known = known
            self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Return the size to begin with."""
        return QSize(120, _HEIGHT)

    def event(self, event: Any) -> bool:
        """Show in a tooltip what the marks under the mouse mean."""
        if event.type() == QEvent.Type.ToolTip and self._known is not None:
            QToolTip.showText(event.globalPos(), self.words_at(event.pos().x()), self)
            return True
        return bool(super().event(event))

    def words_at(self, x: float) -> str:
        """Return what is known of the plane nearest to a place, in pixels from the left."""
        known = self._known
        if known is None:
            return _HINT
        index = min(max(int(x / max(1, self.width()) * known.n_planes), 0), known.n_planes - 1)
        if index not in known.prompted | known.ready | {known.encoding, known.shown}:
            return _HINT
        parts = [f"Slice {index}"]
        if index == known.shown:
            parts.append("shown")
        if index in known.prompted:
            parts.append("with prompts")
        if index == known.encoding:
            parts.append("being encoded")
        else:
            parts.append("ready" if index in known.ready else "not ready")
        return f"{', '.join(parts)}.\n{_HINT}"

    def paintEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Draw the marks."""
        colours = theme_colours(self._viewer.theme)
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(colours.grid))
        known = self._known
        if known is None:
            return
        half = self.height() / 2
        for index in known.prompted:
            painter.fillRect(self._mark(index, 1, half - 1), QColor(colours.second))
        for index in known.ready:
            painter.fillRect(self._mark(index, half + 1, half - 2), QColor(colours.first))
        if known.encoding is not None:
            painter.setPen(QColor(colours.first))
            mark = self._mark(known.encoding, half + 1, half - 3)
            painter.drawRect(mark.adjusted(-1, 0, 1, 0))
        shown = self._mark(known.shown, 0, self.height())
        shown.setLeft(shown.center().x() - 0.5)
        shown.setWidth(1)
        painter.fillRect(shown, QColor(colours.text))

    def _mark(self, index: int, top: float, height: float) -> QRectF:
        """Return a plane's place: all of its share, and never less than two pixels."""
        assert self._known is not None
        share = self.width() / self._known.n_planes
        width = max(2.0, share - (1 if share > 4 else 0))
        left = min(index * share, self.width() - width)
        return QRectF(left, top, width, height)

    def _repaint(self, _: object = None) -> None:
        self.update()


class EncodeAheadPanel(QWidget):
    """Switches encoding ahead, and shows which planes are ready.

    Parameters
    ----------
    workspace : Workspace
    segmenter : SegmenterChoice
    row : TaskProgress
    """

    def __init__(self, workspace: Workspace, segmenter: SegmenterChoice, row: TaskProgress) -> None:
        super().__init__()
        self._segmenter = segmenter
        self.ahead = EncodeAhead(workspace, segmenter, row, self.isVisible, self)
        self.switch = checkbox(
            "Encode ahead",
            "Encodes this slice, slices with prompts and the next ones in the background, so "
            "that masks come at once. Starts once the segmenter is loaded, with the first masks.",
            checked=True,
        )
        self.strip = EncodedSlicesStrip(workspace.viewer)
        self.words = Message()
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        vbox(self, self.switch, self.strip, self.words)
        self.switch.toggled.connect(self.ahead.switch)
        self.ahead.changed.connect(self._refresh)
        self._refresh()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Look at the plane shown, which now counts."""
        super().showEvent(event)
        self.ahead.plan_soon()

    def _refresh(self) -> None:
        known, trouble = self.ahead.readiness, self.ahead.trouble
        self.strip.show_readiness(known)
        self.switch.setVisible(not is_instant(str(self._segmenter.value())))
        self.strip.setVisible(known is not None and known.n_planes > 1)
        text = " ".join(part for part in (known and f"{known.words()}.", trouble) if part)
        self.words.setText(text)
        self.strip.setAccessibleName(text)
