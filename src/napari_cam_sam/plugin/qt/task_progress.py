"""What a dock shows of its work: a line of words, a bar with an estimate, and Cancel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QApplication, QHBoxLayout, QProgressBar, QWidget

from napari_cam_sam.plugin.qt.dock import Dock, when_destroyed
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.plain_text import show_info
from napari_cam_sam.plugin.qt.tasks import Steps, Task
from napari_cam_sam.plugin.qt.widgets import button, vbox

__all__ = ["TaskProgress", "any_running", "duration"]

_TELL_SECONDS = 0.3
# A press of the mouse counts when it is over: a line that goes would move the button from under it.
_ACTIONS = (QEvent.Type.MouseButtonRelease, QEvent.Type.KeyPress)


# Rows that started something, to know whether anything runs.
_STARTED: WeakSet[TaskProgress] = WeakSet()


def any_running() -> bool:
    """Return whether a task of any row runs.

    Returns
    -------
    bool
    """
    return any(row.busy for row in list(_STARTED))


class _Held:
    """The task that runs, apart from the row that started it."""

    task: Task | None = None

    def abandon(self) -> None:
        """Stop the task without a word."""
        if self.task is not None:
            self.task.abandon()


class TaskProgress(QWidget):
    """Runs one task at a time and shows how far it is.

    An error stays in its line until the next action in the dock, or until what it is of is another:
    what the dock would say of its state meanwhile waits until then.

    Parameters
    ----------
    lines : int
        For how many lines of words there is room from the start.
    room : bool
        Whether there is room for the bar from the start, so that nothing below moves as it comes.
    """

    started = Signal()
    """A task begins."""
    ended = Signal(bool)
    """A task is over; True if it ran to its end."""

    def __init__(self, lines: int = 1, room: bool = True) -> None:
        super().__init__()
        self._held = _Held()
        self._starting, self._begin, self._told = False, 0.0, 0.0
        self._description, self._counts = "", True
        self._waiting: str | None = None
        self._state: Callable[[], object] | None = None
        self._state_then: object = None
        self.bar = QProgressBar()
        self.cancel = button("Cancel", "Stops within one slice; results so far are kept.")
        self.cancel.clicked.connect(self.stop)
        self.words = WrappingLabel(lines=lines)
        # Long words grow the row at once, also in a dock that has room below.
        policy = self.sizePolicy()
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.addWidget(self.bar)
        row.addWidget(self.cancel)
        vbox(self, self.words, row)
        if room:
            self._keep_room()
        self._show_bar(False)
        # When the window closes, what is computed for it must not go on.
        when_destroyed(self, self._held.abandon)

    @property
    def busy(self) -> bool:
        """Whether a task runs."""
        return self._starting or self._held.task is not None

    def set_message(self, text: str) -> None:
        """Show a line of words, unless an error is shown: then it waits."""
        if self._waiting is None:
            self._show(text)
        else:
            self._waiting = text

    def _show(self, text: str) -> None:
        self.words.setText(text)
        self.updateGeometry()

    def set_result(self, text: str) -> None:
        """Show what came of an action, also in place of an error."""
        self.clear_error()
        self.set_message(text)

    def show_error(self, text: str, state: Callable[[], object] | None = None) -> None:
        """Show an error, which stays until the next action in the dock.

        Parameters
        ----------
        text : str
        state : callable, optional
            Returns what the error is of, e.g. the slice shown. Once that is another, `look_again`
            lets go of the error.
        """
        self._state, self._state_then = state, None if state is None else state()
        if self._waiting is None:
            # The words before were of the state that the error is of, and come back after it.
            self._waiting = self.words.text()
            QApplication.instance().installEventFilter(self)
        self._show(text)

    def refuse(self, text: str, state: Callable[[], object] | None = None) -> None:
        """Show why nothing was started, also where the dock is scrolled away, as by a key."""
        self.show_error(text, state)
        show_info(text)

    def look_again(self) -> None:
        """Let go of an error that is of another state than the one that there is now."""
        if self._state is not None and self._state() != self._state_then:
            self.clear_error()

    @property
    def has_error(self) -> bool:
        """Whether an error is shown."""
        return self._waiting is not None

    def clear_error(self) -> None:
        """Let go of an error: something else is done now."""
        if self._waiting is not None:
            text, self._waiting, self._state = self._waiting, None, None
            QApplication.instance().removeEventFilter(self)
            self._show(text)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt calls it so
        """Let go of an error at the next action in the dock."""
        if (
            self._waiting is not None
            and event.type() in _ACTIONS
            and isinstance(watched, QWidget)
            and watched is not self.words
            and self._dock().isAncestorOf(watched)
        ):
            self.clear_error()
        return False

    def _dock(self) -> QWidget:
        """Find the dock that this is a part of; the outermost, where docks lie in one."""
        found, widget = self.window(), self.parentWidget()
        while widget is not None:
            if isinstance(widget, Dock):
                found = widget
            widget = widget.parentWidget()
        return found

    def start(
        self,
        steps: Callable[[], Steps],
        total: int,
        description: str,
        on_step: Callable[[Any], None],
        is_wanted: Callable[[], bool] = lambda: True,
        stop: threading.Event | None = None,
        counts: bool = True,
    ) -> bool:
        """Start a task, unless one runs; the other arguments are those of `Task`.

        Parameters
        ----------
        counts : bool
            Whether the bar counts the steps; else it shows what `show_progress` is told.

        Returns
        -------
        bool
            False if one runs already, e.g. where a button was pressed twice.
        """
        if self.busy:
            return False
        _STARTED.add(self)
        self.clear_error()
        self._description, self._begin = description, time.monotonic()
        self._counts = counts
        # napari lets the window live while it makes a bar: a second press may come in there.
        self._starting = True
        try:
            self._held.task = Task(steps, total, description, on_step, is_wanted, self, stop)
        finally:
            self._starting = False
        self._held.task.stepped.connect(self._stepped)
        self._held.task.failed.connect(self.show_error)
        self._held.task.ended.connect(self._ended)
        # Of a single step nothing is known until it is over: a bar that moves to and fro.
        self.bar.setRange(0, total if total > 1 and counts else 0)
        self.bar.setValue(0)
        self.bar.setFormat(description)
        self._show_bar(True)
        self.started.emit()
        self._held.task.start()
        return True

    def show_progress(self, done: int, total: int, words: str) -> None:
        """Show how far a task is whose steps do not count alike."""
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.bar.setFormat(words)

    def stop(self) -> None:
        """Cancel what runs."""
        if self._held.task is not None:
            self._held.task.cancel()

    def _show_bar(self, shown: bool) -> None:
        for one in (self.bar, self.cancel):
            one.setVisible(shown)
        if shown:
            self._keep_room()  # what lies below moves at most once

    def _keep_room(self) -> None:
        for one in (self.bar, self.cancel):
            policy = one.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            one.setSizePolicy(policy)

    def _stepped(self, done: int, total: int) -> None:
        now = time.monotonic()
        # A bar paints the whole window at once whenever its value is set.
        if self._counts and total > 1 and (now - self._told > _TELL_SECONDS or done == total):
            self._told = now
            left = (now - self._begin) / done * (total - done)
            self.bar.setFormat(f"{done} of {total}, {duration(left)} left")
            self.bar.setValue(done)

    def _ended(self, complete: bool) -> None:
        self._held.task = None
        self._show_bar(False)
        self.ended.emit(complete)


def duration(seconds: float) -> str:
    """Return a duration as people say it, e.g. ``"about 4 s"``, ``"about 3 min"``.

    Parameters
    ----------
    seconds : float

    Returns
    -------
    str
    """
    if seconds < 1:
        return "about 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
