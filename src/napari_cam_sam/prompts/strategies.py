"""Prompts from a heatmap or from a mask, by a named strategy or by parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point, Source
from napari_cam_sam.prompts.parameters import (
    PRESETS,
    TRUTH_PRESETS,
    PromptParameters,
    strategy_parameters,
)
from napari_cam_sam.prompts.regions import (
    Region,
    distance_centre,
    find_regions,
    foreground_threshold,
    region_box,
)

__all__ = [
    "PRESETS",
    "TRUTH_PRESETS",
    "PromptParameters",
    "adaptive_negatives",
    "add_adaptive_negatives",
    "prompts_from_heatmap",
    "prompts_from_mask",
    "pseudo_mask",
    "strategy_parameters",
]

# What is smaller than this part of a mask is its rough edge, not a leak.
_LEAK_FRACTION = 0.01


def prompts_from_heatmap(
    values: ArrayLike,
    strategy: str | PromptParameters = "ours",
    *,
    axis: int = 0,
    index: int = 0,
    first_id: int = 1,
) -> PlanePrompts:
    """Turn a heatmap into prompts.

    Parameters
    ----------
    values : array of float, shape (rows, columns)
        Heatmap in [0, 1] at the resolution of the original plane.
    strategy : str or PromptParameters
        A key of `PRESETS`, or parameters.
    axis, index : int
        The plane, for the result.
    first_id : int
        Of the first object; further ones count on from it.

    Returns
    -------
    PlanePrompts
        With a reason and no objects where the map is not finite, is the same everywhere, has
        nothing above the threshold, or has no component that is large enough.

    Raises
    ------
    CamSamError
        For an unknown strategy, one that needs a truth mask, or an array that is not 2D.

    Examples
    --------
    >>> heatmap = np.zeros((32, 32), np.float32)
    >>> heatmap[10:20, 12:26] = 1
    >>> prompts = ncs.prompts_from_heatmap(heatmap)
    >>> box = prompts.objects[0].box
    >>> (box.row_min, box.column_min, box.row_max, box.column_max)
    (10.0, 12.0, 20.0, 26.0)
    """
    parameters = _parameters(strategy)
    if isinstance(strategy, str) and strategy in TRUTH_PRESETS:
        raise CamSamError(
            f"The strategy {strategy!r} makes prompts from a truth mask, not from a heatmap; "
            f"for a heatmap there are {', '.join(PRESETS)}."
        )
    heat = _heatmap(values)
    regions, reason = _heatmap_regions(heat, parameters)
    if not regions:
        return PlanePrompts(axis, index, (), reason)
    cold = heat < parameters.negative_threshold
    made = _objects(regions, heat, cold, parameters, "cam", first_id)
    return PlanePrompts(axis, index, tuple(made))


def pseudo_mask(values: ArrayLike, parameters: PromptParameters) -> NDArray[np.bool_]:
    """Mark the part of a heatmap that its prompts are taken from.

    Parameters
    ----------
    values : array of float, shape (rows, columns)
        Heatmap in [0, 1].
    parameters : PromptParameters

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        The wanted components above the threshold; empty where `prompts_from_heatmap` gives a
        reason instead of prompts.

    Raises
    ------
    CamSamError
        For an array that is not 2D.
    """
    heat = _heatmap(values)
    mask = np.zeros(heat.shape, bool)
    for region in _heatmap_regions(heat, parameters)[0]:
        mask[region.window] |= region.mask
    return mask


def prompts_from_mask(
    labels: ArrayLike,
    strategy: str | PromptParameters = "truth-box",
    *,
    axis: int = 0,
    index: int = 0,
) -> PlanePrompts:
    """Turn a mask, as a rule the truth, into prompts.

    Parameters
    ----------
    labels : array of bool or int, shape (rows, columns)
        A mask, which is one object with id 1, or labels, where every positive value is an
        object of its own with its value as id.
    strategy : str or PromptParameters
        A key of `PRESETS` or `TRUTH_PRESETS`, or parameters. Thresholds are not used. Where
        ``max_objects`` allows more than one component for an object, and ``one_object`` does
        not unite them, ids count from 1 over all components instead.
    axis, index : int
        The plane, for the result.

    Returns
    -------
    PlanePrompts
        With a reason and no objects where the mask is empty or has no component that is large
        enough.

    Raises
    ------
    CamSamError
        For an unknown strategy, a point rule that needs a heatmap, or an array that is not a
        2D mask.

    Examples
    --------
    >>> labels = np.zeros((32, 32), np.uint8)
    >>> labels[10:20, 12:26] = 3
    >>> prompts = ncs.prompts_from_mask(labels, "truth-box")
    >>> prompts.objects[0].object_id, prompts.objects[0].box.row_min  # with a margin of 5
    (3, 5.0)
    """
    parameters = _parameters(strategy)
    array = np.asarray(labels)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "bui":
        raise CamSamError(
            "A mask must be a 2D array of a boolean or integer type, not "
            f"{array.dtype} of shape {array.shape}."
        )
    present = np.unique(array)
    wanted = present[present > 0].tolist()
    if not wanted:
        return PlanePrompts(axis, index, (), "the slice has no truth")
    separate = parameters.max_objects > 1 and not parameters.one_object
    made: list[ObjectPrompt] = []
    for value in wanted:
        mask = array == value
        regions = _regions(mask, None, parameters)
        first = len(made) + 1 if separate else int(value)
        made.extend(_objects(regions, None, ~mask, parameters, "truth", first))
    if not made:
        reason = f"the truth has no component of {parameters.min_area} pixels or more"
        return PlanePrompts(axis, index, (), reason)
    return PlanePrompts(axis, index, tuple(made))


def adaptive_negatives(
    values: ArrayLike,
    mask: ArrayLike,
    parameters: PromptParameters,
    *,
    max_points: int = 4,
) -> tuple[Point, ...]:
    """Negative points where a mask leaks out of the heatmap, to decode with again.

    The improvement that Paradowski ("Grad-CAM and automated SAM segmentation") proposes: decode
    with positive points first, and add negatives only where the mask covers what the heatmap
    calls background.

    Parameters
    ----------
    values : array of float, shape (rows, columns)
        Heatmap in [0, 1].
    mask : array of bool, shape (rows, columns)
        What the first decoding gave for one object.
    parameters : PromptParameters
        A leak is ``mask & (values < negative_threshold)``; its components need
        ``min_area`` pixels and 1 % of the mask.
    max_points : int
        One point for each of so many components at most, the largest first.

    Returns
    -------
    tuple of Point
        Each is the pixel farthest from the edge of its component; empty where nothing leaks.

    Raises
    ------
    CamSamError
        For a heatmap that is not 2D, or a mask of another shape.
    """
    heat = _heatmap(values)
    covered = np.asarray(mask)
    if covered.shape != heat.shape:
        raise CamSamError(
            f"The mask has shape {covered.shape} but the heatmap {heat.shape}; they must agree."
        )
    covered = covered != 0
    leak = covered & (heat < parameters.negative_threshold)
    least = max(parameters.min_area, int(np.ceil(_LEAK_FRACTION * covered.sum())), 1)
    regions = find_regions(leak, None, "largest", max_objects=max_points, min_area=least)
    points = []
    for region in regions:
        row, column = distance_centre(region.mask)
        points.append(_point(region.row + row, region.column + column, False, "cam", heat))
    return tuple(points)


def add_adaptive_negatives(
    prompts: PlanePrompts, values: ArrayLike, mask: ArrayLike, parameters: PromptParameters
) -> PlanePrompts:
    """Add `adaptive_negatives` to every object, where the strategy has such.

    Parameters
    ----------
    prompts : PlanePrompts
        From the heatmap.
    values : array of float, shape (rows, columns)
    mask : array of bool, shape (rows, columns)
        What the first decoding gave.
    parameters : PromptParameters

    Returns
    -------
    PlanePrompts
        To decode with again; the one given where there is nothing to add.

    Raises
    ------
    CamSamError
        As `adaptive_negatives`.
    """
    if parameters.negatives != "adaptive":
        return prompts
    leaks = adaptive_negatives(values, mask, parameters)
    if not leaks:
        return prompts
    objects = tuple(replace(one, points=one.points + leaks) for one in prompts.objects)
    return replace(prompts, objects=objects)


def _parameters(strategy: str | PromptParameters) -> PromptParameters:
    return strategy_parameters(strategy) if isinstance(strategy, str) else strategy


def _heatmap(values: ArrayLike) -> NDArray[np.floating]:
    array = np.asarray(values)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "fbui":
        raise CamSamError(
            f"A heatmap must be a 2D array of numbers, not {array.dtype} of shape {array.shape}."
        )
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _heatmap_regions(
    heat: NDArray[np.floating], parameters: PromptParameters
) -> tuple[list[Region], str]:
    """Return the regions that prompts are taken from, or why there are none."""
    if not np.isfinite(heat).all():
        return [], "the heatmap has values that are not finite"
    if not (heat > 0).any():
        return [], "the heatmap is zero everywhere: no evidence"
    if heat.min() == heat.max():
        return [], "the heatmap is the same everywhere: no evidence"
    threshold = foreground_threshold(heat, parameters)
    foreground = heat > threshold
    if not foreground.any():
        return [], f"no heatmap value above {threshold:.4g}"
    regions = _regions(foreground, heat, parameters)
    return regions, f"no region of {parameters.min_area} pixels or more above {threshold:.4g}"


def _regions(
    foreground: NDArray[np.bool_],
    values: NDArray[np.floating] | None,
    parameters: PromptParameters,
) -> list[Region]:
    most, least = parameters.max_objects, parameters.min_area
    return find_regions(foreground, values, parameters.components, max_objects=most, min_area=least)


def _point(
    row: int, column: int, positive: bool, source: Source, values: NDArray[np.floating] | None
) -> Point:
    score = None if values is None else float(values[row, column])
    return Point(float(row), float(column), positive, source, score)


def _objects(
    regions: list[Region],
    values: NDArray[np.floating] | None,
    cold: NDArray[np.bool_],
    parameters: PromptParameters,
    source: Source,
    first_id: int,
) -> Iterator[ObjectPrompt]:
    """Yield one entry a region; a single entry for regions of one object without boxes."""
    extremes = list(_extremes(cold)) if parameters.negatives == "extremes" else []
    parts: list[tuple[tuple[Point, ...], Box | None]] = []
    for region in regions:
        box = None
        if parameters.kind != "point":
            score = None if values is None else float(values[region.window].mean())
            box = region_box(region, parameters.margin, source, score)
        pixels = []
        if parameters.kind != "box":
            pixels = list(_grid(region.point(parameters.point, values), parameters, cold.shape))
        outside = list(_around(region, cold)) if parameters.negatives == "around" else extremes
        points = [_point(*pixel, True, source, values) for pixel in pixels]
        points += [_point(*pixel, False, source, values) for pixel in outside]
        parts.append((tuple(points), box))
    if parameters.one_object and parameters.kind == "point" and parts:
        # The same negative may stand in several parts; dict.fromkeys keeps the first of each.
        together = dict.fromkeys(point for placed, _ in parts for point in placed)
        parts = [(tuple(together), None)]
    for offset, (placed, part_box) in enumerate(parts):
        object_id = first_id if parameters.one_object else first_id + offset
        yield ObjectPrompt(object_id, placed, part_box)


def _grid(
    centre: tuple[int, int], parameters: PromptParameters, shape: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Yield the centre first, then the rest of the grid, without what lies outside the plane."""
    half = parameters.grid // 2
    steps = [parameters.grid_step * step for step in range(-half, half + 1)]
    offsets = sorted(((dr, dc) for dr in steps for dc in steps), key=lambda d: d != (0, 0))
    for dr, dc in offsets:
        row, column = centre[0] + dr, centre[1] + dc
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            yield row, column


def _extremes(cold: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the top-, bottom-, left- and right-most cold pixel, each once.

    Of many pixels that are equally far out, the middle one: the first of each would put two of
    the four into one corner of a plane with a cold border, and the paper wants distinct points.
    """
    rows = np.flatnonzero(cold.any(axis=1))
    columns = np.flatnonzero(cold.any(axis=0))
    if rows.size == 0:
        return
    found = [(int(row), _middle(cold[row])) for row in (rows[0], rows[-1])]
    found += [(_middle(cold[:, column]), int(column)) for column in (columns[0], columns[-1])]
    yield from dict.fromkeys(found)


def _middle(line: NDArray[np.bool_]) -> int:
    """Return the middle one of the places that are True."""
    places = np.flatnonzero(line)
    return int(places[places.size // 2])


def _around(region: Region, cold: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the nearest cold pixel straight outwards from the middle of each side of the box."""
    rows, columns = region.window
    row, column = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
    for found in np.flatnonzero(cold[: rows.start, column])[-1:]:
        yield int(found), column
    for found in np.flatnonzero(cold[rows.stop :, column])[:1]:
        yield rows.stop + int(found), column
    for found in np.flatnonzero(cold[row, : columns.start])[-1:]:
        yield row, int(found)
    for found in np.flatnonzero(cold[row, columns.stop :])[:1]:
        yield row, columns.stop + int(found)
