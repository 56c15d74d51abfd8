"""Prompts and the plane that they lie on: refuse what is outside, clip what hangs over."""

from __future__ import annotations

from dataclasses import replace

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, PlanePrompts

__all__ = ["check_on_plane", "clip_box"]


def check_on_plane(prompts: PlanePrompts, plane_shape: tuple[int, int]) -> None:
    """Refuse prompts that do not lie on their plane.

    A point must lie on a pixel of the plane. A box must overlap the plane; it may hang over its
    edge, as a box with a margin does, and segmenters take it so.

    Parameters
    ----------
    prompts : PlanePrompts
    plane_shape : tuple of int
        Rows and columns of the plane.

    Raises
    ------
    CamSamError
        Names the first point or box outside, and the plane's size.
    """
    rows, columns = plane_shape
    where = f"the slice {prompts.index} of axis {prompts.axis}, {rows} rows × {columns} columns"
    for prompt in prompts.objects:
        for point in prompt.points:
            # A pixel reaches half a pixel to each side of its index.
            if not (-0.5 <= point.row < rows - 0.5 and -0.5 <= point.column < columns - 0.5):
                raise CamSamError(
                    f"The point (row {point.row:g}, column {point.column:g}) of object "
                    f"{prompt.object_id} lies outside {where}."
                )
        if prompt.box is not None:
            box = clip_box(prompt.box, plane_shape)
            if box.height <= 0 or box.width <= 0:
                raise CamSamError(
                    f"The box of object {prompt.object_id}, rows {prompt.box.row_min:g} to "
                    f"{prompt.box.row_max:g} and columns {prompt.box.column_min:g} to "
                    f"{prompt.box.column_max:g}, has no part on {where}."
                )


def clip_box(box: Box, plane_shape: tuple[int, int]) -> Box:
    """Return the part of a box that lies on the plane.

    Parameters
    ----------
    box : Box
    plane_shape : tuple of int
        Rows and columns of the plane.

    Returns
    -------
    Box
        Without height or width where no part does.
    """
    rows, columns = plane_shape
    row_min = min(max(box.row_min, 0.0), float(rows))
    column_min = min(max(box.column_min, 0.0), float(columns))
    return replace(
        box,
        row_min=row_min,
        column_min=column_min,
        row_max=max(min(box.row_max, float(rows)), row_min),
        column_max=max(min(box.column_max, float(columns)), column_min),
    )
