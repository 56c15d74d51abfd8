"""Layers as files of volumes, on the grid of the file that they belong to; labels as DICOM."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image

__all__ = ["write_drawn_layer", "write_image_layer", "write_labels_layer"]


def write_labels_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer as NIfTI, NRRD, MetaImage or MGH, by the suffix.

    With the header, grid and orientation of the file from which the layer, or the layer that it
    was derived from, was read; else with the affine that its place in the viewer means. Names of
    segments that were read go back with it.

    Parameters
    ----------
    path : str
    data : array-like of int, shape (slices, rows, columns)
    meta : dict
        napari's, of the layer.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    CamSamError
        If the layer has no units of length, another number of axes, or the file cannot be written.
    """
    from napari_cam_sam.images.writing import write_labels

    write_labels(path, np.asarray(data), _like(data, meta, "labels"))
    return [path]


def write_drawn_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer that lies over a DICOM series as a segmentation of that series.

    Parameters
    ----------
    path : str
        ``…rtstruct.dcm`` for contours (RTSTRUCT), else ``….dcm``.
    data : array-like of int
    meta : dict
        napari's, of the layer.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    CamSamError
        If the layer does not lie over a series that was read from DICOM, or the file cannot be
        written.
    """
    from napari.layers import Labels

    from napari_cam_sam.images.dicom.source import DicomSource
    from napari_cam_sam.images.writing import write_labels
    from napari_cam_sam.plugin.layers.layer_axes import KEY
    from napari_cam_sam.plugin.layers.layer_geometry import TRANSFORM, geometry_of

    name = str(meta.get("name", "layer"))
    source = meta.get("metadata", {}).get(KEY, {}).get("image")
    if isinstance(source, Image) and isinstance(source.source, DicomSource):
        values = np.asarray(data)
        known = {key: meta[key] for key in (*TRANSFORM, "metadata") if key in meta}
        layer = Labels(np.broadcast_to(np.uint8(0), values.shape), **known)
        if (
            values.shape == source.spatial_shape
            and source.geometry.matches(geometry_of(layer)) is None
        ):
            write_labels(path, values, source)
            return [path]
    raise CamSamError(
        f"{name} does not lie over a series that was opened from DICOM, and a DICOM segmentation "
        "is one of a series: save it as NIfTI."
    )


def write_image_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an image layer, e.g. a heatmap; as `write_labels_layer` does.

    Parameters
    ----------
    path : str
    data : array-like, shape (slices, rows, columns)
    meta : dict
        napari's, of the layer.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    CamSamError
        As `write_labels_layer`, or if the layer is a colour picture.
    """
    from napari_cam_sam.images.writing import write_image

    like = _like(data, meta, "image")
    values = np.asarray(data)
    write_image(path, Image(values, False, like.geometry, like.name, source=like.source))
    return [path]


def _like(data: Any, meta: dict[str, Any], kind: str) -> Image:
    """Return the image on whose grid a layer lies."""
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels

    from napari_cam_sam.plugin.layers.layer_axes import KEY
    from napari_cam_sam.plugin.layers.layer_geometry import TRANSFORM, geometry_of

    name = str(meta.get("name", "layer"))
    if isinstance(data, list | tuple) or meta.get("multiscale"):
        raise CamSamError(f"{name} is multiscale: only a layer of one scale is written here.")
    shape = tuple(data.shape)
    if len(shape) != 3 or meta.get("rgb"):
        raise CamSamError(
            f"{name} has shape {shape}; a volume of gray values or labels is written here."
        )
    known = {key: meta[key] for key in TRANSFORM if key in meta}
    # A layer of one cell's memory: only its transform is asked for.
    stand_in = np.broadcast_to(np.uint8(0), shape)
    known["metadata"] = meta.get("metadata", {})
    layer = Labels(stand_in, **known) if kind == "labels" else ImageLayer(stand_in, **known)
    geometry = geometry_of(layer)
    if geometry.affine is None:
        raise CamSamError(
            f"{name} has no units of length, and this format needs millimetres: set the layer's "
            "units, or save it as TIFF."
        )
    source = meta.get("metadata", {}).get(KEY, {}).get("image")
    if (
        isinstance(source, Image)
        and source.spatial_shape == shape
        and source.geometry.matches(geometry) is None
    ):
        return source
    return Image(data, False, geometry, name)
