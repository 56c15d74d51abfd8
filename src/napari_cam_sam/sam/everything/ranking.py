"""Which of many masks a heatmap means: candidates of everything mode, ranked by a CAM.

Prompts ask a segmenter where the heatmap is warm. Here it is asked for everything, and the
heatmap only chooses among what was found: the idea of Borgli et al. (polyps) and of
MorSeg-CAM-SAM (breast ultrasound, candidates from morphology). A rule must weigh the area, since
the whole plane holds all of a heatmap's energy and a speck at its peak has the highest mean;
``cosine`` is the rule between the two that follows from least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.schemas import check_fields

__all__ = [
    "RANKING_RULES",
    "ChosenMask",
    "RankingParameters",
    "RankingRule",
    "choose_by_heatmap",
    "heatmap_scores",
]

RankingRule = Literal["cosine", "dice", "mean", "energy"]
RANKING_RULES: tuple[RankingRule, ...] = get_args(RankingRule)


@dataclass(frozen=True)
class RankingParameters:
    """How a heatmap chooses among masks.

    Attributes
    ----------
    rule : {"cosine", "dice", "mean", "energy"}
        What a mask scores, from 0 to 1: the cosine between heatmap and mask, highest for the mask
        whose shape is most like the heatmap; the Dice coefficient with the heatmap as a soft mask;
        the mean of the heatmap inside, which favours small masks; or the part of the heatmap's sum
        that lies inside, which favours large ones.
    union : float
        Masks that score at least this fraction of the best score are united, 0 to 1; 1 takes
        the best mask alone.
    min_score : float
        Below this score no mask is taken, 0 to 1.

    Raises
    ------
    CamSamError
        For an unknown rule or a value out of its range.
    """

    rule: RankingRule = "cosine"
    union: float = 1.0
    min_score: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.rule not in RANKING_RULES:
            raise unknown_name("ranking rule", str(self.rule), RANKING_RULES)
        for name in ("union", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise CamSamError(
                    f"The ranking parameter {name} must be in 0 to 1, not {getattr(self, name)!r}."
                )


@dataclass(frozen=True, eq=False)
class ChosenMask:
    """What a heatmap chose.

    Attributes
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Empty where nothing was chosen.
    score : float
        Of the best mask, in [0, 1]; 0 where nothing was chosen.
    members : tuple of int
        Indices of the masks that were united, the best first.
    """

    mask: NDArray[np.bool_]
    score: float
    members: tuple[int, ...]


def heatmap_scores(
    masks: Sequence[NDArray[np.bool_]], heatmap: NDArray[Any], rule: RankingRule = "cosine"
) -> NDArray[np.float64]:
    """Score masks by a heatmap.

    Parameters
    ----------
    masks : sequence of ndarray of bool, shape (rows, columns)
    heatmap : ndarray of float, shape (rows, columns)
        In [0, 1].
    rule : {"cosine", "dice", "mean", "energy"}
        See :class:`RankingParameters`.

    Returns
    -------
    ndarray of float64, shape (number of masks,)
        In [0, 1]; 0 for an empty mask and for a heatmap that is 0 everywhere.

    Raises
    ------
    CamSamError
        For an unknown rule, a mask of another shape than the heatmap, or heatmap values out of
        [0, 1].
    """
    if rule not in RANKING_RULES:
        raise unknown_name("ranking rule", str(rule), RANKING_RULES)
    values = np.asarray(heatmap, np.float64)
    # Written so that NaN is refused too.
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise CamSamError("A heatmap that ranks masks must have values from 0 to 1 everywhere.")
    for mask in masks:
        if mask.shape != values.shape:
            raise CamSamError(
                f"The heatmap has shape {values.shape}, a mask {mask.shape}: they must be of the "
                "same slice."
            )
    areas = np.array([np.count_nonzero(mask) for mask in masks], np.float64)
    inside = np.array([values[np.asarray(mask, bool)].sum() for mask in masks], np.float64)
    total, norm = values.sum(), np.linalg.norm(values)
    against = {
        "cosine": norm * np.sqrt(areas),
        "dice": (total + areas) / 2,
        "mean": areas,
        "energy": np.full(len(areas), total),
    }[rule]
    scores = np.divide(inside, against, out=np.zeros_like(inside), where=against > 0)
    return np.asarray(np.clip(scores, 0.0, 1.0))


def choose_by_heatmap(
    masks: Sequence[NDArray[np.bool_]],
    heatmap: NDArray[Any],
    parameters: RankingParameters | None = None,
) -> ChosenMask:
    """Choose the mask, or the union of masks, that a heatmap means.

    Parameters
    ----------
    masks : sequence of ndarray of bool, shape (rows, columns)
        E.g. those of :func:`napari_cam_sam.sam.everything.automatic.automatic_masks`.
    heatmap : ndarray of float, shape (rows, columns)
        In [0, 1].
    parameters : RankingParameters, optional

    Returns
    -------
    ChosenMask
        Nothing is chosen where there are no masks, the heatmap is 0 on all of them, or the best
        score is below ``min_score``.

    Raises
    ------
    CamSamError
        As :func:`heatmap_scores`.

    Examples
    --------
    >>> small, large = np.zeros((2, 8, 8), bool)
    >>> small[2:5, 2:5], large[1:8, 1:8] = True, True
    >>> heatmap = np.where(small, 1.0, 0.1)
    >>> chosen = ncs.choose_by_heatmap([small, large], heatmap)
    >>> bool((chosen.mask == small).all())
    True
    """
    parameters = parameters or RankingParameters()
    scores = heatmap_scores(masks, heatmap, parameters.rule)
    best = scores.max(initial=0.0)
    if best <= 0 or best < parameters.min_score:
        return ChosenMask(np.zeros(np.shape(heatmap), bool), 0.0, ())
    order = np.argsort(-scores, kind="stable")
    members = [int(i) for i in order if 0 < scores[i] >= parameters.union * best]
    if parameters.union == 1:
        members = members[:1]
    united = np.logical_or.reduce([masks[i] for i in members])
    return ChosenMask(united, float(best), tuple(members))
