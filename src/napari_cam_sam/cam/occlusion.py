"""Occlusion: what the score loses where the input is covered, whatever the model is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.errors import CamSamError

__all__ = ["occlusion"]

_MOST_PATCHES = 10_000


def occlusion(
    score: Callable[[Tensor], Tensor],
    frame: Tensor,
    fill: Tensor,
    parameters: OcclusionParameters,
    batch_size: int,
) -> NDArray[np.float32]:
    """Cover an input square by square, and note what the score loses (Zeiler and Fergus 2014).

    Parameters
    ----------
    score : callable
        Inputs (n, C, h, w) → scores (n,).
    frame : Tensor, shape (C, h, w)
    fill : Tensor, shape (C, 1, 1)
        What covers a square, in the units of the input.
    parameters : OcclusionParameters
    batch_size : int
        Covered inputs in one pass of the model.

    Returns
    -------
    ndarray of float32, shape (h, w)
        The mean loss over the squares that cover a pixel: positive where the pixel speaks for the
        score. The outermost squares end at the edges.

    Raises
    ------
    CamSamError
        If a square is larger than the input, or there are more than 10,000 of them.
    """
    _, h, w = frame.shape
    patch = parameters.patch
    if patch > min(h, w):
        raise CamSamError(
            f"A patch of {patch} pixels is larger than the model's input of {h}×{w}: take a "
            "smaller one."
        )
    corners = [(i, j) for i in _starts(h, patch, parameters) for j in _starts(w, patch, parameters)]
    if len(corners) > _MOST_PATCHES:
        raise CamSamError(
            f"Occlusion would run the model {len(corners)} times for each slice, more than "
            f"{_MOST_PATCHES}: take a larger stride than {parameters.stride}."
        )
    total, count = np.zeros((h, w)), np.zeros((h, w))
    with torch.no_grad():
        whole = score(frame[None]).item()
        for start in range(0, len(corners), batch_size):
            part = corners[start : start + batch_size]
            covered = frame.repeat(len(part), 1, 1, 1)
            for k, (i, j) in enumerate(part):
                covered[k, :, i : i + patch, j : j + patch] = fill
            for (i, j), left in zip(part, score(covered).tolist(), strict=True):
                total[i : i + patch, j : j + patch] += whole - left
                count[i : i + patch, j : j + patch] += 1
    return np.asarray(total / count, dtype=np.float32)


def _starts(size: int, patch: int, parameters: OcclusionParameters) -> list[int]:
    """Return the first pixels of the squares along one axis, the last flush with the edge."""
    return sorted({*range(0, size - patch, parameters.stride), size - patch})
