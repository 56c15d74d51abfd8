"""The three views of a volume: along which axis, which way up, and what lies at the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_sam.images.geometry import upright
from napari_cam_sam.plugin.layers.layer_axes import axes_of
from napari_cam_sam.plugin.layers.layer_geometry import true_geometry

__all__ = ["View", "ends_of", "views_of"]

_NAMES = ("Axial", "Coronal", "Sagittal")
# Down or to the right in the viewer's world, where our reader puts volumes.
_ENDS = ("SI", "AP", "RL")


@dataclass(frozen=True)
class View:
    """One of the three ways to cut a volume.

    Attributes
    ----------
    name : str
        ``"Axial"``, ``"Coronal"`` or ``"Sagittal"``; without an orientation ``"Axis 0"`` and so on.
    axis : int
        Axis of the array that the slices are cut along, of its last three.
    down, right : int
        The axes that run down and to the right on the screen.
    """

    name: str
    axis: int
    down: int
    right: int


def views_of(layer: Any) -> tuple[View, ...]:
    """Return the three views of a volume, upright where it is known how a patient lies in it.

    Parameters
    ----------
    layer : napari layer or None

    Returns
    -------
    tuple of View
        Axial, coronal and sagittal for a volume with an orientation, else by the number of the
        axis; none for a picture, and where nothing says which axes are those of space.
    """
    if layer is None or layer.ndim < 3 or not axes_of(layer).usable:
        return ()
    nearest = _nearest(layer)
    if nearest is None:
        return tuple(
            View(f"Axis {axis}", axis, *(a for a in range(3) if a != axis)) for axis in range(3)
        )
    # From head to feet runs down before all else, and from front to back before right to left.
    order = [nearest.index(direction) for direction in range(3)]
    return tuple(
        View(name, axis, *(a for a in order if a != axis))
        for name, axis in zip(_NAMES, order, strict=True)
    )


def ends_of(layer: Any) -> tuple[str, str, str] | None:
    """Return what of the patient lies at the two ends of each axis, as the viewer shows them.

    Parameters
    ----------
    layer : napari layer or None

    Returns
    -------
    tuple of str or None
        For each of the last three axes two letters of A, P, S, I, L and R: of the end with the
        lower coordinate in the viewer's world, and of the other; None where nothing says it.
    """
    nearest = None if layer is None else _nearest(layer)
    if nearest is None:
        return None
    first, second, third = (_ENDS[direction] for direction in nearest)
    return first, second, third


def _nearest(layer: Any) -> list[int] | None:
    """Return the direction of the patient that each axis is nearest to, as `upright` does."""
    geometry = true_geometry(layer)
    if geometry is None or geometry.affine is None:
        return None
    nearest, _ = upright(geometry.affine)
    return [int(direction) for direction in np.asarray(nearest)]
