"""Masks of objects become labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.mask_choice import MaskChoice, choose_mask
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates, Segmenter

__all__ = ["choose_and_merge", "merge_masks", "segment_plane", "unite_masks"]


def unite_masks(
    masks: Iterable[tuple[int, NDArray[np.bool_]]],
) -> dict[int, NDArray[np.bool_]]:
    """Unite the masks that several prompts of one object gave.

    Parameters
    ----------
    masks : iterable of (int, ndarray of bool)
        Object ids and masks of one shape.

    Returns
    -------
    dict of int to ndarray of bool
        By object id.
    """
    united: dict[int, NDArray[np.bool_]] = {}
    for object_id, mask in masks:
        united[object_id] = united[object_id] | mask if object_id in united else mask
    return united


def merge_masks(labels: NDArray[Any], masks: Iterable[tuple[int, NDArray[np.bool_]]]) -> None:
    """Write masks into labels, each where these are still 0.

    Parameters
    ----------
    labels : ndarray of int
        Of a plane or a volume; changed in place.
    masks : iterable of (int, ndarray of bool)
        Ids and masks, the lowest id first: of two objects it keeps the pixels that both claim.
    """
    for object_id, mask in masks:
        labels[mask & (labels == 0)] = object_id


def segment_plane(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: PlanePrompts,
    *,
    mask_choice: MaskChoice = "best",
    truth: NDArray[Any] | None = None,
    by_label: bool = False,
) -> tuple[NDArray[Any], dict[int, float]]:
    """Decode the prompts of a plane into one labels array.

    Parameters
    ----------
    segmenter : Segmenter
    embedding : Embedding
        Of the plane, from this segmenter.
    prompts : PlanePrompts
        Entries of the same object id are united; of two objects the one with the lower id
        keeps the pixels that both claim.
    mask_choice : {"single", "first", "best", "oracle"}
    truth : ndarray of bool or int, shape (rows, columns), optional
        For ``"oracle"``: what is not 0.
    by_label : bool
        For ``"oracle"``: compare an object with the truth of its own id alone.

    Returns
    -------
    labels : ndarray of uint8, uint16 or int32, shape (rows, columns)
    confidence : dict of int to float
        The segmenter's estimate of the IoU of each object's mask, in [0, 1].
    """
    if not prompts.objects:
        return np.zeros(embedding.plane_shape, np.uint8), {}
    candidates = segmenter.decode(embedding, prompts.objects, multimask=mask_choice != "single")
    return choose_and_merge(candidates, mask_choice, truth, by_label, embedding.plane_shape)


def choose_and_merge(
    candidates: Sequence[MaskCandidates],
    mask_choice: MaskChoice,
    truth: NDArray[Any] | None,
    by_label: bool,
    shape: tuple[int, int],
) -> tuple[NDArray[Any], dict[int, float]]:
    """Choose a mask of each decoded object, and unite all in one labels array.

    Parameters
    ----------
    candidates : sequence of MaskCandidates
        One at least.
    mask_choice, truth, by_label
        As for `segment_plane`.
    shape : tuple of int

    Returns
    -------
    labels, confidence
        As of `segment_plane`.

    Raises
    ------
    CamSamError
        For an object id below 1.
    """
    ids = [found.object_id for found in candidates]
    if min(ids) < 1:
        raise CamSamError(f"Object {min(ids)} has no label: ids count from 1.")
    masks = []
    confidence: dict[int, float] = {}
    for one, found in zip(ids, candidates, strict=True):
        oracle = None
        if truth is not None:
            oracle = np.asarray(truth) == one if by_label else np.asarray(truth) != 0
        chosen = choose_mask(found, mask_choice, oracle)
        masks.append((one, found.masks[chosen]))
        confidence[one] = max(float(found.scores[chosen]), confidence.get(one, 0.0))
    labels = np.zeros(shape, labels_dtype(max(ids)))
    merge_masks(labels, sorted(unite_masks(masks).items()))
    return labels, confidence
