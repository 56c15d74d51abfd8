"""Undo and redo of prompts: what the layers held before each burst of edits."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.plugin.layers.prompt_provenance import complete
from napari_cam_sam.plugin.layers.prompt_table import Plane, Vertices
from napari_cam_sam.plugin.qt.timers import single_shot_timer

__all__ = ["Held", "PromptHistory", "State", "held_by"]

_UNDO_LEVELS = 100
# Edits of one drag come one after the other: a pause of this length ends a step of the history.
_PAUSE_MS = 250


@dataclass(frozen=True, eq=False)
class Held:
    """What one layer holds.

    Attributes
    ----------
    data : ndarray or list of ndarray
        Coordinates of points, or vertices of shapes.
    kinds : tuple of str
        Of shapes.
    features : pandas.DataFrame
        Complete.
    """

    data: Vertices
    kinds: tuple[str, ...]
    features: pd.DataFrame

    def without(self, rows: Collection[int]) -> Held:
        """Return what is left of points without some of them."""
        stay = [i for i in range(len(self.data)) if i not in rows]
        features = self.features.iloc[stay].reset_index(drop=True)
        return Held(np.asarray(self.data)[stay], (), features)

    def same_rows(self, other: Held) -> int:
        """Count the rows from the first on that lie where those of another do."""
        n = min(len(self.data), len(other.data))
        if n and isinstance(self.data, np.ndarray) and isinstance(other.data, np.ndarray):
            differ = (self.data[:n] != other.data[:n]).any(axis=1)
            return int(np.append(differ, True).argmax())
        shapes = zip(self.data, other.data, self.kinds, other.kinds, strict=False)
        same = (kind == other_kind and np.array_equal(a, b) for a, b, kind, other_kind in shapes)
        return next((i for i, both in enumerate(same) if not both), n)

    def __eq__(self, other: object) -> bool:
        """Check whether nothing differs."""
        if not isinstance(other, Held):
            return NotImplemented
        same = len(self.data) == len(other.data) == self.same_rows(other)
        return same and self.features.equals(other.features)


def held_by(layer: Any | None, points: bool) -> Held:
    """Return a copy of what a layer holds.

    Parameters
    ----------
    layer : napari layer or None
        None holds nothing.
    points : bool
        Whether it is the points layer, and not that of the boxes.

    Returns
    -------
    Held
    """
    if layer is None:
        return Held(np.zeros((0, 2)) if points else [], (), complete(pd.DataFrame(), 0))
    if points:
        data: NDArray[np.float64] = np.array(layer.data, float)
        return Held(data, (), complete(layer.features, len(data)))
    # A shape that is dragged is moved in place.
    shapes = [np.array(vertices, float) for vertices in layer.data]
    kinds = tuple(str(kind) for kind in layer.shape_type)
    return Held(shapes, kinds, complete(layer.features, len(shapes)))


@dataclass(frozen=True)
class State:
    """Both layers at one moment.

    Attributes
    ----------
    points, boxes : Held
    touched : frozenset of tuple
        The planes that are the user's.
    """

    points: Held
    boxes: Held
    touched: frozenset[Plane]


class PromptHistory(QObject):
    """Steps back and forth; edits that follow each other at once are one step.

    Parameters
    ----------
    take : callable
        Gives the state as it is.
    put : callable
        Brings a state back into the layers.
    parent : QObject
    """

    settled = Signal()
    """A burst of edits is over."""

    def __init__(
        self, take: Callable[[], State], put: Callable[[State], None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._take, self._put = take, put
        # Each state that a step goes to, and when it was left, on the clock of `time.monotonic`.
        self._undo: list[tuple[float, State]] = []
        self._redo: list[tuple[float, State]] = []
        self.before: State | None = None
        """What was before the burst of edits that is going on, if one is."""
        # A shape that was dragged is told of at the end: what was before must be known by then.
        self._last: State | None = None
        self._changed_at = 0.0
        self._held = False
        self._pause = single_shot_timer(self, self.settle, _PAUSE_MS)

    @property
    def edited_at(self) -> float:
        """When what an undo would take back was done, on the clock of `time.monotonic`."""
        return self._undo[-1][0] if self._undo else 0.0

    @property
    def undone_at(self) -> float:
        """When what a redo would bring back was undone, on the same clock."""
        return self._redo[-1][0] if self._redo else 0.0

    def look(self) -> None:
        """Keep what is there now as what was before the next edit."""
        self._last = self._take()

    def known(self) -> State:
        """Return what was before the burst of edits that is going on, or is about to begin."""
        return self.before or self._last or self._take()

    def forget(self) -> None:
        """Drop all steps."""
        self._undo.clear()
        self._redo.clear()
        self._last = self.before = None

    def edit(self) -> None:
        """Keep what was before a burst of edits, once a burst; each puts its end off."""
        self.before = self.known()
        self._changed_at = time.monotonic()
        self._pause.start()

    def hold(self) -> None:
        """Keep a burst from ending while the user drags, however long that rests on its way.

        Half a drag would be a step of its own, and its end no edit by the user.
        """
        self._held = True

    def let_go(self) -> None:
        """Allow bursts to end again."""
        self._held = False
        if self.before is not None:
            self._pause.start()

    def settle(self) -> None:
        """End a burst: what was before it is one step of the history."""
        if self._held:
            return
        self._pause.stop()
        if self.before is None:
            return
        before, self.before = self.before, None
        self._last = self._take()
        if before != self._last:
            self._undo.append((self._changed_at, before))
            del self._undo[:-_UNDO_LEVELS]
            self._redo.clear()
        self.settled.emit()

    def undo(self) -> bool:
        """Go back before the last edit; False where there is none."""
        self.settle()
        return not self._held and self._step(self._undo, self._redo)

    def redo(self) -> bool:
        """Redo the last undo; False where there is none."""
        self.settle()
        return not self._held and self._step(self._redo, self._undo)

    def _step(self, back: list[tuple[float, State]], forth: list[tuple[float, State]]) -> bool:
        if not back:
            return False
        forth.append((time.monotonic(), self._take()))
        self._put(back.pop()[1])
        self.look()
        return True
