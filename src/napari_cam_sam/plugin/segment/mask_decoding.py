"""From the prompts of a plane to its masks, in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.images.windows import Window
    from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
    from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["EncodedPlane", "decode", "decode_encoded", "encode"]


@dataclass(frozen=True, eq=False)
class EncodedPlane:
    """A plane that is encoded, and the raw intensities that became 0 and 255 for it."""

    embedding: Embedding
    window: Window


def decode(job: SegmenterJob, segmenter: Segmenter, prompts: PlanePrompts) -> PlaneMasks:
    """Encode a plane where it is not yet, and decode its prompts.

    Raises
    ------
    CamSamError
        If a prompt lies outside of the plane, or the segmenter refuses it.
    Cancelled
        If ``job.stop`` is set while the plane is encoded.
    """
    encoded, _ = encode(job, segmenter, prompts)
    return decode_encoded(segmenter, job.name, encoded, prompts)


def encode(
    job: SegmenterJob, segmenter: Segmenter, prompts: PlanePrompts
) -> tuple[EncodedPlane, bool]:
    """Encode the plane of prompts that lie on it, and tell whether it was encoded before.

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
    embedding = job.embeddings.encode(segmenter, plane, cancelled=job.stop.is_set)
    return EncodedPlane(embedding, job.snapshot.window()), kept


def decode_encoded(
    segmenter: Segmenter, name: str, encoded: EncodedPlane, prompts: PlanePrompts
) -> PlaneMasks:
    """Decode prompts on a plane that is encoded; as `decode`."""
    from napari_cam_sam.prompts.bounds import check_on_plane
    from napari_cam_sam.sam.mask_choice import choose_mask

    check_on_plane(prompts, encoded.embedding.plane_shape)
    found = segmenter.decode(encoded.embedding, prompts.objects)
    return PlaneMasks(
        prompts,
        tuple(found),
        tuple(choose_mask(one, "best") for one in found),
        name,
        segmenter.model_hash,
        (encoded.window.low, encoded.window.high),
        precision=segmenter.precision,
    )
