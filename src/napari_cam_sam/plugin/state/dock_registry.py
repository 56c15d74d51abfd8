"""What the open docks of a viewer do for its keys and its session."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError

__all__ = ["DockRegistry"]


# What a dock raises where a choice is of another version, or odd.
_UNKNOWN = (
    CamSamError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError,
)  # fmt: skip


class DockRegistry(QObject):
    """Finds the dock that answers a key, or that holds a part of the session.

    Docks come and go, and one may be open twice: of those that can answer, the last opened does.
    What a dock last gave for the session is kept beyond its end.

    Parameters
    ----------
    parent : QObject
    """

    changed = Signal()
    """What a dock gives for the session is another now."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._actions: dict[str, list[Any]] = {}
        self._states: set[str] = set()
        self._given: dict[str, Any] = {}
        self._rows: list[dict[str, Any]] = []

    def register(self, action: str, method: Any) -> None:
        """Let a dock answer a key; the dock opened last, of those that are open, answers."""
        self._actions.setdefault(action, []).append(weakref.WeakMethod(method))

    def act(self, action: str, *values: Any) -> bool:
        """Do what a key, or another dock, asks for; False if no open dock answers it."""
        method = self._answering(action)
        if method is not None:
            method(*values)
        return method is not None

    def answers(self, action: str) -> bool:
        """Tell whether an open dock would answer."""
        return self._answering(action) is not None

    def _answering(self, action: str) -> Any | None:
        """Give the method of the dock opened last that is still there."""
        for held in reversed(self._actions.get(action, [])):
            method = held()
            try:
                holder = None if method is None else method.__self__
                # What is no dock but the workspace's own is always there.
                if method is not None and (not isinstance(holder, QWidget) or holder.isEnabled()):
                    return method
            except RuntimeError:
                continue  # Qt has deleted that dock
        return None

    def register_state(self, name: str, give: Any, take: Any) -> None:
        """Let a dock put its choices into the session, as plain data, and take them back."""
        self._states.add(name)
        self.register(f"give {name}", give)
        self.register(f"take {name}", take)

    def states(self) -> dict[str, Any]:
        """Give the choices of the docks, as plain data; of a closed one those it last gave."""
        return {
            name: given for name in sorted(self._states) if (given := self.given(name)) is not None
        }

    def given(self, name: str) -> Any | None:
        """Give the choices of a dock, of a closed one those it last gave; None for none."""
        give = self._answering(f"give {name}")
        if give is not None:
            self._given[name] = give()
        return self._given.get(name)

    def remember(self) -> None:
        """Take what the docks give now: one that is closed cannot be asked any more."""
        self.states()
        self.score_rows()

    def restore(self, states: dict[str, Any]) -> list[str]:
        """Give the open docks the choices of a session.

        Returns
        -------
        list of str
            Names of docks that could not take theirs, e.g. those of another version.
        """
        failed = []
        for name, state in states.items():
            take = self._answering(f"take {name}")
            if take is not None:
                try:
                    take(state)
                except _UNKNOWN:
                    failed.append(name)
        return failed

    def score_rows(self) -> list[dict[str, Any]]:
        """Give the rows of the score table; of a closed dock those it last gave."""
        rows = self._answering("score rows")
        if rows is not None:
            self._rows = rows()
        return self._rows

    def forget_scores(self) -> None:
        """Leave the scores of a dock that is closed: another image is worked on."""
        self._rows = []

    def restore_score_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Give the score table the rows of a session."""
        take = self._answering("take score rows")
        if take is not None:
            take(rows)
