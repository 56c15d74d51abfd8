"""Prompts as JSON, out and in, with every field checked on the way in.

The file is one object::

    {"format": "napari-cam-sam prompts", "version": 1,
     "coordinates": "row and column, pixel indices of the plane; boxes with exclusive ends",
     "planes": [{"axis": 0, "index": 7, "reason": null, "objects": [
         {"object_id": 1,
          "points": [{"row": 12, "column": 40, "positive": true, "source": "cam", "score": 0.9}],
          "box": {"row_min": 2, "column_min": 30, "row_max": 25, "column_max": 55,
                  "source": "cam", "score": 0.4}}]}]}

``reason``, ``objects``, ``points``, ``box``, ``positive``, ``source`` and ``score`` may be left
out; anything else that is missing, wrong or unknown is refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.parsing import parse_json
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.schemas import check_json

__all__ = ["PlaneEntry", "PromptsFile", "from_data", "from_json", "to_data", "to_json"]

_Coordinates = Literal["row and column, pixel indices of the plane; boxes with exclusive ends"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def _check_ends(box: Box) -> Box:
    for low, high in (("row_min", "row_max"), ("column_min", "column_max")):
        if getattr(box, high) <= getattr(box, low):
            raise ValueError(f"a box whose {high} is more than its {low}")
    return box


class _ObjectEntry(_Entry):
    object_id: Annotated[int, Field(ge=1)]
    points: tuple[Point, ...] = ()
    box: Annotated[Box, AfterValidator(_check_ends)] | None = None


class PlaneEntry(_Entry):
    """One plane in a file of prompts."""

    axis: Annotated[int, Field(ge=0, le=2)]
    index: Annotated[int, Field(ge=0)]
    reason: str | None = None
    objects: tuple[_ObjectEntry, ...] = ()

    def prompts(self) -> PlanePrompts:
        """Return the plane's prompts."""
        objects = tuple(ObjectPrompt(**vars(one)) for one in self.objects)
        return PlanePrompts(self.axis, self.index, objects, self.reason)


class PromptsFile(_Entry):
    """A file of prompts."""

    format: Literal["napari-cam-sam prompts"]
    version: Annotated[int, Field(ge=1, le=1)]
    coordinates: _Coordinates = get_args(_Coordinates)[0]
    planes: tuple[PlaneEntry, ...]

    def prompts(self) -> tuple[PlanePrompts, ...]:
        """Return the prompts of all planes.

        Raises
        ------
        CamSamError
            If a plane stands there twice.
        """
        seen: set[tuple[int, int]] = set()
        for i, plane in enumerate(self.planes):
            if (plane.axis, plane.index) in seen:
                raise CamSamError(
                    f"planes[{i}] is a second entry for slice {plane.index} of axis {plane.axis}; "
                    "each slice must stand there once."
                )
            seen.add((plane.axis, plane.index))
        return tuple(plane.prompts() for plane in self.planes)


def to_data(planes: Iterable[PlanePrompts]) -> dict[str, Any]:
    """Return prompts of planes as plain dicts, lists, numbers and strings.

    Parameters
    ----------
    planes : iterable of PlanePrompts

    Returns
    -------
    dict
        What `to_json` writes.

    Raises
    ------
    CamSamError
        For prompts that reading would refuse, such as a coordinate that is not finite.
    """
    file = PromptsFile(format="napari-cam-sam prompts", version=1, planes=())
    listed = [
        {
            "axis": plane.axis,
            "index": plane.index,
            "reason": plane.reason,
            "objects": [asdict(prompt) for prompt in plane.objects],
        }
        for plane in planes
    ]
    # Scalars of numpy compare like numbers, but JSON refuses them: item() makes them plain.
    text = json.dumps(listed, default=_scalar)
    data = file.model_dump() | {"planes": json.loads(text)}
    from_data(data)
    return data


def _scalar(value: Any) -> Any:
    if not hasattr(value, "item"):
        raise CamSamError(f"A prompt is of numbers and texts, not of {value!r}.")
    return value.item()


def to_json(planes: Iterable[PlanePrompts]) -> str:
    """Write prompts of planes as indented JSON text.

    Parameters
    ----------
    planes : iterable of PlanePrompts

    Returns
    -------
    str
        That `from_json` reads.

    Raises
    ------
    CamSamError
        As `to_data`.
    """
    return json.dumps(to_data(planes), indent=2, allow_nan=False) + "\n"


def from_json(text: str) -> tuple[PlanePrompts, ...]:
    """Read prompts from JSON text.

    Parameters
    ----------
    text : str
        The contents of a file that `to_json` made, or one like it.

    Returns
    -------
    tuple of PlanePrompts
        In the order of the file.

    Raises
    ------
    CamSamError
        Names the first wrong field by its path, e.g. ``planes[0].objects[1].points[2].row``.
    """
    return from_data(parse_json(text, "prompts"))


def from_data(data: object) -> tuple[PlanePrompts, ...]:
    """Read prompts from plain data.

    Parameters
    ----------
    data : object
        What `to_data` gave, or anything like it.

    Returns
    -------
    tuple of PlanePrompts

    Raises
    ------
    CamSamError
        As `from_json`.
    """
    return check_json(PromptsFile, data).prompts()
