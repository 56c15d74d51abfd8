"""What is known of the heatmap of the slice shown, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.state.plane_words import plane_label

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["found_words"]


def found_words(workspace: Workspace, chosen: dict[str, Any]) -> str:
    """Return the probabilities on the slice shown, and why its heatmap is empty or outdated.

    Parameters
    ----------
    workspace : Workspace
    chosen : dict
        The choices of the dock; empty while no classifier is loaded, hence no class chosen.

    Returns
    -------
    str
        Empty where the slice has no heatmap.
    """
    try:
        note = workspace.heatmaps.record(*workspace.plane())
        where = plane_label(workspace.shown)
    except CamSamError:
        return ""
    if note is None:
        return ""
    likely = sorted(note.probabilities.items(), key=lambda pair: -pair[1])[:3]
    text = ", ".join(f"{name} {value:.2f}" for name, value in likely)
    reason = _why_empty(note, chosen)
    # A network has a probability a pixel: the highest on the plane is told.
    most = "highest probability of " if note.made_by.get("pixels") else ""
    other = note.other_words(chosen) if chosen else ""
    if not where and not most:
        where = "Probability: "
    said = f"{where}{most}{text}."
    return f"{said[0].upper()}{said[1:]}{reason} {other}".rstrip()


def _why_empty(note: HeatmapRecord, chosen: dict[str, Any]) -> str:
    """Return why a heatmap is empty, and what to do where *Min. probability* made it so."""
    if note.reason is None:
        return ""
    probability = note.probabilities.get(note.target, 1.0)
    least = note.made_by.get("min_probability", 0.0)
    if not probability < least:
        return f" No evidence: {note.reason}"
    now = chosen.get("at_least", least)
    if now <= probability:
        return f" Min. probability was {least:.2f}, it is {now:.2f} now: compute the heatmap again."
    return (
        f" No evidence: {note.reason} For a heatmap all the same, lower Min. probability and "
        "compute again."
    )
