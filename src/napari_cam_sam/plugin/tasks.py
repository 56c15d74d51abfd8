"""Work in a thread: progress, cancel, and every error as a notification.

A task is a generator that touches neither layers nor widgets: what it needs is read before it
starts, and what it yields is written by the main thread. It can be cancelled at each yield.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from napari.utils import progress
from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import QObject, Signal
from superqt.utils import create_worker

from napari_cam_sam.errors import CamSamError

__all__ = ["Task"]

Steps = Generator[Any, None, None]


@dataclass(frozen=True)
class _Failure:
    """What a task raised, as its last step.

    Raised from the worker, a RuntimeError would leave it busy for ever, and any error would be
    raised again in the event loop beside the notification.
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
    """

    stepped = Signal(int, int)
    ended = Signal(bool)

    def __init__(
        self,
        steps: Callable[[], Steps],
        total: int,
        description: str,
        on_step: Callable[[Any], None],
        is_wanted: Callable[[], bool] = lambda: True,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._done, self._total = 0, total
        self._on_step, self._is_wanted = on_step, is_wanted
        self._complete = False
        self._bar = progress(total=total, desc=description)
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
        self._worker.quit()

    def _step(self, value: Any) -> None:
        if not self._is_wanted():
            self.cancel()
            return
        if isinstance(value, _Failure):
            self.cancel()
            _notify(value.error)
            return
        try:
            self._on_step(value)
        except Exception as error:
            self.cancel()
            _notify(error)
            return
        self._done += 1
        self._bar.update(1)
        self.stepped.emit(self._done, self._total)

    def _returned(self, _: Any) -> None:
        self._complete = self._is_wanted()

    def _finished(self) -> None:
        self._bar.close()
        self.ended.emit(self._complete)


def _guarded(steps: Callable[[], Steps]) -> Steps:
    try:
        yield from steps()
    except Exception as error:
        yield _Failure(error)


def _notify(error: Exception) -> None:
    """Show an error: ours as its sentence, any other with the way to its traceback."""
    if isinstance(error, CamSamError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
