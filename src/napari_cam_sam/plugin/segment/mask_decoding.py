"""From the prompts of a plane to its masks, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.images.windows import Window
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
    from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["EncodedPlane", "decode", "decode_encoded", "encode"]


@dataclass(frozen=True, eq=False)
class EncodedPlane:
    """A plane that is encoded, and the raw intensities that became 0 and 255 for it."""

    embedding: Embedding
    window: Window


def decode(
    segmenter: Segmenter,
    name: str,
    embeddings: EmbeddingCache,
    snapshot: Snapshot,
    prompts: PlanePrompts,
    cancelled: Callable[[], bool] | None = None,
) -> PlaneMasks:
    """Encode a plane where it is not yet, and decode its prompts.

    Raises
    ------
    CamSamError
        If a prompt lies outside of the plane, or the segmenter refuses it.
    Cancelled
        If ``cancelled`` says so while the plane is encoded.
    """
    encoded, _ = encode(segmenter, embeddings, snapshot, prompts, cancelled)
    return decode_encoded(segmenter, name, encoded, prompts)


def encode(
    segmenter: Segmenter,
    embeddings: EmbeddingCache,
    snapshot: Snapshot,
    prompts: PlanePrompts,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[EncodedPlane, bool]:
    """Encode the plane of prompts that lie on it, and tell whether it was encoded before.

    Raises
    ------
    CamSamError
        If a prompt lies outside of the plane, or the segmenter refuses the plane.
    Cancelled
        If ``cancelled`` says so while the plane is encoded.
    """
    from napari_cam_sam.prompts.bounds import check_on_plane

    plane = snapshot.plane(prompts.index)
    check_on_plane(prompts, (plane.shape[0], plane.shape[1]))
    kept = embeddings.ready(segmenter, plane)
    embedding = embeddings.encode(segmenter, plane, cancelled=cancelled)
    return EncodedPlane(embedding, snapshot.window()), kept


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
