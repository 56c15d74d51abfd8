"""How docks end that are closed, and what nobody holds any more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakMethod

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QWidget

__all__ = ["DeletedByQt", "Dock", "connect_until_destroyed", "when_destroyed"]

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

    napari takes it out of its window and leaves it to Python, where it would go on listening to
    the viewer: until the collector comes by, or under PySide for ever.
    """

    def event(self, event: QEvent) -> bool:
        """End when it is taken out of its window; otherwise as Qt does."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.deleteLater()
        return bool(super().event(event))


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
