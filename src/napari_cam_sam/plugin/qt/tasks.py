"""Work in a thread: progress, cancel, and every error as a notification.

A task is a generator that touches neither layers nor widgets: what it needs is read before it
starts, and what it yields is written by the main thread. It can be cancelled at each yield.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from napari.utils import progress
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import create_worker

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.plain_text import escape_markup, show_error
from napari_cam_sam.sam.segmenter import Cancelled

__all__ = ["Failure", "Steps", "Task", "notify", "report_steps", "run_in_thread"]

_BAR_MS = 500

Steps = Generator[Any, None, None]
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """What a task raised, as its last step.

    Raised from the worker, a RuntimeError would leave it busy for ever, and any error would be
    raised again in the event loop beside the notification.

    Attributes
    ----------
    error : Exception
    """

    error: Exception


class Task(QObject):
    """One run of a generator in a thread.

    Parameters
    ----------
    steps : callable
        Gives the generator. It is called in the thread.
    total : int
        How many times it yields.
    description : str
        For the activity dock.
    on_step : callable
        Takes what was yielded, in the main thread.
    is_wanted : callable
        Asked before each step is handed on; once it says no (the layer is gone, the viewer
        closed), the task is cancelled and what it still yields is dropped.
    parent : QObject, optional
    stop : threading.Event, optional
        Is set when the task is cancelled, for steps that can be left in their middle, by
        `Cancelled`.
    """

    stepped = Signal(int, int)
    failed = Signal(str)
    """What it failed of, in a sentence; a notification says it, too."""
    ended = Signal(bool)

    def __init__(
        self,
        steps: Callable[[], Steps],
        total: int,
        description: str,
        on_step: Callable[[Any], None],
        is_wanted: Callable[[], bool] = lambda: True,
        parent: QObject | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        super().__init__(parent)
        self._stop = stop or threading.Event()
        self._done, self._total = 0, total
        self._on_step, self._is_wanted = on_step, is_wanted
        self._complete = False
        self._bar = progress(total=total, desc=escape_markup(description))
        # napari's bar lets the window live inside its update, and the next steps come in there:
        # told at every step, a quick task would go deeper and deeper until the process ends.
        self._behind, self._updating = 0, False
        self._bar_timer = QTimer(self)
        self._bar_timer.setInterval(_BAR_MS)
        self._bar_timer.timeout.connect(self._update_bar)
        self._bar_timer.start()
        # However it ends, the activity dock must not keep the bar.
        weakref.finalize(self, self._bar.close)
        self._worker = create_worker(_guarded, steps, _start_thread=False)
        self._worker.yielded.connect(self._step)
        self._worker.returned.connect(self._returned)
        self._worker.finished.connect(self._finished)

    def start(self) -> None:
        """Start in the thread pool."""
        self._worker.start()

    def cancel(self) -> None:
        """Ask for an end at the next yield; nothing that comes after this is handed on."""
        self._is_wanted = lambda: False
        self.abandon()

    def abandon(self) -> None:
        """Stop without a word: the window is gone, and with it whoever listened."""
        self._stop.set()
        self._worker.quit()
        # Nobody hears its end any more, and the activity dock may have outlived the task's.
        self._bar.close()

    def _step(self, value: Any) -> None:
        if not self._is_wanted():
            self.cancel()
            return
        if isinstance(value, Failure):
            self._fail(value.error)
            return
        try:
            self._on_step(value)
        except Exception as error:
            self._fail(error)
            return
        self._done += 1
        self._behind += 1
        self.stepped.emit(self._done, self._total)

    def _fail(self, error: Exception) -> None:
        self.cancel()
        said = str(error) or type(error).__name__
        self.failed.emit(said if isinstance(error, CamSamError) else f"Failed: {said}")
        notify(error)

    def _update_bar(self) -> None:
        """Update the bar of the activity dock."""
        if self._updating or not self._behind or self._stop.is_set():
            return
        self._updating = True
        behind, self._behind = self._behind, 0
        try:
            self._bar.update(behind)
        finally:
            self._updating = False

    def _returned(self, _: Any) -> None:
        self._complete = self._is_wanted()

    def _finished(self) -> None:
        self._bar_timer.stop()
        self._bar.close()
        # A task outlives its end as a child of its row: held from there, the widget that listens
        # would be part of its own garbage, which PySide takes apart in the wrong order.
        self._on_step, self._is_wanted = _nobody, _unwanted
        self.ended.emit(self._complete)


def _nobody(_: Any) -> None:
    """Listen to a task that is over."""


def _unwanted() -> bool:
    return False


def run_in_thread(
    work: Callable[[Callable[[Any], None]], T], stop: threading.Event
) -> Generator[Any, None, T]:
    """Run work in a thread of its own, as a part of a task's steps, and yield what it tells.

    Parameters
    ----------
    work : callable
        Takes what it has to call with each thing that is yielded.
    stop : threading.Event
        Is set when the task is cancelled meanwhile. The work looks at it, and is waited for.

    Yields
    ------
    object
        What the work tells.

    Returns
    -------
    object
        What the work returned; what it raised is raised here.
    """
    told: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work(lambda step: told.put((True, step))))
        except BaseException as error:
            outcome.set_exception(error)
        told.put((False, None))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while (step := told.get())[0]:
            yield step[1]
    finally:
        stop.set()
        thread.join()
    return outcome.result()


def report_steps(
    work: Callable[[Callable[[int, int], None]], T], steps: int, step: Any
) -> Generator[Any, None, T]:
    """Run what tells its progress by a callable, as a part of a task's steps.

    Where the task is cancelled, the work is left at its next word.

    Parameters
    ----------
    work : callable
        Takes what it has to call with the number done and the number of all.
    steps : int
        How many steps are yielded in all.
    step : object
        What is yielded.

    Yields
    ------
    object
        `step`, so often.

    Returns
    -------
    object
        What the work returned.
    """
    stop = threading.Event()
    reached = 0

    def scaled(put: Callable[[Any], None]) -> T:
        def tell(done: int, total: int) -> None:
            nonlocal reached
            if stop.is_set():
                raise Cancelled
            while reached < min(steps, steps * done // max(1, total)):
                reached += 1
                put(step)

        return work(tell)

    found = yield from run_in_thread(scaled, stop)
    for _ in range(reached, steps):
        yield step
    return found


def _guarded(steps: Callable[[], Steps]) -> Steps:
    try:
        yield from steps()
    except Cancelled:
        return
    except Exception as error:
        yield Failure(error)


def notify(error: Exception) -> None:
    """Show an error as a notification.

    Parameters
    ----------
    error : Exception
        Ours is shown as its sentence, any other with the way to its traceback.
    """
    if isinstance(error, CamSamError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
