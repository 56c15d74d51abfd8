"""Labels that were cut to a part of their image's grid, put back onto the whole of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_cam_sam.images.geometry import spacing_from_affine
from napari_cam_sam.images.image import Image

__all__ = ["on_whole_grid"]

_NEAR = 1e-3
"""Of a voxel: how far the steps of two grids, and 0.01 how far their places, may differ."""


def on_whole_grid(labels: Image, image: Image) -> Image:
    """Return labels on the grid of an image where their own is a part of it.

    3D Slicer writes as much of a segmentation as its segments need.

    Parameters
    ----------
    labels, image : Image

    Returns
    -------
    Image
        The labels themselves where they have the whole grid, or another one.
    """
    own, whole = labels.geometry.affine, image.geometry.affine
    if own is None or whole is None or labels.spatial_ndim != 3 or image.spatial_ndim != 3:
        return labels
    if (np.abs(own - whole)[:3, :3] > _NEAR * spacing_from_affine(whole)).any():
        return labels
    offset = np.linalg.solve(whole[:3, :3], own[:3, 3] - whole[:3, 3])
    begin = np.round(offset).astype(int)
    end = begin + labels.spatial_shape
    same = not begin.any() and labels.spatial_shape == image.spatial_shape
    inside = (begin >= 0).all() and (end <= image.spatial_shape).all()
    if same or not inside or np.abs(offset - begin).max() > 10 * _NEAR:
        return labels
    data = np.zeros(image.spatial_shape, labels.data.dtype)
    data[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))] = labels.data
    note = f"It covers a part of the grid of {image.name}: beyond it is background."
    return replace(
        labels, data=data, geometry=image.geometry, source=None, notes=(*labels.notes, note)
    )
