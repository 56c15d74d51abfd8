"""What came out of a run against a truth, in words: how good it is, what was missed and why."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from napari_cam_sam.metrics.masks import TRUTH_EMPTY
from napari_cam_sam.wording import counted, these_planes

if TYPE_CHECKING:
    from napari_cam_sam.metrics.scoring import Scores

__all__ = ["missed_slices", "result_words"]


def missed_slices(scores: Mapping[int, Scores]) -> dict[int, str]:
    """Return the slices where mask and truth share nothing, with the reason.

    Parameters
    ----------
    scores : mapping of int to Scores
        By slice, of masks and, where there are any, of the heatmaps that they came from.

    Returns
    -------
    dict of int to str
        The reason is empty where there is no heatmap.
    """
    return {
        index: _why(one)
        for index, one in scores.items()
        if TRUTH_EMPTY not in one.flags and one.values["dice"] == 0
    }


def _why(scores: Scores) -> str:
    if "pointing_hit" not in scores.values:
        return ""
    if "heatmap-constant" in scores.flags:
        return "the heatmap is empty"
    if scores.values["pointing_hit"] == 0:
        return "the heatmap peaks beside it"
    return "the heatmap peaks on it, the mask does not hold it"


def result_words(scores: Mapping[int, Scores], flat: bool = False) -> str:
    """Return how good masks are, what was missed and why, and where there is no truth.

    Parameters
    ----------
    scores : mapping of int to Scores
        By slice, at least one.
    flat : bool
        Whether they are of a single picture.

    Returns
    -------
    str

    Examples
    --------
    >>> from napari_cam_sam.metrics.scoring import Scores
    >>> beside = Scores({"dice": 0.0, "pointing_hit": 0.0})
    >>> result_words({7: Scores({"dice": 0.8}), 14: beside})
    'Mean Dice 0.400 on 2 slices. Missed: slice 14 (the heatmap peaks beside it).'
    """
    missed = missed_slices(scores)
    extra = [index for index, one in scores.items() if TRUTH_EMPTY in one.flags]
    dice = fmean(one.values["dice"] for one in scores.values())
    if flat:
        said = [f"Dice {dice:.3f}."]
        said += [f"The ground truth was missed{w and f': {w}'}." for w in missed.values()]
        said += ["There is a mask, but no ground truth."] if extra else []
        return " ".join(said)
    said = [f"Mean Dice {dice:.3f} on {counted(len(scores), 'slice')}."]
    reasons = dict.fromkeys(missed.values())
    parts = [
        these_planes([i for i, w in missed.items() if w == why]) + (why and f" ({why})")
        for why in reasons
    ]
    said += [f"Missed: {'; '.join(parts)}."] if parts else []
    said += [f"Masks without ground truth: {these_planes(extra)}."] if extra else []
    return " ".join(said)
