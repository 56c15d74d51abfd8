"""The scores dock in a real viewer."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from scipy.ndimage import gaussian_filter

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.comparison import (
    VARIANTS,
    PlaneToCompare,
    compare_planes,
    summarise_comparison,
)
from napari_cam_sam.evaluation.image_scores import score_objects
from napari_cam_sam.images.writing import write_text
from napari_cam_sam.metrics.scoring import score_heatmap, score_masks
from napari_cam_sam.plugin.layers.layer_geometry import transform_of
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.sam.loading import load_segmenter

WAIT = 60_000


@pytest.fixture
def dock(viewer: Any, qtbot: Any) -> Iterator[ScoresDock]:
    """A CT with its truth, and a prediction that lies 3 and 4 pixels off."""
    viewer.open_sample("napari-cam-sam", "ct")
    truth = viewer.layers["CT-like phantom, truth"]
    shifted = np.roll(np.asarray(truth.data), (3, 4), (1, 2))
    over(viewer, truth, shifted, "shifted")
    widget = ScoresDock(viewer)
    viewer.window.add_dock_widget(widget)
    widget.workspace.show_plane(0, 11)
    yield widget
    qtbot.waitUntil(lambda: settled(widget), timeout=WAIT)


def settled(dock: ScoresDock) -> bool:
    tasks = (dock.row, dock.comparison.row, dock._latest, dock.choices.label.finder)
    return not any(one.busy for one in tasks) and not dock._pause.isActive()


def over(viewer: Any, source: Any, data: Any, name: str) -> Any:
    """Add labels that lie where a layer does."""
    return viewer.add_labels(
        data, name=name, metadata=dict(source.metadata), **transform_of(source)
    )


def score(dock: ScoresDock, qtbot: Any) -> dict[str, dict[str, Any]]:
    with qtbot.waitSignal(dock.scored, timeout=WAIT):
        dock.run.click()
    return {row["scored"]: row for row in dock.table.as_data()}


def add_heatmaps(dock: ScoresDock, viewer: Any) -> Any:
    """Add heatmaps near the truth, on its planes, with notes as the heatmap dock leaves them."""
    workspace = dock.workspace
    truth = np.asarray(viewer.layers["CT-like phantom, truth"].data)
    layer = workspace.heatmaps.layer(0, create=True)
    for index in np.flatnonzero(truth.any(axis=(1, 2))):
        blurred = gaussian_filter(np.roll(truth[index], 2).astype(np.float32), 5)
        layer.data[index] = blurred / blurred.max()
        workspace.heatmaps.set_record(
            layer, int(index), HeatmapRecord("lesion", {"lesion": 0.9}, None, {})
        )
    workspace.heatmaps_changed.emit()
    return layer


def test_every_number_is_the_cores(viewer: Any, dock: ScoresDock, qtbot: Any) -> None:
    heat = np.asarray(add_heatmaps(dock, viewer).data)
    choices = dock.choices
    chosen = (choices.prediction, choices.truth, choices.heatmap, choices.label)
    assert [c.currentText() for c in chosen] == [
        "shifted", "CT-like phantom, truth", "heatmap of CT-like phantom", "all labels",
    ]  # fmt: skip
    assert "24 axial slices, distances in mm" in dock.row.words.text()
    rows = score(dock, qtbot)
    truth = np.asarray(viewer.layers["CT-like phantom, truth"].data)
    predicted = np.asarray(viewer.layers["shifted"].data)
    geometry = make_sample("ct").image.geometry
    inside = np.flatnonzero((truth + predicted).any(axis=(1, 2)))
    assert set(rows) == {"volume", "object 1", *(f"plane {i}" for i in inside)}
    for index in inside:
        expected = score_masks(predicted[index], truth[index], geometry.plane_spacing(0)).values
        expected |= score_heatmap(heat[index], truth[index]).values
        for name in ("dice", "iou", "hd95", "assd", "nsd", "auc_judd", "auprc", "pointing_hit"):
            assert rows[f"plane {index}"][name] == pytest.approx(expected[name]), name
    whole = score_masks(predicted, truth, geometry.spacing).values
    whole |= score_heatmap(heat[inside], truth[inside]).values
    for name in ("dice", "hd95", "nsd", "auc_judd", "auprc"):
        assert rows["volume"][name] == pytest.approx(whole[name])
    (one,) = score_objects(predicted, truth, geometry.spacing)
    assert rows["object 1"]["assd"] == pytest.approx(one.scores.values["assd"])
    json.dumps(dock.table.as_data(), allow_nan=False)
    volume = dock._state.volume  # type: ignore[union-attr]
    assert volume.roc.area == pytest.approx(whole["auc_judd"])  # type: ignore[union-attr]


def test_rows_sort_by_number_and_a_click_goes_to_the_plane(
    viewer: Any, dock: ScoresDock, qtbot: Any
) -> None:
    layer = viewer.layers["shifted"]
    layer.data[2, 5:9, 5:9] = 1  # where the truth has nothing: infinite distances
    rows = score(dock, qtbot)
    assert rows["plane 2"]["hd95"] == "inf"
    assert rows["plane 2"]["remarks"] == "not in the ground truth"
    table = dock.table
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        table.sortByColumn(3, order)
        shown = [row.scores.values["hd95"] for row in table.shown()]
        assert np.isinf(shown[-1])
        finite = shown[:-1]
        assert finite == sorted(finite, reverse=order == Qt.SortOrder.DescendingOrder)
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    named = [table.item(i, 0).text() for i in range(table.rowCount())]
    assert named[:4] == ["volume", "object 1", "slice 2", "slice 8"]
    assert named.index("slice 9") < named.index("slice 10")
    assert table.item(2, 3).text() == "∞"
    assert table.item(3, 1).text() == f"{rows['plane 8']['dice']:.3f}"
    assert all(table.horizontalHeaderItem(i).toolTip() for i in range(table.columnCount()))
    table.cellClicked.emit(named.index("slice 9"), 0)
    assert dock.workspace.plane() == (0, 9)
    # An object's click goes to the plane that has most of it.
    truth = np.asarray(viewer.layers["CT-like phantom, truth"].data)
    table.cellClicked.emit(1, 0)
    assert dock.workspace.plane() == (0, int(truth.sum(axis=(1, 2)).argmax()))
    # And the row of the plane shown is marked.
    qtbot.waitUntil(lambda: len(table.selectedItems()) > 0, timeout=WAIT)


@pytest.mark.parametrize("way", ["paint", "undo", "replace"])
def test_an_edit_scores_its_plane_again(
    viewer: Any, dock: ScoresDock, qtbot: Any, way: str
) -> None:
    layer, truth = viewer.layers["shifted"], viewer.layers["CT-like phantom, truth"]
    before = score(dock, qtbot)
    where = np.nonzero(np.asarray(truth.data)[11] != np.asarray(layer.data)[11])
    index = (np.full(where[0].shape, 11), *where)
    if way == "replace":
        changed = np.asarray(layer.data).copy()
        changed[11] = np.asarray(truth.data)[11]
        layer.data = changed
    else:
        layer.data_setitem(index, np.asarray(truth.data)[index])

    def dice() -> float:
        return next(r["dice"] for r in dock.table.as_data() if r["scored"] == "plane 11")

    qtbot.waitUntil(lambda: dice() == 1, timeout=WAIT)
    names = [dock.table.item(i, 0).text() for i in range(dock.table.rowCount())]
    assert "volume (before the last edit)" in names
    assert "Slice 11: Dice 1.000" in dock.row.words.text()
    rows = {row["scored"]: row for row in dock.table.as_data()}
    assert rows["volume"]["dice"] == before["volume"]["dice"]
    assert "before the last edit" in rows["volume"]["remarks"]
    if way == "undo":
        layer.undo()
        qtbot.waitUntil(lambda: dice() == before["plane 11"]["dice"], timeout=WAIT)
    else:
        rows = score(dock, qtbot)
        assert rows["volume"]["dice"] > before["volume"]["dice"]
        assert not rows["volume"]["remarks"]


def test_the_overlay_shows_where_they_agree(viewer: Any, dock: ScoresDock, qtbot: Any) -> None:
    layer, truth = viewer.layers["shifted"], viewer.layers["CT-like phantom, truth"]
    viewer.layers.selection.active = layer
    with qtbot.waitSignal(dock.scored, timeout=WAIT):
        dock.overlay.click()
    shown = viewer.layers["TP/FP/FN of shifted"]
    a, b = np.asarray(layer.data) > 0, np.asarray(truth.data) > 0
    np.testing.assert_array_equal(np.asarray(shown.data), np.where(a & b, 1, a * 2 + b * 3))
    assert shown.name not in [
        dock.choices.prediction.itemText(i) for i in range(dock.choices.prediction.count())
    ]
    assert viewer.layers.selection.active == layer
    for point in np.random.default_rng(0).uniform(0, 20, (3, 3)):
        np.testing.assert_allclose(shown.data_to_world(point), layer.data_to_world(point))
    layer.data_setitem(np.nonzero(a & (np.arange(24) == 11)[:, None, None]), 0)
    qtbot.waitUntil(lambda: not (np.asarray(shown.data)[11] == 1).any(), timeout=WAIT)
    viewer.layers.remove("TP/FP/FN of shifted")
    assert not dock.overlay.isChecked()
    dock.overlay.click()
    assert "TP/FP/FN of shifted" in viewer.layers
    dock.overlay.click()
    assert "TP/FP/FN of shifted" not in viewer.layers


def test_what_does_not_fit_is_named_before_anything_runs(
    viewer: Any, dock: ScoresDock, qtbot: Any
) -> None:
    truth = viewer.layers["CT-like phantom, truth"]
    small = viewer.add_labels(np.ones((3, 4, 5), np.uint8), name="small")
    moved = over(viewer, truth, np.asarray(truth.data).copy(), "moved")
    moved.metadata.clear()
    moved.translate = np.asarray(moved.translate) + np.array([30, 0, 0])
    for layer, words in (
        (small, "small has shape (3, 4, 5)"),
        (moved, "moved does not lie where CT-like phantom does"),
        (truth, "both prediction and ground truth"),
    ):
        dock.choices.choose_prediction(layer)
        assert words in dock.row.words.text()
        assert not dock.run.isEnabled()
        assert not dock.comparison.button.isEnabled()
        dock.score()
        assert not dock.row.busy
    dock.choices.choose_prediction(viewer.layers["shifted"])
    assert dock.run.isEnabled()
    viewer.layers["shifted"].scale = np.asarray(viewer.layers["shifted"].scale) * 1.0
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: not dock.run.isEnabled(), timeout=WAIT)
    assert "switch to 2D" in dock.row.words.text()


def test_what_is_missing_is_said(viewer: Any, qtbot: Any) -> None:
    dock = ScoresDock(viewer)
    viewer.window.add_dock_widget(dock)
    assert "Open an image" in dock.row.words.text()
    viewer.add_image(np.random.default_rng(0).random((4, 30, 30)))
    assert "No ground truth" in dock.row.words.text()
    viewer.add_labels(np.ones((4, 30, 30), np.uint8), name="truth")
    assert "No prediction yet" in dock.row.words.text()
    assert not dock.run.isEnabled()
    assert dock.table.as_data() == []
    viewer.add_labels(np.zeros((4, 30, 30), np.uint8), name="mine")
    assert dock.run.isEnabled()
    assert "Load a segmenter" in dock.comparison.row.words.text()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)


@pytest.mark.parametrize("name", ["CT-like phantom, truth", "shifted", "CT-like phantom"])
def test_a_layer_deleted_while_it_is_scored(
    viewer: Any, dock: ScoresDock, qtbot: Any, name: str
) -> None:
    seen: list[str] = []
    notification_manager.notification_ready.connect(lambda n: seen.append(n.message))
    dock.run.click()
    assert not dock.run.isEnabled()
    dock.score()
    dock.run.click()
    viewer.layers.remove(name)
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    assert not seen
    assert not dock.run.isEnabled()
    assert any(
        w in dock.row.words.text()
        for w in ("Open an image", "No ground truth", "No prediction", "two layers")
    )


def test_pyramids_are_scored_at_their_finest_level(viewer: Any, qtbot: Any) -> None:
    pixels = np.random.default_rng(0).random((4, 40, 50))
    true, mine = np.zeros((2, 4, 40, 50), np.uint8)
    true[1, 5:20, 5:20] = mine[1, 5:20, 6:20] = 1
    for add, data in (
        (viewer.add_image, pixels),
        (viewer.add_labels, mine),
        (viewer.add_labels, true),
    ):
        add([data, data[:, ::2, ::2]], multiscale=True)
    viewer.layers[1].name, viewer.layers[2].name = "mine", "truth"
    dock = ScoresDock(viewer)
    viewer.window.add_dock_widget(dock)
    assert score(dock, qtbot)["plane 1"]["dice"] == pytest.approx(2 * 14 / (14 + 15))
    dock.overlay.click()
    assert viewer.layers["TP/FP/FN of mine"].data.shape == (4, 40, 50)
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)


def test_an_image_without_depth_and_one_with_an_empty_truth(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.random.default_rng(0).random((40, 50)))
    true = viewer.add_labels(np.zeros((40, 50), np.uint8), name="truth")
    mine = viewer.add_labels(np.zeros((40, 50), np.uint8), name="mine")
    dock = ScoresDock(viewer)
    viewer.window.add_dock_widget(dock)
    assert score(dock, qtbot) == {}
    assert "Nothing to score: both layers are empty" in dock.row.words.text()
    mine.data[5:20, 5:20] = 3
    rows = score(dock, qtbot)
    assert set(rows) == {"image", "extra 3"}
    assert rows["image"]["dice"] == 0
    assert rows["image"]["flags"] == ["truth-empty"]
    true.data[5:20, 5:25] = 7
    rows = score(dock, qtbot)
    assert set(rows) == {"image", "object 7"}
    assert rows["image"]["dice"] == pytest.approx(2 * 225 / (225 + 300))
    assert rows["image"]["unit"] == "px"
    assert rows["object 7"]["remarks"] == "label 3 in the prediction"
    dock.table.cellClicked.emit(0, 0)
    mine.data_setitem((np.arange(5, 20), np.full(15, 21)), 3)
    qtbot.waitUntil(
        lambda: {r["scored"]: r for r in dock.table.as_data()}["image"]["dice"] > 0.87, timeout=WAIT
    )
    for index in (1, 2):
        dock.tabs.setCurrentIndex(index)
    # Labels to choose from, and one of them alone.
    qtbot.waitUntil(lambda: dock.choices.label.count() == 3, timeout=WAIT)
    dock.choices.label.setCurrentText("label 7")
    dock.choices._chosen("label")
    assert "press Score" in dock.row.words.text()
    rows = score(dock, qtbot)
    assert rows["image"]["flags"] == ["prediction-empty"]
    assert rows["image"]["label"] == 7
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)


def test_a_series_scores_the_frame_shown(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.random.default_rng(0).random((2, 3, 30, 40)))
    true = np.zeros((2, 3, 30, 40), np.uint8)
    true[:, 1, 5:15, 5:15] = 1
    mine = true.copy()
    mine[1, 1, 10:15] = 0
    viewer.add_labels(true, name="truth")
    viewer.add_labels(mine, name="mine")
    dock = ScoresDock(viewer)
    viewer.window.add_dock_widget(dock)
    for frame, dice in ((0, 1), (1, pytest.approx(2 / 3))):
        viewer.dims.set_point(0, frame)
        qtbot.waitUntil(lambda f=frame: dock.workspace.frame() == f, timeout=WAIT)
        rows = score(dock, qtbot)
        assert rows["plane 1"]["dice"] == dice
        assert rows["volume"]["frame"] == frame
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)


def test_other_axes_and_other_choices(viewer: Any, dock: ScoresDock, qtbot: Any) -> None:
    score(dock, qtbot)
    viewer.dims.order = (1, 0, 2)
    qtbot.waitUntil(lambda: "press Score" in dock.row.words.text(), timeout=WAIT)
    rows = score(dock, qtbot)
    assert rows["volume"]["axis"] == 1
    assert len(rows) > 9
    # A click turns the view back to the axis of the table.
    viewer.dims.order = (0, 1, 2)
    dock.table.cellClicked.emit(3, 0)
    assert dock.workspace.plane()[0] == 1


def test_a_heatmap_of_ones_own(viewer: Any, dock: ScoresDock, qtbot: Any) -> None:
    image = viewer.layers["CT-like phantom"]
    heat = np.random.default_rng(0).random((24, 128, 128)).astype(np.float32)
    viewer.add_image(heat, name="mine", metadata=dict(image.metadata), **transform_of(image))
    viewer.add_image(heat * 300, name="too high", metadata=dict(image.metadata),
                     **transform_of(image))  # fmt: skip
    viewer.add_image(heat[:5], name="too short")
    offered = [dock.choices.heatmap.itemText(i) for i in range(dock.choices.heatmap.count())]
    assert offered == ["none", "mine"]
    dock.choices.heatmap.setCurrentText("mine")
    dock.choices._chosen("heatmap")
    rows = score(dock, qtbot)
    assert rows["volume"]["auc_judd"] == pytest.approx(0.5, abs=0.02)
    viewer.layers["mine"].data = heat * 2
    seen: list[str] = []
    notification_manager.notification_ready.connect(lambda n: seen.append(n.message))
    dock.run.click()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    assert any("lie between 0 and 1" in message for message in seen)


def test_plots_follow_the_theme_and_take_clicks(viewer: Any, dock: ScoresDock, qtbot: Any) -> None:
    add_heatmaps(dock, viewer)
    score(dock, qtbot)
    assert dock.curves.canvas is None
    viewer.show()
    for index, plot in ((1, dock.curves), (2, dock.along)):
        dock.tabs.setCurrentIndex(index)
        qtbot.waitUntil(lambda p=plot: p._fresh, timeout=WAIT)
    dark = dock.along.figure.get_facecolor()
    viewer.theme = "light"
    qtbot.waitUntil(lambda: dock.along.figure.get_facecolor() != dark, timeout=WAIT)
    texts = [t.get_text() for axes in dock.curves.figure.axes for t in axes.get_legend().texts]
    assert texts[0] == "chance 0.500"
    assert texts[1].startswith("AUROC 0.9")
    assert texts[2].startswith("chance 0.0")
    dock.along.picked.emit(9.3)
    assert dock.workspace.plane() == (0, 9)
    qtbot.waitUntil(lambda: dock.along._line.get_xdata()[0] == 9, timeout=WAIT)


def test_scores_of_a_heatmap_are_there_where_one_is_scored(
    viewer: Any, dock: ScoresDock, qtbot: Any
) -> None:
    def heads() -> list[str]:
        table = dock.table
        shown = [i for i in range(table.columnCount()) if not table.isColumnHidden(i)]
        return [table.horizontalHeaderItem(i).text() for i in shown]

    assert dock.row.words.text().endswith("no heatmap, so none is scored.")
    score(dock, qtbot)
    assert heads() == ["Scored", "Dice", "IoU", "HD95 mm", "ASSD mm", "NSD", "Remarks"]
    add_heatmaps(dock, viewer)
    score(dock, qtbot)
    assert heads()[6:] == ["AUROC", "AUPRC", "Pointing", "Energy", "Remarks"]


def test_csv_and_clipboard(viewer: Any, dock: ScoresDock, qtbot: Any, tmp_path: Path) -> None:
    assert not dock.save.isEnabled()
    rows = score(dock, qtbot)
    write_text(tmp_path / "scores.csv", dock.table.as_csv())
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["scored"] for row in read] == list(rows)
    for row in read:
        assert float(row["dice"]) == rows[row["scored"]]["dice"]
        assert row["auc_judd"] == ""
        assert (row["image"], row["axis"], row["label"], row["unit"], row["truth"]) == (
            "CT-like phantom", "0", "all", "mm", "CT-like phantom, truth",
        )  # fmt: skip
    dock.copy.click()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[1].split("\t")[0] == "volume"
    with pytest.raises(CamSamError, match="could not be written"):
        write_text(tmp_path / "no" / "folder.csv", dock.table.as_csv())


def test_the_four_ways_to_a_mask(viewer: Any, dock: ScoresDock, qtbot: Any) -> None:
    workspace, words = dock.workspace, dock.comparison.row.words
    heat = np.asarray(add_heatmaps(dock, viewer).data)
    assert "Load a segmenter" in words.text()
    workspace.segmenter = segmenter = load_segmenter("compact-sam")
    workspace.segmenter_changed.emit()
    dock.tabs.setCurrentIndex(3)
    dock.comparison.button.click()
    dock.comparison.button.click()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    truth = np.asarray(viewer.layers["CT-like phantom, truth"].data)
    snapshot = workspace.snapshot()
    planes = [
        PlaneToCompare(int(i), snapshot.plane(int(i)), heat[i], truth[i])
        for i in np.flatnonzero(truth.any(axis=(1, 2)))
    ]
    found = compare_planes(planes, segmenter, segmenter.encode, PromptParameters())
    expected = summarise_comparison(list(found))
    assert dock.comparison.lines == expected
    table = dock.comparison.table
    assert [table.item(i, 0).text() for i in range(4)] == list(VARIANTS)
    assert table.item(3, 4).text() == "100.0"
    assert f"{len(planes)} slices" in words.text()
    # What the user accepted counts as edited.
    own = workspace.layers.labels("labels")
    own.data = truth.copy()
    dock.compare()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    assert dock.comparison.lines[2].dice == 1
    assert dock.comparison.lines[1] == expected[1]


def test_without_heatmaps_the_ways_that_need_none_are_compared(
    viewer: Any, dock: ScoresDock, qtbot: Any
) -> None:
    workspace, words = dock.workspace, dock.comparison.row.words
    workspace.segmenter = segmenter = load_segmenter("compact-sam")
    workspace.segmenter_changed.emit()
    left_out = "CAM alone and CAM → SAM are left out: they need heatmaps (step 1)."
    assert words.text().endswith(left_out)
    prompts = PlanePrompts(0, 11, (ObjectPrompt(1, (), Box(40, 40, 60, 60)),))
    workspace.prompts.write([prompts])
    dock.comparison.button.click()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    mine, truth = (np.asarray(x.data) for x in dock.choices.layers()[:2])
    snapshot = workspace.snapshot()
    planes = [
        PlaneToCompare(int(i), snapshot.plane(int(i)), None, truth[i], prompts if i == 11 else None)
        for i in np.flatnonzero((truth + mine).any(axis=(1, 2)))
    ]
    found = list(compare_planes(planes, segmenter, segmenter.encode, PromptParameters()))
    assert dock.comparison.lines == summarise_comparison(found)[2:]
    table = dock.comparison.table
    assert [table.item(i, 0).text() for i in range(table.rowCount())] == [
        "edited", "same segmenter, prompts from the truth",
    ]  # fmt: skip
    counted = f"{len(planes)} slices with ground truth or masks"
    assert words.text() == f"{counted}. {left_out}"
    # With a heatmap all rows are there again.
    add_heatmaps(dock, viewer)
    qtbot.waitUntil(lambda: words.text().endswith("Out of date: compare again."))
    dock.comparison.button.click()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    assert [table.item(i, 0).text() for i in range(4)] == list(VARIANTS)


def test_a_comparison_from_before_a_change_says_so(
    viewer: Any, dock: ScoresDock, qtbot: Any
) -> None:
    workspace, words = dock.workspace, dock.comparison.row.words
    layer = add_heatmaps(dock, viewer)
    workspace.segmenter = load_segmenter("seeded")
    workspace.segmenter_changed.emit()

    def compare() -> None:
        dock.comparison.button.click()
        qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
        assert words.text().endswith("slices with ground truth or masks.")

    def changed() -> None:
        qtbot.waitUntil(lambda: words.text().endswith("Out of date: compare again."))
        assert dock.comparison.button.isEnabled()

    compare()
    workspace.show_plane(0, 10)  # nothing but another plane is shown
    workspace.shown.look_at_plane()
    dock._refresh()
    assert words.text().endswith("slices with ground truth or masks.")
    prompt = ObjectPrompt(1, (), Box(40, 40, 60, 60))
    workspace.prompts.write([PlanePrompts(0, 11, (prompt,))])
    dock._refresh()
    assert words.text().endswith("slices with ground truth or masks.")  # as placed, not edited
    boxes = workspace.prompts.boxes
    boxes.data = [boxes.data[0] + np.array([0, 3, 0])]
    changed()
    workspace.prompts.undo()
    qtbot.waitUntil(lambda: words.text().endswith("slices with ground truth or masks."))
    for name in ("shifted", "CT-like phantom, truth"):
        viewer.layers[name].data_setitem((np.array([11]), np.array([3]), np.array([3])), 1)
        changed()
        compare()
    workspace.masks.accepted_changed.emit()
    changed()
    compare()
    workspace.heatmaps.set_record(layer, 11, HeatmapRecord("normal", {"lesion": 0.1}, None, {}))
    workspace.heatmaps_changed.emit()
    changed()
    compare()
    dock.choices.choose_prediction(workspace.layers.labels("preview"))
    changed()


def test_an_edit_while_ways_are_compared_is_told_at_their_end(
    viewer: Any, dock: ScoresDock, qtbot: Any
) -> None:
    add_heatmaps(dock, viewer)
    dock.workspace.segmenter = load_segmenter("seeded")
    dock.workspace.segmenter_changed.emit()
    dock.comparison.button.click()
    viewer.layers["shifted"].data_setitem((np.array([11]), np.array([3]), np.array([3])), 1)
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    assert dock.comparison.row.words.text().endswith("Out of date: compare again.")


def test_masks_of_the_plugin_are_scored_first(viewer: Any, dock: ScoresDock, qtbot: Any) -> None:
    workspace = dock.workspace
    preview = workspace.layers.labels("preview")
    assert dock.choices.prediction.value() == preview
    own = workspace.layers.labels("labels")
    assert dock.choices.prediction.value() == own
    dock.choices.choose_prediction(preview)
    viewer.add_labels(np.zeros((24, 128, 128), np.uint8), name="another")
    assert dock.choices.prediction.value() == preview
    preview.data[11, 40:60, 40:60] = 1
    before = score(dock, qtbot)
    # Drawn into without an event of its own, as previews are.
    preview.data[11, 40:60, 40:60] = 0
    preview.refresh()
    workspace.labels_changed.emit(None)
    qtbot.waitUntil(
        lambda: {r["scored"]: r for r in dock.table.as_data()}["plane 11"] != before["plane 11"],
        timeout=WAIT,
    )
    viewer.layers["another"].name = "renamed"
    texts = [dock.choices.prediction.itemText(i) for i in range(dock.choices.prediction.count())]
    assert "renamed" in texts
    assert "another" not in texts


def test_the_dock_opens_without_what_is_slow() -> None:
    code = (
        "import sys; import napari; before = set(sys.modules);"
        "import napari_cam_sam.plugin.scores.scores_dock;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "assert not new & {'torch', 'matplotlib', 'sklearn', 'torchvision'}, new"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_truth_with_gray_rims_is_said(dock: ScoresDock, viewer: Any, qtbot: Any) -> None:
    truth = viewer.layers["CT-like phantom, truth"]
    soft = gaussian_filter(np.asarray(truth.data > 0) * 255.0, (0, 2, 2)).astype(np.uint8)
    over(viewer, truth, soft, "soft truth")
    dock.choices.truth.setCurrentText("soft truth")
    dock.choices.truth.chosen.emit()
    qtbot.waitUntil(lambda: bool(dock.choices.label.remark), timeout=WAIT)
    assert "soft truth holds" in dock.choices.label.remark
    assert "gray values from 0 to 254" in dock.row.words.text()
    dock.choices.truth.setCurrentText("CT-like phantom, truth")
    dock.choices.truth.chosen.emit()
    qtbot.waitUntil(lambda: not dock.choices.label.remark, timeout=WAIT)
