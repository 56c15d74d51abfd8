"""The whole way in one dock: image → heatmap → prompts → masks → scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.endings import Dock
from napari_cam_sam.plugin.forms import Section
from napari_cam_sam.plugin.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.keys import KEYS
from napari_cam_sam.plugin.prompts_dock import PromptsDock
from napari_cam_sam.plugin.scores_dock import ScoresDock
from napari_cam_sam.plugin.segment_dock import SegmentDock
from napari_cam_sam.plugin.session_row import SessionRow
from napari_cam_sam.plugin.workspace import workspace_of

if TYPE_CHECKING:
    import napari

__all__ = ["WayDock"]


class WayDock(Dock):
    """The four steps one below the other, and one button for all of them.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self.heatmap = HeatmapDock(napari_viewer)
        self.prompts = PromptsDock(napari_viewer)
        self.segment = SegmentDock(napari_viewer)
        self.scores = ScoresDock(napari_viewer)
        self._step = 0
        self.run = QPushButton("Run all four steps")
        self.run.setToolTip(
            "Heatmaps of the planes chosen in step 1, prompts on all of them, masks of all these, "
            "and scores where there is a truth. Nothing is accepted: look, edit, then press C."
        )
        self.stop = QPushButton("Stop")
        self.stop.setToolTip("What is done stays.")
        self.stop.setEnabled(False)
        self.words = QLabel("From the image to the scores in one go, or step by step below.")
        self.words.setWordWrap(True)
        rows = (f"<tr><td><b>{k}</b>&nbsp;</td><td>{t}</td></tr>" for k, (_, t) in KEYS.items())
        keys = QLabel(f"<table>{''.join(rows)}</table>")
        keys.setWordWrap(True)

        inside = QWidget()
        steps = QVBoxLayout(inside)
        steps.setContentsMargins(4, 4, 8, 4)
        both = QHBoxLayout()
        both.addWidget(self.run, stretch=1)
        both.addWidget(self.stop)
        steps.addLayout(both)
        steps.addWidget(self.words)
        steps.addWidget(SessionRow(self.workspace))
        self.sections = [
            Section("1  Heatmap: why?", self.heatmap),
            Section("2  Prompts: where?", self.prompts),
            Section("3  Segment: what?", self.segment),
            Section("4  Scores: how right?", self.scores, opened=False),
            Section("Keys", keys, opened=False),
        ]
        for section in self.sections:
            steps.addWidget(section)
        steps.addStretch()
        scroll = QScrollArea()
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll)
        bar = scroll.verticalScrollBar()
        beside = 0 if bar is None else bar.sizeHint().width()
        self.setMinimumWidth(max(340, inside.minimumSizeHint().width() + beside + 4))

        self.run.clicked.connect(self.run_all)
        self.stop.clicked.connect(self.cancel)
        self.heatmap.computed.connect(self._heatmaps_done)
        self.prompts.row.ended.connect(self._prompts_done)
        self.prompts.question.answered.connect(lambda: self._prompts_done(True))
        self.segment.segmented.connect(self._masks_done)
        self.scores.row.ended.connect(self._scores_done)
        self.workspace.image_changed.connect(self._image_changed)

    def _image_changed(self) -> None:
        if self._step:
            self._over("Stopped: another image was chosen.")

    def run_all(self) -> None:
        """Go from the image to the scores, step by step."""
        if self._step:
            return
        try:
            self.workspace.snapshot()
            if self.heatmap.classifier.name.value() is None:
                raise CamSamError("Choose a classifier in step 1 first.")
        except CamSamError as error:
            self.words.setText(str(error))
            return
        self._go(1, "1 of 4: heatmaps…")
        self.heatmap.compute()
        if not self.heatmap.row.busy:
            self._over("Heatmaps could not be started; see step 1.")

    def cancel(self) -> None:
        """Stop the step that runs, and what would follow."""
        self._over("Stopped; what is done stays.")
        self.heatmap.stop()
        self.prompts.row.stop()
        self.segment.stop()
        self.scores.row.stop()

    def _heatmaps_done(self, complete: bool) -> None:
        if self._step != 1:
            return
        if not complete:
            self._over("Stopped while heatmaps were computed.")
            return
        self._go(2, "2 of 4: prompts…")
        if not self.prompts.extract(everywhere=True):
            self._over("No prompts were made; see step 2.")

    def _prompts_done(self, complete: bool) -> None:
        if self._step != 2:
            return
        if not complete:
            self._over("Stopped while prompts were made.")
            return
        if self.prompts.question.asking:
            self.words.setText("2 of 4: answer the question in step 2 to go on.")
            return
        self._go(3, "3 of 4: masks…")
        if not self.segment.segment_all():
            self._over("No plane has evidence for this class: no prompts, no masks.")

    def _masks_done(self, complete: bool) -> None:
        if self._step != 3:
            return
        if not complete:
            self._over("Stopped while masks were made.")
            return
        if self.workspace.truth() is None:
            self._over("Masks are in the preview; there is no truth to score them against.")
            return
        self._go(4, "4 of 4: scores…")
        self.sections[3].title.setChecked(True)
        self.scores.choices.choose_prediction(self.workspace.own("preview"))
        self.scores.score()
        if not self.scores.row.busy:
            self._over("Masks are in the preview; why there are no scores stands in step 4.")

    def _scores_done(self, complete: bool) -> None:
        if self._step == 4:
            self._over(
                "Done. Look through the planes (N, P), edit prompts, accept masks (C)."
                if complete
                else "Stopped while masks were scored."
            )

    def _go(self, step: int, words: str) -> None:
        self._step = step
        self.run.setEnabled(False)
        self.stop.setEnabled(True)
        self.words.setText(words)

    def _over(self, words: str) -> None:
        self._step = 0
        self.run.setEnabled(True)
        self.stop.setEnabled(False)
        self.words.setText(words)
