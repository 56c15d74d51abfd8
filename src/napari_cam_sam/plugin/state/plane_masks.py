"""The masks of one plane before they are accepted, and how those of several ways join."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.run_length import encode_mask
from napari_cam_sam.sam.segmenter import MaskCandidates
from napari_cam_sam.session import Acceptance, MaskSource, Overlap, chosen_masks
from napari_cam_sam.wording import listed

__all__ = [
    "PlaneMasks",
    "candidates",
    "drop_objects",
    "join_plane_masks",
    "single_candidate",
]


@dataclass(frozen=True, eq=False)
class PlaneMasks:
    """What a segmenter gave for the prompts of one plane.

    Attributes
    ----------
    prompts : PlanePrompts
    found : tuple of MaskCandidates
        One an entry of ``prompts.objects``.
    chosen : tuple of int
        Which candidate of each is shown.
    segmenter, segmenter_sha256 : str
    window : tuple of float
        Raw intensities that became 0 and 255.
    picked : bool
        True where the user chose a candidate.
    source : {"prompted", "propagated", "interpolated", "automatic"}
        Where the masks come from; if not from ``prompts``, these have no objects.
    precision : str
        In which the segmenter encoded the plane.
    about : str
        For the user, e.g. ``"propagated from plane 11"``; empty for masks of prompts.
    """

    prompts: PlanePrompts
    found: tuple[MaskCandidates, ...]
    chosen: tuple[int, ...]
    segmenter: str
    segmenter_sha256: str
    window: tuple[float, float]
    picked: bool = False
    source: MaskSource = "prompted"
    precision: str = "float32"
    about: str = ""

    def masks(self) -> dict[int, NDArray[np.bool_]]:
        """Return the mask shown of each object."""
        return chosen_masks(self.found, self.chosen)

    def acceptance(self, overlap: Overlap) -> Acceptance:
        """Return the record of their acceptance; those that no prompt makes again are in it."""
        made = self.source == "prompted"
        return Acceptance(
            self.prompts,
            self.chosen if made else (),
            overlap,
            self.segmenter,
            self.segmenter_sha256,
            self.window,
            self.source,
            self.precision,
            () if made else tuple(encode_mask(i, mask) for i, mask in self.masks().items()),
        )

    def lean(self) -> PlaneMasks:
        """Return them without logits, which outweigh them and which nothing in the viewer uses."""
        found = tuple(candidates(one.object_id, one.masks, one.scores) for one in self.found)
        return replace(self, found=found)

    def is_stale(self, now: PlanePrompts) -> bool:
        """Check whether they are of prompts that lay elsewhere than those on their plane now."""
        return self.source == "prompted" and self.prompts.coordinates() != now.coordinates()


def candidates(
    object_id: int,
    masks: Sequence[NDArray[np.bool_]] | NDArray[np.bool_],
    scores: Sequence[float | None] | NDArray[np.float32],
) -> MaskCandidates:
    """Return the candidates of an object on a plane, without logits.

    Parameters
    ----------
    object_id : int
    masks : sequence of ndarray of bool, shape (rows, columns)
    scores : sequence of float
        One a mask; None for unknown ones.

    Returns
    -------
    MaskCandidates
    """
    known = np.array(scores, np.float32)
    return MaskCandidates(
        object_id, np.asarray(masks), known, np.zeros((len(known), 1, 1), np.float32)
    )


def single_candidate(
    object_id: int, mask: NDArray[np.bool_], score: float | None
) -> MaskCandidates:
    """Return a mask that is the only one of its object on a plane.

    Parameters
    ----------
    object_id : int
    mask : ndarray of bool, shape (rows, columns)
    score : float or None

    Returns
    -------
    MaskCandidates
        Without logits.
    """
    return candidates(object_id, mask[np.newaxis], [score])


def join_plane_masks(
    new: PlaneMasks, known: PlaneMasks | None, ids: Collection[int], accepted: Collection[int]
) -> PlaneMasks | None:
    """Join the masks that a run brings with those of other objects that are there.

    Parameters
    ----------
    new : PlaneMasks
    known : PlaneMasks or None
        What the preview shows on that plane.
    ids : collection of int
        The objects of the run: what is known of them is outdated.
    accepted : collection of int
        Objects that were accepted on that plane: what the run brings of them is dropped.

    Returns
    -------
    PlaneMasks or None
        `new` itself where nothing is dropped or added, `known` where nothing is new.
    """
    brought = new.masks()
    fresh = {i: mask for i, mask in brought.items() if i not in accepted}
    if not fresh:
        return known
    others = {} if known is None else {i: m for i, m in known.masks().items() if i not in ids}
    if not others and len(fresh) == len(brought):
        return new
    words = [new.about or "from its prompts here"]
    if others:
        words.append(f"{listed('object', others)} as before")
    return _kept(new, {**fresh, **others}, "; ".join(words))


def drop_objects(known: PlaneMasks, ids: Collection[int]) -> PlaneMasks | None:
    """Return the masks of a plane without some objects.

    Parameters
    ----------
    known : PlaneMasks
    ids : collection of int
        The objects to drop.

    Returns
    -------
    PlaneMasks or None
        None where no other object is left.
    """
    masks = known.masks()
    others = {i: mask for i, mask in masks.items() if i not in ids}
    if len(others) == len(masks):
        return known
    return _kept(known, others, f"{listed('object', others)} as before") if others else None


def _kept(like: PlaneMasks, masks: Mapping[int, NDArray[np.bool_]], about: str) -> PlaneMasks:
    """Make masks that no prompts make together, of the segmenter and window of others."""
    scores = {
        one.object_id: float(one.scores[chosen])
        for one, chosen in zip(like.found, like.chosen, strict=True)
    }
    return replace(
        like,
        prompts=PlanePrompts(like.prompts.axis, like.prompts.index),
        found=tuple(single_candidate(i, mask, scores.get(i)) for i, mask in sorted(masks.items())),
        chosen=(0,) * len(masks),
        picked=False,
        source="propagated" if like.source == "prompted" else like.source,
        about=about,
    )
