"""Resizing a plane into a frame with its aspect ratio kept, and the exact way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError

__all__ = ["Letterbox"]

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Letterbox:
    """How a plane lies in the input frame of a model: scaled whole, centred, zeros around.

    The content is a whole number of pixels, so rows and columns may differ in scale by less than
    a pixel over their length; each axis keeps its own exact scale, and the way back is exact.
    Positions are pixel indices with the centre of the first pixel at 0: index ``r`` covers
    ``r - 0.5`` to ``r + 0.5``, and resizing maps edges onto edges
    (``align_corners=False`` in torch, Pillow's and scikit-image's rule).

    Attributes
    ----------
    plane_shape : tuple of int
        Rows and columns of the plane.
    target_shape : tuple of int
        Rows and columns of the frame.
    content_shape : tuple of int
        Rows and columns that the plane takes in the frame.
    offset : tuple of int
        First row and column of the content in the frame.
    """

    plane_shape: tuple[int, int]
    target_shape: tuple[int, int]
    content_shape: tuple[int, int]
    offset: tuple[int, int]

    @classmethod
    def fit(cls, plane_shape: tuple[int, int], target_shape: tuple[int, int]) -> Letterbox:
        """Fit a plane into a frame: as large as it can be, centred.

        Parameters
        ----------
        plane_shape, target_shape : tuple of int
            Rows and columns, each 1 or more.

        Raises
        ------
        CamSamError
            If a size is below 1.
        """
        if min(*plane_shape, *target_shape) < 1:
            raise CamSamError(
                f"A slice of shape {plane_shape} cannot be fitted into {target_shape}: "
                "every side must be at least one pixel."
            )
        (rows, columns), (target_rows, target_columns) = plane_shape, target_shape
        scale = min(target_rows / rows, target_columns / columns)
        content_rows = min(target_rows, max(1, round(rows * scale)))
        content_columns = min(target_columns, max(1, round(columns * scale)))
        return cls(
            plane_shape=(int(rows), int(columns)),
            target_shape=(int(target_rows), int(target_columns)),
            content_shape=(content_rows, content_columns),
            offset=((target_rows - content_rows) // 2, (target_columns - content_columns) // 2),
        )

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels for each pixel of the plane, along rows and columns."""
        return (
            self.content_shape[0] / self.plane_shape[0],
            self.content_shape[1] / self.plane_shape[1],
        )

    def apply(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Resize a plane into the frame: bilinear, antialiased when it shrinks.

        Parameters
        ----------
        plane : ndarray, shape (row, column) uint8 or floating, or (row, column, 3) uint8

        Returns
        -------
        ndarray, shape ``target_shape`` (and 3)
            uint8 for uint8, else float32; 0 around the content.

        Raises
        ------
        CamSamError
            If the plane has another shape than this letterbox was fitted to.
        """
        if plane.shape[:2] != self.plane_shape:
            raise CamSamError(
                f"The slice has shape {plane.shape[:2]}, the letterbox is for {self.plane_shape}."
            )
        pixels = plane if plane.dtype == np.uint8 else plane.astype(np.float32, copy=False)
        rows, columns = self.content_shape
        content = PillowImage.fromarray(np.ascontiguousarray(pixels)).resize(
            (columns, rows), PillowImage.Resampling.BILINEAR
        )
        frame = np.zeros(self.target_shape + plane.shape[2:], dtype=pixels.dtype)
        top, left = self.offset
        frame[top : top + rows, left : left + columns] = np.asarray(content)
        return frame

    def to_target(
        self, rows: ArrayLike, columns: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map positions on the plane to positions in the frame.

        Parameters
        ----------
        rows, columns : array-like of float
            Pixel indices of the plane, of any common shape; positions outside it are allowed.

        Returns
        -------
        tuple of ndarray of float64
            Rows and columns in the frame.
        """
        scale = self.scale
        return (
            (np.asarray(rows, dtype=np.float64) + 0.5) * scale[0] - 0.5 + self.offset[0],
            (np.asarray(columns, dtype=np.float64) + 0.5) * scale[1] - 0.5 + self.offset[1],
        )

    def to_plane(
        self, rows: ArrayLike, columns: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map positions in the frame to positions on the plane: the inverse of `to_target`.

        Parameters
        ----------
        rows, columns : array-like of float
            Pixel indices of the frame; those in the padding fall outside the plane.

        Returns
        -------
        tuple of ndarray of float64
            Rows and columns on the plane.
        """
        scale = self.scale
        return (
            (np.asarray(rows, dtype=np.float64) - self.offset[0] + 0.5) / scale[0] - 0.5,
            (np.asarray(columns, dtype=np.float64) - self.offset[1] + 0.5) / scale[1] - 0.5,
        )

    def crop(self, frame: NDArray[Scalar]) -> NDArray[Scalar]:
        """Cut the plane's part out of a map of the frame.

        Parameters
        ----------
        frame : ndarray, shape (..., row, column)
            The last two axes have ``target_shape``: bring a coarse grid to it first.

        Returns
        -------
        ndarray, shape (..., row, column)
            A view; the last two axes have ``content_shape``, and edge to edge they are the plane.

        Raises
        ------
        CamSamError
            If the map does not have the frame's shape.
        """
        if frame.shape[-2:] != self.target_shape:
            raise CamSamError(
                f"The map has shape {frame.shape[-2:]}, the frame {self.target_shape}."
            )
        top, left = self.offset
        rows, columns = self.content_shape
        return frame[..., top : top + rows, left : left + columns]
