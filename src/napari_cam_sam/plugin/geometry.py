"""Where a layer lies: its transform as the core's geometry, and the way back.

The world of the viewer is (inferior, posterior, left) in mm for what our reader opens: NIfTI's RAS+
turned round and in the order of the array's axes. Rows run down and columns to the right on the
screen, so every view is as radiologists hang it: head or front up, the patient's right on the left.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry, spacing_from_affine

__all__ = ["TRANSFORM", "geometry_of", "placed", "spatial_transform", "transform_of"]

TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
"""All that says where a layer lies; a layer derived from another copies every one of them."""


def transform_of(layer: Any) -> dict[str, Any]:
    """Give a layer's transform as keywords for a layer of the same number of axes."""
    return {name: getattr(layer, name) for name in TRANSFORM}


def spatial_transform(layer: Any, ndim: int) -> dict[str, Any]:
    """Give a layer's transform for its last axes alone: what lies over a series has no time."""
    where = transform_of(layer)
    if layer.ndim == ndim:
        return where
    return {
        "scale": where["scale"][-ndim:],
        "translate": where["translate"][-ndim:],
        "rotate": where["rotate"][-ndim:, -ndim:],
        "shear": np.zeros(ndim * (ndim - 1) // 2),
        "affine": np.asarray(layer.affine.affine_matrix)[-ndim - 1 :, -ndim - 1 :],
        "units": where["units"][-ndim:],
        "axis_labels": where["axis_labels"][-ndim:],
    }


def geometry_of(layer: Any) -> Geometry:
    """Give the geometry of a layer's last two or three axes.

    Parameters
    ----------
    layer : napari layer
        2D, 3D, or 4D with time first; a colour axis does not count.

    Returns
    -------
    Geometry
        In mm with an affine where the units are lengths and there are three axes, in mm without
        one in 2D, and in pixels else.

    Raises
    ------
    CamSamError
        If the layer has another number of axes, or a transform that is no position in space.
    """
    if not 2 <= layer.ndim <= 4:
        raise CamSamError(f"{layer.name} has {layer.ndim} axes; an image here has 2, 3 or 4.")
    spatial = min(layer.ndim, 3)
    origin = np.array(layer.data_to_world(np.zeros(layer.ndim)), dtype=float)
    columns = [np.array(layer.data_to_world(e), dtype=float) - origin for e in np.eye(layer.ndim)]
    steps, origin = np.stack(columns, axis=1)[-spatial:, -spatial:], origin[-spatial:]
    factors = [_mm(unit) for unit in layer.units[-spatial:]]
    known = [f for f in factors if f is not None]
    if len(known) < spatial:
        lengths = np.linalg.norm(steps, axis=0)
        return Geometry(spacing=tuple(float(v) for v in lengths))
    scale = np.array(known)
    steps, origin = steps * scale[:, None], origin * scale
    spacing = tuple(float(v) for v in np.linalg.norm(steps, axis=0))
    if spatial == 2:
        return Geometry(spacing=spacing, unit="mm")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = -steps[::-1], -origin[::-1]
    return Geometry(spacing=spacing, affine=affine, unit="mm")


def placed(geometry: Geometry, frames: bool = False) -> dict[str, Any]:
    """Give the keywords that put a layer where a geometry says.

    Parameters
    ----------
    geometry : Geometry
    frames : bool
        Whether the array has one axis more in front, time.

    Returns
    -------
    dict
        ``scale`` is the spacing, so that whoever reads it alone is right about sizes; ``affine``
        holds the rest.
    """
    ndim = len(geometry.spacing)
    spacing = np.array(geometry.spacing)
    rest = np.eye(ndim + 1)
    if geometry.affine is not None and ndim == 3:
        world = np.diag([-1.0, -1.0, -1.0, 1.0]) @ geometry.affine[[2, 1, 0, 3]]
        rest = world @ np.diag([*(1 / spacing_from_affine(geometry.affine)), 1])
    units = ["mm" if geometry.unit == "mm" else "pixel"] * ndim
    if frames:
        spacing = np.concatenate([[1.0], spacing])
        larger = np.eye(ndim + 2)
        larger[1:, 1:] = rest
        rest, units = larger, ["pixel", *units]
    return {"scale": spacing, "affine": rest, "units": units}


def _mm(unit: Any) -> float | None:
    """Give the mm in a unit, or None if it is no length."""
    if not unit.is_compatible_with("mm"):
        return None
    return float((1 * unit).to("mm").magnitude)
