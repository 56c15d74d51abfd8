"""What the open docks of a viewer do for its keys and its session."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

__all__ = ["OpenDocks"]


class OpenDocks:
    """Finds the dock that answers a key, or that holds a part of the session.

    Docks come and go, and one may be open twice: of those that can answer, the last opened does.
    """

    def __init__(self) -> None:
        self._actions: dict[str, list[Any]] = {}
        self._states: set[str] = set()

    def register(self, action: str, method: Any) -> None:
        """Let a dock answer a key; the dock opened last, of those that are open, answers."""
        self._actions.setdefault(action, []).append(weakref.WeakMethod(method))

    def act(self, action: str) -> bool:
        """Do what a key stands for; False if no open dock answers it."""
        method = self._answering(action)
        if method is not None:
            method()
        return method is not None

    def _answering(self, action: str) -> Any | None:
        """Give the method of the dock opened last that is still there."""
        for held in reversed(self._actions.get(action, [])):
            method = held()
            try:
                if method is not None and method.__self__.isEnabled():
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
        """Give the choices of the open docks, as plain data."""
        giving = {name: self._answering(f"give {name}") for name in sorted(self._states)}
        return {name: give() for name, give in giving.items() if give is not None}

    def restore(self, states: dict[str, Any]) -> None:
        """Give the open docks the choices of a session."""
        for name, state in states.items():
            take = self._answering(f"take {name}")
            if take is not None:
                take(state)

    def score_rows(self) -> list[dict[str, Any]]:
        """Give the rows of the score table, if a dock holds one."""
        rows = self._answering("score rows")
        return [] if rows is None else rows()

    def restore_score_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Give the score table the rows of a session."""
        take = self._answering("take score rows")
        if take is not None:
            take(rows)
