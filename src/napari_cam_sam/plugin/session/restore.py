"""A session, checked and put back into the layers and the docks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.kept_masks import plane_from
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.schemas import check_schema
from napari_cam_sam.session import Session

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["check_choices", "restore_session"]


def _check_limits(limits: list[float | None]) -> list[float | None]:
    known = [limit for limit in limits if limit is not None]
    in_order = all(map(math.isfinite, known)) and sorted(set(known)) == known
    if len(limits) != 2 or not in_order:
        raise ValueError("two numbers, low below high")
    return limits


class _Choices(BaseModel):
    # None stands for a limit that was infinite, as earlier versions saved it.
    contrast_limits: Annotated[list[float | None], AfterValidator(_check_limits)] | None = None
    plane: list[int] | None = None
    docks: dict[str, dict[str, Any]] = {}


def check_choices(session: Session) -> None:
    """Check the choices of a session that the viewer understands.

    Those of the docks are checked by each dock, which leaves out what it does not know.

    Parameters
    ----------
    session : Session

    Raises
    ------
    CamSamError
        Names the first that is none, e.g. ``plane``.
    """
    choices = check_schema(_Choices, session.choices, "the choices of the session")
    shape = session.image.shape
    if choices.plane is None or len(shape) != 3:
        return
    axis, index = choices.plane if len(choices.plane) == 2 else (-1, -1)
    if not (0 <= axis < 3 and 0 <= index < shape[axis]):
        raise CamSamError(
            f"The session shows slice {choices.plane}, which an image of shape {shape} does not "
            "have (the choices of the session)."
        )


def restore_session(workspace: Workspace, session: Session) -> str:
    """Restore a session of the image that is open in the layers and the docks.

    It takes the place of the prompts and the accepted labels that are there: whoever asks for it
    has saved these. Prompts come back by undo.

    Parameters
    ----------
    workspace : Workspace
        Its image is the session's.
    session : Session

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
    limits, image = session.choices.get("contrast_limits") or (None, None), workspace.image_layer
    if None not in limits and image is not None:
        image.contrast_limits = limits
    if "plane" in session.choices and len(session.image.shape) == 3:
        workspace.show_plane(*session.choices["plane"])
        # The docks' choices are of its axis: they must know it before they take them.
        workspace.shown.look_at_plane()
    left_out += workspace.docks.restore(session.choices.get("docks", {}))
    workspace.docks.dispatch("take score rows", session.scores)
    words = f"Opened the session of {session.saved_at}."
    if None in session.choices.get("contrast_limits", ()):
        words += " Its contrast limits stayed out: they are infinite."
    if left_out:
        words += f" Choices that this version does not know stayed out: {', '.join(left_out)}."
    return words


def _masks(session: Session) -> tuple[list[PlaneMasks], list[str]]:
    """Read the masks that were not accepted, and name what of the choices cannot be read."""
    try:
        given = session.choices.get("masks", [])
        return [plane_from(one, session.image.shape) for one in given], []
    except (CamSamError, TypeError):
        return [], ["masks"]
