"""What came out of a run of all four steps, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from statistics import fmean
from typing import TYPE_CHECKING

from napari_cam_sam.metrics.masks import TRUTH_EMPTY
from napari_cam_sam.plugin.qt.wording import counted
from napari_cam_sam.plugin.state.plane_masks import these_planes

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import ScoredRow

__all__ = ["masks_words", "scores_words"]

_REVIEW = "look through the slices (N, P), correct boxes, accept masks (C)"


def masks_words(planes: Collection[int]) -> str:
    """Return what came out where there is no truth.

    Parameters
    ----------
    planes : collection of int
        With masks.

    Returns
    -------
    str
    """
    return (
        f"Done: masks on {counted(len(planes), 'slice')}. Not scored, as there is no ground truth. "
        f"Next: {_REVIEW}."
    )


def scores_words(rows: Iterable[ScoredRow], computed: Collection[int], n_planes: int) -> str:
    """Return what came out, against a truth: how good it is, what was missed, what to do next.

    Parameters
    ----------
    rows : iterable of ScoredRow
    computed : collection of int
        The planes that the run looked at; those alone are spoken of.
    n_planes : int
        How many there are along the axis.

    Returns
    -------
    str
    """
    flat = n_planes == 1
    planes = [r for r in rows if r.kind == "image" or (r.kind == "plane" and r.number in computed)]
    part = ""
    if len(computed) < n_planes:
        part = f" for {len(computed)} of {n_planes} slices; the volume scores count all slices"
    said = [f"Done{part}."]
    if not planes:
        said.append("Nothing to score: neither ground truth nor masks there.")
        return " ".join(said)
    dice = fmean(row.scores.values["dice"] for row in planes)
    missed, beside = [], []
    for row in planes:
        if TRUTH_EMPTY in row.scores.flags:
            beside.append(row.number)
        elif row.scores.values["dice"] == 0:
            missed.append(row.number)
    if flat:
        said.append(f"Dice {dice:.3f}.")
        said += ["The ground truth was missed."] if missed else []
        said += ["There is a mask, but no ground truth."] if beside else []
    else:
        said.append(f"Mean Dice {dice:.3f} on {counted(len(planes), 'slice')}.")
        said += [f"Missed: {these_planes(missed)}."] if missed else []
        said += [f"Masks without ground truth: {these_planes(beside)}."] if beside else []
    if missed:
        where = "" if flat else " there"
        said.append(f"Next: draw a box{where} or drag the one{where}, then accept masks (C).")
    else:
        said.append("Next: correct boxes, accept masks (C)." if flat else f"Next: {_REVIEW}.")
    return " ".join(said)
