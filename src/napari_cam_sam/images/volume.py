"""An array in a file, of which only the indexed part is ever in memory."""

from __future__ import annotations

import math
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal

__all__ = ["PartOnDisk", "VolumeOnDisk"]

_BLOCK_BYTES = 32 * 2**20


class VolumeOnDisk:
    """A C-ordered array of raw values in a file, with numpy's basic indexing.

    Each read maps the file afresh, at most 32 MiB of it at a time, and lets go of it: a plane
    along the last axis touches every page of the file, and one lasting map would count them all
    as this process's memory. Threads may read together: of a file object numpy only seeks the end.

    Parameters
    ----------
    file : Path or binary file
        Where the values are. A file object is closed with the volume's end.
    dtype : dtype
        As stored, with its byte order.
    shape : tuple of int
        As read.
    offset : int
        Byte of the first value.
    slope, inter : float
        Values read are ``stored * slope + inter``, in float64, unless this changes nothing.

    Attributes
    ----------
    stored : dtype
        Type of the values before slope and intercept.
    slope, inter : float
    shape : tuple of int
    ndim : int
        Number of axes.
    dtype : dtype
        Type of the values that are read.
    """

    def __init__(
        self,
        file: Path | IO[bytes],
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        offset: int = 0,
        slope: float = 1.0,
        inter: float = 0.0,
    ) -> None:
        self._file = file
        if not isinstance(file, Path):
            weakref.finalize(self, file.close)
        self.stored = np.dtype(dtype)
        self.slope, self.inter = slope, inter
        self.shape = tuple(int(n) for n in shape)
        self.ndim = len(self.shape)
        self._scaled = (slope, inter) != (1.0, 0.0)
        self.dtype = np.dtype(np.float64) if self._scaled else self.stored.newbyteorder("=")
        self._offset = offset
        self._bytes_each = math.prod(self.shape[1:]) * self.stored.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        if copy is False:
            raise ValueError("A volume on disk cannot be an array without a copy.")
        return self[...] if dtype is None else self[...].astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part: integers, slices and an ellipsis, as numpy does."""
        keys = _without_ellipsis(key, self.ndim)
        first, rest = (keys[0], tuple(keys[1:])) if keys else (slice(None), ())
        if not isinstance(first, slice):
            index = range(len(self))[first]
            return self._values(self._map(index, index + 1)[0][rest])

        selected = range(len(self))[first]
        part_length = max(1, _BLOCK_BYTES // self._bytes_each)
        empty = self._map(0, 1)[:0][(slice(None), *rest)]
        result = np.empty((len(selected), *empty.shape[1:]), dtype=self.dtype)
        for start in range(0, len(selected), part_length):
            part = selected[start : start + part_length]
            lowest, highest = min(part), max(part)
            block = self._map(lowest, highest + 1)[:: selected.step]
            result[start : start + len(part)] = self._values(block[(slice(None), *rest)])
        return result

    def _map(self, start: int, stop: int) -> NDArray[Any]:
        try:
            return np.memmap(
                self._file,
                dtype=self.stored,
                mode="r",
                offset=self._offset + start * self._bytes_each,
                shape=(stop - start, *self.shape[1:]),
            )
        except (OSError, ValueError) as error:
            name = self._file if isinstance(self._file, Path) else "the unpacked volume"
            raise refusal(f"This can no longer be read as it was opened: {error}", name) from error

    def _values(self, block: NDArray[Any]) -> NDArray[Any]:
        if self._scaled:
            return np.asarray(block.astype(np.float64) * self.slope + self.inter)
        return np.array(block, dtype=self.dtype)


class PartOnDisk:
    """What lies at one index along some axes of a volume on disk, with numpy's basic indexing.

    For frames and components whose values lie between those of others.

    Parameters
    ----------
    volume : VolumeOnDisk
    fixed : dict of int to int
        Index along each axis that the part has no more.

    Attributes
    ----------
    shape : tuple of int
    ndim : int
        Number of axes.
    dtype : dtype
    """

    def __init__(self, volume: VolumeOnDisk, fixed: dict[int, int]) -> None:
        self._volume, self._fixed = volume, dict(sorted(fixed.items()))
        self.shape = tuple(n for axis, n in enumerate(volume.shape) if axis not in fixed)
        self.ndim = len(self.shape)
        self.dtype = volume.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        if copy is False:
            raise ValueError("A volume on disk cannot be an array without a copy.")
        return self[...] if dtype is None else self[...].astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part: integers, slices and an ellipsis, as numpy does."""
        keys = _without_ellipsis(key, self.ndim)
        keys += [slice(None)] * (self.ndim - len(keys))
        for axis, index in self._fixed.items():
            keys.insert(axis, index)
        return self._volume[tuple(keys)]


def _without_ellipsis(key: Any, ndim: int) -> list[Any]:
    keys = list(key) if isinstance(key, tuple) else [key]
    for position, item in enumerate(keys):
        if item is Ellipsis:
            keys[position : position + 1] = [slice(None)] * (ndim - len(keys) + 1)
            break
    return keys
