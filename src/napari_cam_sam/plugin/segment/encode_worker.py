"""What the thread does that encodes planes ahead: which it looks at, and when it waits."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QThreadPool, Signal

from napari_cam_sam.plugin.state.snapshot import Snapshot
from napari_cam_sam.sam.cache.store import embedding_key

if TYPE_CHECKING:
    from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["EncodeQueue", "EncodeSignals", "EncodeWork", "SliceSet"]

# After a prompt was moved, it is likely to move again.
_HAND_SECONDS = 1.0


@dataclass(eq=False)
class SliceSet:
    """What is known of the planes of one image along one axis, for one window and segmenter.

    Only the thread that encodes changes it.

    Attributes
    ----------
    of : tuple
        Names image, axis, window and segmenter.
    keys : dict of int to str
        Keys of the planes in the cache, as far as their pixels were read.
    encoded : set of int
        Planes that were encoded ahead once. If one is not kept any more, it is not encoded ahead
        again: whatever throws it out, this must come to an end.
    failure : str
        Why encoding ahead failed; empty where it did not.
    """

    of: tuple[Any, ...]
    keys: dict[int, str] = field(default_factory=dict)
    encoded: set[int] = field(default_factory=set)
    failure: str = ""


class EncodeSignals(QObject):
    """Sends from the thread; it stays when the window goes."""

    reported = Signal(object, object, object)


class EncodeQueue:
    """The works that are not over, apart from what the window takes with it."""

    ordered: EncodeWork | None = None
    running: EncodeWork | None = None
    hand_moved: float = -math.inf
    """When a prompt was last moved, on the clock of `time.monotonic`."""

    def stop(self, keep: Collection[int] | None = ()) -> None:
        """Let no other plane be begun, and drop the one under way.

        Parameters
        ----------
        keep : collection of int or None
            Planes that are to be finished if they are under way; None for any.
        """
        for work in (self.ordered, self.running):
            if work is not None:
                work.stopped = True
                if keep is not None and work.encoding not in keep:
                    work.dropped = True


@dataclass(eq=False)
class EncodeWork:
    """Look at planes in an order, and encode those that are not; in a thread, until stopped.

    Attributes
    ----------
    queue : EncodeQueue
    snapshot : Snapshot
    slices : SliceSet
    segmenter : Segmenter
    embeddings : EmbeddingCache
    order : tuple of int
        The planes; the shown one comes first.
    encodes : bool
        Whether planes are encoded; else it is only found out which are.
    signals : EncodeSignals
    stopped : bool
        Whether no other plane is to be begun.
    dropped : bool
        Whether the plane that is being encoded is not wanted either.
    encoding : int or None
        The plane that is being encoded.
    full : bool
        Whether planes are left since neither memory nor disk would hold them beside the others.
    """

    queue: EncodeQueue
    snapshot: Snapshot
    slices: SliceSet
    segmenter: Segmenter
    embeddings: EmbeddingCache
    order: tuple[int, ...]
    encodes: bool
    signals: EncodeSignals
    stopped: bool = False
    dropped: bool = False
    encoding: int | None = None
    full: bool = False
    _found: dict[int, bool] = field(default_factory=dict)

    def __call__(self) -> None:
        """Do it."""
        self.queue.running = self
        with _outside_the_pool():
            try:
                self._do()
            except Exception as error:
                if self.stopped:
                    return  # it is tried again if it is wanted again
                self.slices.failure = str(error)
                raise
            finally:
                self.encoding = self.queue.running = None
                self._report()

    def _do(self) -> None:
        encodes = self.encodes and not self.slices.failure
        capacity = len(self.order)
        # Before all others are looked at, which on a slow disk takes its time.
        if encodes and not self.stopped:
            capacity = self._encode(self.order[0])
        # What was looked at before costs next to nothing, and may have been thrown out. The most
        # urgent come last: what memory throws out next is what was asked for first.
        known = [index for index in self.slices.keys if index not in self.order]
        for index in (*known, *reversed(self.order)):
            if self.stopped:
                return
            self._check(index)
        self._report()
        for rank, index in enumerate(self.order if encodes else ()):
            if self.stopped:
                return
            if self._check(index):
                continue
            if rank >= capacity or index in self.slices.encoded:
                self.full = True
                continue
            capacity = self._encode(index)

    def _check(self, index: int) -> bool:
        """Find out whether a plane is encoded; its pixels are read once."""
        key = self.slices.keys.get(index)
        if key is None:
            key = embedding_key(self.segmenter, self.snapshot.plane(index))
            self.slices.keys[index] = key
        ready = self.embeddings.has(self.segmenter, key)
        self._found[index] = ready
        return ready

    def _encode(self, index: int) -> int:
        """Encode a plane, or read it from disk; give how many like it are kept at once."""
        plane = self.snapshot.plane(index)
        if not self._check(index):
            self.encoding = index
            self._report()
        if self.stopped:
            return 0
        with _one_thread_spared():
            embedding = self.embeddings.encode(self.segmenter, plane, cancelled=self._wait_or_drop)
        new, self.encoding = self.encoding is not None, None
        if new:
            self.slices.encoded.add(index)
            self._check(index)
            self._report(index)
        return self.embeddings.capacity(embedding)

    def _wait_or_drop(self) -> bool:
        """Wait while the user moves prompts on another plane; say whether this one is dropped.

        Between two parts of an encoding: masks that follow the hand want all cores.
        """
        while not self.dropped and self.encoding != (self.queue.ordered or self).order[0]:
            left = self.queue.hand_moved + _HAND_SECONDS - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, 0.05))
        return self.dropped

    def _report(self, encoded: int | None = None) -> None:
        with suppress(RuntimeError):  # the window is gone, and with it whoever listened
            self.signals.reported.emit(self, dict(self._found), encoded)


@contextmanager
def _outside_the_pool() -> Iterator[None]:
    """Work in a thread that does not count as one of the pool's, for which others would wait."""
    pool = QThreadPool.globalInstance()
    pool.releaseThread()
    try:
        yield
    finally:
        pool.reserveThread()


@contextmanager
def _one_thread_spared() -> Iterator[None]:
    """Leave a core to the window, and to what the user starts.

    PyTorch's own setting would hold for threads that are started meanwhile, and stay with them;
    OpenMP's holds for this one.
    """
    import torch
    from threadpoolctl import threadpool_limits

    with threadpool_limits(max(1, torch.get_num_threads() - 1), user_api="openmp"):
        yield
