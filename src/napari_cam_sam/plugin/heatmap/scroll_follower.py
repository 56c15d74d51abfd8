"""Heatmaps that are computed as one scrolls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.heatmap.classifier_panel import ClassifierPanel
from napari_cam_sam.plugin.heatmap.heatmap_run import HeatmapRun, HeatmapSettings
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.qt.widgets import checkbox

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ScrollFollower"]

_FOLLOW_MS = 120


class ScrollFollower(QObject):
    """Computes the heatmap of each slice that is scrolled to, while its check box is checked.

    Parameters
    ----------
    workspace : Workspace
    classifier : ClassifierPanel
    run : HeatmapRun
    row : TaskProgress
        Of the run.
    settings : callable
        Reads what the dock shows, for a snapshot of the image.
    """

    def __init__(
        self,
        workspace: Workspace,
        classifier: ClassifierPanel,
        run: HeatmapRun,
        row: TaskProgress,
        settings: Callable[[Snapshot], HeatmapSettings],
    ) -> None:
        super().__init__(run)
        self._workspace, self._classifier, self._run = workspace, classifier, run
        self._row, self._settings = row, settings
        self.computes = False
        """Whether the task that runs is for a slice that was scrolled to."""
        self.switch = checkbox(
            "Compute while scrolling",
            "Computes the heatmap of each slice you scroll to, unless it is there already.",
        )
        self.switch.toggled.connect(self.look_soon)
        self._timer = single_shot_timer(self, self.look, _FOLLOW_MS)
        run.ended.connect(self._ended)

    def look_soon(self, _: object = None) -> None:
        """Compute the slice shown in a moment, where that is wanted."""
        if self.switch.isChecked():
            self._timer.start()

    def stop(self) -> None:
        """Stop what is computed for a slice that was scrolled to.

        A classifier that is half loaded is of use for the next slice, too: it goes on.
        """
        if self.computes and not self._run.loading:
            self._row.stop()

    def look(self) -> None:
        """Compute the plane shown if it lacks such a heatmap; the newest plane wins."""
        if not self.switch.isChecked() or self._classifier.name.value() is None:
            return
        try:
            snapshot = self._workspace.snapshot()
            settings, loaded = self._settings(snapshot), self._classifier.loaded()
        except CamSamError:
            return
        note = self._workspace.heatmaps.record(snapshot.axis, snapshot.index)
        if note is not None and loaded is not None and note.made_by == settings.made_by(loaded):
            return
        if not self._row.busy:
            self.computes = self._run.start(settings, snapshot, [snapshot.index])
        elif self.computes:
            self.stop()
            self._timer.start()

    def _ended(self, _: bool) -> None:
        self.computes = False
