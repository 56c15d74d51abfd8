"""Which of a segmenter's candidate masks is taken."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.sam.segmenter import MaskCandidates

__all__ = ["MASK_CHOICES", "MaskChoice", "choose_mask", "needs_multimask"]

MaskChoice = Literal["single", "first", "best", "oracle"]
MASK_CHOICES: tuple[MaskChoice, ...] = get_args(MaskChoice)


def needs_multimask(choice: str) -> bool:
    """Return whether a choice picks among several candidates.

    Parameters
    ----------
    choice : {"single", "first", "best", "oracle"}

    Returns
    -------
    bool
        To be handed to a segmenter's ``decode`` as ``multimask``.

    Raises
    ------
    CamSamError
        If the choice is unknown.
    """
    if choice not in MASK_CHOICES:
        raise unknown_name("mask choice", choice, MASK_CHOICES)
    return choice != "single"


def choose_mask(
    candidates: MaskCandidates, choice: str, truth: NDArray[np.bool_] | None = None
) -> int:
    """Choose one of an object's candidate masks.

    Parameters
    ----------
    candidates : MaskCandidates
    choice : {"single", "first", "best", "oracle"}
        ``single``: the one mask of a decode with ``multimask=False``; ``first``: the first of
        several, whatever its score; ``best``: the one that the model scores highest; ``oracle``:
        the one of greatest IoU with the truth, an upper bound that only a study can use.
    truth : ndarray of bool, shape (rows, columns), optional
        Needed for ``oracle``. Where truth and mask are both empty the IoU counts as 1.

    Returns
    -------
    int
        Index into ``candidates.masks``; the first where several are equally good.

    Raises
    ------
    CamSamError
        For an unknown choice, ``single`` of several candidates, or ``oracle`` without a truth of
        the masks' shape.
    """
    needs_multimask(choice)
    n = len(candidates.masks)
    if n == 0:
        raise CamSamError(f"Object {candidates.object_id} has no candidate masks to choose from.")
    if choice == "single" and n != 1:
        raise CamSamError(
            f"Mask choice 'single' was given {n} candidates: decode with multimask=False, "
            "or choose first, best or oracle."
        )
    if choice == "best":
        return int(np.argmax(candidates.scores))
    if choice != "oracle":
        return 0
    if truth is None:
        raise CamSamError("Mask choice 'oracle' needs a truth; choose best or first without.")
    if truth.shape != candidates.masks.shape[1:]:
        raise CamSamError(
            f"The truth has shape {truth.shape}, the masks {candidates.masks.shape[1:]}: "
            "they must be of the same slice."
        )
    wanted = truth.astype(bool)
    hit = (candidates.masks & wanted).sum(axis=(1, 2))
    union = (candidates.masks | wanted).sum(axis=(1, 2))
    return int(np.argmax(np.where(union > 0, hit / np.maximum(union, 1), 1.0)))
