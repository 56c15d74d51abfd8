"""Where a layer lies: its transform as the core's geometry, and the way back.

The viewer cuts along the axes of its world alone: it cannot show a volume that lies oblique there
where the cursor is, and one whose axes are permuted not at all. So what our reader opens is shown
on its own grid: the axes of the array are those of the viewer, in mm, each turned so that every
view is hung as radiologists do, head or front up and the patient's right on the left. Its centre
stays in its true place, as (inferior, posterior, left) in mm, which is NIfTI's RAS+ turned round.
The true affine is kept with the layer: masks are matched by it, and files are written with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.geometry import Geometry, spacing_from_affine, upright
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.units import mm_in
from napari_cam_sam.plugin.layers.layer_axes import mark_of

__all__ = [
    "TRANSFORM",
    "axis_steps",
    "file_of",
    "geometry_of",
    "misplaced",
    "path_of",
    "placed",
    "spatial_transform",
    "transform_of",
    "true_geometry",
]

TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
"""All that says where a layer lies; a layer derived from another copies every one of them."""

_ROUNDED = 1e-3
"""Of a pixel's size: as much may steps from pixel to pixel differ, see `Geometry.matches`."""

_BESIDE = 0.1
"""Of a pixel: as much may the first pixel lie beside the other's."""


def transform_of(layer: Any) -> dict[str, Any]:
    """Return a layer's transform as keywords for a layer of the same number of axes.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    dict
        With a key for each of `TRANSFORM`.
    """
    return {name: getattr(layer, name) for name in TRANSFORM}


def spatial_transform(layer: Any, ndim: int) -> dict[str, Any]:
    """Return a layer's transform for its last axes alone: what lies over a series has no time.

    Parameters
    ----------
    layer : napari layer
    ndim : int
        How many axes are meant.

    Returns
    -------
    dict
        Keywords for a layer of that many axes.
    """
    where = transform_of(layer)
    if layer.ndim == ndim:
        return where
    shear = np.asarray(where["shear"])  # the upper triangle row by row, or a matrix
    return {
        "scale": where["scale"][-ndim:],
        "translate": where["translate"][-ndim:],
        "rotate": where["rotate"][-ndim:, -ndim:],
        "shear": shear[-(ndim * (ndim - 1) // 2) :] if shear.ndim == 1 else shear[-ndim:, -ndim:],
        "affine": np.asarray(layer.affine.affine_matrix)[-ndim - 1 :, -ndim - 1 :],
        "units": where["units"][-ndim:],
        "axis_labels": where["axis_labels"][-ndim:],
    }


def geometry_of(layer: Any) -> Geometry:
    """Return the geometry of a layer's last two or three axes.

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
    if (true := true_geometry(layer)) is not None:
        return true
    if not 2 <= layer.ndim <= 4:
        raise CamSamError(f"{layer.name} has {layer.ndim} axes; an image here has 2, 3 or 4.")
    (steps, origin), units = axis_steps(layer), _units_in_mm(layer)
    known = [factor for factor in units if factor is not None]
    if len(known) < len(units):
        return Geometry(spacing=tuple(float(v) for v in np.linalg.norm(steps, axis=0)))
    steps, origin = steps * np.array(known)[:, None], origin * known
    spacing = tuple(float(v) for v in np.linalg.norm(steps, axis=0))
    if len(spacing) == 2:
        return Geometry(spacing=spacing, unit="mm")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = -steps[::-1], -origin[::-1]
    return Geometry(spacing=spacing, affine=affine, unit="mm")


def misplaced(layer: Any, image: Any) -> str | None:
    """Return in words how a layer of an image's shape is shown elsewhere than the image.

    Parameters
    ----------
    layer, image : napari layer
        Each 2D, 3D, or 4D with time first.

    Returns
    -------
    str or None
        How its pixels lie, seen from those of the image; None where they lie over these, and
        where units of length would be compared with pixels: a mask in pixels fits any image of
        its shape.
    """
    (steps, origin), (others, first) = axis_steps(image), axis_steps(layer)
    factors = []
    for here, there in zip(_units_in_mm(image), _units_in_mm(layer), strict=True):
        if (here is None) != (there is None):
            return None
        factors.append(1.0 if here is None or there is None else there / here)
    others, first = others * np.array(factors)[:, None], first * factors
    sizes, others_sizes = (np.linalg.norm(one, axis=0) for one in (steps, others))
    moved = np.linalg.solve(steps, first - origin)
    if (np.abs(others - steps) <= _ROUNDED * sizes).all():
        if (np.abs(moved) <= _BESIDE).all():
            return None
        return f"it is moved by {_in_words(moved)} pixels"
    along, others_along = steps / sizes, others / others_sizes
    if not np.allclose(along.T @ along, others_along.T @ others_along, atol=_ROUNDED / 10):
        return "it is sheared"
    cosines = np.clip((along * others_along).sum(axis=0), -1, 1)
    if (np.abs(cosines) < np.cos(_ROUNDED / 10)).any():
        return f"it is turned by {np.degrees(np.arccos(cosines.min())):.3g}°"
    flipped = [str(axis) for axis in np.flatnonzero(cosines < 0)]
    if flipped:
        return f"it is flipped along axis {' and '.join(flipped)}"
    return f"its pixels are {_in_words(others_sizes / sizes)} times as large"


def placed(geometry: Geometry, shape: Sequence[int], frames: bool = False) -> dict[str, Any]:
    """Return the keywords that put a layer where a geometry says.

    Parameters
    ----------
    geometry : Geometry
    shape : sequence of int
        Of its two or three axes.
    frames : bool
        Whether the array has one axis more in front, time.

    Returns
    -------
    dict
        ``scale`` is the spacing, so that whoever reads it alone is right about sizes; ``affine``
        holds the rest, signs and the true centre.
    """
    ndim = len(geometry.spacing)
    spacing = np.array(geometry.spacing)
    rest = np.eye(ndim + 1)
    if geometry.affine is not None and ndim == 3:
        world = _upright(geometry.affine, shape)
        rest = world @ np.diag([*(1 / spacing_from_affine(geometry.affine)), 1])
    units = ["mm" if geometry.unit == "mm" else "pixel"] * ndim
    if frames:
        spacing = np.concatenate([[1.0], spacing])
        rest, units = block_diag(1.0, rest), ["pixel", *units]
    return {"scale": spacing, "affine": rest, "units": units}


def true_geometry(layer: Any) -> Geometry | None:
    """Return the geometry that came with a layer, if it still lies where that put it.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    Geometry or None
        With an affine; None for layers that came without one.
    """
    image = _standing(layer)
    geometry = None if image is None else image.geometry
    return None if geometry is None or geometry.affine is None else geometry


def _standing(layer: Any) -> Image | None:
    """Return the image that a layer came with, if it still lies where that put it."""
    image: Image | None = mark_of(layer).get("image")
    if image is None:
        return None
    ndim = image.spatial_ndim
    # Of pictures DICOM alone has something that is written back.
    known = image.geometry.affine is not None or isinstance(image.source, DicomSource)
    if not known or not ndim <= layer.ndim <= ndim + 1:
        return None
    shape = tuple(int(n) for n in layer.data.shape[layer.ndim - ndim : layer.ndim])
    if shape != image.spatial_shape:
        return None
    where = placed(image.geometry, shape, frames=layer.ndim > ndim)
    have = np.asarray(layer.affine.affine_matrix)
    unit = "millimeter" if image.geometry.unit == "mm" else "pixel"
    same = (
        np.allclose(layer.scale, where["scale"], rtol=1e-5)
        and np.allclose(have, where["affine"], rtol=1e-5, atol=1e-4)
        and not np.any(layer.translate)
        and np.allclose(layer.rotate, np.eye(layer.ndim))
        and not np.any(layer.shear)
        and [str(one) for one in layer.units[-ndim:]] == [unit] * ndim
    )
    return image if same else None


def file_of(layer: Any) -> Image | None:
    """Return what our reader read of a file, if the layer still shows that, in that place.

    A session or a score names the file for what comes from it, not for what took its place.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    Image or None
    """
    known = mark_of(layer)
    read = known.get("read")
    return None if read is None or read() is not layer.data else _standing(layer)


def path_of(layer: Any) -> Path | None:
    """Return the file that a layer was opened from, whoever read it, to save beside it.

    Parameters
    ----------
    layer : napari layer or None

    Returns
    -------
    Path or None
        None where it is from no file, or from none in a folder of this computer.
    """
    if layer is None:
        return None
    read = mark_of(layer).get("image")
    found = (layer.source.path if layer.source else None) or (read.path if read else None)
    path = None if found is None else Path(found)
    return path if path is not None and path.parent.is_dir() else None


def axis_steps(layer: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the pixels of a layer lie in its world, by its two or three axes of space.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    steps : ndarray, shape (n, n)
        From pixel to pixel along each axis, as columns.
    origin : ndarray, shape (n,)
        The first pixel.
    """
    spatial = min(layer.ndim, 3)
    origin = np.array(layer.data_to_world(np.zeros(layer.ndim)), dtype=float)
    columns = [np.array(layer.data_to_world(e), dtype=float) - origin for e in np.eye(layer.ndim)]
    steps = np.stack(columns, axis=1)[-spatial:, -spatial:]
    return steps, origin[-spatial:]


def _units_in_mm(layer: Any) -> list[float | None]:
    """Return the mm in the unit of each axis of space; None for one that is no length."""
    return [mm_in(str(unit)) for unit in layer.units[-3:]]


def _in_words(values: NDArray[Any]) -> str:
    # Plus zero: what is rounded to nothing has no sign.
    return "(" + ", ".join(f"{value:.6g}" for value in np.round(values, 3) + 0.0) + ")"


def _upright(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the diagonal affine, from array to viewer, of a volume with an affine to RAS+."""
    # RAS+ turned round, in the order of a usual array: inferior, posterior, left.
    world = np.diag([-1.0, -1.0, -1.0, 1.0]) @ affine[[2, 1, 0, 3]]
    steps = world[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    nearest, signs = upright(affine)
    middle = (np.array(shape, float) - 1) / 2
    diagonal = np.diag([*(signs * spacing), 1.0])
    diagonal[:3, 3] = (steps @ middle + world[:3, 3])[nearest] - signs * spacing * middle
    return diagonal
