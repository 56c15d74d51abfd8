"""Layers as the core's images, the plane that is shown, and layers of our own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.layer_axes import check_order, chosen_axes, mark_of
from napari_cam_sam.plugin.layers.layer_geometry import axis_steps, file_of, geometry_of
from napari_cam_sam.plugin.layers.layer_notes import notes_of
from napari_cam_sam.plugin.qt.plain_text import unescape_markup

__all__ = [
    "data_position",
    "frame_shown",
    "hides",
    "image_of",
    "in_units",
    "is_own",
    "is_shown_alone",
    "labels_in",
    "own_layer",
    "plane_shown",
    "remarks_on",
]

_MOST_LABELS = 100
# What is more transparent lets the image below be seen.
_OPAQUE = 0.75


def image_of(layer: Any, frame: int | None = None) -> Image:
    """Return a layer as an image, without reading its data.

    Parameters
    ----------
    layer : napari.layers.Image or napari.layers.Labels
        2D, 3D or 4D with time first; RGB or gray; multiscale layers give their finest level.
    frame : int, optional
        Which point in time of a 4D layer.

    Returns
    -------
    Image
        With the layer's geometry, and the file if our reader read it.

    Raises
    ------
    CamSamError
        If the layer has another number of axes, or time and no frame is given, or its axes are
        not known or not in order.
    """
    check_order(layer)
    geometry = geometry_of(layer)
    file = file_of(layer)
    path, source = (None, chosen_axes(layer)) if file is None else (file.path, file.source)
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    if layer.ndim == 4:
        if frame is None:
            raise CamSamError(f"{layer.name} is a series over time: choose a frame.")
        data = data[frame]
        if file is not None and "sources" in (mark := mark_of(layer)):
            source = mark["sources"][frame]  # each has files of its own
    rgb = bool(getattr(layer, "rgb", False))
    notes = notes_of(layer) if file is None else file.notes
    windows = () if file is None else file.windows
    return Image(data, rgb, geometry, unescape_markup(layer.name), path, source, notes, windows)


def plane_shown(viewer: Any, layer: Any) -> tuple[int, int]:
    """Return which plane of a layer the viewer shows.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    layer : napari layer

    Returns
    -------
    axis : int
        Of the layer's last three axes, 0 to 2; 0 in 2D.
    index : int
        Along it; the nearest plane where the viewer stands outside of the layer.

    Raises
    ------
    CamSamError
        In 3D display, which shows no single plane, and where the layer's axes are permuted, of
        which the viewer shows another plane than it stands at.
    """
    if viewer.dims.ndisplay != 2:
        raise CamSamError("The viewer shows three dimensions: switch to 2D to choose a slice.")
    if layer.ndim == 2:
        return 0, 0
    spatial = range(viewer.dims.ndim - 3, viewer.dims.ndim)
    scrolled = [d for d in viewer.dims.not_displayed if d in spatial]
    if len(scrolled) != 1:
        raise CamSamError("The slice shown runs along time: show two axes of space.")
    axis = scrolled[0] - spatial.start
    steps, _ = axis_steps(layer)
    # The viewer cuts the array along the axis of this number, wherever that runs in the world.
    if np.abs(steps / np.linalg.norm(steps, axis=0))[axis].argmax() != axis:
        raise CamSamError(
            f"{layer.name} is turned so far that the viewer shows no slice of it along this axis: "
            "show another axis, or open its file with this plugin's reader."
        )
    index = _position(viewer, layer)[layer.ndim - 3 + axis]
    return axis, int(np.clip(round(index), 0, layer.data.shape[layer.ndim - 3 + axis] - 1))


def frame_shown(viewer: Any, layer: Any) -> int | None:
    """Return which point in time of a 4D layer the viewer shows.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    layer : napari layer

    Returns
    -------
    int or None
        None for a layer without time.
    """
    if layer.ndim < 4:
        return None
    return int(np.clip(round(_position(viewer, layer)[0]), 0, layer.data.shape[0] - 1))


def is_own(layer: Any) -> bool:
    """Check whether a layer was made by the docks, whatever it is called now.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    bool
    """
    return "role" in mark_of(layer)


def hides(layer: Any) -> bool:
    """Check whether an image layer hides what lies below it, where it is shown.

    Parameters
    ----------
    layer : napari.layers.Image

    Returns
    -------
    bool
    """
    mixed = str(layer.blending).endswith(("additive", "minimum", "multiplicative"))
    return bool(layer.opacity >= _OPAQUE and not mixed)


def remarks_on(images: Iterable[Image]) -> str:
    """Return what speaks against labels as they stand, e.g. gray rims; it reads every plane.

    Parameters
    ----------
    images : iterable of Image

    Returns
    -------
    str
        A sentence each; empty where nothing does.
    """
    from napari_cam_sam.images.labels import labels_remark

    return " ".join(filter(None, (labels_remark(image) for image in images)))


def is_shown_alone(layer: Any) -> bool:
    """Check whether a layer of ours only shows what is held elsewhere, and may go at any time.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    bool
    """
    return mark_of(layer).get("role") in ("old preview", "sketch", "comparison")


def labels_in(arrays: Iterable[Any]) -> list[int]:
    """List the labels in arrays; it reads every plane, so call it in a thread.

    Parameters
    ----------
    arrays : iterable of array-like

    Returns
    -------
    list of int
        In order, without 0; none where there are more than a hundred to choose from.
    """
    found: set[int] = set()
    for plane in (plane for array in arrays for plane in array):
        found.update(int(v) for v in np.unique(np.asarray(plane)) if v)
        if len(found) > _MOST_LABELS:
            return []
    return sorted(found)


def own_layer(
    viewer: Any, role: str, source: Any, axis: int | None = None, frame: int | None = None
) -> Any | None:
    """Find the layer of ours that has a role (e.g. ``"heatmap"``) for a source layer.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    role : str
    source : napari layer
    axis : int, optional
        Along which its planes lie, for roles that have one layer an axis.
    frame : int, optional
        Of a series.

    Returns
    -------
    napari layer or None
    """
    wanted = {"role": role, "of": source.unique_id, "axis": axis, "frame": frame}
    for layer in viewer.layers:
        mark = mark_of(layer)
        if all(mark.get(name) == value for name, value in wanted.items()):
            return layer
    return None


def in_units(point: Any, have: Any, want: Any) -> list[float]:
    """Return a position in other units, axis by axis.

    Parameters
    ----------
    point : sequence of float
    have, want : sequence of pint.Unit
        One an axis; where they cannot be converted, the value stays.

    Returns
    -------
    list of float
    """
    return [
        float((value * one).to(other).magnitude) if one.is_compatible_with(other) else float(value)
        for value, one, other in zip(point, have, want, strict=True)
    ]


def data_position(viewer: Any, layer: Any, point: Any) -> NDArray[np.float64]:
    """Return a position of the viewer's world in the layer's data coordinates.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    layer : napari layer
    point : sequence of float
        Of the viewer's axes; the layer's are the last.

    Returns
    -------
    ndarray, shape (layer.ndim,)
    """
    # world_to_data takes the layer's units, whatever the viewer's are.
    point, units = point[-layer.ndim :], viewer.dims.units
    if units is not None:
        point = in_units(point, units[-layer.ndim :], layer.units)
    return np.array(layer.world_to_data(point))


def _position(viewer: Any, layer: Any) -> NDArray[np.float64]:
    """Where the viewer stands, in the layer's data coordinates."""
    if viewer.dims.ndim < layer.ndim:  # napari tells so late that a layer is gone
        raise CamSamError(f"{layer.name} is being closed.")
    return data_position(viewer, layer, viewer.dims.point)
