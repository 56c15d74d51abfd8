"""Masks that follow the prompts while these are dragged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.narrow import ElidedCheckBox
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.segment.encode_ahead import is_instant
from napari_cam_sam.plugin.segment.segment_run import decode
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.plugin.state.workspace import Workspace
    from napari_cam_sam.prompts.data import PlanePrompts
    from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["LiveMasks"]

# A segmenter that encodes a plane in less time does so at every edit.
_AT_ONCE_SECONDS = 1.0
# While a prompt is dragged, masks on the way are shown no more often than this.
_SHOWN_SECONDS = 0.3
# Decoding that takes less than this is done while the window waits for it.
_WAIT_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class _Decoded:
    """The masks of a plane, what is decoded again when its prompts move, and how long that took."""

    masks: PlaneMasks
    of: tuple[Any, ...]
    embedding: Embedding
    seconds: float


class LiveMasks(ElidedCheckBox):
    """Decodes the plane shown again whenever its prompts change, while it is checked.

    Parameters
    ----------
    workspace : Workspace
    segmenter : SegmenterChoice
    row : TaskProgress
        Says what went wrong; while it runs a task nothing is decoded beside it.
    """

    def __init__(self, workspace: Workspace, segmenter: SegmenterChoice, row: TaskProgress) -> None:
        super().__init__("Follow the prompts")
        self.setToolTip("Updates the masks at once where the slice is encoded.")
        self.setChecked(True)
        self._workspace, self._segmenter, self._row = workspace, segmenter, row
        self._shown_at = self._moved_at = 0.0
        self._asked: tuple[Any, ...] = ()
        self._begun = False
        self._left: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._last: _Decoded | None = None
        self._latest = LatestOnly(self._decoded, row.show_error, self)
        # At once: a timer would come only after the window has painted what was dragged.
        workspace.prompts.changed.connect(self.decode)
        workspace.prompts.moving.connect(self._moving)
        workspace.image_changed.connect(self.drop)
        workspace.segmenter_changed.connect(self.drop)

    @property
    def busy(self) -> bool:
        """Whether masks are on their way."""
        return self._latest.pending

    def drop(self) -> None:
        """Forget the masks that are on their way, and the plane that was decoded last."""
        self._last, self._asked = None, ()
        self._latest.drop()

    def begin(self) -> None:
        """Encode the plane shown, too, where that takes no time: the user draws a prompt."""
        self._begun = True

    def leave(self, prompts: PlanePrompts) -> None:
        """Let masks stand that are not of their plane's prompts, until these are others."""
        self._left[self._where(prompts.axis, prompts.index)] = prompts.coordinates()

    def _where(self, axis: int, index: int) -> tuple[Any, ...]:
        return (*self._workspace.shown.pixels_key(), axis, index)

    def decode(self) -> None:
        """Decode the plane shown again, if that takes no time worth a bar."""
        workspace, masks = self._workspace, self._workspace.masks
        try:
            axis, index = workspace.plane()
            prompts = workspace.prompts.read(axis, index)
            known = masks.get(axis, index)
            left = known is not None and known.source != "prompted"
            if left and prompts.coordinates() == self._left.get(self._where(axis, index), ()):
                return
            if not prompts.objects:
                self._latest.drop()
                # Masks that no prompt asked for do not go with the prompts.
                if known is not None and known.source == "prompted":
                    masks.drop(axis, index)
                return
            if known is None and masks.stands_for(prompts):
                # Nothing changed: another candidate may have been accepted than comes first.
                return
            segmenter = self._segmenter.loaded()
            if not self.isChecked() or segmenter is None or self._row.busy:
                return
            # At the end of a drag a prompt becomes the user's, where it was decoded already.
            name = str(self._segmenter.value())
            snapshot = workspace.snapshot()
            of = (
                segmenter, snapshot.opening, snapshot.frame, snapshot.parameters, axis, index
            )  # fmt: skip
            wanted = of, prompts.coordinates()
            if wanted == self._asked and self._latest.pending:
                return
            same = known is not None and known.prompts.coordinates() == prompts.coordinates()
            if same and not self._latest.pending:
                masks.credit(prompts)
                return
            self._asked = wanted
        except CamSamError as error:
            self._row.set_message(str(error))
            return
        self._ask(segmenter, name, snapshot, prompts, of)

    def _ask(
        self,
        segmenter: Segmenter,
        name: str,
        snapshot: Snapshot,
        prompts: PlanePrompts,
        of: tuple[Any, ...],
    ) -> None:
        """Decode at once what is known to be short, anything else in a thread.

        From a thread the masks would come only after a picture without them, whose painting slows
        the thread down as well.
        """
        last = self._last if self._last is not None and self._last.of == of else None
        expected = self._segmenter.seconds()
        encodes = expected is not None and expected < _AT_ONCE_SECONDS
        encodes |= self._begun and is_instant(name)
        embeddings = self._workspace.embeddings

        def question() -> _Decoded | None:
            found = None if last is None else last.embedding
            if found is None:
                take = embeddings.encode if encodes else embeddings.get
                found = take(segmenter, snapshot.plane(prompts.index))
            if found is None:
                return None
            # Its own work alone: in a thread, the window's painting takes as long again beside it.
            begin = time.thread_time()
            masks = decode(segmenter, name, found, snapshot.window(), prompts)
            return _Decoded(masks, of, found, time.thread_time() - begin)

        if last is not None and last.seconds < _WAIT_SECONDS:
            self._latest.answer(question)
        else:
            self._latest.ask(question)

    def _moving(self) -> None:
        # Not at every move: where a prompt is let go counts, and nothing shall be in its way then.
        if time.monotonic() - self._moved_at > _SHOWN_SECONDS:
            self._moved_at = time.monotonic()
            self.decode()

    def _decoded(self, found: _Decoded | None) -> None:
        if found is None or self._workspace.image_layer is None:
            return
        self._last = found
        self._row.clear_error()
        now = time.monotonic()
        if self._latest.overtaken and now - self._shown_at < _SHOWN_SECONDS:
            return  # a newer one is on its way, and painting this one would delay it
        self._shown_at = now
        self._workspace.masks.put(found.masks)
        if not self._latest.overtaken:
            self.decode()
