"""The whole way in one dock: image → heatmap → prompts → masks → scores."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.qt.dock import Dock
from napari_cam_sam.plugin.qt.plain_text import RichLabel
from napari_cam_sam.plugin.qt.task_progress import TaskProgress, duration
from napari_cam_sam.plugin.qt.widgets import Section, WrappingLabel, button, hbox, vbox
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.plugin.viewer.key_bindings import KEYS

if TYPE_CHECKING:
    import napari

__all__ = ["WorkflowDock"]

# A first run covers the volume, unless that would take long: thin slices are hundreds.
_FEW_PLANES = 64


class WorkflowDock(Dock):
    """The four steps one below the other, and one button for all of them.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    help_section = "CAM → SAM"

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self.heatmap = HeatmapDock(napari_viewer)
        self.prompts = PromptsDock(napari_viewer)
        self.segment = SegmentDock(napari_viewer)
        self.scores = ScoresDock(napari_viewer)
        self.heatmap.planes.prefer_all(_FEW_PLANES)
        self._step = 0
        self._build()
        self._connect()
        self._finish("")

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
        self.sections = [
            Section("1  Heatmap", self.heatmap),
            Section("2  Prompts", self.prompts),
            Section("3  Segment", self.segment),
            Section("4  Scores", self.scores, opened=False),
            Section("Keyboard shortcuts", keys, opened=False),
        ]
        vbox(
            self, both, self.plan, self.words,
            SessionPanel(self.workspace, self.workspace.sessions), *self.sections,
            margins=(4, 4, 8, 4),
        ).addStretch()  # fmt: skip

    def _connect(self) -> None:
        self.run.clicked.connect(self.run_all)
        self.stop.clicked.connect(self.cancel)
        self.heatmap.computed.connect(self._heatmaps_done)
        self.prompts.row.ended.connect(self._prompts_done)
        self.prompts.question.answered.connect(lambda: self._prompts_done(True))
        self.prompts.question.refused.connect(self._prompts_refused)
        self.segment.segmented.connect(self._masks_done)
        self.scores.row.ended.connect(self._scores_done)
        self.workspace.image_changed.connect(self._image_changed)
        for signal in (
            self.heatmap.planned,
            self.prompts.rule.changed,
            self.segment.segmenter.changed,
            self.segment.segmented,
            self.workspace.segmenter_changed,
            self.scores.choices.changed,
        ):
            signal.connect(self._show_plan)

    def _image_changed(self) -> None:
        if self._step:
            self._finish("Stopped: another image was chosen.")
        else:
            self.words.setText("")

    # What will happen, in words

    def _show_plan(self, _: object = None) -> None:
        """Show what the button would do; while it is done, what was said before stays."""
        if self._step:
            return
        try:
            words = self._plan()
        except CamSamError as error:
            words = str(error)
            self.run.setEnabled(False)
        else:
            self.run.setEnabled(True)
        self.plan.setText(words)

    def _plan(self) -> str:
        heat, segmenter = self.heatmap.plan(), self.segment.segmenter
        rule = self.prompts.strategy.currentText() or self.prompts.strategy.placeholderText()
        truth = self.scores.choices.truth.value()
        scores = "no scores without a ground truth"
        if truth is not None:
            scores = f"scores against {truth.name}"
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
        self._begin(1, "heatmaps")
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
        self._begin(2, "prompts")
        if not self.prompts.extract(everywhere=True):
            self._refused(self.prompts.row)

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
            self.words.setText("Step 2 of 4: answer the question in step 2 to continue.")
            return
        with suppress(CamSamError):  # step 3 says which
            if not self.workspace.prompts.planes(self.workspace.plane()[0]):
                self._finish(f"{self.prompts.row.words.text()} Nothing to segment.")
                return
        self._begin(3, "masks")
        if not self.segment.segment_all():
            self._refused(self.segment.row)

    def _masks_done(self, complete: bool) -> None:
        if self._step != 3:
            return
        if not complete:
            self._finish(self.segment.outcome or "Stopped while segmenting.")
            return
        if self.workspace.truth() is None:
            self._finish("Masks are in the preview; not scored, as there is no ground truth.")
            return
        self._begin(4, "scores")
        self.sections[3].title.setChecked(True)
        self.scores.choices.choose_prediction(self.workspace.own("preview"))
        if not self.scores.score():
            self._refused(self.scores.row)

    def _scores_done(self, complete: bool) -> None:
        if self._step != 4:
            return
        subject = self.scores.table.subject
        if not complete or subject is None:
            self._finish("Stopped while scoring.")
            return
        total = self.workspace.image().n_planes(subject.axis)
        some = len(self.workspace.heatmaps.computed_planes(subject.axis))
        part = f" for {some} of {total} slices; the volume scores count all slices" * (some < total)
        self._finish(f"Done{part}. Review the slices (N, P), edit prompts, accept masks (C).")

    def _begin(self, step: int, what: str) -> None:
        self._step = step
        self.run.setEnabled(False)
        self.stop.setEnabled(True)
        self.words.setText(f"Step {step} of 4: {what}…")

    def _refused(self, row: TaskProgress) -> None:
        """End at a step that did not start: it says why, or is at work."""
        busy = f"Step {self._step} is still running; try again when it has finished."
        self._finish(busy if row.busy else row.words.text())

    def _finish(self, words: str) -> None:
        self._step = 0
        self.stop.setEnabled(False)
        self.words.setText(words)
        self._show_plan()
