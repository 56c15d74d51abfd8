"""Train a classifier on labelled images or planes, watch it, and hand it to the heatmaps."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.training.results import TrainingResult
from napari_cam_sam.plugin.qt.dock import Dock
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.paths import PathRow
from napari_cam_sam.plugin.qt.plain_text import show_error
from napari_cam_sam.plugin.qt.task_progress import TaskProgress, duration
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.qt.widgets import Section, button, form_layout, hbox, vbox
from napari_cam_sam.plugin.training.curves import TrainingCurves
from napari_cam_sam.plugin.training.folder import free_folder, is_unfinished, read_parameters
from napari_cam_sam.plugin.training.form import TrainingForm
from napari_cam_sam.plugin.training.plan import NEIGHBOURS, count_parts, network_words
from napari_cam_sam.plugin.training.report import TrainingReport
from napari_cam_sam.plugin.training.run import TrainingJob, training_steps
from napari_cam_sam.plugin.training.source import PLANES, TrainingSource
from napari_cam_sam.plugin.viewer.attach import workspace_of

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.models.training.results import Epoch

__all__ = ["TrainingDock"]

_PROGRESS_MS = 200
_SETTLE_MS = 1500


class TrainingDock(Dock):
    """Choose images and a network; train in the background; see how good it is; use it.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    help_section = "Train"

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self._job: TrainingJob | None = None
        self._epochs: list[Epoch] = []
        self._begun: tuple[float, int] | None = None
        self._remark = ""
        self._asked_epochs = 0
        self._result: TrainingResult | None = None
        self._suggested = ""
        # The classifier that was given to the Heatmap dock last.
        self._handed = ""
        self.model: Path | None = None

        self._build(napari_viewer)
        self._connect()
        self.curves.hide()
        self.sections[3].hide()
        docks = self.workspace.docks
        before, shown = docks.state_of("training"), docks.state_of("training result")
        docks.register_state("training", self.state, self.set_state)
        docks.register_kept("training result", self._shown)
        if shown is not None:
            self._remark, self._asked_epochs, self._result = shown
            self.model = self._result.model
        if before is not None:
            docks.restore({"training": before})
        if self._result is not None:
            self._show_result(self._result)
        self._source_changed()

    def _build(self, viewer: napari.viewer.Viewer) -> None:
        self.source = TrainingSource(self.workspace)
        self.parameters = TrainingForm(self.workspace)
        self.output = PathRow(
            "The folder for the classifier, its metrics and its prediction for every image.",
            lambda: QFileDialog.getExistingDirectory(self, "Choose a folder for the classifier"),
        )
        self.plan = WrappingLabel()
        self.run = button("Train", "Runs in the background.")
        self.resume = button(
            "Resume", "Continues the unfinished training in the folder from its last epoch."
        )
        self.row = TaskProgress()
        self.row.cancel.clicked.disconnect(self.row.stop)
        self.row.cancel.setToolTip(
            "Stops after the current batch. The best epoch is kept; Resume continues later."
        )
        self.curves = TrainingCurves(viewer)
        self.report = TrainingReport(viewer)
        self.use = button(
            "Use for heatmaps", "Chooses the new classifier for heatmaps, and shows where."
        )

        training, result = QWidget(), QWidget()
        folder, buttons = form_layout((("Save in", self.output),)), hbox(self.run, self.resume)
        vbox(training, folder, self.plan, buttons, self.row, self.curves)
        vbox(result, self.use, self.report)
        self.sections = [
            Section("1  Images", self.source),
            Section("2  Network", self.parameters),
            Section("3  Train", training),
            Section("4  Result", result),
        ]
        steps = vbox(self, *self.sections)
        steps.setContentsMargins(4, 4, 8, 4)
        steps.addStretch()

    def _connect(self) -> None:
        # A result that is shown just now gets its place little by little.
        self._result_is_new = single_shot_timer(self, milliseconds=_SETTLE_MS)
        self.scroll.verticalScrollBar().rangeChanged.connect(self._look_at_result)
        self._progress_timer = QTimer(self)
        self._progress_timer.setInterval(_PROGRESS_MS)
        self._progress_timer.timeout.connect(self._show_progress)
        self.source.changed.connect(self._source_changed)
        self.source.kind.currentIndexChanged.connect(self._kind_changed)
        self.parameters.changed.connect(self._refresh)
        self.output.changed.connect(self._refresh)
        self.run.clicked.connect(self.train)
        self.resume.clicked.connect(self.go_on)
        self.row.cancel.clicked.connect(self.cancel)
        self.row.ended.connect(self._ended)
        self.use.clicked.connect(self.use_for_heatmaps)
        self.workspace.classifier_changed.connect(self._classifier_changed)
        self.closed.connect(self.workspace.docks.cache_states)

    # What will happen

    def _kind_changed(self) -> None:
        self.parameters.look_as_shown(self.source.kind.value() == PLANES)

    def _source_changed(self) -> None:
        if not self.row.busy:
            self._suggest_folder()
        self._refresh()

    def _suggest_folder(self, anew: bool = False) -> None:
        """Name a folder that holds no classifier but the one shown, unless the user named one.

        Parameters
        ----------
        anew : bool
            Whether an unfinished training in it will not do, either.
        """
        if self.output.text.text() not in ("", self._suggested) or not self.source.ready():
            return
        name = re.sub(r"[^\w.-]+", "-", self.source.name()).strip("-.") or "images"
        first = self.source.place() / f"{name}-classifier"
        shown = None if self.model is None or anew else self.model.parent
        self._suggested = str(free_folder(first, anew=anew, shown=shown))
        self.output.text.setText(self._suggested)

    def _refresh(self) -> None:
        """Show what Train will do, or what is missing for it."""
        folder = self.output.path()
        unfinished = folder is not None and is_unfinished(folder)
        self.resume.setVisible(unfinished)
        ready = not self.row.busy and self.source.ready() and folder is not None
        self.resume.setEnabled(ready)
        try:
            parameters = self.parameters.value()
        except CamSamError as error:
            self.run.setEnabled(False)
            self.plan.setText(str(error))
            return
        self.run.setEnabled(ready)
        if self.row.busy:
            return  # what is said is what runs
        words = self.source.words()
        if self.source.ready():
            words += f" {network_words(parameters)}"
            if self.source.stands_alone(count_parts(parameters)):
                words += f" {NEIGHBOURS}"
            elif parameters.join_copies:
                words += " Near copies are never split between training and testing."
            words += " How long it takes is said once it runs."
        if unfinished:
            words += " The folder holds an unfinished training: Resume continues it."
        self.plan.setText(words)

    # Training

    def train(self) -> None:
        """Train anew, in a thread."""
        self._suggest_folder(anew=True)
        self._start(resume=False)

    def go_on(self) -> None:
        """Go on with the unfinished training in the folder, as it was begun."""
        self._start(resume=True)

    def _start(self, *, resume: bool) -> None:
        try:
            job = self._new_job(resume)
        except CamSamError as error:
            self.row.show_error(str(error))
            show_error(str(error))
            return
        parameters = job.parameters
        if not resume:
            self._epochs = []
        self._begun = None
        started = self.row.start(
            lambda: training_steps(job), parameters.epochs, "Training a classifier",
            self._take, stop=job.stop, counts=False,
        )  # fmt: skip
        if not started:
            return
        self._job = job
        self._asked_epochs, self._result = parameters.epochs, None
        self.row.cancel.setEnabled(True)
        self.row.set_message("Loading PyTorch and listing the images…")
        self.sections[3].hide()
        self.curves.show()
        self.curves.show_message("Curves appear after the first epoch.")
        self._progress_timer.start()
        self._refresh()

    def _new_job(self, resume: bool) -> TrainingJob:
        """Return what is trained by the choices in the dock."""
        folder = self.output.path()
        if folder is None:
            what = (
                "the folder of the training to resume" if resume else "a folder for the classifier"
            )
            raise CamSamError(f"Choose {what}.")
        if resume:
            parameters = replace(read_parameters(folder), device=self.parameters.device.value())
            self.parameters.set_value(parameters)
        else:
            parameters = self.parameters.value()
        parts = count_parts(parameters)
        alone = self.source.stands_alone(parts)
        self._remark = NEIGHBOURS if alone else ""
        if alone and not resume:
            # Neighbours look alike: joined as copies, all planes of an image would be in one part.
            parameters = replace(parameters, join_copies=False)
        return TrainingJob(self.source.reader(parts), parameters, folder, resume)

    def cancel(self) -> None:
        """Stop after the batch that runs; what was learned until then comes as the result."""
        if self._job is not None:
            self._job.stop.set()
            self.row.cancel.setEnabled(False)
            self.row.set_message("Stopping after this batch…")

    def _take(self, step: Any) -> None:
        """Show an epoch, or the result."""
        if isinstance(step, TrainingResult):
            self._show_result(step)
            # What came out is what one waited for: bring it into view.
            self._result_is_new.start()
            return
        self._epochs = [e for e in self._epochs if e.number < step.number] + [step]
        self._draw()
        best = max((e.number for e in self._epochs if e.best), default=step.number)
        known = step.validation_accuracy == step.validation_accuracy  # not NaN
        figures = f"validation accuracy {step.validation_accuracy:.3f}, " if known else ""
        if self._job is not None and not self._job.stop.is_set():
            self.row.set_message(
                f"Epoch {step.number}: {figures}training accuracy {step.accuracy:.3f}. "
                f"Best so far: epoch {best}."
            )

    def _draw(self) -> None:
        if self._epochs:
            self.curves.show_epochs(self._epochs, self._asked_epochs)

    def _show_result(self, result: TrainingResult) -> None:
        self._result = result
        self._epochs = list(result.epochs)
        self.curves.setVisible(bool(self._epochs))
        self._draw()
        self.model = result.model
        self.use.setEnabled(result.model is not None)
        self.report.show_result(result, self._remark)
        self.sections[3].show()
        self.sections[3].title.setChecked(True)
        done = f"{duration(result.seconds).removeprefix('about ')} in all"
        if not result.epochs:
            self.row.set_message("Stopped before the first epoch was complete.")
        elif result.finished:
            self.row.set_message(f"Done, {done}. The classifier is in {self.output.text.text()}.")
        else:
            self.row.set_message(
                f"Stopped after epoch {len(result.epochs)}, {done}. Resume continues from there."
            )

    def _look_at_result(self, *_: int) -> None:
        if self._result_is_new.isActive():
            self.scroll_to(self.sections[3])

    def _show_progress(self) -> None:
        """Show how far the thread is."""
        progress = None if self._job is None else self._job.progress
        if progress is None:
            return
        done, total = progress.done, progress.total
        if progress.stage == "reading":
            words = f"Image {done} of {total}"
            self.row.set_message("Reading the images…")
        elif progress.stage == "training":
            now = time.monotonic()
            if self._begun is None:
                self._begun = now, done
            begin, first = self._begun
            epochs = self._job.parameters.epochs if self._job is not None else 1
            words = f"Epoch {min(epochs, done * epochs // max(1, total) + 1)} of {epochs}"
            if done > first:
                words += f", {duration((now - begin) / (done - first) * (total - done))} left"
        else:
            words = "Testing the best epoch"
        self.row.show_progress(done, total, words)

    def _ended(self, _: bool) -> None:
        self._progress_timer.stop()
        self._job = None
        if not self._epochs:
            self.curves.hide()
        if self.row.words.text().endswith("…"):
            self.row.set_message("")
        self._refresh()

    # Using it

    def use_for_heatmaps(self) -> None:
        """Choose the new classifier for heatmaps, in CAM → SAM where no such dock is open."""
        if self.model is None:
            return
        workspace, path = self.workspace, str(self.model)
        held = workspace.classifier
        if held is not None and held.name == path:
            # Of the same file as it was before it was resumed.
            workspace.classifier = None
            workspace.classifier_changed.emit()
        if not workspace.docks.dispatch("use classifier", path):
            # With its steps for prompts and masks, which come next.
            workspace.viewer.window.add_plugin_dock_widget("napari-cam-sam", "CAM → SAM")
            workspace.docks.dispatch("use classifier", path)
        self._handed = path
        self.row.set_message(f"{path} is now the classifier for heatmaps.")

    def _classifier_changed(self) -> None:
        """Say no longer that the new classifier is selected, where another is."""
        held = self.workspace.classifier
        if self._handed and held is not None and held.name != self._handed:
            self._handed = ""
            if not self.row.busy:
                self.row.set_message("")

    # What stays

    def _shown(self) -> tuple[str, int, TrainingResult] | None:
        result = self._result
        return None if result is None else (self._remark, self._asked_epochs, result)

    def state(self) -> dict[str, Any]:
        """Return the choices as plain data, for the session."""
        output = self.output.text.text()
        state = {**self.source.state(), "output": output, "named": output != self._suggested}
        with suppress(CamSamError):  # a number that is being typed is out of its range
            state["parameters"] = self.parameters.state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session."""
        if self.row.busy:
            return
        output = str(state.get("output", ""))
        self._suggested = "" if state.get("named", True) else output
        self.output.text.setText(output)
        self.source.set_state(state)
        if "parameters" in state:
            self.parameters.set_state(state["parameters"])
