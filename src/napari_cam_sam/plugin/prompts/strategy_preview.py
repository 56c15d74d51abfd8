"""Shows what a strategy would place on the plane shown, before it is placed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.prompts.preview_layer import PreviewLayer, PromptPreview, preview_prompts
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.narrow import ElidedCheckBox
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.timers import single_shot_timer

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["StrategyPreview"]

_DRAW_MS = 15


class StrategyPreview(ElidedCheckBox):
    """Draws the sketch of the strategy while it is checked and on the screen.

    Parameters
    ----------
    workspace : Workspace
    row : TaskProgress
        Says why nothing can be drawn.
    """

    def __init__(self, workspace: Workspace, row: TaskProgress) -> None:
        super().__init__("Preview prompts")
        self.setToolTip("Outlines the heatmap region, box and points that the rule would place.")
        self.setChecked(True)
        self._workspace = workspace
        self._layer = PreviewLayer(workspace)
        self._rule_moved = False
        self._latest = LatestOnly(self._drawn, row.set_message, self)
        self._timer = single_shot_timer(self, self._draw, _DRAW_MS)
        self.toggled.connect(self.draw_soon)
        workspace.prompts.settled.connect(self.draw_soon)
        workspace.heatmaps_changed.connect(self.draw_soon)
        workspace.image_changed.connect(self.draw_soon)
        workspace.plane_changed.connect(self.leave_rule)

    def move_rule(self) -> None:
        """Draw what the rule would place now, also where the user has edited the prompts."""
        self._rule_moved = True
        self.draw_soon()

    def leave_rule(self) -> None:
        """Draw nothing over prompts that the user edited, until the rule is another."""
        self._rule_moved = False
        self.draw_soon()

    def hideEvent(self, event: object) -> None:  # noqa: N802 - Qt calls it so
        """Leave no preview behind when the dock is folded or closed."""
        super().hideEvent(event)
        self.draw_soon()

    def showEvent(self, event: object) -> None:  # noqa: N802 - Qt calls it so
        """Bring the preview back."""
        super().showEvent(event)
        self.draw_soon()

    def draw_soon(self, _: object = None) -> None:
        """Draw anew, once for all that changes together."""
        self._timer.start()

    def _draw(self) -> None:
        """Ask what the rule would place on the plane shown."""
        workspace = self._workspace
        if not self.isChecked() or not self.isVisible():
            self._latest.drop()
            self._layer.remove()
            return
        try:
            axis, index = workspace.plane()
            values = workspace.heatmaps.values(axis, index)
        except CamSamError:
            values = None
        if values is None:
            self._latest.drop()
            self._layer.hide()
            return
        copied, parameters = values.copy(), workspace.prompt_parameters
        first = workspace.prompts.object_id
        self._latest.ask(lambda: preview_prompts(copied, parameters, axis, index, first))

    def _drawn(self, proposal: PromptPreview) -> None:
        """Draw it, unless it is there already, or the user has made it better."""
        prompts, there = self._workspace.prompts, proposal.prompts
        at = there.axis, there.index
        try:
            if self._workspace.plane() != at:
                return
            placed = prompts.read(*at)
        except CamSamError:
            return
        edited = at in prompts.edited(prompts.object_id)
        if set(there.objects) <= set(placed.objects) or (edited and not self._rule_moved):
            self._layer.hide()
        else:
            self._layer.show(proposal)
