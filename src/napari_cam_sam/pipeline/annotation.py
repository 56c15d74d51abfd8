"""The simulated annotator at work: points, a segmenter's answers to them, and further points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.annotator import AnnotatorParameters, first_point, next_point
from napari_cam_sam.prompts.data import ObjectPrompt
from napari_cam_sam.sam.mask_choice import MaskChoice, choose_mask, needs_multimask
from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["AnnotatorStep", "annotate"]


@dataclass(frozen=True, eq=False)
class AnnotatorStep:
    """What the segmenter answers to the points so far.

    Attributes
    ----------
    prompt : ObjectPrompt
        All points so far; no box.
    mask : ndarray of bool, shape (rows, columns)
    score : float
        The segmenter's own estimate of the mask's IoU, in [0, 1].
    """

    prompt: ObjectPrompt
    mask: NDArray[np.bool_]
    score: float


def annotate(
    segmenter: Segmenter,
    embedding: Embedding,
    truth: NDArray[np.bool_],
    parameters: AnnotatorParameters,
    *,
    mask_choice: MaskChoice = "first",
    object_id: int = 1,
) -> Iterator[AnnotatorStep]:
    """Click, look, and click where the mask is most wrong.

    Parameters
    ----------
    segmenter : Segmenter
    embedding : Embedding
        Of the plane, from this segmenter.
    truth : ndarray of bool, shape (rows, columns)
        Of one class; see :func:`~napari_cam_sam.prompts.annotator.class_masks`.
    parameters : AnnotatorParameters
    mask_choice : {"single", "first", "best", "oracle"}
        Which of the segmenter's masks the annotator sees and corrects. The code of Mazurowski et
        al. takes the first, their text says the best.
    object_id : int

    Yields
    ------
    AnnotatorStep
        One for each number of points, from 1 to ``parameters.points``. Once a mask is without
        error there is nothing to click on: the steps that are left repeat it.

    Raises
    ------
    CamSamError
        If the truth is empty or not of the plane's shape.
    """
    if truth.shape != embedding.plane_shape:
        raise CamSamError(
            f"The truth has shape {truth.shape}, the slice {embedding.plane_shape}: "
            "they must be the same."
        )
    rng = np.random.default_rng((parameters.seed, object_id))
    prompt = ObjectPrompt(object_id)
    logits: NDArray[np.float32] | None = None
    step: AnnotatorStep | None = None
    for _ in range(parameters.points):
        if step is None:
            prompt = ObjectPrompt(object_id, (first_point(truth, rng),))
        elif (point := next_point(step.mask, truth, rng)) is not None:
            prompt = ObjectPrompt(object_id, (*prompt.points, point))
        else:
            yield step
            continue
        (found,) = segmenter.decode(
            embedding,
            [prompt],
            multimask=needs_multimask(mask_choice),
            previous_logits=None if logits is None else [logits],
        )
        chosen = choose_mask(found, mask_choice, truth)
        if parameters.previous_logits:
            logits = found.logits[chosen]
        step = AnnotatorStep(prompt, found.masks[chosen], float(found.scores[chosen]))
        yield step
