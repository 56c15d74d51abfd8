"""One mask from several that different prompts or segmenters gave for one object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError

__all__ = ["vote_masks"]


def vote_masks(masks: Sequence[NDArray[np.bool_]], least: int) -> NDArray[np.bool_]:
    """Mark what at least so many masks hold.

    Parameters
    ----------
    masks : sequence of ndarray of bool, shape (rows, columns)
        Of one plane and object.
    least : int
        1 for their union, half of their number for about a majority, their number for their
        intersection. Masks from prompts miss parts more often than they add some, so that 1 or
        2 of four may be right.

    Returns
    -------
    ndarray of bool, shape (rows, columns)

    Raises
    ------
    CamSamError
        If there are no masks, they differ in shape, or there are fewer than ``least``.
    """
    if not masks:
        raise CamSamError("There are no masks to vote.")
    if len({mask.shape for mask in masks}) > 1:
        raise CamSamError("Masks of different shapes are not of one slice and cannot vote.")
    if not 1 <= least <= len(masks):
        raise CamSamError(f"Of {len(masks)} masks 1 to {len(masks)} can agree, not {least}.")
    votes = np.sum([np.asarray(mask, bool) for mask in masks], axis=0)
    return np.asarray(votes >= least)
