"""What of a raw map is more than rounding.

Some maps are 0 in theory, e.g. HiRes-CAM at a layer that goes into a layer norm over channels, and
Grad-CAM at one that goes into an instance norm. What is left of them is rounding, about 1e-7 of
what was added up, and would be scaled to a heatmap like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["added_up", "without_noise"]

Maps = NDArray[np.float32]

# Of what was added up. Maps of sound layers reach a hundredth and more of it; sums of a thousand
# products in single precision are off by some 1e-6 of it, and the small number that a norm adds to
# a variance leaves up to 1e-4.
_FLOOR = 1e-4

_BY_PLACE = ("hires-cam", "layer-cam", "element-wise", "eigen-grad-cam", "seg-eigen-cam")


def added_up(method: str, activations: Maps, grads: Maps | None) -> Any:
    """Return what a method adds up at each place, without its signs.

    Parameters
    ----------
    method : str
    activations : ndarray of float32, shape (n, channels, h, w)
    grads : ndarray of float32, same shape, or None
        For methods with gradients.

    Returns
    -------
    ndarray of float, shape (n, h, w), or None
        ``Σ |g·a|`` over the channels for methods that multiply place by place, ``Σ mean|g|·|a|``
        for those that weigh whole channels. Without gradients ``Σ |a|``; for Ablation-CAM, whose
        weights are relative drops of the score, each rounded by itself, the root of ``Σ a²``; for
        KPCA-CAM, whose values have no unit, infinity where all places have the same activations
        and else 0. None where nothing can cancel.
    """
    if method in ("score-cam", "fem"):
        return None
    if method == "kpca-cam":
        apart = np.abs(activations - activations.mean(axis=(2, 3), keepdims=True)).sum(axis=1)
        same = apart.max(axis=(1, 2)) <= _FLOOR * np.abs(activations).sum(axis=1).max(axis=(1, 2))
        return np.where(same, np.inf, 0.0)[:, None, None]
    if grads is None:
        if method == "ablation-cam":
            return np.sqrt(np.einsum("nchw,nchw->nhw", activations, activations))
        return np.abs(activations).sum(axis=1)
    if method in _BY_PLACE:
        return np.abs(grads * activations).sum(axis=1)
    weights = np.abs(grads).mean(axis=(2, 3))
    if method == "xgrad-cam":
        total = np.abs(activations.sum(axis=(2, 3))) + 1e-7
        weights = np.abs(grads * activations).sum(axis=(2, 3)) / total
    return np.einsum("nc,nchw->nhw", weights, np.abs(activations))


def without_noise(maps: Maps, scale: NDArray[np.floating] | None) -> Maps:
    """Return maps in which nothing speaks that is rounding alone.

    Parameters
    ----------
    maps : ndarray of float32, shape (n, h, w)
        Signed.
    scale : ndarray of float, shape (n, h, w) or (n, 1, 1), or None
        What was added up at each place; None leaves the maps alone.

    Returns
    -------
    ndarray of float32
        Where no positive value of a map is above a 10,000th of what was added up there, its
        positive values are 0, and so for the negative ones. Any other map is the one given.
    """
    if scale is None:
        return maps
    floor = np.broadcast_to(scale * _FLOOR, maps.shape)
    # A comparison with NaN is false: such a map is refused elsewhere.
    for_nothing = (maps <= floor).all(axis=(1, 2))
    against_nothing = (maps >= -floor).all(axis=(1, 2))
    if not (for_nothing.any() or against_nothing.any()):
        return maps
    result = maps.copy()
    result[for_nothing] = np.minimum(result[for_nothing], 0)
    result[against_nothing] = np.maximum(result[against_nothing], 0)
    return result
