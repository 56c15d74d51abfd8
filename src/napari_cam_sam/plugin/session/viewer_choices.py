"""What the viewer itself keeps in a session's choices, checked before anything is replaced."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, field_validator

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.schemas import check_schema
from napari_cam_sam.session import Session

__all__ = ["check_choices"]


class _Choices(BaseModel):
    contrast_limits: list[float] | None = None
    plane: list[int] | None = None
    docks: dict[str, dict[str, Any]] = {}

    @field_validator("contrast_limits")
    @classmethod
    def _limits(cls, value: list[float] | None) -> list[float] | None:
        if value is None:
            return value
        if len(value) != 2 or not all(map(math.isfinite, value)) or not value[0] < value[1]:
            raise ValueError("two numbers, low below high")
        return value


def check_choices(session: Session) -> None:
    """Check the choices of a session that the viewer understands.

    Those of the docks are checked by each dock, which leaves out what it does not know.

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
