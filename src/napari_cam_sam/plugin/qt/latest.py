"""Questions in a thread, of which the newest alone is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QRunnable, QThreadPool, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.tasks import Failure, notify

__all__ = ["LatestOnly"]


class LatestOnly(QObject):
    """Answers one question after the other in a thread; of those that wait, the newest alone.

    For what is asked at every move of the mouse: without a bar, never queued, and the thread goes
    on to the next question without waiting for a window that is busy painting.

    Parameters
    ----------
    on_answer : callable
        Takes what a question returned, in the main thread, unless it was dropped meanwhile.
    on_error : callable
        Takes the sentence of a `CamSamError`; other errors are notifications.
    parent : QObject, optional
    """

    def __init__(
        self,
        on_answer: Callable[[Any], None],
        on_error: Callable[[str], None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._on_answer, self._on_error = on_answer, on_error
        self._handed = 0
        self._questions = _Questions()
        self._questions.told.connect(self._hand_on)

    @property
    def busy(self) -> bool:
        """Whether a question is being answered or waits."""
        return self._questions.busy

    @property
    def pending(self) -> bool:
        """Whether an answer will be handed on: not where all that was asked was dropped."""
        return self._questions.busy and self._questions.asked > self._questions.dropped

    @property
    def overtaken(self) -> bool:
        """Whether a newer question was asked than the one whose answer is handed on now."""
        return self._questions.asked > self._handed

    def ask(self, question: Callable[[], Any]) -> None:
        """Call a function in a thread, at once or when the one that runs is done."""
        if self._questions.put(question):
            QThreadPool.globalInstance().start(_Answering(self._questions))

    def answer(self, question: Callable[[], Any]) -> None:
        """Call a function here and now, in place of all that was asked.

        For what takes less time than the window takes to paint: handed to a thread, it would come
        back only after a picture of the state before, and be slowed down by its painting.
        """
        self._questions.drop()
        self._handed = self._questions.asked
        self._deliver(_answered(question))

    def drop(self) -> None:
        """Forget what waits, and the answer of what runs."""
        self._questions.drop()

    def _hand_on(self, number: int, answer: Any) -> None:
        # While the window painted, a newer answer may have come in behind this one.
        if number <= self._questions.dropped or number < self._questions.answered:
            return
        self._handed = number
        self._deliver(answer)

    def _deliver(self, answer: Any) -> None:
        if not isinstance(answer, Failure):
            self._on_answer(answer)
        elif isinstance(answer.error, CamSamError):
            self._on_error(str(answer.error))
        else:
            notify(answer.error)


def _answered(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except Exception as error:
        return Failure(error)


class _Questions(QObject):
    """What the main thread asks and a pool's thread answers, under one lock.

    The answers are told from here: a thread must not send from what the window takes with it.
    """

    told = Signal(int, object)

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._waiting: Callable[[], Any] | None = None
        self.asked = self.dropped = self.answered = 0
        self.busy = False

    def put(self, question: Callable[[], Any]) -> bool:
        """Replace what waits; True where no thread is at work on it."""
        with self._lock:
            self._waiting = question
            self.asked += 1
            idle, self.busy = not self.busy, True
            return idle

    def take(self) -> tuple[int, Callable[[], Any]] | None:
        """Return the newest question and its number; None, and idle, where none waits."""
        with self._lock:
            question, self._waiting = self._waiting, None
            if question is None:
                self.busy = False
                return None
            return self.asked, question

    def drop(self) -> None:
        """Forget what waits and what was asked so far."""
        with self._lock:
            self._waiting = None
            self.dropped = self.asked


class _Answering(QRunnable):
    """Answers until no question waits."""

    def __init__(self, questions: _Questions) -> None:
        super().__init__()
        self._questions = questions

    def run(self) -> None:
        """Answer; in a thread of the pool."""
        while (taken := self._questions.take()) is not None:
            number, question = taken
            answer = _answered(question)
            self._questions.answered = number
            try:
                self._questions.told.emit(number, answer)
            except RuntimeError:
                return  # the window is gone, and with it whoever asked
