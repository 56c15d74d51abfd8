"""The fourth step: how right a mask and a heatmap are, against a truth."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QVBoxLayout

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.writing import write_text
from napari_cam_sam.plugin.layers.layer_geometry import path_of
from napari_cam_sam.plugin.qt.dock import Dock, connect_until_destroyed
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.plain_text import show_error, unescape_markup
from napari_cam_sam.plugin.qt.saving import Saving, SavingRow
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.qt.widgets import Tabs, button, checkbox, hbox
from napari_cam_sam.plugin.scores.agreement_layer import AgreementLayer, legend
from napari_cam_sam.plugin.scores.compare_page import ComparePage
from napari_cam_sam.plugin.scores.score_inputs import ScoreInputs
from napari_cam_sam.plugin.scores.score_plots import CurvesPlot, PlanesPlot
from napari_cam_sam.plugin.scores.score_rows import from_data, key
from napari_cam_sam.plugin.scores.score_table import ScoreTable
from napari_cam_sam.plugin.scores.score_words import scores_words, why_no_curves
from napari_cam_sam.plugin.scores.scoring_run import LeftScores, ScoringRun
from napari_cam_sam.plugin.scores.trust_page import TrustPage
from napari_cam_sam.plugin.state.image_notice import ImageNotice
from napari_cam_sam.plugin.viewer.attach import workspace_of

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.evaluation.score_steps import SliceScores
    from napari_cam_sam.plugin.state.image_keys import PixelsKey

__all__ = ["ScoresDock"]

_PAUSE_MS = 300
_EDITED = "Scores are of before the last edit: press Score."


class ScoresDock(Dock):
    """Scores of a mask, and of a heatmap, against a truth: as a table, a layer and plots.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    help_section = "Scores"

    scored = Signal()
    """The table is new as a whole."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self._state: ScoringRun | None = None
        self._next: ScoringRun | None = None
        # What the table is of, and by image what it held of those that were left.
        self._pixels: PixelsKey | None = None
        self._left: dict[PixelsKey, LeftScores] = {}
        self._overlaid = False
        # Where rows are from that were not scored here.
        self._rows_from = "the session"
        self._agreement = AgreementLayer(self.workspace)
        self._build(napari_viewer)
        ImageNotice(self.workspace, self)
        self.workspace.image_changed.connect(self._fit_tabs)
        self._fit_tabs()
        self._connect()
        self._image_changed()
        docks = self.workspace.docks
        before = docks.score_rows()
        docks.register_kept("score rows", self.table.as_data)
        docks.register("take score rows", self.take_rows)
        self.closed.connect(docks.cache_states)
        if before:
            self.take_rows(before)
            self._rows_from = "before"
            self._refresh()

    def _build(self, viewer: napari.viewer.Viewer) -> None:
        self.choices = ScoreInputs(self.workspace)
        self.run = button(
            "Score", "Scores every slice along this axis, every object, and the volume."
        )
        self.overlay = checkbox(
            "Overlay", "Shows where prediction and ground truth agree and where they differ."
        )
        self.copy = button("Copy", "Copies the table, to paste into a spreadsheet.")
        self.saving = SavingRow(
            "Save CSV…", "Saves the table in full precision, with what was compared.", self._to_save
        )
        self.save = self.saving.button
        self.row = TaskProgress()
        self.table = ScoreTable()
        self.curves, self.along = CurvesPlot(viewer), PlanesPlot(viewer)
        self.comparison, self.trust = ComparePage(self.workspace), TrustPage(self.workspace)
        self.tabs = Tabs()
        for page, name, hint in (
            (self.table, "Table", "One row for each slice, each object, and the volume."),
            (self.curves, "Curves", "ROC and precision–recall of the heatmap."),
            (self.along, "Slices", "Dice and AUROC of each slice."),
            (
                self.comparison,
                "Compare",
                "CAM alone, CAM → SAM, edited, and the same segmenter with prompts from the truth.",
            ),
            (self.trust, "Trust", "Tests of the heatmap on this slice, without a ground truth."),
        ):
            self.tabs.setTabToolTip(self.tabs.addTab(page, name), hint)
        whole = QVBoxLayout(self)
        whole.addWidget(self.choices)
        whole.addLayout(hbox(self.run, self.overlay, legend()))
        whole.addWidget(self.row)
        whole.addWidget(self.tabs, 1)
        whole.addLayout(hbox(self.copy, self.save))
        whole.addWidget(self.saving)

    def _connect(self) -> None:
        workspace = self.workspace
        self.scored.connect(workspace.docks.changed)
        self._latest = LatestOnly(self._plane_scored, self.row.set_message, self)
        self._pause = single_shot_timer(self, self._rescore_shown, _PAUSE_MS)
        self.choices.changed.connect(self._refresh)
        self.choices.edited.connect(self._edited)
        self.choices.edited.connect(self.comparison.mark_edited)
        self.choices.refreshed.connect(self._pause.start)
        self.run.clicked.connect(self.score)
        self.overlay.toggled.connect(self._show_overlay)
        self.comparison.button.clicked.connect(self.compare)
        self.copy.clicked.connect(self._copy)
        self.row.ended.connect(self._ended)
        self.comparison.row.ended.connect(self._refresh)
        self.trust.row.started.connect(self._refresh)
        self.trust.row.ended.connect(self._refresh)
        self.tabs.currentChanged.connect(self._refresh)
        self.table.plane_chosen.connect(self._go)
        self.along.plane_chosen.connect(self._go)
        workspace.image_changed.connect(self._image_changed)
        workspace.image_changed.connect(self.saving.forget)
        workspace.plane_changed.connect(self._mark_plane)
        workspace.segmenter_changed.connect(self._refresh)
        workspace.prompts.settled.connect(self._refresh)
        workspace.labels_changed.connect(self._labels_changed)
        removed = workspace.viewer.layers.events.removed
        connect_until_destroyed(self, removed, self._layer_removed)

    def _image_changed(self) -> None:
        self._put_aside()
        # The viewer tells of another frame a moment after it shows it: what was begun meanwhile
        # is of that frame, and goes on.
        if not self.choices.are_those_of(self._next):
            self._forget()
        self._bring_back()
        self.comparison.clear()
        self.along.show_rows(self.table.rows(), self.table.subject)
        self.curves.show_run(self._state)
        self._mark_plane()
        self._refresh()

    def _put_aside(self) -> None:
        """Keep the scores of the image that is left, for as long as that is open."""
        table, shown = self.table, self.workspace.shown
        if table.subject is not None and self._pixels not in (None, shown.pixels_key()):
            older = frozenset(key(row) for row in table.rows() if table.is_older(row))
            held = LeftScores(self._state, table.rows(), table.subject, older, self._rows_from)
            self._left[self._pixels] = held
        there = {layer.unique_id for layer in shown.images()}
        self._left = {of: left for of, left in self._left.items() if of.layer in there}

    def _bring_back(self) -> None:
        """Show the scores that the image had when it was left, or none."""
        self._pixels = self.workspace.shown.pixels_key()
        left = self._left.pop(self._pixels, LeftScores(rows_from=self._rows_from))
        self._state, self._rows_from = left.state, left.rows_from
        self.table.set_rows(left.rows, left.subject, left.older)

    def _forget(self) -> None:
        """Leave what was scored, and what is being scored: it would come into another table."""
        self.row.stop()
        self._latest.drop()
        self._state = None
        if self._next is not None:
            self._next.wanted = False

    # What will happen, in words

    def _refresh(self, _: object = None) -> None:
        problem, state = self.choices.problem(), self._state
        if self.table.subject is None:
            with suppress(CamSamError):
                self.table.set_unit(self.choices.subject().unit)
        self._say_what_lacks(problem)
        self.run.setEnabled(problem is None and self._next is None)
        self.comparison.refresh(problem, self.choices.key_or_none())
        for one in (self.copy, self.save):
            one.setEnabled(bool(self._page().rows()))
        if self._next is not None:
            return
        if problem is not None:
            self.row.set_message(problem)
            return
        subject, axis = self.table.subject, self.workspace.plane()[0]
        self.row.set_message(scores_words(self.choices, state, subject, axis, self._rows_from))

    def _say_what_lacks(self, problem: str | None) -> None:
        """Say in the plots why they are empty."""
        if not self.along.has_figure:
            scored = self.choices.are_those_of(self._state) and self.table.subject is not None
            nothing = "Nothing to plot: no slice has scores."
            self.along.show_message(problem or (nothing if scored else "Press Score."))
        if not self.curves.has_figure:
            self.curves.show_message(
                problem or why_no_curves(self.choices, self._state, self.table.subject)
            )

    # Scoring

    def score(self) -> bool:
        """Score all planes, objects and the volume in the background.

        Returns
        -------
        bool
            False where nothing could be started; why is said, unless other masks are scored.
        """
        # Not row.busy: events come in while napari makes the bar, before the row has its task.
        if self.choices.problem() is not None or self._next is not None:
            self._refresh()
            return False
        workspace, job, subject = self.workspace, self.choices.to_score(), self.choices.subject()
        image = job.image
        layers = [layer for layer in self.choices.layers() if layer is not None]
        agreement = np.zeros(image.spatial_shape, np.uint8)
        notes = self.choices.heatmap_notes()
        found = self._next = ScoringRun(
            self.choices.key(), subject, job, agreement, heatmap_notes=notes
        )

        def steps() -> Generator[Any]:
            from napari_cam_sam.evaluation.score_steps import score_steps

            yield from score_steps(job.taken())

        def wanted() -> bool:
            return all(layer in workspace.viewer.layers for layer in layers)

        self._latest.drop()
        self.row.set_message(f"Scoring {subject.prediction} against {subject.truth}…")
        total = image.n_planes(job.axis) + 2
        started = self.row.start(steps, total, f"Scores of {image.name}", found.keep, wanted)
        if not started:
            self._next = None
        self._refresh()
        return started

    def _ended(self, complete: bool) -> None:
        found, self._next = self._next, None
        if found is None or not found.wanted or not found.marks:
            self._refresh()
            return
        self._state = found
        found.summarise(complete)
        self.table.set_rows(found.rows, found.subject)
        self.along.show_rows(self.table.rows(), self.table.subject)
        self.curves.show_run(found)
        if self.overlay.isChecked() and self.choices.are_those_of(found):
            self._show_overlay(True)
        self._mark_plane()
        self.choices.label.look_again()
        self._refresh()
        if complete:
            self.scored.emit()

    def compare(self) -> None:
        """Compare CAM alone, its prompts, edited ones and the truth's, in the background."""
        if self.choices.problem() is None and not self.comparison.row.busy:
            self.comparison.start(self.choices.to_score(), self.choices.key())
        self._refresh()

    # What the table is of, in pictures

    def _show_overlay(self, wanted: bool) -> None:
        self._overlaid = False
        state = self._state
        if not wanted:
            self._agreement.remove()
        elif self.choices.problem() is None and self.choices.are_those_of(state):
            self._agreement.show(state.agreement, state.subject.prediction)
            self._overlaid = True
        else:
            self.score()

    def _go(self, index: int) -> None:
        if self.table.subject is not None:
            self.workspace.show_plane(self.table.subject.axis, index)

    def _layer_removed(self, _: object = None) -> None:
        if self._overlaid and not self._agreement.there():
            self.overlay.setChecked(False)  # the user deleted the layer

    def _mark_plane(self) -> None:
        subject, here = self.table.subject, None
        with suppress(CamSamError):  # in three dimensions no plane is shown
            axis, index = self.workspace.plane()
            here = index if subject is not None and axis == subject.axis else None
        self.table.select_plane(here)
        self.along.show_plane(here)

    # Edits

    def _edited(self, planes: Collection[int] | None = ()) -> None:
        """Mark what is of before an edit; the plane shown is scored again in a moment.

        Parameters
        ----------
        planes : collection of int or None
            As of `ScoreInputs.edited`.
        """
        state, shown = self._state, None
        with suppress(CamSamError):
            shown = self.workspace.plane()[1]
        if not self.choices.are_those_of(state):
            self.table.set_older(None)
        elif planes is None or set(planes) - {shown}:
            state.words = _EDITED
            self.table.set_older(planes if planes is None else set(planes) - {shown})
            self._refresh()
        else:
            self.table.set_older()
        self._pause.start()

    def _labels_changed(self, plane: tuple[int, int] | None) -> None:
        preview = self.workspace.own("preview")
        if preview is not None and preview == self.choices.prediction.value():
            self._edited(None if plane is None else {plane[1]})
        self._pause.start()

    def _rescore_shown(self) -> None:
        """Score the plane shown again, where it is not what it was."""
        state = self._state
        if self.choices.problem() is not None or not self.choices.are_those_of(state):
            self._refresh()
            return
        if self._next is not None:
            self._pause.start()
            return
        index = self.workspace.plane()[1]
        slot = state.job.image.plane_index(state.job.axis, index)
        live = [self.choices.array(layer)[slot] for layer in self.choices.layers()[:2]]
        cuts = [np.array(one) if isinstance(one, np.ndarray) else one for one in live]
        one = state.of_plane(index, *cuts)

        def ask() -> tuple[ScoringRun, int, SliceScores]:
            from napari_cam_sam.evaluation.score_steps import score_slice

            return state, index, score_slice(one, 0)

        self._latest.ask(ask)

    def _plane_scored(self, answer: tuple[ScoringRun, int, SliceScores]) -> None:
        state, index, found = answer
        if state is not self._state:
            return
        if state.marks.get(index) == found.mark:
            self.table.set_current(index)
            return
        row = state.replace_plane(index, found)
        self.table.set_older()
        self.table.set_plane(index, row)
        self._agreement.refresh()
        self.along.show_rows(self.table.rows(), self.table.subject)
        self._refresh()

    # Out of the viewer

    def take_rows(self, data: Iterable[Mapping[str, Any]]) -> None:
        """Show rows of a session, as they were saved."""
        try:
            rows, subject, older = from_data(data)
        except CamSamError as error:
            # All else of the session is good, and scores can be had again.
            rows, subject, older = [], None, set()
            self.row.show_error(str(error))
            show_error(str(error))
        self._forget()
        self._rows_from = "the session"
        self.overlay.setChecked(False)
        self.table.set_rows(rows, subject, older)
        self.along.show_rows(self.table.rows(), self.table.subject)
        self.curves.show_message("")
        self._mark_plane()
        self._refresh()

    def _fit_tabs(self) -> None:
        """Hide the plot over slices where there are none."""
        slices = self.tabs.indexOf(self.along)
        self.tabs.setTabVisible(slices, not self.workspace.shown.is_picture)

    def _page(self) -> ScoreTable | TrustPage:
        """Return what is copied and saved: the table that is seen, else that of the scores."""
        return self.trust if self.tabs.currentWidget() is self.trust else self.table

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._page().as_shown())

    def _to_save(self) -> Saving:
        page, image = self._page(), self.workspace.image_layer
        what = "scores" if page is self.table else "trust"
        name = what if image is None else f"{unescape_markup(image.name)}-{what}"
        file = path_of(image)
        folder = None if file is None else file.parent
        write = partial(write_text, text=page.as_csv())
        return Saving(what, name, folder, [("CSV (*.csv)", ".csv")], write)
