"""From the prompts of a plane to its masks, in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.images.windows import Window
    from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
    from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["decode", "encode"]


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
