"""How colour becomes gray, and gray colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LUMA", "to_channels"]

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, the weights of Pillow's and scikit-image's conversions to gray."""


def to_channels(pixels: NDArray[np.float32], channels: int, *, rgb: bool) -> NDArray[np.float32]:
    """Return gray or colour with the channels that a network takes.

    Parameters
    ----------
    pixels : ndarray of float32, shape (…), with ``rgb`` (…, 3)
    channels : {1, 3}
        Gray is repeated for three, colour becomes luma for one.
    rgb : bool
        Whether the last axis is colour.

    Returns
    -------
    ndarray of float32, shape (…, channels)
    """
    if rgb and channels == 3:
        return pixels
    gray = pixels @ np.array(LUMA, dtype=np.float32) if rgb else pixels
    return np.repeat(gray[..., None], channels, axis=-1)
