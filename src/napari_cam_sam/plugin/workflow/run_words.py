"""What came out of a run of all four steps, in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from napari_cam_sam.evaluation.result_words import missed_slices, result_words
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import ScoredRow

__all__ = ["masks_words", "scores_words"]

_REVIEW = "look through the slices (N, P), correct boxes, accept masks (C)"
_REVIEW_PICTURE = "correct boxes, accept masks (C)"


def masks_words(planes: Collection[int], flat: bool = False) -> str:
    """Return what came out where there is no truth.

    Parameters
    ----------
    planes : collection of int
        With masks.
    flat : bool
        Whether it is a picture, without slices.

    Returns
    -------
    str
    """
    where = "" if flat else f": masks on {counted(len(planes), 'slice')}"
    review = _REVIEW_PICTURE if flat else _REVIEW
    return f"Done{where}. Not scored, as there is no ground truth. Next: {review}."


def scores_words(
    rows: Iterable[ScoredRow],
    computed: Collection[int],
    n_planes: int,
    slider: Callable[[int], int] | None = None,
) -> str:
    """Return what came out, against a truth: how good it is, what was missed and why, what next.

    Parameters
    ----------
    rows : iterable of ScoredRow
    computed : collection of int
        The planes that the run looked at; those alone are spoken of.
    n_planes : int
        How many there are along the axis.
    slider : callable, optional
        Returns what the viewer's slider shows on a plane.

    Returns
    -------
    str
    """
    flat = n_planes == 1
    planes = {
        row.number: row.scores
        for row in rows
        if row.kind == "image" or (row.kind == "plane" and row.number in computed)
    }
    part = ""
    if len(computed) < n_planes:
        part = f" for {len(computed)} of {n_planes} slices; the volume scores count all slices"
    done = f"Done{part}."
    if not planes:
        return f"{done} Nothing to score: neither ground truth nor masks there."
    next_step = f"Next: {_REVIEW}."
    if missed := missed_slices(planes):
        where = "" if flat else " there"
        next_step = f"Next: draw a box{where} or drag the one{where}, then accept masks (C)."
        first = min(missed)
        if slider is not None and slider(first) != first:
            other = f"The slider counts from the other end: slice {first} is its {slider(first)}."
            next_step = f"{other} {next_step}"
    elif flat:
        next_step = f"Next: {_REVIEW_PICTURE}."
    return f"{done} {result_words(planes, flat)} {next_step}"
