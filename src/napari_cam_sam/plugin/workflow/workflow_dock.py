"""The whole way in one dock: image → heatmap → prompts → masks → scores."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.qt.dock import Dock
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.plain_text import RichLabel
from napari_cam_sam.plugin.qt.task_progress import TaskProgress, duration
from napari_cam_sam.plugin.qt.widgets import Section, button, hbox, vbox
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.state.image_notice import ImageNotice
from napari_cam_sam.plugin.state.plane_words import slider_number
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.plugin.viewer.key_bindings import KEYS
from napari_cam_sam.plugin.workflow.run_words import masks_words, scores_words

if TYPE_CHECKING:
    import napari

__all__ = ["WorkflowDock"]

# A first run covers the volume, unless that would take long: thin slices are hundreds.
_FEW_PLANES = 64


class _Top(QWidget):
    """What is said below the buttons; it keeps its height, so that nothing below moves.

    Parameters
    ----------
    *labels : QWidget
    """

    def __init__(self, *labels: QWidget) -> None:
        super().__init__()
        self.place = vbox(self, *labels)
        self.place.addStretch()

    def keep_height(self) -> None:
        """Ask for no less room from now on than for what is shown now."""
        if self.isVisible():
            now = self.place.totalHeightForWidth(self.width())
            self.setMinimumHeight(max(self.minimumHeight(), now))

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Begin anew with the height at another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.setMinimumHeight(0)
            self.keep_height()


class WorkflowDock(Dock):
    """The four steps one below the other, and one button for all of them.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    help_section = "CAM → SAM"

    ended = Signal()
    """A run of the four steps is over, at its end or before it."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self.heatmap = HeatmapDock(napari_viewer)
        self.prompts = PromptsDock(napari_viewer)
        self.segment = SegmentDock(napari_viewer)
        self.scores = ScoresDock(napari_viewer)
        self.heatmap.planes.prefer_all(_FEW_PLANES)
        self._step = 0
        # What came of the last run, the slices that it is of, and what was chosen for it.
        self._outcome = ""
        self._outcome_of: object = None
        # Whether it has figures that are of the masks as they are.
        self._outcome_scored = False
        # Whether it had figures of its masks, which a new scoring takes the place of.
        self._run_scored = False
        self._ran: object = None
        self._build()
        ImageNotice(self.workspace, self)
        self._connect()
        self._refresh()

    def _build(self) -> None:
        self.run = button(
            "Run all four steps",
            "Runs steps 1–4 as set below. Masks stay in the preview until you accept them (C).",
        )
        self.stop = button("Stop", "Stops the step that is running. Results so far are kept.")
        self.stop.setEnabled(False)
        self.plan, self.words = WrappingLabel(), WrappingLabel()
        rows = (f"<tr><td><b>{k}</b>&nbsp;</td><td>{t}</td></tr>" for k, (_, t) in KEYS.items())
        keys = RichLabel(f"<table>{''.join(rows)}</table>")
        keys.setWordWrap(True)

        both = hbox(self.run, self.stop)
        both.setStretch(0, 1)
        self.top = _Top(self.words, self.plan)
        self.sections = [
            Section("1  Heatmap", self.heatmap),
            Section("2  Prompts", self.prompts),
            Section("3  Segment", self.segment),
            Section("4  Scores", self.scores, opened=False),
            Section("Keyboard shortcuts", keys, opened=False),
        ]
        vbox(
            self, both, self.top,
            SessionPanel(self.workspace, self.workspace.sessions), *self.sections,
            margins=(4, 4, 8, 4),
        ).addStretch()  # fmt: skip

    def _connect(self) -> None:
        self.run.clicked.connect(self.run_all)
        self.stop.clicked.connect(self.cancel)
        self.heatmap.computed.connect(self._heatmaps_done)
        self.prompts.row.ended.connect(self._prompts_done)
        self.prompts.question.answered.connect(self._answered)
        self.prompts.question.refused.connect(self._prompts_refused)
        self.segment.segmented.connect(self._masks_done)
        self.scores.row.ended.connect(self._scores_done)
        self.scores.scored.connect(self._scored_again)
        self.workspace.image_changed.connect(self._image_changed)
        self.workspace.labels_changed.connect(self._masks_changed)
        self.closed.connect(self.workspace.docks.cache_states)
        for signal in (
            self.heatmap.planned,
            self.prompts.rule.changed,
            self.segment.segmenter.changed,
            self.segment.segmented,
            self.workspace.segmenter_changed,
            self.scores.choices.changed,
        ):
            signal.connect(self._refresh)

    def _image_changed(self) -> None:
        if self._step:
            self._finish("Stopped: another image was chosen.")
        else:
            self._outcome = ""
            self._refresh()

    def _masks_changed(self, plane: object) -> None:
        """Say that figures are of before, where masks are others now."""
        if self._outcome_scored and plane is not None:
            self._outcome_scored = False
            self._outcome = f"Before your last changes: {self._outcome.removeprefix('Done. ')}"
            self._refresh()

    # What state it is in, in words

    def _refresh(self, _: object = None) -> None:
        """Show what is done, or what came out, and what the button would do then."""
        if self._outcome_of != self._run_is_of():
            self._outcome = ""
        self.stop.setEnabled(self._step > 0)
        self.run.setEnabled(False)
        ran = False
        if not self._step:
            try:
                words, choices = self._plan(), self._choices()
                self.run.setEnabled(True)
            except CamSamError as error:
                words, choices = str(error), None
            ran = bool(self._outcome) and (choices == self._ran or words == self._outcome)
            self.plan.setText(words)
        self.words.setText(self._sentence())
        self.words.setVisible(bool(self.words.text()))
        # What was done just now need not be said twice.
        self.plan.setVisible(not self._step and not ran)
        self.top.keep_height()

    def _sentence(self) -> str:
        """Return how far the run is, or what came of it; empty where none was."""
        if not self._step:
            return self._outcome
        what = ("heatmaps", "prompts", "masks", "scores")[self._step - 1]
        asks = self._step == 2 and self.prompts.question.asking
        return f"Step {self._step} of 4: {what}{'. Answer to go on:' if asks else '…'}"

    def _run_is_of(self) -> object:
        """Return what the words on a run are of: slices along an axis, and a truth."""
        try:
            axis, _ = self.workspace.plane()
        except CamSamError as error:
            return str(error)
        return axis, self.scores.choices.truth.value()

    def _choices(self) -> tuple[Any, ...]:
        """Return what is chosen for a run."""
        classifier, rule = self.heatmap.classifier, self.workspace.prompt_parameters
        indices = tuple(self.heatmap.plan().indices)
        made_with = classifier.name.value(), classifier.target_words(), self.heatmap.method.value()
        return indices, *made_with, rule, self.segment.segmenter.value()

    def _plan(self) -> str:
        """Return what the button would do, and how long that would take."""
        heat, segmenter = self.heatmap.plan(), self.segment.segmenter
        rule = self.prompts.strategy.currentText() or self.prompts.strategy.placeholderText()
        truth = self.scores.choices.truth.value()
        scores = "no scores without a ground truth"
        if truth is not None:
            scores = f"scores against {truth.name}"
        if self.workspace.shown.is_picture:
            words = f"Heatmap of {heat.words}; prompts ({rule}) from it; masks by "
            return f"{words}{segmenter.words()}; {scores}."
        words = (
            f"Heatmaps of {heat.words}; prompts ({rule}) from each heatmap; masks of all slices "
            f"with prompts, by {segmenter.words()}; {scores}."
        )
        if len(heat.indices) < heat.total:
            words += (
                f" Only {len(heat.indices)} of {heat.total} slices: choose more under Slices in "
                "step 1."
            )
        seconds = segmenter.seconds()
        if heat.seconds is not None and seconds is not None:
            masks = {*heat.indices, *self.workspace.prompts.planes(self.workspace.plane()[0])}
            words += f" Up to {duration(heat.seconds + seconds * len(masks))}."
        return words

    # One step after the other

    def run_all(self) -> None:
        """Go from the image to the scores, step by step."""
        if self._step:
            return
        with suppress(CamSamError):  # step 1 says which
            self._ran = self._choices()
        self._begin(1)
        if not self.heatmap.compute():
            self._refused(self.heatmap.row)

    def cancel(self) -> None:
        """Stop the step that runs, and what would follow."""
        self._finish("Stopped. Results so far are kept.")
        self.heatmap.row.stop()
        self.prompts.row.stop()
        self.segment.stop()
        self.scores.row.stop()

    def _heatmaps_done(self, complete: bool) -> None:
        if self._step != 1:
            return
        if not complete:
            self._finish("Stopped while computing heatmaps.")
            return
        self._begin(2)
        if not self.prompts.extract(everywhere=True):
            self._refused(self.prompts.row)

    def _answered(self) -> None:
        self.prompts.asks.addWidget(self.prompts.question)
        self._prompts_done(True)

    def _prompts_refused(self, words: str) -> None:
        if self._step == 2:
            self._finish(words)

    def _prompts_done(self, complete: bool) -> None:
        if self._step != 2:
            return
        if not complete:
            self._finish("Stopped while placing prompts.")
            return
        if self.prompts.question.asking:
            # Step 2 may be scrolled away, and the button that was pressed is here.
            self.top.place.insertWidget(1, self.prompts.question)
            self._refresh()
            self.scroll.verticalScrollBar().setValue(0)
            return
        with suppress(CamSamError):  # step 3 says which
            if not self.workspace.prompts.planes(self.workspace.plane()[0]):
                self._finish(f"{self.prompts.row.words.text()} Nothing to segment.")
                return
        self._begin(3)
        if not self.segment.segment_all():
            self._refused(self.segment.row)

    def _masks_done(self, complete: bool) -> None:
        if self._step != 3:
            return
        if not complete:
            self._finish(self.segment.outcome or "Stopped while segmenting.")
            return
        if self.workspace.truth() is None:
            planes = self.workspace.masks.planes(self.workspace.plane()[0])
            self._finish(masks_words(planes, self.workspace.shown.is_picture))
            return
        self._begin(4)
        self.sections[3].title.setChecked(True)
        self.scores.choices.choose_prediction(self.workspace.own("preview"))
        if not self.scores.score():
            self._refused(self.scores.row)

    def _scores_done(self, complete: bool) -> None:
        if self._step != 4:
            return
        words = self._scores_words()
        if not complete or words is None:
            self._finish("Stopped while scoring.")
            return
        self._finish(words)
        self._outcome_scored = self._run_scored = True

    def _scores_words(self) -> str | None:
        """Return what came out, by the table of scores; None where it is empty."""
        subject = self.scores.table.subject
        if subject is None:
            return None
        total = self.workspace.image().n_planes(subject.axis)
        computed = self.workspace.heatmaps.computed_planes(subject.axis)
        slider = partial(slider_number, self.workspace.shown)
        return scores_words(self.scores.table.rows(), computed, total, slider)

    def _scored_again(self) -> None:
        """Say what came out once the user has pressed Score, where a run was scored before."""
        if self._step or not (self._outcome and self._run_scored):
            return
        words = self._scores_words()
        if words is not None:
            self._outcome, self._outcome_of = words, self._run_is_of()
            self._outcome_scored = True
            self._refresh()

    def _begin(self, step: int) -> None:
        self._step = step
        self._refresh()

    def _refused(self, row: TaskProgress) -> None:
        """End at a step that did not start: it says why, or is at work."""
        busy = f"Step {self._step} is still running; try again when it has finished."
        self._finish(busy if row.busy else row.words.text())

    def _finish(self, words: str) -> None:
        self._step = 0
        self._outcome, self._outcome_of = words, self._run_is_of()
        self._outcome_scored = self._run_scored = False
        # A question that was asked here, and was not answered, is step 2's.
        self.prompts.asks.addWidget(self.prompts.question)
        self._refresh()
        self.ended.emit()
