"""Prompts as rows of a layer, and back: coordinates and features of each.

Nothing is kept between two calls. A layer changes without a word while something in it is dragged,
pasted or written by another plugin, and a prompt that is no longer there must not reach a model:
all is read anew, by whole columns, and prompts are made only of the rows asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cam_sam.plugin.layers.boxes_layer import extents
from napari_cam_sam.plugin.layers.prompt_provenance import COLUMNS, column
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point, Source

__all__ = [
    "Plane",
    "Vertices",
    "box_rows",
    "places_of",
    "planes_of",
    "point_rows",
    "prompted",
    "read_rows",
]

Plane = tuple[int, int]
"""Axis and index."""
Vertices = NDArray[Any] | Sequence[NDArray[Any]]
"""Of a points layer an array with a row a point, of a shapes layer a list with an array a shape."""

_SOURCES = get_args(Source)

# Out of the layers


def places_of(data: Vertices, features: pd.DataFrame) -> NDArray[np.intp]:
    """Return axis and index of the plane on which each prompt lies, a row each; (0, 0) in 2D."""
    return _places(data if isinstance(data, np.ndarray) else extents(data)[2], features)


def _places(centres: NDArray[Any], features: pd.DataFrame) -> NDArray[np.intp]:
    places = np.zeros((len(centres), 2), np.intp)
    if centres.shape[1] == 3:
        axes = column(features, "axis", len(centres))
        # What names no axis says as little as a gap.
        axes[(axes < 0) | (axes > 2)] = COLUMNS["axis"]
        places[:, 0] = axes
        places[:, 1] = np.rint(np.take_along_axis(centres, places[:, :1], axis=1)[:, 0])
    return places


def planes_of(
    data: Vertices, features: pd.DataFrame, rows: Iterable[int] | None = None
) -> set[Plane]:
    """Return the planes on which some of the prompts lie, or all."""
    places = places_of(data, features)
    return {(a, i) for a, i in (places if rows is None else places[list(rows)]).tolist()}


def prompted(layers: Iterable[tuple[Vertices, pd.DataFrame]], axis: int) -> set[int]:
    """Return the indices of the planes along an axis on which `read_rows` finds prompts."""
    found: set[int] = set()
    for data, features in layers:
        there = places_of(data, features)
        along = there[:, 0] == axis
        if not isinstance(data, np.ndarray):
            low, high, _ = extents(data)
            flat = _inside(low, axis) >= _inside(high, axis)
            along &= ~flat.any(axis=1)
        found.update(there[along, 1].tolist())
    return found


def read_rows(
    layers: Iterable[tuple[Vertices, pd.DataFrame]], axis: int, index: int | None = None
) -> dict[int, PlanePrompts]:
    """Make prompts of what layers hold along an axis, or on one plane of it.

    Parameters
    ----------
    layers : iterable of tuple
        Coordinates and features of a layer.
    axis : int
    index : int, optional

    Returns
    -------
    dict of int to PlanePrompts
        By index; planes without prompts are left out.
    """
    points: dict[tuple[int, int], list[Point]] = {}
    boxes: dict[tuple[int, int], list[Box]] = {}
    for data, features in layers:
        # A point is its own centre, and a shape the box round it.
        is_points = isinstance(data, np.ndarray)
        low, high, centres = (data, data, data) if isinstance(data, np.ndarray) else extents(data)
        places = _places(centres, features)
        asked = places[:, 0] == axis
        if index is not None:
            asked &= places[:, 1] == index
        rows = np.flatnonzero(asked)
        if not len(rows):
            continue
        objects_of, polarity, source, score = (
            column(features, name, len(data))[rows].tolist()
            for name in ("object", "polarity", "source", "score")
        )
        indices = places[rows, 1].tolist()
        least, greatest = (_inside(one[rows], axis).tolist() for one in (low, high))
        for at in range(len(rows)):
            key = indices[at], max(1, objects_of[at])
            whose: Source = source[at] if source[at] in _SOURCES else "user"
            value = score[at] if np.isfinite(score[at]) else None
            r, c = least[at]
            if is_points:
                point = Point(r, c, polarity[at] != "negative", whose, value)
                points.setdefault(key, []).append(point)
                continue
            # Corners lie half a pixel outside the centres of a box's first and last pixels.
            bottom, right = greatest[at]
            box = Box(r + 0.5, c + 0.5, bottom + 0.5, right + 0.5, whose, value)
            if box.height > 0 and box.width > 0:  # else it is a mere click
                boxes.setdefault(key, []).append(box)
    objects: dict[int, list[ObjectPrompt]] = {}
    for key in sorted({*points, *boxes}):
        plane, object_id = key
        found = _entries(object_id, points.get(key, []), boxes.get(key, []))
        objects.setdefault(plane, []).extend(found)
    return {i: PlanePrompts(axis, i, tuple(found)) for i, found in objects.items()}


def _inside(coordinates: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Return coordinates without the axis across the planes, in 3D."""
    inside = [a for a in range(3) if a != axis] if coordinates.shape[1] == 3 else [0, 1]
    return coordinates[:, inside].astype(float)


def _entries(object_id: int, points: list[Point], boxes: list[Box]) -> Iterator[ObjectPrompt]:
    """Make the entries of an object: points go with the box that holds them, else the first."""
    if not boxes:
        yield ObjectPrompt(object_id, tuple(points))
        return
    groups: list[list[Point]] = [[] for _ in boxes]
    for point in points:
        inside = [i for i, box in enumerate(boxes) if box.contains(point.row, point.column)]
        groups[inside[0] if inside else 0].append(point)
    for box, group in zip(boxes, groups, strict=True):
        yield ObjectPrompt(object_id, tuple(group), box)


# Into the layers


def point_rows(
    planes: Iterable[PlanePrompts], ndim: int
) -> tuple[list[NDArray[np.float64]], list[dict[str, Any]]]:
    """Return position and features of every point, for a layer of 2 or 3 dimensions."""
    places, rows = [], []
    for plane in planes:
        for prompt in plane.objects:
            for point in prompt.points:
                polarity = "positive" if point.positive else "negative"
                places.append(_lifted(point.row, point.column, plane, ndim))
                rows.append(_features(plane, prompt, point) | {"polarity": polarity})
    return places, rows


def box_rows(
    planes: Iterable[PlanePrompts], ndim: int
) -> tuple[list[NDArray[np.float64]], list[dict[str, Any]]]:
    """Return the four corners and the features of every box, for a layer of 2 or 3 dimensions."""
    corners, rows = [], []
    for plane in planes:
        for prompt in plane.objects:
            if (box := prompt.box) is not None:
                # Round the pixels: each reaches half a pixel further than its centre.
                top, bottom = box.row_min - 0.5, box.row_max - 0.5
                left, right = box.column_min - 0.5, box.column_max - 0.5
                four = ((top, left), (top, right), (bottom, right), (bottom, left))
                corners.append(np.array([_lifted(*one, plane, ndim) for one in four]))
                rows.append(_features(plane, prompt, box))
    return corners, rows


def _features(plane: PlanePrompts, prompt: ObjectPrompt, one: Point | Box) -> dict[str, Any]:
    score = float("nan") if one.score is None else one.score
    return COLUMNS | {"object": prompt.object_id, "source": one.source, "score": score,
                      "plane": plane.index, "axis": plane.axis}  # fmt: skip


def _lifted(row: float, column: float, plane: PlanePrompts, ndim: int) -> NDArray[np.float64]:
    """Return a position on a plane in the layer's coordinates."""
    flat = np.array([row, column], float)
    return flat if ndim == 2 else np.insert(flat, plane.axis, plane.index)
