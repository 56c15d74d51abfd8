"""Accepted masks on their way into the labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.labels import merge_masks, unite_masks
from napari_cam_sam.sam.segmenter import MaskCandidates
from napari_cam_sam.session.data import SINGLE, Overlap

__all__ = ["Written", "accept_masks", "chosen_masks", "place_masks"]


@dataclass(frozen=True, eq=False)
class Written:
    """What accepting the masks of a plane wrote.

    Attributes
    ----------
    axis, index : int
        The plane.
    ids : frozenset of int
        The objects of the masks.
    where : ndarray of uint32
        Pixels of the plane, numbered row after row: those that changed, and those of the masks
        that held their object before. Small, for many planes are kept.
    before, after : ndarray
        What these held, and hold since.
    """

    axis: int
    index: int
    ids: frozenset[int]
    where: NDArray[np.uint32]
    before: NDArray[Any]
    after: NDArray[Any]

    def pixels_of(self, object_id: int) -> NDArray[np.uint32]:
        """Return the pixels that an object was given, numbered row after row."""
        pixels: NDArray[np.uint32] = self.where[self.after == object_id]
        return pixels


def accept_masks(
    labels: NDArray[Any],
    axis: int,
    index: int,
    masks: Mapping[int, NDArray[np.bool_]],
    overlap: Overlap,
    earlier: Iterable[Written],
) -> Written:
    """Compute what accepting the masks of a plane makes of its labels.

    A mask takes the place of what was accepted last for its object on this very plane, and of
    nothing else of this object: what was painted by hand stays, and so does what was accepted
    through a plane of another axis that crosses this one. Labels of other objects are treated as
    `overlap` says.

    Parameters
    ----------
    labels : ndarray of int, shape of the image's grid
        Stays as it is.
    axis, index : int
        The plane.
    masks : mapping of int to ndarray of bool, shape (rows, columns)
        By object id.
    overlap : {"keep", "overwrite"}
        See `place_masks`.
    earlier : iterable of Written
        What was accepted into these labels and still shows, in that order.

    Returns
    -------
    Written
        To be written by the caller.

    Raises
    ------
    CamSamError
        As of `place_masks`.
    """
    plane = labels if labels.ndim == 2 else labels[(slice(None),) * axis + (index,)]
    replaced = _replaced(labels.shape, plane, axis, index, masks, earlier)
    placed = place_masks(plane, masks, overlap, replaced)
    where = placed != plane
    for object_id, mask in masks.items():
        where |= mask & (placed == object_id)
    at = np.flatnonzero(where).astype(np.uint32)
    return Written(axis, index, frozenset(masks), at, plane.take(at), placed.take(at))


def _replaced(
    shape: tuple[int, ...],
    plane: NDArray[Any],
    axis: int,
    index: int,
    ids: Collection[int],
    earlier: Iterable[Written],
) -> NDArray[np.bool_]:
    """Find what was accepted on this plane of these objects, and on no plane across it."""
    last = {
        (one.axis, one.index, object_id): one
        for one in earlier
        for object_id in one.ids.intersection(ids)
    }
    replaced = np.zeros(plane.shape, bool)
    for object_id in ids:
        own = last.get((axis, index, object_id))
        if own is not None:
            at = own.pixels_of(object_id)
            replaced.flat[at[plane.take(at) == object_id]] = True
    if not replaced.any():
        return replaced  # no need to look at other planes: a volume has many
    for (across, at_index, object_id), one in last.items():
        if across == axis:
            continue
        other = tuple(n for i, n in enumerate(shape) if i != across)
        lifted = list(np.unravel_index(one.pixels_of(object_id), other))
        lifted.insert(across, np.full(lifted[0].shape, at_index))
        here = lifted[axis] == index
        rows, columns = (one[here] for i, one in enumerate(lifted) if i != axis)
        held = plane[rows, columns] == object_id
        replaced[rows[held], columns[held]] = False
    return replaced


def place_masks(
    labels: NDArray[Any],
    masks: Mapping[int, NDArray[np.bool_]],
    overlap: Overlap,
    replaced: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Write the masks of a plane's objects into its labels.

    Of two masks that overlap, the lower id keeps the pixels.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, columns)
        Stays as it is.
    masks : mapping of int to ndarray of bool, shape (rows, columns)
        By object id.
    overlap : {"keep", "overwrite"}
        Whether pixels with the label of another object keep it, or take the mask's.
    replaced : ndarray of bool, shape (rows, columns), optional
        Pixels that lose their label first; by default all that the labels hold of these objects.

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
    placed[np.isin(placed, list(masks)) if replaced is None else replaced] = 0
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
