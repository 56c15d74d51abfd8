"""How docks lie in a window, how they end that are closed, and what nobody holds any more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakMethod

from qtpy.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QDockWidget,
    QFrame,
    QLabel,
    QLineEdit,
    QMainWindow,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.plugin.qt.help import HelpWindow
from napari_cam_sam.plugin.qt.widgets import Section, button

__all__ = ["DeletedByQt", "Dock", "connect_to_layers", "connect_until_destroyed", "when_destroyed"]

# What napari's own style sheet leaves at the size of text of the desktop.
_SHEET = "QToolButton, QTableView, QHeaderView, QProgressBar, QLineEdit {{ font-size: {}pt; }}"
# In pixels: of a dock with small text.
_WIDTH = 380
_ANSWERS: set[Callable[..., None]] = set()


class DeletedByQt:
    """A part of a class of Qt objects: what nobody holds any more is deleted by Qt.

    The workspace of a viewer that was closed refers to itself, so that Python's collector finds it,
    in whichever thread that runs. PySide would take it apart there and then, with timers that run
    and slots that are still called: the process would end.
    """

    def __del__(self) -> None:
        """Come back to life until the window's thread has deleted what Qt knows of it."""
        if sys.is_finalizing():
            return
        try:
            self.objectName()  # type: ignore[attr-defined]
        except RuntimeError:
            return  # it was deleted with its window
        _LEFT.put(self)


class Dock(DeletedByQt, QWidget):
    """A widget that a viewer docks; closed, it ends, and so does its work.

    It scrolls, has the viewer's size of text in all its parts, and opens as a tab where another of
    ours is open. napari takes it out of its window when it is closed and leaves it to Python, where
    it would go on listening to the viewer: until the collector comes by, or under PySide for ever.

    Attributes
    ----------
    scroll : QScrollArea
        Holds what the dock holds, once a window has docked it; not where it is a part of another.
    """

    help_section = ""
    """Which section of the page on the docks is its help; empty for none."""

    closed = Signal()
    """The window let go of it: what is to be kept of it is asked for now."""

    def __init__(self) -> None:
        super().__init__()
        self._has_place = False
        self._sample = QLabel("", self)
        self.scroll = QScrollArea(self)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        for one in (self._sample, self.scroll):
            one.hide()

    def event(self, event: QEvent) -> bool:
        """Fit into the window, and end when taken out of it; otherwise as Qt does."""
        kind, frame = event.type(), self.parent()
        if kind == QEvent.Type.ParentChange and frame is None:
            self.closed.emit()
            self.deleteLater()
        elif kind == QEvent.Type.ParentChange and isinstance(frame, QDockWidget):
            self._scroll()
        elif kind == QEvent.Type.StyleChange:
            self._size_text()
        elif kind == QEvent.Type.Show and isinstance(frame, QDockWidget) and not self._has_place:
            self._has_place = True  # from now on it stays where the user puts it
            QTimer.singleShot(0, self._join_tabs)
        return bool(super().event(event))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt calls it so
        """Keep keys that a field for text did not take from the viewer, where they are actions.

        The keys of all other parts go on to it: after a press of a button they still work.
        """
        if isinstance(self.focusWidget(), QLineEdit | QAbstractSpinBox):
            event.accept()
        else:
            super().keyPressEvent(event)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Ask for the usual width of a dock, or for more where its parts need it."""
        return super().sizeHint().expandedTo(self.minimumSizeHint()).expandedTo(QSize(_WIDTH, 0))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Ask for the width that its parts need; a dock that is too low is scrolled."""
        hint, inside = super().minimumSizeHint(), self.scroll.widget()
        if inside is not None:
            bar = self.scroll.verticalScrollBar().sizeHint().width()
            hint.setWidth(inside.minimumSizeHint().width() + bar)
        return hint

    def scroll_to(self, part: QWidget) -> None:
        """Bring the top of a part of this dock to the top of what is seen.

        Parameters
        ----------
        part : QWidget
        """
        inside = self.scroll.widget()
        if inside is not None:
            self.scroll.verticalScrollBar().setValue(part.mapTo(inside, QPoint(0, 0)).y())

    def come_forward(self) -> None:
        """Raise the dock that it is, or is a part of, unfold what it lies in, and scroll to it."""
        holder, part = self, self.parentWidget()
        while part is not None:
            if isinstance(part, Section):
                part.title.setChecked(True)
            elif isinstance(part, Dock):
                holder = part
            elif isinstance(part, QDockWidget):
                part.show()
                part.raise_()
                break
            part = part.parentWidget()
        if holder is not self:
            # What was folded or hidden has no place before it is laid out.
            QTimer.singleShot(0, lambda: holder.scroll_to(self))

    def _size_text(self) -> None:
        """Give all parts the size of text that napari gives to labels."""
        self._sample.ensurePolished()
        sheet = _SHEET.format(self._sample.font().pointSize())
        if sheet != self.styleSheet():
            self.setStyleSheet(sheet)
            self.updateGeometry()

    def _scroll(self) -> None:
        if self.scroll.widget() is None and self.layout() is not None:
            inside = QWidget()
            inside.setLayout(self.layout())
            self.scroll.setWidget(inside)
            whole = QVBoxLayout(self)
            whole.setContentsMargins(0, 0, 0, 0)
            whole.setSpacing(0)
            if self.help_section:
                asked = button("?", "What this dock does, and how to use it.")
                asked.setMinimumWidth(28)
                asked.clicked.connect(self.show_help)
                whole.addWidget(asked, 0, Qt.AlignmentFlag.AlignRight)
            whole.addWidget(self.scroll)
            self.scroll.show()

    def show_help(self) -> None:
        """Show the help in a window beside the viewer."""
        HelpWindow(self, self.help_section).show()

    def _join_tabs(self) -> None:
        """Become a tab of another dock of ours: below one another, none has room."""
        frame = self.parent()
        window = frame.parent() if isinstance(frame, QDockWidget) else None
        if not isinstance(window, QMainWindow) or window.tabifiedDockWidgets(frame):
            return
        area = window.dockWidgetArea(frame)
        for other in window.findChildren(QDockWidget):
            ours = other is not frame and isinstance(other.widget(), Dock)
            if ours and not other.isFloating() and window.dockWidgetArea(other) == area:
                window.tabifyDockWidget(other, frame)
                QTimer.singleShot(0, frame.raise_)  # a tab cannot be raised before it is one
                return


class _Left(QObject):
    """Objects that wait for the window's thread to delete them."""

    _came = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[QObject] = []
        self._going: dict[int, QObject] = {}
        self._came.connect(self._delete, Qt.ConnectionType.QueuedConnection)

    def put(self, gone: QObject) -> None:
        """Take an object, in any thread."""
        self._waiting.append(gone)
        self._came.emit()

    def _delete(self) -> None:
        while self._waiting:
            # Its parent may have been deleted meanwhile, and it with that.
            with suppress(RuntimeError):
                self._delete_later(self._waiting.pop())

    def _delete_later(self, gone: QObject) -> None:
        key = id(gone)
        gone.destroyed.connect(lambda *_: self._going.pop(key))
        self._going[key] = gone
        gone.deleteLater()


_LEFT = _Left()


def when_destroyed(gone: QObject, answer: Callable[[], object]) -> None:
    """Call a function when Qt deletes an object.

    Parameters
    ----------
    gone : QObject
    answer : callable
        It must not refer to the object. It is held here, as Python may take the object, and all
        that hangs on it, before Qt sends this.
    """

    def call(*_: object) -> None:
        _ANSWERS.discard(call)
        answer()

    _ANSWERS.add(call)
    gone.destroyed.connect(call)


def connect_until_destroyed(widget: QWidget, emitter: Any, method: Callable[..., None]) -> None:
    """Connect a method of a widget to an event of napari's, for as long as Qt keeps the widget.

    Parameters
    ----------
    widget : QWidget
    emitter : napari.utils.events.EventEmitter
    method : callable
        A bound method of the widget; it is held weakly.
    """
    emitter.connect(method)
    held = WeakMethod(method)

    def disconnect() -> None:
        there = held()
        if there is not None:
            emitter.disconnect(there)

    when_destroyed(widget, disconnect)


def connect_to_layers(widget: QWidget, viewer: Any, method: Callable[..., None]) -> None:
    """Connect a method of a widget to all that changes which layers a list of them shows.

    Parameters
    ----------
    widget : QWidget
    viewer : napari.Viewer
    method : callable
        As of `connect_until_destroyed`.
    """
    events = viewer.layers.events
    for event in (events.inserted, events.removed, events.reordered, events.renamed):
        connect_until_destroyed(widget, event, method)
