"""The masks of a plane in run lengths: for undo, and for a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.serialise import PlaneEntry, to_data
from napari_cam_sam.sam.run_length import RunLengthMask, encode_mask
from napari_cam_sam.sam.segmenter import MaskCandidates
from napari_cam_sam.schemas import check_json
from napari_cam_sam.session import MaskSource

__all__ = ["KeptPlane", "data_of", "keep_plane", "lean", "plane_from"]

# What a number of a tuple takes, and what the rest of a mask does.
_BYTES_A_RUN = 36
_BYTES_A_MASK = 400


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
            _candidates(kept[0].object_id, np.stack([one.mask() for one in kept]), scores)
            for kept, scores in zip(self.candidates, self.scores, strict=True)
        )
        return replace(self.like, found=found)

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        masks = [one for kept in self.candidates for one in kept]
        return sum(_BYTES_A_MASK + _BYTES_A_RUN * len(one.runs) for one in masks)


def keep_plane(masks: PlaneMasks) -> KeptPlane:
    """Return the masks of a plane in run lengths."""
    return KeptPlane(
        replace(masks, found=()),
        tuple(tuple(encode_mask(f.object_id, mask) for mask in f.masks) for f in masks.found),
        tuple(np.array(f.scores, np.float32) for f in masks.found),
    )


def lean(masks: PlaneMasks) -> PlaneMasks:
    """Return masks without logits, which outweigh them and which nothing in the viewer uses."""
    found = tuple(_candidates(f.object_id, f.masks, f.scores) for f in masks.found)
    return replace(masks, found=found)


def _candidates(
    object_id: int, masks: NDArray[np.bool_], scores: NDArray[np.float32]
) -> MaskCandidates:
    return MaskCandidates(object_id, masks, scores, np.zeros((len(masks), 1, 1), np.float32))


def data_of(masks: PlaneMasks) -> dict[str, Any]:
    """Return the masks of a plane as plain data, for the choices of a session."""
    kept = keep_plane(masks)
    return {
        "axis": masks.prompts.axis,
        "index": masks.prompts.index,
        "prompts": to_data([masks.prompts])["planes"][0],
        "objects": [
            {
                "object": one[0].object_id,
                # A text: of each number a line of its own would make a long file.
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
    """Read what `data_of` gave.

    Parameters
    ----------
    data : mapping
    shape : tuple of int
        Of the image's grid.

    Raises
    ------
    CamSamError
        If anything of it is wrong.
    """
    try:
        prompts = check_json(PlaneEntry, data["prompts"]).prompts()
        rows, columns = _plane_shape(prompts, shape)
        found = tuple(_object_from(one, rows, columns) for one in data["objects"])
        chosen = tuple(int(c) for c in data["chosen"])
        low, high = (float(limit) for limit in data["window"])
        fits = all(0 <= c < len(f.masks) for c, f in zip(chosen, found, strict=True))
        if not (found and fits and low < high and data["source"] in get_args(MaskSource)):
            raise ValueError
        if data["source"] == "prompted" and len(prompts.objects) != len(found):
            raise ValueError
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CamSamError("The masks that were not accepted cannot be read.") from error
    source: MaskSource = data["source"]
    return PlaneMasks(
        prompts,
        found,
        chosen,
        str(data["segmenter"]),
        str(data["segmenter_sha256"]),
        (low, high),
        bool(data["picked"]),
        source,
        str(data["precision"]),
        str(data["about"]),
    )


def _plane_shape(prompts: PlanePrompts, shape: tuple[int, ...]) -> tuple[int, int]:
    counts = shape if len(shape) == 3 else (1,)
    if not 0 <= prompts.index < counts[prompts.axis]:
        raise ValueError
    rows, columns = (n for i, n in enumerate(shape) if len(shape) == 2 or i != prompts.axis)
    return rows, columns


def _object_from(data: Mapping[str, Any], rows: int, columns: int) -> MaskCandidates:
    object_id = data["object"]
    if isinstance(object_id, bool) or not isinstance(object_id, int) or object_id < 1:
        raise ValueError
    kept = [
        RunLengthMask(object_id, (rows, columns), tuple(int(run) for run in str(text).split()))
        for text in data["masks"]
    ]
    scores = np.array([np.nan if s is None else float(s) for s in data["scores"]], np.float32)
    if not kept or len(kept) != len(scores):
        raise ValueError
    return _candidates(object_id, np.stack([one.mask() for one in kept]), scores)
