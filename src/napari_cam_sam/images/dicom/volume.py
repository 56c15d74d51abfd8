"""Slices of a series, decoded as they are asked for, each once."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.volume import VolumeOnDisk

__all__ = ["SeriesOnDisk"]


class SeriesOnDisk(VolumeOnDisk):
    """A volume whose slices are decoded when they are first read.

    They are kept in an unnamed temporary file (``TMPDIR`` moves it) that the system removes with
    the process: each slice is decoded once, slices along the other axes read a row of each, and
    no more than 32 MiB of it are in memory at a time.

    Parameters
    ----------
    decode : callable
        Takes a slice's number and returns its array; raises `CamSamError`.
    shape : tuple of int
        With the slices first.
    dtype : dtype
    where : object
        What was opened, for errors.
    """

    def __init__(
        self,
        decode: Callable[[int], NDArray[Any]],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        where: object,
    ) -> None:
        try:
            file = tempfile.TemporaryFile(prefix="napari-cam-sam-")  # noqa: SIM115
            super().__init__(file, dtype, tuple(shape))
            file.truncate(self._bytes_each * len(self))
        except OSError as error:
            raise refusal(f"This cannot be unpacked, no temporary file: {error}", where) from error
        self._decode, self._where = decode, where
        self._there = np.zeros(len(self), dtype=bool)
        self._lock = threading.Lock()
        self._out = file

    def _map(self, start: int, stop: int) -> NDArray[Any]:
        # Mapping moves the file's position, between whose setting and a write it must not fall.
        with self._lock:
            for index in range(start, stop):
                if not self._there[index]:
                    self._fetch(index)
            return super()._map(start, stop)

    def _fetch(self, index: int) -> None:
        plane = np.ascontiguousarray(self._decode(index), dtype=self.stored)
        try:
            self._out.seek(index * self._bytes_each)
            self._out.write(plane.tobytes())
            self._out.flush()
        except OSError as error:
            raise refusal(
                f"This cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}; set TMPDIR "
                "to a folder with room",
                self._where,
            ) from error
        self._there[index] = True
