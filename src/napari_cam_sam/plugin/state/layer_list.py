"""Knows when the viewer's list of layers is being changed, and waits until it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import QObject

from napari_cam_sam.plugin.layers.conversion import is_shown_alone
from napari_cam_sam.plugin.qt.timers import single_shot_timer

__all__ = ["LayerListGuard"]


class LayerListGuard(QObject):
    """Puts off what adds or removes layers until the list of layers is at rest.

    napari deletes what is selected one layer after the other: where something that hears of the
    first removes another one, or adds one, the rest of that work finds another list than it knew.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    parent : QObject
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._depth, self._removes = 0, False
        self._waiting: list[Callable[[], None]] = []
        self._rest = single_shot_timer(self, self._rested)
        self._layers = viewer.layers
        self._layers.events.removing.connect(self._removing)

    @property
    def busy(self) -> bool:
        """Whether the list is being changed: no layer may be added or removed.

        After a removal it is until the window lives on: of several layers that go one after the
        other, nothing tells that another follows.
        """
        return self._removes or self._depth > 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Mark the list as being changed, while a layer that came or went is heard of."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def when_quiet(self, action: Callable[[], None]) -> None:
        """Add or remove layers by an action, now or once the list is at rest; the same one once."""
        if not self.busy:
            action()
        elif action not in self._waiting:
            self._waiting.append(action)
            if not self._rest.isActive():  # who else waits is not put off
                self._rest.start()

    def _removing(self, event: Any) -> None:
        if is_shown_alone(self._layers[event.index]):
            return  # we took it away ourselves
        self._removes = True
        self._rest.start()

    def _rested(self) -> None:
        self._removes = False
        while self._waiting:
            self._waiting.pop(0)()
