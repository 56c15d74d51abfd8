"""Where an image lies: spacing, affine and unit, in the axis order of its array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError

__all__ = [
    "AS_IT_IS",
    "LPS",
    "Geometry",
    "Hanging",
    "default_geometry",
    "geometry_from_affine",
    "hanging",
    "spacing_from_affine",
    "standing_affine",
    "upright",
]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns RAS+ world coordinates, which are ours, to DICOM's and ITK's, and back."""

# The three axes of a usual volume as a viewer shows them, downwards or to the right: to the feet,
# to the back, to the patient's left. Each by the letter that it comes from and that it goes to.
_ENDS = ("SI", "AP", "RL")


@dataclass(frozen=True, eq=False)
class Geometry:
    """Spacing and position of an image's pixels.

    Attributes
    ----------
    spacing : tuple of float
        Distance between neighbours along each spatial array axis, (row, column) or
        (plane, row, column), in ``unit``; finite and above zero.
    affine : ndarray of float64, shape (4, 4), or None
        Maps the array index (plane, row, column, 1) to RAS+ world coordinates in mm. A 2D image
        has plane 0. None for an image without a place in the world.
    unit : {"mm", "pixel"}
        Unit of ``spacing``.

    Raises
    ------
    CamSamError
        If a spacing is not a positive number, or the affine is not an invertible (4, 4) matrix.

    Examples
    --------
    >>> geometry = ncs.Geometry(spacing=(5.0, 0.7, 0.7), unit="mm")
    >>> geometry.plane_spacing(axis=0)  # rows and columns of the planes along axis 0
    (0.7, 0.7)
    """

    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None = None
    unit: Literal["mm", "pixel"] = "pixel"

    def __post_init__(self) -> None:
        if len(self.spacing) not in (2, 3):
            raise CamSamError(
                f"A geometry has 2 or 3 spatial axes, but {len(self.spacing)} spacings were given."
            )
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise CamSamError(
                f"The spacing {tuple(self.spacing)} is broken: every spacing must be above zero."
            )
        if self.affine is None:
            return
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise CamSamError("The affine is broken: it must be a 4 × 4 matrix of finite numbers.")
        steps = self.affine[:3, :3] / np.maximum(spacing_from_affine(self.affine), 1e-300)
        if abs(np.linalg.det(steps)) < 1e-6:
            raise CamSamError("The affine is broken: its three axes do not span a volume.")

    def plane_spacing(self, axis: int) -> tuple[float, float]:
        """Return the spacing of the rows and of the columns of a plane.

        Parameters
        ----------
        axis : int
            Array axis that the plane cuts; 0 for a 2D image.

        Returns
        -------
        tuple of float
            (distance between rows, distance between columns), in ``unit``.
        """
        if len(self.spacing) == 2:
            rows, columns = self.spacing
        else:
            rows, columns = (s for i, s in enumerate(self.spacing) if i != axis)
        return rows, columns

    def matches(self, other: Geometry, tolerance: float = 1e-3) -> str | None:
        """Return in words how another geometry differs, if it does.

        Affines are compared where both images have one, else spacings where both are in mm;
        a geometry in pixels (a PNG mask) matches any other.

        Parameters
        ----------
        other : Geometry
        tolerance : float
            Largest difference of a voxel step and of the first voxel's position, as a fraction
            of the spacing. The default lets pass what the float32 quaternion of a NIfTI header
            rounds off, and no more.

        Returns
        -------
        str or None
            The reason in words, or None where the geometries match.
        """
        if len(self.spacing) != len(other.spacing):
            return f"{len(self.spacing)} spatial axes against {len(other.spacing)}"
        if self.affine is not None and other.affine is not None:
            sizes = spacing_from_affine(self.affine)
            difference = np.abs(self.affine - other.affine)[:3]
            if (difference[:, :3] > tolerance * sizes).any():
                return (
                    f"voxel axes differ: {_in_words(self.affine[:3, :3])} mm "
                    f"against {_in_words(other.affine[:3, :3])} mm"
                )
            if difference[:, 3].max() > tolerance * sizes.min():
                return (
                    f"the first voxel lies at {_in_words(self.affine[:3, 3])} mm "
                    f"against {_in_words(other.affine[:3, 3])} mm"
                )
            return None
        if self.unit == other.unit == "mm" and not np.allclose(
            self.spacing, other.spacing, rtol=tolerance, atol=0
        ):
            return (
                f"spacing {_in_words(np.array(self.spacing))} mm "
                f"against {_in_words(np.array(other.spacing))} mm"
            )
        return None


def default_geometry(spatial_ndim: int) -> Geometry:
    """Return the geometry of an image that says nothing about its own.

    Parameters
    ----------
    spatial_ndim : {2, 3}

    Returns
    -------
    Geometry
        One pixel a step, and no place in the world.
    """
    return Geometry(spacing=(1.0,) * spatial_ndim)


def upright(affine: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find how the axes of a volume are hung: head or front up, the patient's right on the left.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        From (plane, row, column) to RAS+.

    Returns
    -------
    nearest : ndarray of int, shape (3,)
        The direction of the patient that each array axis is nearest to, no two the same: 0 head
        to feet, 1 front to back, 2 right to left.
    signs : ndarray of float, shape (3,)
        1 where the axis runs that way, -1 where it is shown the other way round.
    """
    from scipy.optimize import linear_sum_assignment

    # RAS+ turned round, in the order of a usual array: inferior, posterior, left.
    steps = -np.asarray(affine, float)[[2, 1, 0], :3]
    directions = steps / np.linalg.norm(steps, axis=0)
    rows, columns = linear_sum_assignment(-np.abs(directions))
    nearest = np.empty(3, dtype=np.intp)
    nearest[columns] = rows
    return nearest, np.sign(directions[nearest, range(3)])


@dataclass(frozen=True)
class Hanging:
    """How a plane hangs in a picture, as the viewer shows it.

    Attributes
    ----------
    flip_rows, flip_columns : bool
        Whether the first row lies at the bottom, the first column on the right.
    letters : (str, str, str, str) or None
        What of the patient lies at the top, bottom, left and right, of A, P, S, I, L and R; None
        where the geometry does not say.
    """

    flip_rows: bool = False
    flip_columns: bool = False
    letters: tuple[str, str, str, str] | None = None

    def limits(self, shape: Sequence[int]) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return from where to where a picture of so many rows and columns goes: x, y.

        That is from left to right, and from the bottom to the top.
        """
        rows, columns = shape[:2]
        x, y = (-0.5, columns - 0.5), (rows - 0.5, -0.5)
        return (x[::-1] if self.flip_columns else x), (y[::-1] if self.flip_rows else y)


AS_IT_IS = Hanging()
"""As the array is: of pictures, and of stacks without a place in the world."""


def hanging(geometry: Geometry, axis: int) -> Hanging:
    """Return how the planes along an axis hang in a picture.

    Parameters
    ----------
    geometry : Geometry
    axis : int
        Array axis that the planes cut.

    Returns
    -------
    Hanging
        Of a volume with an affine as `upright` says; other images are shown as their arrays are.
    """
    if geometry.affine is None or len(geometry.spacing) == 2:
        return AS_IT_IS
    nearest, signs = upright(geometry.affine)
    row, column = (a for a in range(3) if a != axis)
    letters = (*_ENDS[nearest[row]], *_ENDS[nearest[column]])
    return Hanging(bool(signs[row] < 0), bool(signs[column] < 0), letters)


def standing_affine(geometry: Geometry) -> Geometry:
    """Add the affine that a picture or stack without one is shown with, for formats that need one.

    Rows run to the back and columns to the left of the patient, planes to the feet, as the viewer
    shows arrays.

    Parameters
    ----------
    geometry : Geometry
        Without an affine.

    Returns
    -------
    Geometry
        With one, and the same spacing and unit.
    """
    steps = np.ones(3)
    steps[3 - len(geometry.spacing) :] = geometry.spacing
    affine = np.eye(4)
    affine[:3, :3] = -np.diag(steps)[::-1]
    return Geometry(geometry.spacing, affine, geometry.unit)


def geometry_from_affine(
    affine: NDArray[np.float64], shape: Sequence[int], mm: float = 1.0
) -> tuple[Geometry, tuple[str, ...]]:
    """Return the geometry of a file whose fastest axis comes first.

    Parameters
    ----------
    affine : ndarray of float64, shape (4, 4)
        Maps (i, j, k, 1), of which i is the fastest in the file, to RAS+ in its unit.
    shape : sequence of int
        (i, j) or (i, j, k).
    mm : float
        Millimetres in the file's unit.

    Returns
    -------
    geometry : Geometry
        In mm, of an array with the axes (k, j, i).
    notes : tuple of str
        On what was put right.

    Raises
    ------
    CamSamError
        If the affine is no sound one.
    """
    if not np.isfinite(affine).all():
        raise CamSamError("The affine in the header is not finite, so the header is broken.")
    affine = affine.copy()
    notes: tuple[str, ...] = ()
    thin = [axis for axis in range(3) if (shape[axis] if axis < len(shape) else 1) == 1]
    empty = [axis for axis in thin if not affine[:3, axis].any()]
    if len(empty) == 1:
        # A single slice may well have no thickness: its two axes say where it lies.
        first, second = (affine[:3, axis] for axis in range(3) if axis != empty[0])
        across = np.cross(first, second)
        length = np.sqrt((across**2).sum())
        if length > 0:
            affine[:3, empty[0]] = across / length / mm
            if empty[0] < len(shape):
                notes = ("Its one slice has no thickness: 1 mm is taken.",)
    world = np.diag([mm, mm, mm, 1.0]) @ affine[:, [2, 1, 0, 3]]
    steps = spacing_from_affine(world)
    spacing = tuple(float(s) for s in steps[-len(shape) :])
    return Geometry(spacing=spacing, affine=world, unit="mm"), notes


def spacing_from_affine(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of one step along each axis of an affine.

    Parameters
    ----------
    affine : ndarray of float64, shape (4, 4)
        To mm.

    Returns
    -------
    ndarray of float64, shape (3,)
        In mm.
    """
    lengths: NDArray[np.float64] = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return lengths


def _in_words(values: NDArray[np.float64]) -> str:
    if values.ndim == 2:
        return "[" + "; ".join(_in_words(row) for row in values) + "]"
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
