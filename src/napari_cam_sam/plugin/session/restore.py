"""A session, put back into the layers and the docks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.session.viewer_choices import check_choices
from napari_cam_sam.plugin.state.kept_masks import plane_from
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.session import Session

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["restore_session"]


def restore_session(workspace: Workspace, session: Session) -> str:
    """Restore a session of the image that is open in the layers and the docks.

    It takes the place of the prompts and the accepted labels that are there: whoever asks for it
    has saved these. Prompts come back by undo.

    Returns
    -------
    str
        What was opened, and what stayed out, in words.

    Raises
    ------
    CamSamError
        If its choices are odd; nothing is replaced then.
    """
    check_choices(session)
    masks, left_out = _masks(session)
    there = [
        PlanePrompts(axis, index)
        for axis in range(len(session.image.shape))
        for index in workspace.prompts.planes(axis)
    ]
    planes = {(p.axis, p.index): p for p in (*there, *session.prompts)}
    workspace.prompts.write(planes.values(), "replace")
    workspace.prompts.mark_touched(session.touched)
    if session.labels is not None:
        layer = workspace.layers.labels("labels")
        layer.data = session.labels.astype(np.promote_types(session.labels.dtype, np.uint16))
    elif (layer := workspace.own("labels")) is not None:
        layer.data = np.zeros_like(layer.data)
    workspace.masks.restore(session.accepted)
    for one in masks:
        workspace.masks.put(one)
    limits = session.choices.get("contrast_limits")
    layer = workspace.image_layer
    if limits is not None and layer is not None:
        layer.contrast_limits = limits
    if "plane" in session.choices and len(session.image.shape) == 3:
        workspace.show_plane(*session.choices["plane"])
        # The docks' choices are of its axis: they must know it before they take them.
        workspace.shown.look_at_plane()
    left_out += workspace.docks.restore(session.choices.get("docks", {}))
    workspace.docks.restore_score_rows(session.scores)
    words = f"Opened the session of {session.saved_at}."
    if left_out:
        words += f" Choices that this version does not know stayed out: {', '.join(left_out)}."
    return words


def _masks(session: Session) -> tuple[list[PlaneMasks], list[str]]:
    """Read the masks that were not accepted, and name what of the choices cannot be read."""
    masks, given = [], session.choices.get("masks", [])
    try:
        for one in given:
            masks.append(plane_from(one, session.image.shape))
    except (CamSamError, TypeError):
        return [], ["masks"]
    return masks, []
