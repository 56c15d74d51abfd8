"""What the features of a prompt in a layer mean, and the way from a row to a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point, Source

__all__ = [
    "COLUMNS",
    "box_of",
    "complete",
    "entries",
    "frame",
    "number",
    "point_of",
    "records",
    "table_of",
]

COLUMNS = {"object": 1, "polarity": "positive", "source": "user", "score": np.nan, "plane": 0,
           "axis": 0}  # fmt: skip
"""Features of every prompt, and what holds for one that lacks them."""


def records(features: pd.DataFrame, rows: int) -> list[dict[str, Any]]:
    """Read a layer's features, row by row, without pandas' machinery: it is read at every drag.

    The user may have removed columns, or napari may not have filled in a new row: the defaults of
    `COLUMNS` stand there then.
    """
    columns = []
    for name, default in COLUMNS.items():
        values = features[name].tolist() if name in features else []
        values += [default] * (rows - len(values))
        # NaN is what is not equal to itself.
        columns.append([default if v is None or v != v else v for v in values[:rows]])
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def complete(features: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Give a layer's features with every column of ours and no gaps."""
    return frame(records(features, rows))


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Give rows as a table with the types of `COLUMNS`."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(
        {"object": int, "polarity": object, "source": object, "score": float, "plane": int,
         "axis": int}
    )  # fmt: skip


def table_of(rows: int) -> pd.DataFrame:
    """Give a table of defaults."""
    return frame([dict(COLUMNS) for _ in range(rows)])


def entries(object_id: int, points: list[Point], boxes: list[Box]) -> Iterator[ObjectPrompt]:
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


def point_of(in_plane: NDArray[np.float64], row: dict[str, Any]) -> Point:
    """Give the point of a row; it lies at the first vertex."""
    r, c = (float(v) for v in in_plane[0])
    return Point(r, c, row["polarity"] != "negative", _source(row), _score(row))


def box_of(in_plane: NDArray[np.float64], row: dict[str, Any]) -> Box | None:
    """Give the box round any shape; None for one without height or width, a mere click."""
    (top, left), (bottom, right) = in_plane.min(axis=0) + 0.5, in_plane.max(axis=0) + 0.5
    box = Box(float(top), float(left), float(bottom), float(right), _source(row), _score(row))
    return box if box.height > 0 and box.width > 0 else None


def _source(row: dict[str, Any]) -> Source:
    return row["source"] if row["source"] in get_args(Source) else "user"


def _score(row: dict[str, Any]) -> float | None:
    value = float(row["score"])
    return value if np.isfinite(value) else None


def number(score: float | None) -> float:
    """Give a score as a feature: NaN where there is none."""
    return float("nan") if score is None else score
