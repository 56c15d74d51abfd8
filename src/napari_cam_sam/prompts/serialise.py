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
import math
from collections.abc import Iterable
from typing import Any, get_args

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.limits import parse_json
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point, Source

__all__ = ["FORMAT", "VERSION", "from_data", "from_json", "to_data", "to_json"]

FORMAT = "napari-cam-sam prompts"
VERSION = 1
_COORDINATES = "row and column, pixel indices of the plane; boxes with exclusive ends"


def to_data(planes: Iterable[PlanePrompts]) -> dict[str, Any]:
    """Prompts of planes as plain dicts, lists, numbers and strings.

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
    data: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "coordinates": _COORDINATES,
        "planes": [_plane_data(plane) for plane in planes],
    }
    from_data(data)
    return data


def to_json(planes: Iterable[PlanePrompts]) -> str:
    """Prompts of planes as indented JSON text; see `to_data`."""
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
    """Read prompts from what `to_data` gave; see `from_json`."""
    top = _fields(data, "the file", {"format", "version", "planes"}, {"coordinates"})
    if top["format"] != FORMAT:
        raise _wrong("format", repr(FORMAT), top["format"])
    version = top["version"]
    if isinstance(version, bool) or version != VERSION:
        raise _wrong("version", f"{VERSION}, the one that this program reads", version)
    if top.get("coordinates", _COORDINATES) != _COORDINATES:
        raise _wrong("coordinates", repr(_COORDINATES), top["coordinates"])
    planes = []
    seen: set[tuple[int, int]] = set()
    for i, item in enumerate(_list(top["planes"], "planes")):
        plane = _plane(item, f"planes[{i}]")
        if (plane.axis, plane.index) in seen:
            raise CamSamError(
                f"planes[{i}] is a second entry for plane {plane.index} of axis {plane.axis}; "
                "each plane must stand there once."
            )
        seen.add((plane.axis, plane.index))
        planes.append(plane)
    return tuple(planes)


def _plane_data(plane: PlanePrompts) -> dict[str, Any]:
    return {
        "axis": plane.axis,
        "index": plane.index,
        "reason": plane.reason,
        "objects": [
            {
                "object_id": prompt.object_id,
                "points": [_flat_data(point) for point in prompt.points],
                "box": None if prompt.box is None else _flat_data(prompt.box),
            }
            for prompt in plane.objects
        ],
    }


def _flat_data(prompt: Point | Box) -> dict[str, Any]:
    # numpy scalars compare like numbers but json refuses them: item() makes them plain.
    return {
        name: value.item() if hasattr(value, "item") else value
        for name, value in vars(prompt).items()
    }


def _plane(data: object, path: str) -> PlanePrompts:
    given = _fields(data, path, {"axis", "index"}, {"reason", "objects"})
    reason = given.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise _wrong(f"{path}.reason", "a text or null", reason)
    axis = _whole(given["axis"], f"{path}.axis", 0)
    if axis > 2:
        raise _wrong(f"{path}.axis", "0, 1 or 2", axis)
    objects = tuple(
        _object(item, f"{path}.objects[{i}]")
        for i, item in enumerate(_list(given.get("objects", []), f"{path}.objects"))
    )
    return PlanePrompts(axis, _whole(given["index"], f"{path}.index", 0), objects, reason)


def _object(data: object, path: str) -> ObjectPrompt:
    given = _fields(data, path, {"object_id"}, {"points", "box"})
    points = tuple(
        _point(item, f"{path}.points[{i}]")
        for i, item in enumerate(_list(given.get("points", []), f"{path}.points"))
    )
    box = None if given.get("box") is None else _box(given["box"], f"{path}.box")
    return ObjectPrompt(_whole(given["object_id"], f"{path}.object_id", 1), points, box)


def _point(data: object, path: str) -> Point:
    given = _fields(data, path, {"row", "column"}, {"positive", "source", "score"})
    positive = given.get("positive", True)
    if not isinstance(positive, bool):
        raise _wrong(f"{path}.positive", "true or false", positive)
    return Point(
        row=_number(given["row"], f"{path}.row"),
        column=_number(given["column"], f"{path}.column"),
        positive=positive,
        source=_source(given, path),
        score=_score(given, path),
    )


def _box(data: object, path: str) -> Box:
    ends = ("row_min", "column_min", "row_max", "column_max")
    given = _fields(data, path, set(ends), {"source", "score"})
    row_min, column_min, row_max, column_max = (
        _number(given[name], f"{path}.{name}") for name in ends
    )
    box = Box(
        row_min,
        column_min,
        row_max,
        column_max,
        source=_source(given, path),
        score=_score(given, path),
    )
    if box.height <= 0:
        raise _wrong(f"{path}.row_max", f"more than row_min, {box.row_min:g}", box.row_max)
    if box.width <= 0:
        raise _wrong(
            f"{path}.column_max", f"more than column_min, {box.column_min:g}", box.column_max
        )
    return box


def _source(given: dict[str, Any], path: str) -> Source:
    value = given.get("source", "user")
    for source in get_args(Source):
        if value == source:
            return source  # type: ignore[no-any-return]
    raise _wrong(f"{path}.source", f"one of {', '.join(get_args(Source))}", value)


def _score(given: dict[str, Any], path: str) -> float | None:
    value = given.get("score")
    return None if value is None else _number(value, f"{path}.score")


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, "a finite number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(path, "a finite number", value)
    return number


def _whole(value: object, path: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(path, f"a whole number of {least} or more", value)
    return value


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, "a list", value)
    return value


def _fields(data: object, path: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong(path, "an object with fields", data)
    for name in sorted(needed - data.keys()):
        raise CamSamError(f"The field {name!r} of {path} is missing from the prompts.")
    for name in sorted(data.keys() - needed - optional):
        known = ", ".join(sorted(needed | optional))
        raise CamSamError(f"The prompts have an unknown field {name!r} in {path}; known: {known}.")
    return data


def _wrong(path: str, right: str, value: object) -> CamSamError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return CamSamError(f"In the prompts, {path} must be {right}, not {shown}.")
