"""Sizes of what is labelled, and the values of the image under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.polygons import outlines
from napari_cam_sam.images.segments import Segment

__all__ = ["Measurement", "measure_labels", "measurements_rows"]


@dataclass(frozen=True)
class Measurement:
    """What is measured of one label.

    Attributes
    ----------
    label : int
    name : str
        Of its segment; empty where it has none.
    voxels : int
    volume_ml : float
        Of its voxels; NaN for a single image, and without a spacing in mm.
    longest_mm, perpendicular_mm : float
        Longest diameter on any slice along the first axis, and the longest across it at a right
        angle on the same slice, from outline to outline; NaN without a spacing in mm.
    slice : int
        Of the longest diameter, from 0.
    mean, sd : float
        Of the image's values, in its own unit (HU of CT); the standard deviation is that of all
        its voxels. NaN in colour, and where values are not finite.

    Examples
    --------
    >>> image = ncs.image_from_array(np.arange(24.0).reshape(4, 6))
    >>> (found,) = ncs.measure_labels((image.data > 20).astype(np.uint8), image)
    >>> found.label, found.voxels, found.mean
    (1, 3, 22.0)
    """

    label: int
    name: str
    voxels: int
    volume_ml: float
    longest_mm: float
    perpendicular_mm: float
    slice: int
    mean: float
    sd: float


def measure_labels(
    labels: NDArray[np.integer], image: Image, segments: Sequence[Segment] = ()
) -> tuple[Measurement, ...]:
    """Measure every label of an image.

    Parameters
    ----------
    labels : ndarray of int, shape of ``image.spatial_shape``
        0 is background.
    image : Image
    segments : sequence of Segment
        For the names.

    Returns
    -------
    tuple of Measurement
        By label.

    Raises
    ------
    CamSamError
        If the shapes differ.

    Examples
    --------
    >>> geometry = ncs.Geometry(spacing=(2.0, 0.5, 0.5), unit="mm")
    >>> image = ncs.image_from_array(np.full((10, 40, 40), 60), geometry=geometry)
    >>> labels = np.zeros((10, 40, 40), np.uint8)
    >>> labels[2:6, 10:20, 10:30] = 1
    >>> (found,) = ncs.measure_labels(labels, image, [ncs.Segment(1, "Liver")])
    >>> found.name, round(found.volume_ml, 3), round(found.longest_mm, 1), found.mean
    ('Liver', 0.4, 11.0, 60.0)
    """
    if labels.shape != image.spatial_shape:
        raise CamSamError(
            f"The labels have shape {labels.shape}, but {image.name} has {image.spatial_shape}."
        )
    volume = labels if labels.ndim == 3 else labels[None]
    names = {one.number: one.name for one in segments}
    found: dict[int, _Sums] = {}
    for index, plane in enumerate(volume):
        numbers = [int(n) for n in np.unique(plane) if n]
        if not numbers:
            continue
        values = None if image.rgb else np.asarray(image.plane(0, index), np.float64)
        for number in numbers:
            mask = plane == number
            sums = found.setdefault(number, _Sums())
            sums.add(mask, None if values is None else values[mask])
            sums.measure(mask, index, image.geometry)
    millilitres = _voxel_volume(image.geometry) / 1000
    return tuple(
        Measurement(
            number,
            names.get(number, ""),
            one.voxels,
            one.voxels * millilitres,
            one.longest,
            one.perpendicular,
            one.index,
            one.mean,
            math.sqrt(one.squares / one.voxels),
        )
        for number, one in sorted(found.items())
    )


def measurements_rows(found: Sequence[Measurement]) -> list[dict[str, object]]:
    """Return measurements as rows of a table, with a name for each column.

    Parameters
    ----------
    found : sequence of Measurement

    Returns
    -------
    list of dict
    """
    return [{one.name: getattr(row, one.name) for one in fields(row)} for row in found]


@dataclass
class _Sums:
    """What is known of a label after some slices."""

    voxels: int = 0
    mean: float = 0.0
    squares: float = 0.0
    longest: float = math.nan
    perpendicular: float = math.nan
    index: int = 0

    def add(self, mask: NDArray[np.bool_], values: NDArray[np.float64] | None) -> None:
        """Add the values of a slice: about the mean, so that large ones lose no digits."""
        count = int(np.count_nonzero(mask))
        total = self.voxels + count
        if values is None:
            self.mean = self.squares = math.nan
        else:
            with np.errstate(invalid="ignore"):
                mean = float(values.mean())
                step = mean - self.mean
                self.squares += float(((values - mean) ** 2).sum())
            self.squares += step**2 * self.voxels * count / total
            self.mean += step * count / total
        self.voxels = total

    def measure(self, mask: NDArray[np.bool_], index: int, geometry: Geometry) -> None:
        if geometry.unit != "mm":
            return
        longest, perpendicular = _diameters(mask, geometry.plane_spacing(0))
        if math.isnan(self.longest) or longest > self.longest:
            self.longest, self.perpendicular, self.index = longest, perpendicular, index


def _voxel_volume(geometry: Geometry) -> float:
    if geometry.unit != "mm" or len(geometry.spacing) == 2:
        return math.nan
    if geometry.affine is not None:
        return abs(float(np.linalg.det(geometry.affine[:3, :3])))
    return math.prod(geometry.spacing)


def _diameters(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[float, float]:
    """Return the longest diameter of a mask, and the longest across it at a right angle."""
    polygons = [polygon * np.array(spacing) for polygon in outlines(mask)]
    corners = _hull(np.concatenate(polygons))
    apart = corners[:, None] - corners[None]
    lengths = np.sqrt((apart**2).sum(axis=-1))
    first, last = np.unravel_index(int(lengths.argmax()), lengths.shape)
    longest = float(lengths[first, last])
    along = apart[last, first] / longest
    across = np.array([-along[1], along[0]])
    begin = np.concatenate(polygons) @ np.stack([along, across], axis=1)
    end = np.concatenate([np.roll(one, -1, axis=0) for one in polygons])
    return longest, _widest(begin, end @ np.stack([along, across], axis=1))


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import ConvexHull

    return np.asarray(points[ConvexHull(points).vertices])


def _widest(begin: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """Return the longest way through a shape at a right angle to its first coordinate.

    It is longest where it meets a corner, so these places are all that are looked at.
    """
    widest = 0.0
    for place in np.unique(np.round(begin[:, 0], 6)):
        low, high = np.minimum(begin[:, 0], end[:, 0]), np.maximum(begin[:, 0], end[:, 0])
        hit = (low <= place + 1e-6) & (high >= place - 1e-6)
        (a, c), (b, d) = begin[hit].T, end[hit].T
        flat = np.abs(b - a) < 1e-6
        share = np.clip((place - a) / np.where(flat, 1, b - a), 0, 1)
        crossed = np.concatenate([c + share * (d - c), c[flat], d[flat]])
        widest = max(widest, float(crossed.max() - crossed.min()))
    return widest
