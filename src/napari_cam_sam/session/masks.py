"""Accepted masks on their way into the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.labels import merge_masks, unite_masks
from napari_cam_sam.sam.segmenter import MaskCandidates
from napari_cam_sam.session.data import SINGLE, Overlap

__all__ = ["chosen_masks", "place_masks"]


def place_masks(
    labels: NDArray[Any], masks: Mapping[int, NDArray[np.bool_]], overlap: Overlap
) -> NDArray[Any]:
    """Write the masks of a plane's objects into its labels.

    What the labels already hold of these objects is removed first, so that accepting a plane
    again replaces their masks. Of two masks that overlap, the lower id keeps the pixels.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, columns)
        Stays as it is.
    masks : mapping of int to ndarray of bool, shape (rows, columns)
        By object id.
    overlap : {"keep", "overwrite"}
        Whether pixels with the label of another object keep it, or take the mask's.

    Returns
    -------
    ndarray
        A new plane of the same type.

    Raises
    ------
    CamSamError
        If an id is below 1 or too large for the type, or a mask is of another shape.
    """
    if overlap not in get_args(Overlap):
        raise CamSamError(f"The overlap rule is keep or overwrite, not {overlap!r}.")
    highest = np.iinfo(labels.dtype).max
    for object_id, mask in masks.items():
        if not 1 <= object_id <= highest:
            raise CamSamError(
                f"Object {object_id} has no label: ids go from 1 to {highest} in labels of type "
                f"{labels.dtype}."
            )
        if mask.shape != labels.shape:
            raise CamSamError(
                f"The mask of object {object_id} has shape {mask.shape}, the labels of its slice "
                f"{labels.shape}."
            )
    placed = labels.copy()
    placed[np.isin(placed, list(masks))] = 0
    if overlap == "overwrite":
        for mask in masks.values():
            placed[mask] = 0
    merge_masks(placed, sorted(masks.items()))
    return placed


def chosen_masks(
    found: Sequence[MaskCandidates], candidates: Sequence[int]
) -> dict[int, NDArray[np.bool_]]:
    """Choose one candidate of each decoded entry, and unite the entries of one object.

    Parameters
    ----------
    found : sequence of MaskCandidates
        What a segmenter's ``decode`` gave.
    candidates : sequence of int
        For each the index of its mask, or `SINGLE`.

    Returns
    -------
    dict of int to ndarray of bool
        By object id.

    Raises
    ------
    CamSamError
        If there is no such candidate.
    """
    for one, chosen in zip(found, candidates, strict=True):
        n = len(one.masks)
        if not (0 <= chosen < n or (chosen == SINGLE and n == 1)):
            raise CamSamError(f"Object {one.object_id} has no candidate {chosen}: it has {n}.")
    return unite_masks(
        (one.object_id, one.masks[chosen].astype(bool))
        for one, chosen in zip(found, candidates, strict=True)
    )
