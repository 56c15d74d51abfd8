"""The third step: Segment Anything on the prompts, and masks into labels."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractButton, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.layer_geometry import path_of
from napari_cam_sam.plugin.qt.dock import Dock, connect_to_layers
from napari_cam_sam.plugin.qt.plain_text import show_error
from napari_cam_sam.plugin.qt.saving import Saving, SavingRow, labels_saving
from napari_cam_sam.plugin.qt.task_progress import TaskProgress, duration
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.qt.widgets import Section, button, form_layout, vbox
from napari_cam_sam.plugin.qt.wording import why_not
from napari_cam_sam.plugin.segment.automatic.automatic_panel import AutomaticPanel
from napari_cam_sam.plugin.segment.encoding_status import EncodeAheadPanel
from napari_cam_sam.plugin.segment.first_load import FirstLoad
from napari_cam_sam.plugin.segment.live_masks import LiveMasks
from napari_cam_sam.plugin.segment.mask_review import MaskReview
from napari_cam_sam.plugin.segment.segment_run import (
    SegmentedPlane,
    SkippedPlane,
    segment_planes,
    skipped_words,
)
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.plugin.segment.segmenter_job import read_prompts
from napari_cam_sam.plugin.segment.volume.propagation_panel import PropagationPanel
from napari_cam_sam.plugin.state.image_notice import ImageNotice
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.plugin.state.plane_words import PictureWords, picture_words
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.prompts.data import PlanePrompts

__all__ = ["SegmentDock"]

_REFRESH_MS = 100
_EDITED = "Prompts changed during the run; press S there for new masks."


class SegmentDock(Dock):
    """Choose a segmenter; make masks of the prompts, choose among them, accept them.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    help_section = "Segment"

    segmented = Signal(bool)
    """A run is over; True if it ran to its end."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        workspace = self.workspace = workspace_of(napari_viewer)
        self.masks = workspace.masks
        self._chosen_for: object = None
        # What came of the last press of a button; the plan takes its place once that is past.
        self._outcome = ""
        self._outcome_axis: int | None = None
        self._awaited: frozenset[tuple[int, int]] = frozenset()
        self._asked = 0
        self._left_out: list[SkippedPlane] = []
        self._build()
        ImageNotice(workspace, self)
        review = self.review
        all_slices: list[QWidget] = [self.run_all, review.accept_all, self._volume]
        of_pictures: dict[QAbstractButton, str] = {
            self.run: "Segment (S)",
            review.accept: "Accept (C)",
            self._everything.title: "All masks here",
        }
        PictureWords(workspace.shown, all_slices, of_pictures, self)
        self._connect()
        self._image_changed()
        workspace.docks.register("segment", self.segment)
        workspace.docks.register("segment all", self.segment_all)
        workspace.docks.take_over("segment", self, self._beside, self._begin_with)

    def _build(self) -> None:
        workspace = self.workspace
        self.segmenter = SegmenterChoice(workspace)
        self.run = button("Segment this slice (S)", "Makes masks from the prompts on this slice.")
        self.run_all = button(
            "Segment all slices with prompts (Shift-S)",
            "Makes masks along this axis; slices without prompts are skipped.",
        )
        self.row = TaskProgress()
        self.saving = SavingRow(
            "Save labels…",
            "Saves the accepted labels on the image grid. Where nothing was accepted yet, the "
            "masks of the preview are accepted first.",
            self._to_save,
            self._masks_there,
        )
        self.live = LiveMasks(workspace, self.segmenter, self.row)
        self.first = FirstLoad(workspace, self.segmenter, self.row.show_error, self)
        self.review = MaskReview(workspace, self.live)
        self.through = PropagationPanel(workspace, self.segmenter, self.row, self.live)
        self.ahead = EncodeAheadPanel(workspace, self.segmenter, self.row)
        self.automatic = AutomaticPanel(workspace, self.segmenter, self.live)

        self._volume = Section("Propagate through volume", self.through, opened=False)
        everything = self._everything = Section(
            "All masks of this slice", self.automatic, opened=False
        )
        everything.title.setToolTip("Finds masks without prompts; the heatmap ranks them.")
        vbox(
            self, form_layout((("Segmenter", self.segmenter),)), self.run, self.run_all, self.live,
            self._volume, self.review, self.saving, self.row, self.ahead, everything,
            margins=None,
        ).addStretch()  # fmt: skip

    def _connect(self) -> None:
        workspace = self.workspace
        self._refresh_timer = single_shot_timer(self, self._refresh, _REFRESH_MS)
        self.segmenter.changed.connect(self._plan_again)
        self.run.clicked.connect(lambda: self.segment())
        self.run_all.clicked.connect(lambda: self.segment_all())
        self.through.started.connect(self._enable)
        # By a key, too, what comes out of it is to be read.
        self.through.started.connect(lambda: self._volume.title.setChecked(True))
        self.review.done.connect(self._conclude)
        self.review.refused.connect(self._refused)
        self.row.started.connect(self._started)
        self.row.ended.connect(self._ended)
        self.ahead.ahead.shown_encoded.connect(self.live.decode)
        workspace.prompts.begun.connect(self._begin)
        self.first.changed.connect(self._refresh)
        self.first.changed.connect(self.live.decode)
        workspace.prompts.changed.connect(self._prompts_changed)
        workspace.plane_changed.connect(self._refresh)
        workspace.image_changed.connect(self._image_changed)
        workspace.segmenter_changed.connect(self._refresh)
        self.review.truth_drawn.connect(self._refresh_timer.start)
        workspace.truth_changed.connect(self._refresh_timer.start)
        connect_to_layers(self, workspace.viewer, self._layers_changed)
        self.masks.changed.connect(self._refresh)
        # Of an acceptance that a key took back nothing is said any more.
        self.masks.accepted_changed.connect(self._plan_again)
        # What was saved is another than what is there now.
        self.masks.accepted_changed.connect(self.saving.forget)
        workspace.image_changed.connect(self.saving.forget)

    def _image_changed(self) -> None:
        image = self.workspace.shown.frame_key().layer
        if image != self._chosen_for:
            self._chosen_for = image
            suited = self.workspace.suggestion("segmenter")
            if suited is not None and self.segmenter.value() == "seeded":
                self.segmenter.choose(suited)
        self._plan_again()

    def state(self) -> dict[str, Any]:
        """Return the choices as plain data, for the session."""
        return {
            "segmenter": self.segmenter.value(),
            "overlap": self.review.overlap.value(),
            "live": self.live.isChecked(),
            "ahead": self.ahead.switch.isChecked(),
            "through": self.through.state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session."""
        if state.get("segmenter"):
            self.segmenter.choose(state["segmenter"])
        self.review.overlap.set_value(state.get("overlap"))
        self.live.setChecked(bool(state.get("live", True)))
        self.ahead.switch.setChecked(bool(state.get("ahead", True)))
        self.through.set_state(state.get("through", {}))

    def _beside(self) -> dict[str, Any]:
        """Return what the next dock begins with, beside the choices, and for which image it is."""
        return {"image": self._chosen_for, "search": self.automatic.state()}

    def _begin_with(self, state: dict[str, Any], image: object, search: dict[str, Any]) -> None:
        """Go on with the choices of the dock before."""
        self.set_state(state)
        self.automatic.set_state(search)
        self._chosen_for = image
        self._image_changed()  # another image may have its own segmenter

    # Segmenting

    def segment(self, everywhere: bool = False) -> bool:
        """Make masks of the prompts of the plane shown, or of every plane that has some.

        Returns
        -------
        bool
            False where nothing could be started; why is said.
        """
        workspace = self.workspace
        try:
            snapshot = workspace.snapshot()
            todo = self._todo(everywhere)
        except CamSamError as error:
            self.row.refuse(
                picture_words(workspace.shown, str(error)),
                lambda: why_not(lambda: self._todo(everywhere)),
            )
            return False
        if self.first.busy:
            self.first.when_done(lambda: self.segment(everywhere))
            return True
        self.live.drop()
        self.ahead.ahead.give_way([plane.index for plane in todo])
        job = self.segmenter.job(snapshot)

        def show(step: Any) -> None:
            if isinstance(step, SkippedPlane):
                self._left_out.append(step)
            elif isinstance(step, SegmentedPlane):
                if step.seconds is not None:
                    self.segmenter.tell_seconds(job.name, step.seconds)
                self._show(step.masks)
            else:
                self.segmenter.adopt(step, job.name, job.device)
                self.row.set_message(self._at_work(len(todo)))

        started = self.row.start(
            lambda: segment_planes(job, todo),
            len(todo) + job.loads,
            f"Masks of {counted(len(todo), 'slice')}",
            show,
            lambda: workspace.is_current(snapshot),
            job.stop,
        )
        if started:
            self._asked = len(todo)
            self._awaited = frozenset((plane.axis, plane.index) for plane in todo)
            self.row.set_message(f"Loading {job.name}…" if job.loads else self._at_work(len(todo)))
        self._refresh()
        return started

    def _todo(self, everywhere: bool) -> tuple[PlanePrompts, ...]:
        """Return the prompts that masks are to be made of."""
        axis, index = self.workspace.plane()
        return read_prompts(self.workspace.prompts, axis, None if everywhere else index)

    def _begin(self) -> None:
        """Load the segmenter, so that the mask of the first prompt comes at once."""
        self.live.begin()
        if self.live.isChecked() and not self.row.busy:
            self.first.start()

    def _show(self, masks: PlaneMasks) -> None:
        """Put masks into the preview, unless their prompts were edited or cleared meanwhile."""
        workspace = self.workspace
        key = masks.prompts.axis, masks.prompts.index
        now = workspace.prompts.read(*key)
        shown = None
        with suppress(CamSamError):
            shown = workspace.plane()
        if not masks.is_stale(now):
            self.masks.put(masks)
        elif now.objects and not (self.live.isChecked() and shown == key):
            self._left_out.append(SkippedPlane(key[1], _EDITED))

    def segment_all(self) -> bool:
        """Make masks of every plane with prompts along the axis shown; as `segment`."""
        return self.segment(everywhere=True)

    def stop(self) -> None:
        """Cancel what runs; masks that are made stay."""
        self.live.drop()
        self.row.stop()
        self.automatic.row.stop()

    def _started(self) -> None:
        self._outcome = ""
        self._left_out = []

    def _ended(self, complete: bool) -> None:
        left_out, self._awaited = self._left_out, frozenset()
        if left_out:
            self._conclude(skipped_words(left_out, self._asked))
        if any(one.reason != _EDITED for one in left_out):
            # The dock may be scrolled elsewhere.
            show_error(self._outcome)
        self._refresh()
        nothing = 0 < len(left_out) == self._asked
        self.segmented.emit(complete and not nothing)
        # What the user moved meanwhile is decoded now.
        self.live.decode()

    def _to_save(self) -> Saving:
        workspace = self.workspace
        image = workspace.image()
        if self.masks.accept_layer() is None and self.masks.planes(workspace.plane()[0]):
            self.review.accept_masks(everywhere=True)
        layer = self.masks.accept_layer()
        if layer is None:
            raise CamSamError("No labels yet: accept a mask first.")
        reason = workspace.mismatch(layer)
        if reason is not None:
            raise CamSamError(reason)
        if layer.ndim != image.spatial_ndim:
            raise CamSamError("The labels are a time series: save the labels of one frame.")
        return labels_saving(layer, image, path_of(workspace.image_layer))

    # In words

    def _enable(self, has_plane: bool = True) -> None:
        for one in (self.run, self.run_all):
            one.setEnabled(has_plane and not self.row.busy)

    @property
    def outcome(self) -> str:
        """What came of the last run or press, until the plan is another; may be empty."""
        return self._outcome

    def _conclude(self, words: str) -> None:
        """Show what came of it, until the plan is another."""
        self._outcome, self._outcome_axis = words, self._axis()
        self.row.set_result(words)

    def _refused(self, words: str) -> None:
        """Show why nothing was done, until it may be done."""
        self.row.show_error(words, self._masks_there)

    def _axis(self) -> int | None:
        with suppress(CamSamError):
            return self.workspace.plane()[0]
        return None

    def _masks_there(self) -> object:
        """Return which slices have masks, and how often masks were accepted."""
        try:
            axis, _ = self.workspace.plane()
        except CamSamError as error:
            return str(error)
        return axis, set(self.masks.planes(axis)), len(self.masks.accepted)

    def _layers_changed(self, _: object = None) -> None:
        self._refresh_timer.start()  # a truth may have come or gone

    def _prompts_changed(self) -> None:
        self._outcome = ""
        self.row.clear_error()
        if not self._refresh_timer.isActive():
            self._refresh_timer.start()

    def _plan_again(self) -> None:
        self._outcome = ""
        self.row.clear_error()
        self._refresh()

    def _refresh(self) -> None:
        """Show what lies on this plane, and what pressing the button would do."""
        self._enable()
        self.through.refresh()
        self.row.look_again()
        self.saving.row.look_again()
        try:
            axis, index = self.workspace.plane()
            n_planes = len(self.workspace.prompts.planes(axis))
            awaited = self.through.running or (axis, index) in self._awaited or self.first.busy
            self.review.refresh(self.through.ended(axis, index), awaited)
        except CamSamError as error:
            self.row.set_message(str(error))
            self.review.clear()
            self._enable(False)
            return
        if axis != self._outcome_axis:
            self._outcome = ""  # its slices are numbered along another axis
        if not self.row.busy:
            self.row.set_message(self._outcome or self._plan(n_planes))

    def _at_work(self, n_planes: int) -> str:
        seconds = self.segmenter.seconds()
        long = "duration not known yet" if seconds is None else duration(seconds * n_planes)
        return f"Masks of {counted(n_planes, 'slice')}: {self.segmenter.words()}, {long}."

    def _plan(self, n_planes: int) -> str:
        words = self.segmenter.words()
        if self.first.busy:
            return f"Loading {words}…"
        if n_planes and not self.workspace.shown.is_picture:
            words += f"; {counted(n_planes, 'slice')} with prompts"
            seconds = self.segmenter.seconds()
            if seconds is not None:
                words += f", {duration(seconds * n_planes)} for all"
        if self.segmenter.value() == "compact-sam":
            words += ". Trained on phantoms only: for trying out"
        return words + "."
