"""Planes are encoded before they are asked for, where there is evidence, in a thread."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari.utils.notifications import notification_manager
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.dock import when_destroyed
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.plain_text import show_warning
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.segment.encode_worker import (
    EncodeQueue,
    EncodeSignals,
    EncodeWork,
    SliceSet,
)
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.sam.cache.encoding_order import encoding_order, evidence_of

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["EncodeAhead", "Readiness", "is_instant"]

# Planes beyond the shown one, where scrolling on would lead.
_NEIGHBOURS = 4
# Of what is scrolled over nothing is encoded.
_REST_MS = 150


def is_instant(name: str) -> bool:
    """Check whether a segmenter encodes at once, so that nothing is won ahead of time.

    Parameters
    ----------
    name : str
        Of the segmenter.

    Returns
    -------
    bool
    """
    return name == "seeded"


@dataclass(frozen=True)
class Readiness:
    """What is known of the planes along the axis shown.

    Attributes
    ----------
    n_planes : int
    shown : int
        Index of the plane on the screen.
    prompted : frozenset of int
        Planes with prompts.
    ready : frozenset of int
        Planes found encoded, of those with prompts and those next to the shown one.
    encoding : int or None
        The plane that is being encoded.
    full : bool
        Whether planes are left since neither memory nor disk would hold them beside the others.
    """

    n_planes: int
    shown: int
    prompted: frozenset[int] = frozenset()
    ready: frozenset[int] = frozenset()
    encoding: int | None = None
    full: bool = False

    def words(self) -> str:
        """Return it as a sentence without its full stop."""
        if self.prompted:
            count, total = len(self.prompted & self.ready), len(self.prompted)
            text = f"{count} of {total} slice{'s' if total > 1 else ''} with prompts ready"
        else:
            text = f"This slice is {'' if self.shown in self.ready else 'not '}ready"
        if self.encoding is not None:
            text += f", encoding slice {self.encoding}"
        elif self.full:
            text += ". Cache full: raise the limit in Preferences"
        return text


class EncodeAhead(QObject):
    """Encodes the plane shown, those with prompts by their score, and the next in the scroll.

    It begins once a segmenter is loaded, gives way to the tasks of a row, and follows whatever the
    user does. No plane is encoded that is neither shown, nor has prompts, nor is next to the shown
    one.

    Parameters
    ----------
    workspace : Workspace
    segmenter : SegmenterChoice
    row : TaskProgress
        While it runs a task nothing is encoded ahead.
    is_seen : callable
        Whether the user looks at the dock; where not, only prompts count as evidence.
    parent : QObject
    """

    changed = Signal()
    """Something of what `readiness` says, or of the trouble."""
    shown_encoded = Signal()
    """The plane shown was encoded just now."""

    def __init__(
        self,
        workspace: Workspace,
        segmenter: SegmenterChoice,
        row: TaskProgress,
        is_seen: Callable[[], bool],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._workspace, self._segmenter, self._row = workspace, segmenter, row
        self._is_seen = is_seen
        self._on = True
        self._known: Readiness | None = None
        self._last: tuple[int, int] | None = None
        self._direction = 0
        self._slices: SliceSet | None = None
        self._queue = EncodeQueue()
        self._warned = False
        self._signals = EncodeSignals()
        self._signals.reported.connect(self._on_reported)
        self._latest = LatestOnly(lambda _: None, lambda _: self.changed.emit(), self)
        self._rest = single_shot_timer(self, self._plan, _REST_MS)
        workspace.plane_changed.connect(self._scrolled)
        workspace.prompts.moving.connect(self._prompts_move)
        workspace.prompts.changed.connect(self._prompts_move)
        workspace.prompts.changed.connect(self.plan_soon)
        workspace.image_changed.connect(self._other_image)
        workspace.window_changed.connect(self._other)
        workspace.segmenter_changed.connect(self._other)
        segmenter.changed.connect(self._other)
        row.started.connect(self._pause)
        row.ended.connect(self.plan_soon)
        when_destroyed(self, self._queue.stop)

    # What the user chooses

    @property
    def on(self) -> bool:
        """Whether planes are encoded; where not, only which are ready is found out."""
        return self._on

    def switch(self, on: bool) -> None:
        """Switch it on or off; on again, what failed is tried again."""
        self._on, self._slices = on, None
        self._stop()
        self.plan_soon()

    def give_way(self, planes: Collection[int] = ()) -> None:
        """Leave the machine to what the user starts now.

        Parameters
        ----------
        planes : collection of int
            Those that are wanted: if one of them is being encoded, it goes on and serves.
        """
        self._queue.hand_moved = -math.inf
        self._stop(planes)
        self.plan_soon()

    def plan_soon(self) -> None:
        """Begin no other plane, and look what is to be done once the user rests."""
        self._queue.stop(None)
        self._rest.start()

    # What is known

    @property
    def busy(self) -> bool:
        """Whether the thread is at work, or will be in a moment."""
        return self._latest.busy or self._rest.isActive()

    @property
    def readiness(self) -> Readiness | None:
        """Which planes are ready; None where that is not known."""
        return self._known

    @property
    def trouble(self) -> str:
        """What went wrong with encoding or with the disk, in sentences."""
        parts, store = [], self._workspace.embeddings.store
        if self._slices is not None and self._slices.failure:
            parts.append(f"Encoding ahead failed: {self._slices.failure}")
        if store is not None and store.trouble is not None:
            parts.append(store.trouble)
        return " ".join(parts)

    # Planning

    def _scrolled(self) -> None:
        with suppress(CamSamError):
            axis, index = self._workspace.plane()
            if self._last is not None and self._last[0] == axis and self._last[1] != index:
                self._direction = 1 if index > self._last[1] else -1
            self._last = axis, index
        self.plan_soon()

    def _prompts_move(self) -> None:
        if not self._row.busy:  # a task may wait for the plane under way, and no mask follows
            self._queue.hand_moved = time.monotonic()

    def _other_image(self) -> None:
        self._last, self._direction = None, 0
        self._other()

    def _other(self) -> None:
        """Drop all: image, window or segmenter may be others."""
        self._stop()
        self.plan_soon()

    def _pause(self) -> None:
        # A task that did not say which planes it wants may want the one under way.
        self._queue.hand_moved = -math.inf
        self._stop(None)

    def _stop(self, keep: Collection[int] | None = ()) -> None:
        self._queue.stop(keep)
        self._latest.drop()

    def _plan(self) -> None:
        """Order what the user's place and prompts ask for, in place of what was ordered before."""
        before, work = self._slices, self._order()
        self._stop(work.order if work is not None and work.slices is before else ())
        self._queue.ordered = work
        if work is not None:
            self._latest.ask(work)
        self._warn()
        self.changed.emit()

    def _order(self) -> EncodeWork | None:
        segmenter = self._segmenter.loaded()
        if segmenter is None or is_instant(segmenter.name):
            self._known = self._slices = None
            return None
        workspace = self._workspace
        try:
            snapshot = workspace.snapshot()
            n_planes = snapshot.image.n_planes(snapshot.axis)
            # Prompts may have been dragged off the image: segmenting them says so.
            evidence = {
                index: score
                for index, score in evidence_of(workspace.prompts.read_all(snapshot.axis)).items()
                if 0 <= index < n_planes
            }
        except CamSamError:
            self._known = self._slices = None
            return None
        # The segmenter itself, not its id: that of one that is gone may be given again.
        of = (snapshot.opening, snapshot.frame, snapshot.axis, snapshot.parameters, segmenter)
        slices = self._slices
        if slices is None or slices.of != of:
            slices = self._slices = SliceSet(of)
            self._known = None
        ready = frozenset() if self._known is None else self._known.ready
        running = self._queue.running
        self._known = Readiness(
            n_planes,
            snapshot.index,
            frozenset(evidence),
            ready,
            None if running is None or running.slices is not slices else running.encoding,
        )
        if self._row.busy or not (evidence or self._is_seen()):
            return None
        order = encoding_order(
            n_planes, snapshot.index, evidence, direction=self._direction, ahead=_NEIGHBOURS
        )
        return EncodeWork(
            self._queue, snapshot, slices, segmenter, workspace.embeddings, tuple(order), self._on,
            self._signals,
        )  # fmt: skip

    # What the thread says

    def _on_reported(self, work: EncodeWork, found: dict[int, bool], encoded: int | None) -> None:
        if self._known is None or work.slices is not self._slices:
            return
        known = self._known
        if work is self._queue.ordered:
            ready = {index for index, is_ready in found.items() if is_ready}
            known = replace(known, ready=(known.ready - set(found)) | ready, full=work.full)
        elif encoded is not None:
            known = replace(known, ready=known.ready | {encoded})
        self._known = replace(known, encoding=work.encoding)
        self._warn()
        self.changed.emit()
        if encoded is not None and encoded == known.shown:
            self.shown_encoded.emit()

    def _warn(self) -> None:
        """Notify once that the disk fails."""
        store = self._workspace.embeddings.store
        if self._warned or store is None or store.trouble is None:
            return
        self._warned = True
        # The store warns too, which napari shows where it runs the event loop itself.
        if warnings.showwarning != notification_manager.receive_warning:
            show_warning(store.trouble)
        self.changed.emit()
