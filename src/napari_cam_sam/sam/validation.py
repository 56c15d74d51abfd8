"""What every segmenter asks of its input, each refused with one clear sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import ObjectPrompt
from napari_cam_sam.sam.segmenter import Embedding

__all__ = ["check_decodable", "check_embedding", "check_plane"]

# Pixels. Where a number overflows in what is computed of it, masks would be of nothing.
_FAR = 1e9


def check_plane(plane: NDArray[Any]) -> None:
    """Check that a plane can be segmented.

    Parameters
    ----------
    plane : ndarray

    Raises
    ------
    CamSamError
        For anything but uint8 of shape (rows, columns) or (rows, columns, 3).
    """
    shaped = plane.ndim == 2 or (plane.ndim == 3 and plane.shape[2] == 3)
    if not shaped or plane.dtype != np.uint8 or plane.size == 0:
        raise CamSamError(
            "A slice to segment must be uint8 of shape (rows, columns) or (rows, columns, 3), "
            f"not {plane.dtype} of shape {plane.shape}."
        )


def check_embedding(embedding: Embedding, model_hash: str, name: str) -> None:
    """Check that an embedding is of the model that is to decode it.

    Parameters
    ----------
    embedding : Embedding
    model_hash : str
        Of the model that decodes.
    name : str
        Of its segmenter, for the error.

    Raises
    ------
    CamSamError
        If another model made it.
    """
    if embedding.model_hash != model_hash:
        raise CamSamError(
            f"This embedding is of another model (sha256 {embedding.model_hash[:12]}…, "
            f"{name} has {model_hash[:12]}…): encode the slice again."
        )


def check_decodable(
    prompts: Sequence[ObjectPrompt],
    previous_logits: Sequence[NDArray[np.float32] | None] | None,
    logits_shape: tuple[int, int],
) -> list[NDArray[np.float32] | None]:
    """Check that prompts can be decoded, and line up the previous logits with them.

    Parameters
    ----------
    prompts : sequence of ObjectPrompt
    previous_logits : sequence of ndarray or None
    logits_shape : tuple of int
        The shape that previous logits must have.

    Returns
    -------
    list of ndarray or None
        One entry a prompt.

    Raises
    ------
    CamSamError
        If an object has neither a positive point nor a box, a box without area, a coordinate that
        is no number or far beyond any image, or logits of another number or shape.
    """
    for prompt in prompts:
        box, points = prompt.box, prompt.points
        if box is None and not any(point.positive for point in points):
            raise CamSamError(
                f"Object {prompt.object_id} has no box and no positive point: give it one of them."
            )
        numbers = [c for point in points for c in (point.row, point.column)]
        if box is not None:
            if not (box.height > 0 and box.width > 0):
                raise CamSamError(
                    f"The box of object {prompt.object_id} has no area: its ends must be greater "
                    "than its starts."
                )
            numbers += [box.row_min, box.column_min, box.row_max, box.column_max]
        if not all(abs(number) < _FAR for number in numbers):  # NaN is not below it, either
            raise CamSamError(
                f"A prompt of object {prompt.object_id} has a coordinate that is not finite or far "
                "beyond any image."
            )
    if previous_logits is None:
        return [None] * len(prompts)
    if len(previous_logits) != len(prompts):
        raise CamSamError(
            f"There are {len(prompts)} prompts and {len(previous_logits)} previous logits: "
            "give one entry an object, None where there is none."
        )
    for prompt, logits in zip(prompts, previous_logits, strict=True):
        if logits is not None and logits.shape != logits_shape:
            raise CamSamError(
                f"The previous logits of object {prompt.object_id} have shape {logits.shape}, "
                f"this segmenter's have {logits_shape}: give one candidate's, of the same model."
            )
    return list(previous_logits)
