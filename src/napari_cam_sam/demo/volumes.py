"""A CT-like abdomen in Hounsfield units, drawn anew from a seed, with a lesion and its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.demo.textures import Array, blur, power_noise

__all__ = ["VolumePhantom", "ct"]


@dataclass(frozen=True)
class VolumePhantom:
    """A generated volume and everything that is known about it.

    Attributes
    ----------
    hounsfield : ndarray of int16, shape (planes, rows, columns)
    labels : ndarray of uint8, same shape
        1 in the lesion, 0 elsewhere.
    affine : ndarray of float64, shape (4, 4)
        Array index (plane, row, column) to RAS+ millimetres; planes are thick and the
        coordinate system is slightly oblique.
    spacing : tuple of float
        Millimetres along plane, row and column.
    """

    hounsfield: NDArray[np.int16]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]


def _ellipsoid(
    grids: tuple[Array, Array, Array],
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    ripple: Array | float = 0.0,
) -> Array:
    """Return 1 minus the normalised radius: positive inside, 0 on the surface."""
    parts = [((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radii, strict=True)]
    return np.asarray(1 - np.sqrt(sum(parts)) + ripple, dtype=np.float32)


def ct(
    seed: int, *, shape: tuple[int, int, int] = (24, 128, 128), lesion: bool = True
) -> VolumePhantom:
    """Draw an abdomen with fat, muscle, liver, spleen, kidneys, spine, aorta and a lesion.

    Parameters
    ----------
    seed : int
        The same seed gives the same phantom.
    shape : tuple of int
        Planes, rows and columns.
    lesion : bool
        Whether the liver carries a lesion.

    Returns
    -------
    VolumePhantom
        Rows run from the front to the back of the body, columns from its right to its left,
        planes from the head down, as a viewer's slider counts them.
    """
    rng = np.random.default_rng((104, seed))

    def around(middle: float, spread: float) -> float:
        return float(rng.uniform(middle - spread, middle + spread))

    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    grids = (z, y, x)
    ripple = power_noise(rng, shape, 2.4) * 0.02
    hu = np.full(shape, -1000, np.float32)

    def paint(where: Array, value: float, grain: float = 3.0) -> None:
        inside = where > 0
        hu[inside] = value + (power_noise(rng, shape, 1.2)[inside] * grain if grain else 0)

    high, wide = around(0.66, 0.06), around(0.88, 0.05)
    endless = (1e6, high, wide)
    body = _ellipsoid(grids, (0, 0, 0), endless, ripple)
    paint(body, around(-100, 10), 6)
    paint(body - around(0.1, 0.03), around(50, 8), 6)
    paint(body - around(0.2, 0.03), around(-60, 30), 14)
    enhanced = around(0.5, 0.5)
    liver_value = 55 + 50 * enhanced
    centre = (around(0.1, 0.15), around(-0.05, 0.06), -around(0.38, 0.04) * wide / 0.88)
    liver = _ellipsoid(grids, centre, (1.3, 0.52 * high / 0.66, 0.42), 2 * ripple)
    liver = np.minimum(liver, 1.2 * (body - 0.16))
    paint(liver, liver_value, 5)
    paint(_ellipsoid(grids, (0.2, 0.12, 0.52), (0.9, 0.2, 0.13), ripple), 50 + 70 * enhanced, 5)
    for side in (-1, 1):
        kidney = (around(-0.3, 0.2), around(0.3, 0.04), side * around(0.33, 0.04))
        paint(_ellipsoid(grids, kidney, (0.8, 0.12, 0.08), ripple), 35 + 120 * enhanced, 6)
    stomach = _ellipsoid(grids, (0.3, -0.22, 0.3), (0.8, 0.2, 0.2), 2 * ripple)
    paint(stomach, around(15, 10), 8)
    paint(np.minimum(stomach - 0.15, -0.22 - 0.06 - y + 0 * stomach), -950, 0)
    spine = _ellipsoid(grids, (0, 0.4, 0), (1e6, 0.13, 0.12), ripple)
    paint(spine, around(450, 100), 60)
    paint(spine - 0.25, around(180, 40), 40)
    paint(_ellipsoid(grids, (0, 0.21, 0.06), (1e6, 0.055, 0.05)), 45 + 150 * enhanced, 3)

    labels = np.zeros(shape, np.uint8)
    if lesion:
        size = around(0.15, 0.06)
        room = np.argwhere((liver > 0.28) & (abs(z) < 0.6))
        place = room[rng.integers(len(room))]
        middle = tuple(float(a[i]) for a, i in zip(axes, place, strict=True))
        radii = (size * around(2.2, 0.5), size * around(0.95, 0.25), size)
        rough = power_noise(rng, shape, 2.2) * around(0.06, 0.05)
        field = np.minimum(
            _ellipsoid(grids, (middle[0], middle[1], middle[2]), radii, rough), liver
        )
        labels[field > 0] = 1
        change = -around(40, 15) if rng.random() < 0.8 else around(40, 10)
        cover = np.clip(field / 0.25, 0, 1)
        core = power_noise(rng, shape, 1.2) * around(4, 3)
        hu += np.where(field > 0, cover * (change + core), 0).astype(np.float32)
    # The scanner: partial volume in the plane and between planes, then grainy noise.
    hu = blur(hu, (0.35, around(0.7, 0.2), around(0.7, 0.2)))
    noise = blur(rng.standard_normal(shape, dtype=np.float32), (0.0, 0.7, 0.7))
    hu += noise / noise.std() * around(11, 4)

    spacing = (5.0, 340.0 / shape[1], 340.0 / shape[2])
    tilt = np.deg2rad(around(4, 3))
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    # Columns run from right to left (−x in RAS+), rows from front to back (−y), planes down (−z).
    directions = turn @ np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], dtype=np.float64)
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + (0, 0, around(100, 50))
    return VolumePhantom(
        np.clip(np.rint(hu), -1024, 3071).astype(np.int16), labels, affine, spacing
    )
