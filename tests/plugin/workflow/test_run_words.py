"""What came out of a run, in words."""

from __future__ import annotations

from napari_cam_sam.evaluation.score_steps import ScoredRow
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.plugin.workflow.run_words import masks_words, scores_words


def _row(index: int, dice: float, flag: str = "", kind: str = "plane") -> ScoredRow:
    return ScoredRow(kind, index, index, Scores({"dice": dice}, (flag,) if flag else ()))


def test_it_says_how_good_what_was_missed_and_what_to_do_next() -> None:
    rows = [
        _row(7, 0.8), _row(8, 0.0, "prediction-empty"), _row(14, 0.0), _row(15, 0.0, "truth-empty"),
        _row(0, 0.5, kind="volume"), _row(1, 0.9, kind="object"),
    ]  # fmt: skip
    assert scores_words(rows, range(24), 24) == (
        "Done. Mean Dice 0.200 on 4 slices. Missed: slices 8 and 14. Masks without ground truth: "
        "slice 15. Next: draw a box there or drag the one there, then accept masks (C)."
    )
    assert scores_words(rows[:1], range(24), 24) == (
        "Done. Mean Dice 0.800 on 1 slice. Next: look through the slices (N, P), correct boxes, "
        "accept masks (C)."
    )
    backwards = scores_words(rows, range(24), 24, lambda index: 23 - index)
    assert "The slider counts from the other end: slice 8 is its 15. Next: draw" in backwards
    many = [_row(i, 0.0) for i in range(12)]
    assert "Missed: 12 slices." in scores_words(many, range(24), 24)


def test_it_says_why_a_slice_was_missed_where_there_are_heatmaps() -> None:
    def heat(index: int, hit: float, flag: str = "") -> ScoredRow:
        scores = Scores({"dice": 0.0, "pointing_hit": hit}, (flag,) if flag else ())
        return ScoredRow("plane", index, index, scores)

    rows = [
        _row(7, 0.8), heat(6, 0.0, "heatmap-constant"), heat(8, 0.0, "heatmap-constant"),
        heat(14, 0.0), heat(15, 1.0),
    ]  # fmt: skip
    assert (
        "Missed: slices 6 and 8 (the heatmap is empty); slice 14 (the heatmap peaks "
        "beside it); slice 15 (the heatmap peaks on it, the mask does not hold it). Next:"
    ) in scores_words(rows, range(24), 24)
    words = scores_words([ScoredRow("image", 0, 0, heat(0, 0.0).scores)], [0], 1)
    assert "The ground truth was missed: the heatmap peaks beside it. Next:" in words


def test_slices_that_the_run_did_not_look_at_are_not_missed() -> None:
    words = scores_words([_row(7, 0.8), _row(8, 0.0, "prediction-empty")], [7], 24)
    assert words.startswith(
        "Done for 1 of 24 slices; the volume scores count all slices. Mean Dice 0.800 on 1 slice."
    )
    assert "Missed" not in words
    assert "Nothing to score" in scores_words([], [7], 24)


def test_a_single_picture_has_no_slices() -> None:
    words = scores_words([_row(0, 0.75, kind="image")], [0], 1)
    assert words == "Done. Dice 0.750. Next: correct boxes, accept masks (C)."
    words = scores_words([_row(0, 0.0, "prediction-empty", kind="image")], [0], 1)
    assert words == (
        "Done. Dice 0.000. The ground truth was missed. Next: draw a box or drag the one, then "
        "accept masks (C)."
    )


def test_without_a_truth_it_says_on_how_many_slices_there_are_masks() -> None:
    assert masks_words([3, 4]) == (
        "Done: masks on 2 slices. Not scored, as there is no ground truth. Next: look through the "
        "slices (N, P), correct boxes, accept masks (C)."
    )
    assert masks_words([0], flat=True) == (
        "Done. Not scored, as there is no ground truth. Next: correct boxes, accept masks (C)."
    )
