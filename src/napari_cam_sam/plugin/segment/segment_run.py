"""Masks of the prompts of some planes, one plane after the other, in a thread."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.segment.mask_decoding import decode, encode
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, these_planes
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["SegmentedPlane", "SkippedPlane", "segment_planes", "skipped_words"]

_MOST_REASONS = 3


@dataclass(frozen=True, eq=False)
class SegmentedPlane:
    """The masks of a plane.

    Attributes
    ----------
    masks : PlaneMasks
    seconds : float or None
        How long they took; None where the plane was encoded before.
    """

    masks: PlaneMasks
    seconds: float | None


@dataclass(frozen=True)
class SkippedPlane:
    """A plane that got no masks.

    Attributes
    ----------
    index : int
    reason : str
        For the user.
    """

    index: int
    reason: str


def segment_planes(
    job: SegmenterJob, todo: Iterable[PlanePrompts]
) -> Generator[Segmenter | SegmentedPlane | SkippedPlane]:
    """Load the segmenter where it is not, and segment each plane.

    Parameters
    ----------
    job : SegmenterJob
    todo : iterable of PlanePrompts

    Yields
    ------
    Segmenter, SegmentedPlane or SkippedPlane
        The segmenter that was loaded; the masks of each plane, or why it has none.

    Raises
    ------
    CamSamError
        If the segmenter does not load.
    Cancelled
        Once ``job.stop`` is set.
    """
    segmenter = yield from job.loaded()
    for prompts in todo:
        begin = time.monotonic()
        try:
            embedding, kept = encode(job, segmenter, prompts)
            masks = decode(segmenter, job.name, embedding, job.snapshot.window(), prompts)
        except CamSamError as error:
            # The planes after it are not to go without masks for this one.
            yield SkippedPlane(prompts.index, str(error))
        else:
            # What an encoded plane takes says nothing of those that are not.
            yield SegmentedPlane(masks, None if kept else time.monotonic() - begin)


def skipped_words(left_out: Sequence[SkippedPlane], n_asked: int) -> str:
    """Return in words which planes got no masks, and why, as far as anybody reads it.

    Parameters
    ----------
    left_out : sequence of SkippedPlane
        At least one.
    n_asked : int
        Of how many planes masks were to be made; of one, nobody needs its number.

    Returns
    -------
    str
    """
    planes: dict[str, list[int]] = {}
    for one in left_out:
        planes.setdefault(one.reason, []).append(one.index)
    if n_asked == 1:
        return left_out[0].reason
    told = list(planes.items())[:_MOST_REASONS]
    parts = [f"{these_planes(indices)} skipped: {reason}" for reason, indices in told]
    more = len(left_out) - sum(len(indices) for _, indices in told)
    if more:
        parts.append(f"{more} more skipped.")
    return " ".join(part[:1].upper() + part[1:] for part in parts)
