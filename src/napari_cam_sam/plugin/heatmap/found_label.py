"""What is known of the heatmap of the slice shown, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.state.plane_words import slider_label

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["FoundLabel"]


class FoundLabel(Label):
    """The probabilities on the plane shown, and why its heatmap is empty, or of another choice.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(wraps=True)
        self._workspace = workspace

    def refresh(self, chosen: dict[str, Any]) -> None:
        """Show what is known now.

        Parameters
        ----------
        chosen : dict
            The choices of the dock; empty while no classifier is loaded, hence no class chosen.
        """
        try:
            axis, index = self._workspace.plane()
            note = self._workspace.heatmaps.record(axis, index)
            slider = slider_label(self._workspace.shown)
        except CamSamError:
            note = None
        if note is None:
            self.setText("")
            return
        likely = sorted(note.probabilities.items(), key=lambda pair: -pair[1])[:3]
        text = ", ".join(f"{name} {value:.2f}" for name, value in likely)
        reason = "" if note.reason is None else f" No evidence: {note.reason}"
        # A network has a probability a pixel: the highest on the plane is told.
        most = "highest probability of " if note.made_by.get("pixels") else ""
        other = note.other_words(chosen) if chosen else ""
        self.setText(f"Slice {index}{slider}: {most}{text}.{reason} {other}".rstrip())
