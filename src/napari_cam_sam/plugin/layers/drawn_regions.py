"""A region drawn in a labels or shapes layer, on the pixels of the image's planes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Labels, Shapes
from numpy.typing import NDArray
from skimage.draw import polygon

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.boxes_layer import LEAST_SIDE, too_small
from napari_cam_sam.plugin.layers.conversion import image_of, in_units

__all__ = ["ReadRegion", "region_of"]

ReadRegion = Callable[[int, int], NDArray[np.bool_]]
"""Takes an axis and an index, and gives that plane of the region; may be called in a thread."""

_CLOSED = ("rectangle", "ellipse", "polygon")
_TURN = np.linspace(0, 2 * np.pi, 64, endpoint=False)


def region_of(layer: Any, source: Any, image: Image, frame: int | None) -> ReadRegion:
    """Return what reads a drawn region plane by plane.

    Parameters
    ----------
    layer : napari.layers.Labels or napari.layers.Shapes
        Of labels all that is not 0 counts; of shapes the insides of rectangles, ellipses and
        polygons of `LEAST_SIDE` pixels a side or more, each on the plane, and in the frame of a
        series, in which it was drawn.
    source : napari layer
        The image's layer: shapes are brought to its pixels.
    image : Image
        What `source` shows.
    frame : int or None
        Of a series.

    Returns
    -------
    callable

    Raises
    ------
    CamSamError
        If the layer holds no region, e.g. lines alone.
    """
    if isinstance(layer, Labels):
        labels = image_of(layer, frame if layer.ndim == 4 else None)
        return lambda axis, index: np.asarray(labels.plane(axis, index)) != 0
    if not isinstance(layer, Shapes):
        raise CamSamError(f"{layer.name} holds no region: choose a labels or a shapes layer.")
    drawn = [
        (_on_image(layer, source, vertices), kind)
        for vertices, kind in zip(layer.data, layer.shape_type, strict=True)
        if kind in _CLOSED
    ]
    # As with boxes: what is smaller was a click.
    large = [
        (vertices, kind) for vertices, kind in drawn
        if not too_small(vertices[:, -image.spatial_ndim :])
    ]  # fmt: skip
    if not large:
        why = f" of {LEAST_SIDE} pixels a side or more" if drawn else ""
        raise CamSamError(
            f"{layer.name} holds no region{why}: draw a rectangle, an ellipse or a polygon."
        )

    # A layer without time is shown in every frame, one without the third axis on every plane.
    timed = frame is not None and layer.ndim >= source.ndim
    outlines = [
        _outline(vertices[:, -image.spatial_ndim :], kind)
        for vertices, kind in large
        if not timed or np.all(np.round(vertices[:, 0]) == frame)
    ]
    placed = image.spatial_ndim == 3 and layer.ndim >= 3

    def read(axis: int, index: int) -> NDArray[np.bool_]:
        others = [a for a in range(image.spatial_ndim) if a != axis or image.spatial_ndim == 2]
        inside = np.zeros([image.spatial_shape[a] for a in others], dtype=bool)
        for outline in outlines:
            if placed and not np.all(np.round(outline[:, axis]) == index):
                continue
            rows, columns = outline[:, others].T
            inside[polygon(rows, columns, inside.shape)] = True
        return inside

    return read


def _on_image(layer: Any, source: Any, vertices: Any) -> NDArray[np.float64]:
    """Return vertices in the coordinates of the image's layer."""
    # Of a layer with fewer axes than the image the viewer's last ones are meant.
    shared = min(layer.ndim, source.ndim)
    found = []
    for vertex in np.asarray(vertices, float):
        world = in_units(
            layer.data_to_world(vertex)[-shared:], layer.units[-shared:], source.units[-shared:]
        )
        found.append(source.world_to_data([0.0] * (source.ndim - shared) + world))
    return np.array(found)


def _outline(vertices: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the outline of a shape as a polygon."""
    if kind != "ellipse":
        return vertices
    # napari gives the corners of the box around an ellipse, in turn.
    middle = (vertices[0] + vertices[2]) / 2
    first, second = (vertices[1] - vertices[0]) / 2, (vertices[3] - vertices[0]) / 2
    return np.asarray(
        middle + np.outer(np.cos(_TURN), first) + np.outer(np.sin(_TURN), second), dtype=float
    )
