"""Of what the scores are that are shown, and why there are no curves, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_cam_sam.plugin.scores.score_inputs import ScoreInputs
    from napari_cam_sam.plugin.scores.score_rows import Subject
    from napari_cam_sam.plugin.scores.scoring_run import ScoringRun

__all__ = ["scores_words", "why_no_curves"]


def scores_words(
    choices: ScoreInputs, run: ScoringRun | None, subject: Subject | None, axis: int, source: str
) -> str:
    """Return of what the scores are, and whether they still hold.

    Parameters
    ----------
    choices : ScoreInputs
        With nothing that hinders scoring.
    run : ScoringRun or None
        That the scores come from; None where they were not scored here.
    subject : Subject or None
        Of the table; None where that is empty.
    axis : int
        Along which slices are shown.
    source : str
        Where scores come from that were not scored here.

    Returns
    -------
    str
    """
    if subject is not None and subject.axis != axis:
        words = f"Scores are of slices along axis {subject.axis}: press Score for axis {axis}."
    elif run is None and subject is None:
        words = choices.words()
    elif run is None:
        words = f"Scores are from {source}: press Score for new ones."
    elif choices.are_those_of(run):
        words = run.words
        if run.heatmap_notes != choices.heatmap_notes():
            words += " Heatmaps are newer than their scores: press Score."
    else:
        words = "Scores are out of date: press Score."
    return " ".join(filter(None, (words, choices.label.remark, choices.unit_remark())))


def why_no_curves(choices: ScoreInputs, run: ScoringRun | None, subject: Subject | None) -> str:
    """Return what to do for curves, or why there can be none.

    Parameters
    ----------
    choices, run, subject
        As of `scores_words`.

    Returns
    -------
    str
    """
    if choices.heatmap.value() is None:
        return "Curves are of a heatmap: compute or choose one, then press Score."
    if choices.are_those_of(run) and run.volume is not None and run.volume.roc is not None:
        return "Curves need pixels inside and outside the ground truth."
    if run is None and subject is not None:
        return "Curves are not kept in a session: press Score."
    return "Press Score."
