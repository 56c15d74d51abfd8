"""From the prompts of planes to their masks, in a thread."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.wording import these_planes

if TYPE_CHECKING:
    from napari_cam_sam.images.windows import Window
    from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
    from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["SegmentedPlane", "SkippedPlane", "decode", "encode", "segment_planes", "skipped_words"]

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


def encode(
    job: SegmenterJob, segmenter: Segmenter, prompts: PlanePrompts
) -> tuple[Embedding, bool]:
    """Encode the plane of prompts that lie on it.

    Parameters
    ----------
    job : SegmenterJob
    segmenter : Segmenter
    prompts : PlanePrompts

    Returns
    -------
    embedding : Embedding
    kept : bool
        Whether the plane was encoded before.

    Raises
    ------
    CamSamError
        If a prompt lies outside of the plane, or the segmenter refuses the plane.
    Cancelled
        If ``job.stop`` is set while the plane is encoded.
    """
    from napari_cam_sam.prompts.bounds import check_on_plane

    plane = job.snapshot.plane(prompts.index)
    check_on_plane(prompts, (plane.shape[0], plane.shape[1]))
    kept = job.embeddings.ready(segmenter, plane)
    return job.embeddings.encode(segmenter, plane, cancelled=job.stop.is_set), kept


def decode(
    segmenter: Segmenter, name: str, embedding: Embedding, window: Window, prompts: PlanePrompts
) -> PlaneMasks:
    """Decode prompts on a plane that is encoded, and choose the best mask of each object.

    Parameters
    ----------
    segmenter : Segmenter
    name : str
        Of the segmenter, as it was chosen.
    embedding : Embedding
    window : Window
        The raw intensities that became 0 and 255 for it.
    prompts : PlanePrompts

    Returns
    -------
    PlaneMasks

    Raises
    ------
    CamSamError
        If a prompt lies outside of the plane, or the segmenter refuses it.
    """
    from napari_cam_sam.prompts.bounds import check_on_plane
    from napari_cam_sam.sam.mask_choice import choose_mask

    check_on_plane(prompts, embedding.plane_shape)
    found = segmenter.decode(embedding, prompts.objects)
    return PlaneMasks(
        prompts,
        tuple(found),
        tuple(choose_mask(one, "best") for one in found),
        name,
        segmenter.model_hash,
        (window.low, window.high),
        precision=segmenter.precision,
    )


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
