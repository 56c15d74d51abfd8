"""The masks of a plane in run lengths: for undo, and for a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, candidates
from napari_cam_sam.prompts.serialise import PlaneEntry, to_data
from napari_cam_sam.sam.run_length import RunLengthMask, encode_mask
from napari_cam_sam.schemas import check_json, check_schema
from napari_cam_sam.session import MaskSource

__all__ = ["KeptPlane", "data_of", "keep_plane", "plane_from"]

# What a number of a tuple takes, and what the rest of a mask does.
_BYTES_A_RUN = 36
_BYTES_A_MASK = 400

_Runs = Annotated[str, Field(pattern=r"^\d{1,12}( \d{1,12})*$")]


class _ObjectEntry(BaseModel):
    object: Annotated[int, Field(ge=1)]
    # Texts: of each number a line of its own would make a long file.
    masks: Annotated[list[_Runs], Field(min_length=1)]
    scores: list[float | None]


class _PlaneEntry(BaseModel):
    prompts: Any
    objects: Annotated[list[_ObjectEntry], Field(min_length=1)]
    chosen: list[int]
    segmenter: str
    segmenter_sha256: str
    window: Annotated[list[float], Field(min_length=2, max_length=2)]
    picked: bool
    source: MaskSource
    precision: str
    about: str


@dataclass(frozen=True, eq=False)
class KeptPlane:
    """The masks of a plane, all candidates, without their logits.

    Attributes
    ----------
    like : PlaneMasks
        All but the candidates.
    candidates : tuple of tuple of RunLengthMask
        Of each object.
    scores : tuple of ndarray of float32
        Of the candidates of each object.
    """

    like: PlaneMasks
    candidates: tuple[tuple[RunLengthMask, ...], ...]
    scores: tuple[NDArray[np.float32], ...]

    def masks(self) -> PlaneMasks:
        """Return the masks again."""
        found = tuple(
            candidates(kept[0].object_id, [one.mask() for one in kept], scores)
            for kept, scores in zip(self.candidates, self.scores, strict=True)
        )
        return replace(self.like, found=found)

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        masks = [one for kept in self.candidates for one in kept]
        return sum(_BYTES_A_MASK + _BYTES_A_RUN * len(one.runs) for one in masks)


def keep_plane(masks: PlaneMasks) -> KeptPlane:
    """Return the masks of a plane in run lengths.

    Parameters
    ----------
    masks : PlaneMasks

    Returns
    -------
    KeptPlane
    """
    return KeptPlane(
        replace(masks, found=()),
        tuple(tuple(encode_mask(f.object_id, mask) for mask in f.masks) for f in masks.found),
        tuple(np.array(f.scores, np.float32) for f in masks.found),
    )


def data_of(masks: PlaneMasks) -> dict[str, Any]:
    """Return the masks of a plane as plain data, for the choices of a session.

    Parameters
    ----------
    masks : PlaneMasks

    Returns
    -------
    dict
        What `plane_from` reads.
    """
    kept = keep_plane(masks)
    return {
        "axis": masks.prompts.axis,
        "index": masks.prompts.index,
        "prompts": to_data([masks.prompts])["planes"][0],
        "objects": [
            {
                "object": one[0].object_id,
                "masks": [" ".join(map(str, mask.runs)) for mask in one],
                "scores": [float(score) if np.isfinite(score) else None for score in scores],
            }
            for one, scores in zip(kept.candidates, kept.scores, strict=True)
        ],
        "chosen": list(masks.chosen),
        "segmenter": masks.segmenter,
        "segmenter_sha256": masks.segmenter_sha256,
        "window": list(masks.window),
        "picked": masks.picked,
        "source": masks.source,
        "precision": masks.precision,
        "about": masks.about,
    }


def plane_from(data: Mapping[str, Any], shape: tuple[int, ...]) -> PlaneMasks:
    """Return the masks that `data_of` gave as data.

    Parameters
    ----------
    data : mapping
    shape : tuple of int
        Of the image's grid.

    Returns
    -------
    PlaneMasks

    Raises
    ------
    CamSamError
        If anything of it is wrong.
    """
    entry = check_schema(_PlaneEntry, data, "the masks of the session")
    prompts = check_json(PlaneEntry, entry.prompts).prompts()
    planes = shape if len(shape) == 3 else (1, *shape)
    rows, columns = np.delete(planes, prompts.axis).tolist()
    low, high = entry.window
    counts = [len(one.masks) for one in entry.objects]
    if not (
        prompts.index < planes[prompts.axis]
        and (len(shape) == 3 or prompts.axis == 0)
        and counts == [len(one.scores) for one in entry.objects]
        and len(counts) == len(entry.chosen)
        and all(0 <= c < count for c, count in zip(entry.chosen, counts, strict=True))
        and (entry.source != "prompted" or len(prompts.objects) == len(counts))
        and low < high
    ):
        raise CamSamError("The masks that were not accepted cannot be read.")
    found = []
    for one in entry.objects:
        runs = (tuple(map(int, text.split())) for text in one.masks)
        masks = [RunLengthMask(one.object, (rows, columns), lengths).mask() for lengths in runs]
        found.append(candidates(one.object, masks, one.scores))
    rest = entry.model_dump(exclude={"prompts", "objects", "chosen", "window"})
    return PlaneMasks(prompts, tuple(found), tuple(entry.chosen), window=(low, high), **rest)
