"""One volume of labels from several of the same grid, e.g. segmented along each of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.sam.labels import merge_masks
from napari_cam_sam.sam.volume.smoothing import signed_distance

__all__ = ["Consensus", "ConsensusRule", "find_consensus"]

ConsensusRule = Literal["majority", "mean-distance"]


@dataclass(frozen=True, eq=False)
class Consensus:
    """What several volumes of labels have in common.

    Attributes
    ----------
    labels : ndarray of an unsigned integer type or int32, shape (planes, rows, columns)
    disagreement : ndarray of float32, same shape
        Part of the volumes that do not have the consensus' label there, in [0, 1].
    dice : dict of int to tuple of float
        For each object the Dice of each volume with the consensus, in [0, 1].
    """

    labels: NDArray[Any]
    disagreement: NDArray[np.float32]
    dice: dict[int, tuple[float, ...]]


def find_consensus(
    volumes: Sequence[NDArray[Any]],
    rule: ConsensusRule = "majority",
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> Consensus:
    """Combine volumes of labels object by object.

    Parameters
    ----------
    volumes : sequence of ndarray of bool or integer, shape (planes, rows, columns)
        Two or more on one grid; the same value means the same object.
    rule : {"majority", "mean-distance"}
        ``majority``: what more than half of the volumes say. ``mean-distance``: where the mean of
        their signed distances is positive, the shape-based averaging of Rohlfing and Maurer
        (IEEE Trans. Image Process., 2007).
    spacing : sequence of three float
        Distance between neighbours along each axis, for ``mean-distance``.

    Returns
    -------
    Consensus
        Of two objects the one with the lower value keeps a voxel that both claim.

    Raises
    ------
    CamSamError
        For an unknown rule, fewer than two volumes, or volumes that differ in shape.

    Examples
    --------
    >>> along = [np.zeros((3, 4, 4), np.uint8) for axis in range(3)]
    >>> for labels in along[:2]:
    ...     labels[1, 1:3, 1:3] = 1
    >>> consensus = ncs.find_consensus(along)
    >>> int(consensus.labels.sum())  # two of three say so
    4
    """
    if rule not in get_args(ConsensusRule):
        raise unknown_name("rule of consensus", rule, get_args(ConsensusRule))
    if len(volumes) < 2:
        raise CamSamError(f"A consensus needs two volumes or more, not {len(volumes)}.")
    shapes = {volume.shape for volume in volumes}
    if len(shapes) > 1 or volumes[0].ndim != 3:
        shown = ", ".join(str(volume.shape) for volume in volumes)
        raise CamSamError(f"A consensus needs volumes of one shape, not {shown}.")
    values = sorted({v for volume in volumes for v in np.unique(volume).tolist()} - {0})
    if values and values[0] < 0:
        raise CamSamError(f"An object has the label {values[0]}: labels count from 1.")
    labels = np.zeros(volumes[0].shape, labels_dtype(int(max(values, default=0))))
    merge_masks(
        labels,
        ((one, _combine([volume == one for volume in volumes], rule, spacing)) for one in values),
    )
    against = np.zeros(labels.shape, np.float32)
    for volume in volumes:
        against += volume != labels
    against /= len(volumes)
    dice = {
        int(value): tuple(_dice(volume == value, labels == value) for volume in volumes)
        for value in values
    }
    return Consensus(labels, against, dice)


def _combine(
    masks: Sequence[NDArray[np.bool_]], rule: ConsensusRule, spacing: Sequence[float]
) -> NDArray[np.bool_]:
    if rule == "majority":
        return np.asarray(np.sum(masks, axis=0) * 2 > len(masks))
    # A volume without the object says that it is not there, as far away as the grid reaches.
    far = float(np.linalg.norm(np.multiply(masks[0].shape, spacing)))
    total = np.zeros(masks[0].shape, np.float32)
    for mask in masks:
        total += np.clip(signed_distance(mask, spacing), -far, far)
    return np.asarray(total > 0)


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    both = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / both if both else 1.0
