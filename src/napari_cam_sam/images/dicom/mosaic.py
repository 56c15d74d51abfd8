"""Siemens' mosaics: all slices of a volume as tiles of one picture.

nibabel reads the vendor's private header, and knows where the slices lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Tile", "tiles_of"]

_MOST_TILES = 1024


@dataclass(frozen=True, slots=True)
class Tile:
    """A slice in a mosaic.

    Attributes
    ----------
    top, left, rows, columns : int
        In pixels of the mosaic.
    position : tuple of float
        Of its first pixel in mm, in the patient's LPS.
    """

    top: int
    left: int
    rows: int
    columns: int
    position: tuple[float, ...]


def tiles_of(path: Path) -> list[Tile]:
    """Return the slices of a mosaic.

    Parameters
    ----------
    path : Path
        Of a file whose image type says that it is one.

    Returns
    -------
    list of Tile
        Empty where the vendor's private header is not there, which says how many there are.
    """
    import pydicom

    wrappers: Any = import_module("nibabel.nicom.dicomwrappers")
    try:
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        mosaic = wrappers.wrapper_from_data(data)
        if not isinstance(mosaic, wrappers.MosaicWrapper):
            return []
        rows, columns, count = (int(n) for n in mosaic.image_shape)
        across = int(mosaic.mosaic_size)
        first = np.asarray(mosaic.image_position, float)
        step = np.asarray(mosaic.slice_normal, float) * float(mosaic.voxel_sizes[2])
    except MemoryError:
        raise
    except Exception:  # nibabel and pydicom fail at a broken header in many ways
        return []
    sound = bool(np.isfinite([*first, *step]).all() and step.any())
    sound = sound and (data.Rows, data.Columns) == (rows * across, columns * across)
    if not sound or not 1 <= count <= _MOST_TILES or min(rows, columns) < 1:
        return []
    return [
        Tile(
            k // across * rows,
            k % across * columns,
            rows,
            columns,
            tuple(float(p) for p in first + k * step),
        )
        for k in range(count)
    ]
