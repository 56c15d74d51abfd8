"""What the open docks of a viewer do for its keys and its session."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
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
    """Finds the dock that handles a key, or that holds a part of the session.

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
        self._kept: set[str] = set()
        self._cached: dict[str, Any] = {}

    def register(self, action: str, method: Any) -> None:
        """Set a dock's method for an action; of the docks that are open the last one handles it."""
        self._actions.setdefault(action, []).append(weakref.WeakMethod(method))

    def dispatch(self, action: str, *values: Any) -> bool:
        """Do what a key, or another dock, asks for; return False if no open dock handles it."""
        method = self._handler(action)
        if method is not None:
            method(*values)
        return method is not None

    def has_handler(self, action: str) -> bool:
        """Check whether an open dock handles an action."""
        return self._handler(action) is not None

    def _handler(self, action: str) -> Any | None:
        """Return the method of the dock opened last that is still there."""
        for held in reversed(self._actions.get(action, [])):
            method = held()
            dock = getattr(method, "__self__", None)
            with suppress(RuntimeError):  # Qt has deleted that dock
                # What is no dock but the workspace's own is always there.
                if method is not None and (not isinstance(dock, QWidget) or dock.isEnabled()):
                    return method
        return None

    def register_state(self, name: str, give: Any, take: Any) -> None:
        """Set how a dock gives the session its choices, as plain data, and takes them back."""
        self._states.add(name)
        self.register(f"give {name}", give)
        self.register(f"take {name}", take)

    def register_kept(self, name: str, give: Any) -> None:
        """Set how a dock gives what the next of its kind begins with, beside its choices.

        It need not be plain data: no session has it.
        """
        self._kept.add(name)
        self.register(f"give {name}", give)

    def take_over(
        self,
        name: str,
        dock: Any,
        beside: Callable[[], dict[str, Any]],
        begin_with: Callable[..., None],
    ) -> None:
        """Let a dock begin with what the one of its kind before it had; keep its own for the next.

        Parameters
        ----------
        name : str
            Of its choices in a session.
        dock : napari_cam_sam.plugin.qt.dock.Dock
            Its ``state`` gives the choices, its ``set_state`` takes them.
        beside : callable
            Gives what the next one begins with beside the choices, by name, see `register_kept`.
        begin_with : callable
            Takes the choices of the dock before, and by name what that gave beside them.
        """
        before, kept = self.state_of(name), self.state_of(f"{name} beside")
        self.register_state(name, dock.state, dock.set_state)
        self.register_kept(f"{name} beside", beside)
        dock.closed.connect(self.cache_states)
        if before is not None and kept is not None:
            begin_with(before, **kept)

    def states(self) -> dict[str, Any]:
        """Return the choices of the docks, as plain data; of a closed one those it last gave."""
        found = {name: self.state_of(name) for name in sorted(self._states)}
        return {name: given for name, given in found.items() if given is not None}

    def state_of(self, name: str) -> Any | None:
        """Return the choices of a dock, of a closed one those it last gave; None for none."""
        give = self._handler(f"give {name}")
        if give is not None:
            self._cached[name] = give()
        return self._cached.get(name)

    def cache_states(self) -> None:
        """Keep what the docks give now: one that is closed cannot be asked any more."""
        for name in self._states | self._kept:
            self.state_of(name)

    def restore(self, states: dict[str, Any]) -> list[str]:
        """Restore the choices of a session in the open docks.

        Returns
        -------
        list of str
            Names of docks that could not take theirs, e.g. those of another version.
        """
        failed = []
        for name, state in states.items():
            take = self._handler(f"take {name}")
            if take is not None:
                try:
                    take(state)
                except _UNKNOWN:
                    failed.append(name)
        return failed

    def score_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the score table; of a closed dock those it last gave."""
        return self.state_of("score rows") or []

    def forget_scores(self) -> None:
        """Drop the scores of a dock that is closed: another image is worked on."""
        self._cached.pop("score rows", None)
