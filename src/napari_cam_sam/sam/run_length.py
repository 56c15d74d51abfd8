"""Masks as run lengths: small enough to be kept in a session, where no prompt makes them again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError

__all__ = ["RunLengthMask", "encode_mask"]


@dataclass(frozen=True)
class RunLengthMask:
    """The mask of one object on one plane.

    Attributes
    ----------
    object_id : int
    shape : tuple of int
        Rows and columns of the plane.
    runs : tuple of int
        Lengths of the runs of equal pixels, row by row, first those outside of the mask.

    Raises
    ------
    CamSamError
        If the runs do not fill the plane.
    """

    object_id: int
    shape: tuple[int, int]
    runs: tuple[int, ...]

    def __post_init__(self) -> None:
        size = self.shape[0] * self.shape[1]
        if min(self.runs, default=0) < 0 or sum(self.runs) != size:
            raise CamSamError(
                f"The runs of object {self.object_id}'s mask hold {sum(self.runs)} pixels, but a "
                f"slice of shape {self.shape} has {size}."
            )

    def mask(self) -> NDArray[np.bool_]:
        """Return the mask, of shape (rows, columns)."""
        inside = np.arange(len(self.runs)) % 2 == 1
        return np.repeat(inside, self.runs).reshape(self.shape)


def encode_mask(object_id: int, mask: NDArray[np.bool_]) -> RunLengthMask:
    """Convert a mask to run lengths.

    Parameters
    ----------
    object_id : int
    mask : ndarray of bool, shape (rows, columns)

    Returns
    -------
    RunLengthMask
    """
    flat = np.asarray(mask, bool).ravel()
    ends = np.flatnonzero(np.diff(flat, prepend=False)) if flat.size else np.zeros(0, int)
    runs = np.diff(ends, prepend=0, append=flat.size)
    return RunLengthMask(object_id, (mask.shape[0], mask.shape[1]), tuple(runs.tolist()))
