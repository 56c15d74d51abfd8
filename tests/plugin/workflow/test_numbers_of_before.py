"""What stays after what it was computed from is another says so, be it a number or a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.scores.score_table import ScoreTable
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

EDITED = "Scores are of before the last edit: press Score."


class Work:
    """The dock with a volume of three slices, each with a mask in the preview, and its truth."""

    def __init__(self, dock: WorkflowDock, truth: Any, finish: Any, qtbot: Any) -> None:
        self.dock, self.truth, self._finish, self._qtbot = dock, truth, finish, qtbot
        self.scores, self.review = dock.scores, dock.segment.review
        self.show = dock.workspace.show_plane

    def score(self) -> None:
        self.scores.score()
        self._finish(self.scores.row)

    def older(self) -> list[int]:
        """Return which slices' rows are marked, when all that was asked for is answered."""
        scores = self.scores
        self._qtbot.waitUntil(lambda: not (scores._pause.isActive() or scores._latest.busy))
        rows = scores.table.rows()
        return [r.number for r in rows if r.kind == "plane" and scores.table.is_older(r)]

    def until_said(self, words: str) -> None:
        self._qtbot.waitUntil(lambda: words in self.review.shown.text())


@pytest.fixture
def work(qapp: Any, qtbot: Any, finish: Any) -> Work:
    viewer = ViewerModel()
    dock = WorkflowDock(viewer)
    qtbot.addWidget(dock)
    dock.workspace.device = "cpu"
    dock.segment.segmenter.choose("seeded")
    pixels = np.random.default_rng(0).random((3, 24, 24))
    pixels[:, 4:14, 4:14] += 3
    viewer.add_image(pixels, name="scan")
    inside = np.zeros((3, 24, 24), int)
    inside[:, 4:14, 4:14] = 1
    truth = viewer.add_labels(inside, name="truth")
    dock.workspace.show_plane(0, 1)
    box = ObjectPrompt(1, (), Box(4, 4, 10, 13))
    dock.workspace.prompts.write([PlanePrompts(0, i, (box,)) for i in range(3)], "add")
    dock.workspace.prompts.settle()
    dock.segment.segment_all()
    finish(dock.segment.row)
    return Work(dock, truth, finish, qtbot)


def test_accepting_all_marks_the_slices_that_it_changed(work: Work) -> None:
    work.review.accept_masks()
    work.score()
    assert work.older() == []
    work.review.accept_masks(everywhere=True)
    assert work.older() == [0, 2]
    assert work.scores.row.words.text() == EDITED
    work.score()
    work.review.undo_accept()
    assert work.older() == [0, 2]
    assert work.scores.row.words.text() == EDITED
    # A slice that is looked at is scored again.
    work.show(0, 2)
    work.dock.workspace.shown.look_at_plane()
    work.scores._pause.start()
    assert work.older() == [0]


def test_a_truth_that_is_replaced_or_painted_through_marks_all_it_may_have_changed(
    work: Work,
) -> None:
    work.review.accept_masks(everywhere=True)
    work.score()
    work.truth.data_setitem((np.array([0, 2]), np.array([15, 15]), np.array([15, 15])), 1)
    assert work.older() == [0, 2]
    work.score()
    changed = work.truth.data.copy()
    changed[1] = 0
    work.truth.data = changed
    assert set(work.older()) >= {0, 2}
    (shown,) = [r for r in work.scores.table.rows() if (r.kind, r.number) == ("plane", 1)]
    assert shown.scores.values["dice"] == 0


def test_masks_that_are_made_again_mark_the_scores_of_the_preview(work: Work) -> None:
    work.scores.choices.choose_prediction(work.dock.workspace.own("preview"))
    work.score()
    masks = work.dock.workspace.masks
    masks.flip(0, 2, 1)
    assert work.older() == [2]


def test_scores_of_a_heatmap_that_is_computed_again_say_so(work: Work) -> None:
    workspace = work.dock.workspace

    def put(target: str) -> None:
        layer = workspace.heatmaps.layer(0, create=True)
        layer.data[1] = np.random.default_rng(len(target)).random((24, 24))
        workspace.heatmaps.set_record(layer, 1, HeatmapRecord(target, {target: 0.9}, None, {}))
        workspace.heatmaps_changed.emit()

    put("lesion")
    work.score()
    assert "Heatmaps are newer" not in work.scores.row.words.text()
    put("organ")
    assert "Heatmaps are newer than their scores" in work.scores.row.words.text()
    work.score()
    assert "Heatmaps are newer" not in work.scores.row.words.text()


def test_the_dice_of_the_mask_shown_follows_the_truth(work: Work) -> None:
    work.until_said("Dice with the ground truth")
    before = work.review.shown.text()
    work.truth.data_setitem((np.full(4, 1), np.arange(4, 8), np.full(4, 20)), 1)
    work._qtbot.waitUntil(lambda: work.review.shown.text() != before)
    work.truth.undo()
    work.until_said(before)
    other = np.zeros((3, 24, 24), int)
    other[:, 2:6, 2:6] = 1
    layer = work.dock.workspace.viewer.add_labels(other, name="another truth")
    work.dock.workspace.choose_truth(layer)
    work._qtbot.waitUntil(lambda: work.review.shown.text() != before)
    work.dock.workspace.viewer.layers.remove("truth")
    work.dock.workspace.viewer.layers.remove("another truth")
    work._qtbot.waitUntil(lambda: "Dice" not in work.review.shown.text())


def test_an_empty_plot_says_what_it_lacks_now(work: Work) -> None:
    workspace, scores = work.dock.workspace, work.scores
    curves, along = scores.curves.words, scores.along.words
    assert curves.text().startswith("Curves are of a heatmap")
    assert along.text() == "Press Score."
    layer = workspace.heatmaps.layer(0, create=True)
    layer.data[1] = np.random.default_rng(0).random((24, 24))
    workspace.heatmaps.set_record(layer, 1, HeatmapRecord("a", {"a": 0.9}, None, {}))
    workspace.heatmaps_changed.emit()
    assert curves.text() == "Press Score."
    workspace.viewer.layers.remove("truth")
    assert curves.text() == along.text() == scores.row.words.text()
    assert curves.text().startswith("No ground truth")


def test_a_new_scoring_takes_the_place_of_what_a_run_said(work: Work) -> None:
    dock = work.dock
    layer = dock.workspace.heatmaps.layer(0, create=True)
    for index in range(3):  # as a run leaves it
        note = HeatmapRecord("lesion", {"lesion": 0.9}, None, {})
        dock.workspace.heatmaps.set_record(layer, index, note)
    work.scores.choices.choose_prediction(dock.workspace.own("preview"))
    dock._begin(4)
    work.score()
    said = dock.words.text()
    assert said.startswith("Done. Mean Dice")
    work.show(0, 2)
    dock.workspace.prompts.write(
        [PlanePrompts(0, 2, (ObjectPrompt(1, (), Box(4, 4, 14, 14)),))], "replace"
    )
    dock.segment.segment()
    work._finish(dock.segment.row)
    assert dock.words.text().startswith("Before your last changes")
    work.review.accept_masks(everywhere=True)
    work.score()
    assert dock.words.text().startswith("Done. Mean Dice")
    assert dock.words.text() != said


def test_the_dice_of_a_mask_is_still_there_once_it_is_accepted(work: Work) -> None:
    work.until_said("Dice with the ground truth")
    dice = work.review.shown.text().partition("ground truth ")[2][:5]
    work.review.accept.click()
    work.until_said(f"Mask accepted on this slice, Dice with the ground truth {dice};")


def test_headings_name_the_unit_before_the_first_scoring(work: Work) -> None:
    dock = work.dock
    dock.workspace.image_layer.units = "mm"
    work.truth.units = "mm"
    work.scores.choices.refreshed.emit()
    work.scores._refresh()
    heads = [work.scores.table.horizontalHeaderItem(i).text() for i in range(5)]
    assert "distances in mm" in work.scores.row.words.text()
    assert heads[3] == "HD95 mm"


def test_the_row_of_the_slice_shown_is_scrolled_to(work: Work, qtbot: Any) -> None:
    work.score()
    scored, table = work.scores.table, ScoreTable()
    (row,) = (one for one in scored.rows() if one.kind == "plane" and one.number == 1)
    table.set_rows([replace(row, number=i) for i in range(60)], scored.subject)
    qtbot.addWidget(table)
    table.resize(300, 200)
    table.show()
    qtbot.waitExposed(table)
    table.select_plane(55)
    at = table.item(55, 0)
    assert table.viewport().rect().contains(table.visualItemRect(at).center())
