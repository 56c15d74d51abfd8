"""Where the slices of an image lie in the patient, to place on them what others drew there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.datasets import headers_of
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.geometry import LPS
from napari_cam_sam.images.image import Image

__all__ = ["NEAR", "Slices", "nearest_slices", "slices_of"]

NEAR = 0.05
"""How far off a slice or a pixel something may lie and still be on it, in steps of the grid."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Parallel slices of one size, evenly spaced or not.

    Attributes
    ----------
    positions : ndarray of float, shape (slice, 3)
        Centre of the first pixel of each slice, in DICOM's LPS mm.
    row_step, column_step : ndarray of float, shape (3,)
        From one row to the next, and from one column to the next, in LPS mm.
    shape : tuple of int
        Rows and columns.
    gap : float
        Distance to take between slices where there is only one, in mm.
    """

    positions: NDArray[np.float64]
    row_step: NDArray[np.float64]
    column_step: NDArray[np.float64]
    shape: tuple[int, int]
    gap: float = 1.0

    @property
    def heights(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, in mm."""
        return np.asarray(self.positions @ self._normal())

    def index_of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where points lie in the array.

        Parameters
        ----------
        points : ndarray of float, shape (n, 3)
            In LPS mm.

        Returns
        -------
        ndarray of float64, shape (n, 3)
            Slice, row and column. Whole numbers are centres of pixels; between two slices, and
            beyond the first and the last, the distance to the nearest two counts.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        heights = points @ self._normal()
        index = self._slice_of(heights)
        n = len(self.positions)
        if n == 1:
            on_plane = np.repeat(self.positions, len(points), axis=0)
        else:
            low = np.clip(np.floor(index).astype(int), 0, n - 2)
            part = (index - low)[:, None]
            on_plane = self.positions[low] * (1 - part) + self.positions[low + 1] * part
        plane = np.stack([self.row_step, self.column_step], axis=1)
        inside = (points - on_plane) @ np.linalg.pinv(plane).T
        return np.column_stack([index, inside])

    def points_of(self, index: int, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where pixels of a slice lie in the patient.

        Parameters
        ----------
        index : int
            Of the slice.
        pixels : ndarray of float, shape (n, 2)
            Row and column; whole numbers are centres of pixels.

        Returns
        -------
        ndarray of float64, shape (n, 3)
            In LPS mm.
        """
        steps = np.stack([self.row_step, self.column_step])
        return np.asarray(self.positions[index] + np.asarray(pixels) @ steps)

    def _normal(self) -> NDArray[np.float64]:
        across = np.cross(self.row_step, self.column_step)
        return np.asarray(across / np.linalg.norm(across))

    def _slice_of(self, heights: NDArray[np.float64]) -> NDArray[np.float64]:
        own = self.heights
        if len(own) == 1:
            return np.asarray((heights - own[0]) / self.gap)
        sign = 1.0 if own[-1] > own[0] else -1.0
        own, heights = own * sign, heights * sign
        low = np.clip(np.searchsorted(own, heights) - 1, 0, len(own) - 2)
        return np.asarray(low + (heights - own[low]) / (own[low + 1] - own[low]))


def slices_of(image: Image) -> Slices | None:
    """Return where the slices of an image lie.

    Those of a DICOM series lie where its files say, also where they are not evenly spaced and an
    affine cannot say it, and where the image was resampled from them.

    Parameters
    ----------
    image : Image

    Returns
    -------
    Slices or None
        None where nothing says it.
    """
    source = image.source
    if isinstance(source, DicomSource):
        stated = _stated(source)
        if stated is not None:
            return stated
    if image.geometry.affine is None:
        return None
    world = LPS @ image.geometry.affine
    *planes, rows, columns = image.spatial_shape
    count = planes[0] if planes else 1
    positions = world[:3, 3] + np.arange(count)[:, None] * world[:3, 0]
    normal = np.cross(world[:3, 1], world[:3, 2])
    gap = abs(float(world[:3, 0] @ normal / np.linalg.norm(normal)))
    return Slices(positions, world[:3, 1], world[:3, 2], (rows, columns), gap)


def nearest_slices(image: Image, slices: Slices) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which slices of a resampled image and of its series belong together.

    Parameters
    ----------
    image : Image
        With an affine.
    slices : Slices
        Of its series.

    Returns
    -------
    to_image : ndarray of int, shape (slice of the image,)
        For each slice of the image the nearest one of the series.
    to_series : ndarray of int, shape (slice of the series,)
        For each slice of the series the nearest one of the image.
    """
    if image.geometry.affine is None or image.spatial_shape[-2:] != slices.shape:
        raise CamSamError(
            f"{image.name} has another grid than the slices of its series, so that nothing can be "
            "carried from one to the other."
        )
    world = LPS @ image.geometry.affine
    count = image.spatial_shape[0] if image.spatial_ndim == 3 else 1
    centres = world[:3, 3] + np.arange(count)[:, None] * world[:3, 0]
    own = np.asarray(centres @ slices._normal())
    distance = np.abs(own[:, None] - slices.heights[None])
    return distance.argmin(axis=1), distance.argmin(axis=0)


def _stated(source: DicomSource) -> Slices | None:
    """Return where the files of a series say that its slices lie; None where they do not."""
    from highdicom.spatial import PixelToReferenceTransformer

    headers = headers_of(source)
    affines = []
    for frame, header in zip(source.frames, headers, strict=True):
        try:
            there = PixelToReferenceTransformer.for_image(header, frame_number=frame.number)
        except (AttributeError, TypeError, ValueError, KeyError, IndexError):
            return None  # a picture without a place in the patient
        affines.append(there.affine)
    stacked = np.array(affines)
    columns, rows, positions = stacked[0, :3, 0], stacked[0, :3, 1], stacked[:, :3, 3]
    if np.abs(stacked[:, :3, :2] - stacked[0, :3, :2]).max() > 1e-3:
        return None
    first: Any = headers[0]
    slices = Slices(
        positions, rows, columns, (int(first.Rows), int(first.Columns)), _thickness(first)
    )
    heights = np.diff(slices.heights)
    if not ((heights > 0).all() or (heights < 0).all()):
        return None
    return slices


def _thickness(header: Any) -> float:
    """Return the thickness of a single slice, 1 mm where it is not stated."""
    try:
        shared = header.get("SharedFunctionalGroupsSequence")
        measures = shared[0].PixelMeasuresSequence[0] if shared else header
        thickness = float(measures.SliceThickness)
    except (AttributeError, TypeError, ValueError, IndexError):
        return 1.0
    return thickness if np.isfinite(thickness) and thickness > 0 else 1.0
