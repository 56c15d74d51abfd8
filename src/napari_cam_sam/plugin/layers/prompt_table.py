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
    "box_corners",
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
Row = tuple[NDArray[np.float64], dict[str, Any]]
"""Where a prompt lies, and its features."""

_SOURCES = get_args(Source)

# Out of the layers


def places_of(data: Vertices, features: pd.DataFrame) -> NDArray[np.intp]:
    """Return on which plane each prompt lies.

    Parameters
    ----------
    data : ndarray or list of ndarray
    features : pandas.DataFrame

    Returns
    -------
    ndarray of int, shape (prompts, 2)
        Axis and index, both 0 in 2D; the index is -1 where a coordinate is not finite.
    """
    return _places(data if isinstance(data, np.ndarray) else extents(data)[2], features)


def _places(centres: NDArray[Any], features: pd.DataFrame) -> NDArray[np.intp]:
    places = np.zeros((len(centres), 2), np.intp)
    # As a script may write them: they lie on no plane, and must not hinder the others.
    nowhere = ~np.isfinite(centres).all(axis=1)
    if centres.shape[1] == 3:
        axes = column(features, "axis", len(centres))
        # What names no axis says as little as a gap.
        axes[(axes < 0) | (axes > 2)] = COLUMNS["axis"]
        places[:, 0] = axes
        along = np.take_along_axis(centres, places[:, :1], axis=1)[:, 0]
        places[:, 1] = np.rint(np.where(nowhere, -1, along))
    places[nowhere, 1] = -1
    return places


def planes_of(
    data: Vertices, features: pd.DataFrame, rows: Iterable[int] | None = None
) -> set[Plane]:
    """Return the planes on which prompts lie.

    Parameters
    ----------
    data : ndarray or list of ndarray
    features : pandas.DataFrame
    rows : iterable of int, optional
        Which prompts; all if None.

    Returns
    -------
    set of tuple
        Axis and index of each.
    """
    places = places_of(data, features)
    return {(a, i) for a, i in (places if rows is None else places[list(rows)]).tolist()}


def prompted(layers: Iterable[tuple[Vertices, pd.DataFrame]], axis: int) -> set[int]:
    """Return the planes along an axis on which `read_rows` finds prompts.

    Parameters
    ----------
    layers : iterable of tuple
        Coordinates and features of a layer.
    axis : int

    Returns
    -------
    set of int
        Their indices.
    """
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
    found: dict[tuple[int, int], tuple[list[Point], list[Box]]] = {}
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
        corners = (_inside(one[rows], axis).tolist() for one in (low, high))
        for plane, object_id, sign, whose, value, (top, left), (bottom, right) in zip(
            places[rows, 1].tolist(), objects_of, polarity, source, score, *corners, strict=True
        ):
            points, boxes = found.setdefault((plane, max(1, object_id)), ([], []))
            by: Source = whose if whose in _SOURCES else "user"
            known = value if np.isfinite(value) else None
            if is_points:
                points.append(Point(top, left, sign != "negative", by, known))
            # A box without a side is a mere click.
            elif bottom > top and right > left:
                # Corners lie half a pixel outside the centres of its first and last pixels.
                boxes.append(Box(top + 0.5, left + 0.5, bottom + 0.5, right + 0.5, by, known))
    objects: dict[int, list[ObjectPrompt]] = {}
    for (plane, object_id), (points, boxes) in sorted(found.items()):
        if points or boxes:
            objects.setdefault(plane, []).extend(_entries(object_id, points, boxes))
    return {i: PlanePrompts(axis, i, tuple(entries)) for i, entries in objects.items()}


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


def point_rows(planes: Iterable[PlanePrompts], ndim: int) -> list[Row]:
    """Return every point as a row of a points layer.

    Parameters
    ----------
    planes : iterable of PlanePrompts
    ndim : {2, 3}
        Of the layer.

    Returns
    -------
    list of tuple
        Position, an array of shape (ndim,), and features, with every key of `COLUMNS`.
    """
    return [
        (
            _lifted([(point.row, point.column)], plane, ndim)[0],
            _features(plane, prompt, point)
            | {"polarity": "positive" if point.positive else "negative"},
        )
        for plane in planes
        for prompt in plane.objects
        for point in prompt.points
    ]


def box_rows(planes: Iterable[PlanePrompts], ndim: int) -> list[Row]:
    """Return every box as a row of a shapes layer.

    Parameters
    ----------
    planes : iterable of PlanePrompts
    ndim : {2, 3}
        Of the layer.

    Returns
    -------
    list of tuple
        Corners, an array of shape (4, ndim), and features, with every key of `COLUMNS`.
    """
    return [
        (_lifted(box_corners(prompt.box), plane, ndim), _features(plane, prompt, prompt.box))
        for plane in planes
        for prompt in plane.objects
        if prompt.box is not None
    ]


def box_corners(box: Box) -> list[tuple[float, float]]:
    """Return the corners round a box's pixels: each reaches half a pixel beyond its centre.

    Parameters
    ----------
    box : Box

    Returns
    -------
    list of tuple
        Row and column of four, in turn.
    """
    top, bottom = box.row_min - 0.5, box.row_max - 0.5
    left, right = box.column_min - 0.5, box.column_max - 0.5
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


def _features(plane: PlanePrompts, prompt: ObjectPrompt, one: Point | Box) -> dict[str, Any]:
    score = float("nan") if one.score is None else one.score
    return COLUMNS | {"object": prompt.object_id, "source": one.source, "score": score,
                      "plane": plane.index, "axis": plane.axis}  # fmt: skip


def _lifted(
    places: list[tuple[float, float]], plane: PlanePrompts, ndim: int
) -> NDArray[np.float64]:
    """Return positions on a plane, a row each, in the layer's coordinates."""
    flat = np.array(places, float)
    return flat if ndim == 2 else np.insert(flat, plane.axis, plane.index, axis=1)
