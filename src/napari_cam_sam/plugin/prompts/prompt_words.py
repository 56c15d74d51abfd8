"""Which prompts were placed, which lie on the slice shown, and what comes next, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.prompts.heatmap_prompts import HeatmapPrompts
from napari_cam_sam.plugin.state.plane_words import picture_words, plane_label
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["found_words", "placed_words"]


def found_words(workspace: Workspace, heatmaps: HeatmapPrompts) -> str:
    """Return which prompts lie on the slice shown, and what to do next where that is none.

    Parameters
    ----------
    workspace : Workspace
    heatmaps : HeatmapPrompts

    Returns
    -------
    str
        Where no slice is shown, why.
    """
    try:
        axis, index = workspace.plane()
        prompts = workspace.prompts.read(axis, index)
        planes = workspace.prompts.planes(axis)
        note = workspace.heatmaps.record(axis, index)
        text = plane_label(workspace.shown)
    except CamSamError as error:
        return str(error)
    points = sum(len(prompt.points) for prompt in prompts.objects)
    boxes = sum(prompt.box is not None for prompt in prompts.objects)
    if note is not None:
        text += f"heatmap of {note.target}, "
    text += f"{_count(boxes, 'box', 'boxes')}, {_count(points, 'point')}"
    if planes and not workspace.shown.is_picture:
        text += f"; {_count(len(planes), 'slice')} with prompts"
    if not prompts.objects:
        after = _next(workspace, note)
    elif heatmaps.is_newer(axis, index):
        after = "The heatmap is newer than the prompts: press Place on this slice."
    else:
        after = ""
    words = f"{text[0].upper()}{text[1:]}. {after}".rstrip()
    return picture_words(workspace.shown, words)


def placed_words(
    workspace: Workspace, heatmaps: HeatmapPrompts, planes: Sequence[PlanePrompts], count: int
) -> str:
    """Return how much was placed, and why there is nothing on some slices.

    Parameters
    ----------
    workspace : Workspace
    heatmaps : HeatmapPrompts
    planes : sequence of PlanePrompts
    count : int
        How many slices got prompts.

    Returns
    -------
    str
    """
    empty = [plane for plane in planes if not plane.objects]
    of, other = heatmaps.words()
    if len(planes) == 1 and empty:
        where = "" if workspace.shown.is_picture else f" on slice {planes[0].index}"
        words = f"No prompts{of}{where}: {planes[0].reason}".rstrip(".")
        return f"{words}. {other}".rstrip()
    reasons = {plane.reason for plane in empty}
    why = f": {reasons.pop()}" if len(reasons) == 1 else " without evidence"
    without = f", none on {len(empty)}{why}".rstrip(".") if empty else ""
    on = "" if workspace.shown.is_picture else f" on {counted(count, 'slice')}"
    words = picture_words(workspace.shown, f"Prompts{of}{on}{without}. {other}")
    return words.rstrip()


def _next(workspace: Workspace, note: HeatmapRecord | None) -> str:
    """Return in words how this slice comes by prompts."""
    if note is not None and note.reason is None:
        return "Press Place on this slice, or draw a box."
    if workspace.truth() is not None:
        return "Draw a box, or place boxes From ground truth."
    return "Draw a box."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number or 'no'} {one if number == 1 else many or one + 's'}"
