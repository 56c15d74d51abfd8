"""Heatmaps that are read from files, for commands that take one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import napari_cam_sam as ncs
from napari_cam_sam.errors import CamSamError, refusal

__all__ = ["read_heatmap", "unit_range"]


def read_heatmap(path: Path) -> ncs.Image:
    """Read a heatmap, with one value a pixel.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Image
    """
    heatmap = ncs.read_image(path)
    if heatmap.rgb:
        raise refusal("This is a colour picture, not a heatmap: give one value a pixel", path)
    return heatmap


def unit_range(values: Any, name: str) -> Any:
    """Bring a heatmap to [0, 1]: whole numbers by the range of their type, others as they are.

    Parameters
    ----------
    values : ndarray
    name : str
        Of its file, for errors.

    Returns
    -------
    ndarray
    """
    if values.dtype.kind in "bui":
        most = 1 if values.dtype.kind == "b" else np.iinfo(values.dtype).max
        values = values.astype(np.float32) / most
    finite = values[np.isfinite(values)]
    if finite.size and (finite.min() < 0 or finite.max() > 1 + 1e-6):
        raise CamSamError(
            f"The heatmap {name} has values from {finite.min():g} to {finite.max():g}; "
            "a heatmap lies in 0 to 1."
        )
    return values
