"""Masks as polygons and back, by one rule of where pixels end.

Whole numbers are centres of pixels. A pixel belongs to an area if its centre is inside by the
even-odd rule, or on a line. Corners are taken to the nearest 64th of a pixel: a line that others
drew through centres of pixels, as many do, then runs through them again, whatever its decimals.

Lines that are written here run between the centres of pixels inside and outside, 0.49 of a pixel
from those inside. Inside, outside and area are then those of the mask for any rule, also for
readers that round corners to whole pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["crosses_itself", "fill", "outlines"]

_STEPS = 64
_FAR = 1e5
"""Further off no corner is followed, in pixels."""
_MOST = 2**20
_LEVEL = 0.51
"""Where between 0 outside and 1 inside the lines run: 0.49 of a pixel from the inside."""


def fill(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of polygons by the even-odd rule over all of them together.

    Computed row by row in whole numbers, so that it is exact; the figure is that of
    `skimage.measure.grid_points_in_poly`, which asks every corner for every pixel.

    Parameters
    ----------
    polygons : sequence of ndarray, shape (n, 2)
        Row and column of corners; the last is joined to the first.
    shape : tuple of int

    Returns
    -------
    ndarray of bool
        What lies outside of the picture is cut off.
    """
    rows, columns = shape
    crossings = np.zeros((rows, columns + 1), np.int64)
    lines = np.zeros(shape, bool)
    for polygon in polygons:
        corners = np.round(np.clip(polygon, -_FAR, _FAR) * _STEPS).astype(np.int64)
        _mark_flat(lines, corners)
        begin, end = corners, np.roll(corners, -1, axis=0)
        upwards = (begin[:, 0] > end[:, 0])[:, None]
        begin, end = np.where(upwards, end, begin), np.where(upwards, begin, end)
        # Rows whose centres lie from the begin, which counts, to the end, which does not.
        first = np.clip(-(-begin[:, 0] // _STEPS), 0, rows)
        count = np.clip(-(-end[:, 0] // _STEPS), first, rows) - first
        for part in _blocks(count):
            _mark_crossings(crossings, lines, begin[part], end[part], first[part], count[part])
    odd = np.cumsum(crossings[:, :-1], axis=1) % 2 == 1
    return np.asarray(odd | lines)


def _mark_crossings(
    crossings: NDArray[np.int64],
    lines: NDArray[np.bool_],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
) -> None:
    """Count where sides cross rows, each at the first pixel beyond, and mark pixels on a side."""
    side = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + first[side]
    (r0, c0), (r1, c1) = begin[side].T, end[side].T
    high = r1 - r0
    at, rest = np.divmod(c0 * high + (row * _STEPS - r0) * (c1 - c0), high * _STEPS)
    np.add.at(crossings, (row, np.clip(at + 1, 0, lines.shape[1])), 1)
    on = (rest == 0) & (at >= 0) & (at < lines.shape[1])
    lines[row[on], at[on]] = True


def _mark_flat(lines: NDArray[np.bool_], corners: NDArray[np.int64]) -> None:
    """Mark the pixels on corners, and on sides that run along the centres of a row."""
    on_row = corners[:, 0] % _STEPS == 0
    flat = on_row & (corners[:, 0] == np.roll(corners[:, 0], -1))
    last = np.where(flat, np.roll(corners[:, 1], -1), corners[:, 1])
    row = corners[:, 0] // _STEPS
    low = -(-np.minimum(corners[:, 1], last) // _STEPS)
    high = np.maximum(corners[:, 1], last) // _STEPS + 1
    inside = on_row & (row >= 0) & (row < len(lines)) & (high > 0)
    for r, a, b in zip(row[inside], low[inside], high[inside], strict=True):
        lines[r, max(0, a) : b] = True


def _blocks(count: NDArray[np.int64]) -> Iterator[slice]:
    """Yield parts of the sides of a polygon that cross few rows enough to be kept in memory."""
    part = np.cumsum(count) // _MOST
    for start, stop in pairwise([0, *(np.flatnonzero(np.diff(part)) + 1), len(count)]):
        yield slice(int(start), int(stop))


def crosses_itself(polygon: NDArray[np.float64], filled: int) -> bool:
    """Return whether a polygon winds otherwise than once around what it fills.

    Parameters
    ----------
    polygon : ndarray, shape (n, 2)
    filled : int
        Pixels that it fills by the even-odd rule.

    Returns
    -------
    bool
        By its area: a small crossing, of less than half of its line in pixels, passes.
    """
    steps = np.roll(polygon, -1, axis=0) - polygon
    length = float(np.sqrt((steps**2).sum(axis=1)).sum())
    return abs(abs(_area(polygon)) - filled) > length / 2 + 2


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return a mask as closed polygons, its holes joined to the outside by keyholes.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)

    Returns
    -------
    list of ndarray of float64, shape (n, 2)
        Row and column of corners, one polygon for each part; the first corner is not repeated.
    """
    from skimage.measure import find_contours

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    begin = np.array([rows[0], columns[0]])
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    lines: Any = find_contours(  # type: ignore[no-untyped-call]
        np.pad(inside, 1).astype(np.float32), _LEVEL, fully_connected="high"
    )
    loops = [line[:-1] - 1 + begin for line in lines]
    return [_straightened(loop) for loop in _joined(loops)]


def _area(polygon: NDArray[np.float64]) -> float:
    following = np.roll(polygon, -1, axis=0)
    return float((polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]).sum()) / 2


def _joined(loops: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Join every hole to what surrounds it.

    From its leftmost corner a hole is joined along the row to the next line on the left. There is
    nothing but the area itself between them, so that the joint crosses nothing. Lines cross a row
    of pixels at corners alone, so that it joins corners.
    """
    # Lines go round what is inside in one direction: the areas of holes have the other sign.
    outer_sign = np.sign(_area(loops[int(np.argmax([abs(_area(loop)) for loop in loops]))]))
    corners: dict[int, list[tuple[float, int]]] = {}
    for number, loop in enumerate(loops):
        for row, column in loop[loop[:, 0] == np.round(loop[:, 0])]:
            corners.setdefault(int(row), []).append((float(column), number))
    holes = [n for n, loop in enumerate(loops) if np.sign(_area(loop)) != outer_sign]
    holes.sort(key=lambda n: float(loops[n][:, 1].min()))
    root = list(range(len(loops)))
    parts = dict(enumerate(loops))
    for hole in holes:
        own = loops[hole]
        row, column = own[int(own[:, 1].argmin())]
        left, number = max(found for found in corners[int(row)] if found[0] < column)
        target = root[number]
        around = parts[target]
        at = int(np.flatnonzero((around[:, 0] == row) & (around[:, 1] == left))[0])
        turned = np.roll(own, -int(own[:, 1].argmin()), axis=0)
        parts[target] = np.concatenate([around[: at + 1], turned, turned[:1], around[at:]])
        del parts[hole]
        root[hole] = target
    return list(parts.values())


def _straightened(loop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out corners that lie on a straight line between their neighbours."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) < 0
    return np.asarray(loop[(np.abs(turns) > 1e-6) | back])
