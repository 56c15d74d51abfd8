"""From the coarse grid of a layer to the pixels of a plane, or the voxels of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.letterbox import Letterbox

__all__ = ["grid_to_plane", "plane_weights", "resize_grid", "upscale_volume"]


def grid_to_plane(grid: NDArray[np.floating], letterbox: Letterbox) -> NDArray[np.float32]:
    """Sample a map of the model's input frame at the pixels of the plane that lies in it.

    The cells of the grid tile the frame edge to edge (``align_corners=False``), so the centre
    of cell ``i`` of ``n`` lies at frame position ``(i + 0.5) · frame / n − 0.5``. Each pixel of
    the plane is carried to its exact frame position and interpolated linearly between the
    cells' centres; beyond the outermost centres the outermost value holds. Nothing is resampled
    twice, and a plane that is cut or padded by a fraction of a cell stays where it is.

    Parameters
    ----------
    grid : ndarray of float, shape (h, w)
    letterbox : Letterbox
        How the plane lies in the frame.

    Returns
    -------
    ndarray of float32, shape ``letterbox.plane_shape``
    """
    down, across = plane_weights(letterbox, grid.shape)
    return np.asarray(down @ grid @ across.T, dtype=np.float32)


def plane_weights(
    letterbox: Letterbox, grid_shape: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two matrices between which a grid becomes a map of the plane.

    Parameters
    ----------
    letterbox : Letterbox
        How the plane lies in the frame.
    grid_shape : sequence of int
        Rows and columns of the grid.

    Returns
    -------
    down, across : ndarray of float64, shapes (rows, grid rows) and (columns, grid columns)
        ``down @ grid @ across.T`` is the map; each row adds up to 1.
    """
    rows, columns = letterbox.plane_shape
    frame_rows, _ = letterbox.to_target(np.arange(rows), np.zeros(rows))
    _, frame_columns = letterbox.to_target(np.zeros(columns), np.arange(columns))
    return (
        _linear_weights(frame_rows, grid_shape[0], letterbox.target_shape[0]),
        _linear_weights(frame_columns, grid_shape[1], letterbox.target_shape[1]),
    )


def _linear_weights(positions: NDArray[np.float64], cells: int, pixels: int) -> NDArray[np.float64]:
    """Return the matrix that interpolates linearly between cell centres."""
    at = np.clip((positions + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    # 1 at a centre, falling to 0 at the two next to it.
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))
    return weights


def resize_grid(grid: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize a map to another grid of the same frame: bilinear, edges on edges.

    Parameters
    ----------
    grid : ndarray of float32, shape (h, w)
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    ndarray of float32, shape ``shape``
    """
    return _interpolated(grid, shape, "bilinear")


def upscale_volume(raw_volume: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Resample a coarse 3D map to the voxels of its volume: trilinear, edges on edges.

    ``scipy.ndimage.zoom``, which pytorch-grad-cam uses, puts the corner voxels' centres onto
    each other and rings with its cubic spline; here a peak stays where it is and no value leaves
    the range of the input (``align_corners=False``).

    Parameters
    ----------
    raw_volume : ndarray of float, shape (planes, h, w)
    shape : tuple of int
        Planes, rows and columns of the volume, each 1 or more.

    Returns
    -------
    ndarray of float32, shape ``shape``

    Raises
    ------
    CamSamError
        If the map is not 3D, or ``shape`` not three sizes of 1 or more.
    """
    if raw_volume.ndim != 3 or raw_volume.size == 0 or len(shape) != 3 or min(shape) < 1:
        raise CamSamError(
            "A 3D map can be upscaled to three sizes of 1 or more; got a map of shape "
            f"{raw_volume.shape} for {tuple(shape)}."
        )
    return _interpolated(raw_volume, tuple(shape), "trilinear")


def _interpolated(
    grid: NDArray[np.floating], shape: tuple[int, ...], mode: str
) -> NDArray[np.float32]:
    tensor = torch.from_numpy(np.ascontiguousarray(grid, dtype=np.float32))[None, None]
    out: Tensor = nn.functional.interpolate(tensor, shape, mode=mode, align_corners=False)
    return np.asarray(out[0, 0])
