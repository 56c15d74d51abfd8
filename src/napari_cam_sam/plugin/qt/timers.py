"""Timers that fire once."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer

__all__ = ["single_shot_timer"]


def single_shot_timer(
    parent: QObject, slot: Callable[[], None] | None = None, milliseconds: int = 0
) -> QTimer:
    """Return a timer that fires once after each start.

    Parameters
    ----------
    parent : QObject
        Deleted together with it.
    slot : callable, optional
        What is called, a method of an object that lives as long as the parent.
    milliseconds : int
        After how long; 0 for once the events at hand are done.

    Returns
    -------
    QTimer
    """
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    if slot is not None:
        timer.timeout.connect(slot)
    return timer
