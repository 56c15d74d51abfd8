"""Tables of scores that are saved in a session, and what a table says beside its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

from napari_cam_sam.images.writing import write_text
from napari_cam_sam.metrics.scoring import score_masks
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.session import Session, image_record, read_session, write_session

WAIT = 60_000
SHAPE = (9, 24, 24)
MM = {"scale": (3, 1, 0.5), "units": "mm"}

Open = Callable[..., ScoresDock]


@pytest.fixture
def open_dock(qapp: Any, qtbot: Any) -> Iterator[Open]:
    """Open a dock over an image, a truth on seven of nine planes, and masks on four of them."""
    docks = []

    def open_one(image: dict[str, Any] = MM, truth: dict[str, Any] = MM) -> ScoresDock:
        viewer = ViewerModel()
        pixels = np.random.default_rng(0).random(SHAPE).astype(np.float32)
        viewer.add_image(pixels, name="scan", **image)
        true = np.zeros(SHAPE, np.uint8)
        true[1:8, 4:12, 4:12] = 1
        mine = np.zeros(SHAPE, np.uint8)
        mine[3:7, 4:12, 6:14] = 5
        mine[0, 20:22, 20:22] = 7  # in no truth: infinite distances
        viewer.add_labels(true, name="truth", **truth)
        viewer.add_labels(mine, name="mine", **image)
        docks.append(dock := ScoresDock(viewer))
        # The scan itself, which lies within 0 to 1, does not count as its heatmap.
        viewer.add_image(pixels * true, name="map", **image)
        return dock

    yield open_one
    for dock in docks:
        qtbot.waitUntil(lambda d=dock: settled(d), timeout=WAIT)
        dock.deleteLater()


def settled(dock: ScoresDock) -> bool:
    tasks = (dock.row, dock._latest, dock.choices.label.finder)
    return not any(one.busy for one in tasks) and not dock._pause.isActive()


def score(dock: ScoresDock, qtbot: Any) -> dict[str, dict[str, Any]]:
    with qtbot.waitSignal(dock.scored, timeout=WAIT):
        dock.score()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    return {row["scored"]: row for row in dock.table.as_data()}


def score_until_one_plane(dock: ScoresDock, act: Callable[[], None]) -> None:
    """Start to score, and do something as soon as the first plane was scored."""
    dock.score()
    task = dock.row._held.task
    assert task is not None
    keep = task._on_step

    def step(found: Any) -> None:
        keep(found)
        task._on_step = keep
        act()

    task._on_step = step


def cells(dock: ScoresDock) -> list[list[str]]:
    """Read what stands in the table, its heads included."""
    table = dock.table
    columns = range(table.columnCount())
    heads = [table.horizontalHeaderItem(c).text() for c in columns]
    rows = range(table.rowCount())
    return [heads, *([table.item(r, c).text() for c in columns] for r in rows)]


def csv_of(dock: ScoresDock, folder: Path) -> str:
    write_text(folder / "scores.csv", dock.table.as_csv())
    return (folder / "scores.csv").read_text(encoding="utf-8")


def saved(dock: ScoresDock, folder: Path) -> Session:
    """Write the table into a session, and read that."""
    workspace = dock.workspace
    image = workspace.image()
    rows = tuple(workspace.docks.score_rows())
    write_session(folder, Session(image_record(image), scores=rows), image)
    return read_session(folder)


@pytest.mark.parametrize("edited", [False, True])
def test_a_table_is_the_same_after_it_was_saved(
    open_dock: Open, qtbot: Any, tmp_path: Path, edited: bool
) -> None:
    first, second = open_dock(), open_dock(image={})
    first.choices.heatmap.setCurrentText("map")
    first.choices._chosen("heatmap")
    score(first, qtbot)
    if edited:
        layer = first.choices.prediction.value()
        first.workspace.show_plane(0, 4)
        layer.data_setitem((np.full(8, 4), np.arange(4, 12), np.full(8, 5)), 5)
        qtbot.waitUntil(lambda: "after your edit" in first.row.words.text(), timeout=WAIT)
    table, text = cells(first), csv_of(first, tmp_path)
    assert ",inf," in text
    assert ("before the last edit" in text) == edited
    session = saved(first, tmp_path / "session")
    score(second, qtbot)
    assert cells(second) != table
    second.workspace.docks.dispatch("take score rows", session.scores)
    assert cells(second) == table
    assert csv_of(second, tmp_path) == text
    assert table[0][3] == "HD95 mm"
    assert "from the session" in second.row.words.text()
    # And once more: what was restored is saved as it was.
    again = saved(second, tmp_path / "again")
    assert again.scores == session.scores


def test_labels_that_come_back_with_the_table_do_not_make_it_old(
    open_dock: Open, qtbot: Any, tmp_path: Path
) -> None:
    first, second = open_dock(), open_dock()
    labels = first.workspace.layers.labels("labels")
    labels.data = np.asarray(first.workspace.viewer.layers["mine"].data).astype(np.uint16)
    assert first.choices.prediction.value() is labels
    score(first, qtbot)
    with qtbot.waitSignal(first.workspace.sessions.saved, timeout=WAIT):
        first.workspace.sessions.save(tmp_path / "session")
    second.workspace.layers.labels("labels")
    score(second, qtbot)
    with qtbot.waitSignal(
        second.workspace.sessions.saved,
        timeout=WAIT,
        check_params_cb=lambda words: "…" not in words,
    ):
        second.workspace.sessions.open(tmp_path / "session")
    qtbot.waitUntil(lambda: settled(second), timeout=WAIT)
    assert cells(second) == cells(first)
    assert not any(row["older"] for row in second.table.as_data())


def test_a_restored_table_is_no_dead_one(open_dock: Open, qtbot: Any, tmp_path: Path) -> None:
    first, second = open_dock(), open_dock()
    score(first, qtbot)
    session = saved(first, tmp_path / "session")
    second.workspace.docks.dispatch("take score rows", session.scores)
    names = [row[0] for row in cells(second)]
    second.table.cellClicked.emit(names.index("slice 6") - 1, 0)
    assert second.workspace.plane() == (0, 6)
    qtbot.waitUntil(lambda: len(second.table.selectedItems()) > 0, timeout=WAIT)
    # Nobody scores the plane edited again by itself: it must not pass for a new one.
    layer = second.choices.prediction.value()
    layer.data_setitem((np.array([6]), np.array([5]), np.array([5])), 5)
    assert all(row["older"] for row in second.table.as_data())
    rows = score(second, qtbot)
    assert not any(row["older"] for row in rows.values())
    assert "session" not in second.row.words.text()


def test_a_session_takes_the_place_of_scores_that_are_being_made(
    open_dock: Open, qtbot: Any, tmp_path: Path
) -> None:
    first, second = open_dock(), open_dock()
    score(first, qtbot)
    session = saved(first, tmp_path / "session")
    second.choices.label.offer([("label 5", 5)])
    score_until_one_plane(
        second, lambda: second.workspace.docks.dispatch("take score rows", session.scores)
    )
    qtbot.waitUntil(lambda: settled(second), timeout=WAIT)
    assert cells(second) == cells(first)
    assert second.table.as_data()[0]["label"] == "all"


def test_another_image_gets_no_rows_of_the_one_before(open_dock: Open, qtbot: Any) -> None:
    dock = open_dock()
    other = dock.workspace.viewer.add_image(np.zeros((4, 8, 8)), name="other")
    score_until_one_plane(dock, lambda: dock.workspace.choose_image(other))
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    assert dock.table.as_data() == []
    assert dock._state is None


def test_a_plane_after_a_stop_was_not_edited(open_dock: Open, qtbot: Any) -> None:
    dock = open_dock()
    score_until_one_plane(dock, dock.row.stop)
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    assert "Stopped after 1 of 9" in dock.row.words.text()
    dock.workspace.show_plane(0, 4)
    dock.choices.refreshed.emit()
    qtbot.waitUntil(lambda: "Slice 4: Dice" in dock.row.words.text(), timeout=WAIT)
    assert "edit" not in dock.row.words.text()
    assert "Stopped after 1 of 9" in dock.row.words.text()


def test_an_edit_while_other_layers_are_chosen_marks_planes_too(
    open_dock: Open, qtbot: Any
) -> None:
    dock = open_dock()
    score(dock, qtbot)
    truth = dock.choices.truth.value()
    dock.workspace.viewer.add_labels(np.ones(SHAPE, np.uint8), name="another", **MM)
    dock.choices.choose_prediction(dock.workspace.viewer.layers["another"])
    assert not any(row["older"] for row in dock.table.as_data())
    truth.data_setitem((np.array([6]), np.array([5]), np.array([5])), 0)
    assert all(row["older"] for row in dock.table.as_data())


def test_scores_that_cannot_be_read_hinder_nothing_else(open_dock: Open, qtbot: Any) -> None:
    dock = open_dock()
    row = score(dock, qtbot)["volume"]
    seen: list[str] = []
    notification_manager.notification_ready.connect(lambda n: seen.append(n.message))
    for wrong in ({"dice": "much"}, {"kind": "moon"}, {"number": None}, {"flags": 3}):
        dock.workspace.docks.dispatch("take score rows", [row | wrong])
        assert "cannot be read" in seen.pop()
        assert dock.table.as_data() == []
    dock.workspace.docks.dispatch("take score rows", [{"scored": "volume"}])
    assert "cannot be read" in seen.pop()
    dock.workspace.docks.dispatch("take score rows", [])
    assert not seen
    assert dock.run.isEnabled()


def test_planes_that_nobody_segmented_are_named(open_dock: Open, qtbot: Any) -> None:
    dock = open_dock()
    rows = score(dock, qtbot)
    truth, mine = (np.asarray(dock.workspace.viewer.layers[n].data) for n in ("truth", "mine"))
    assert rows["volume"]["remarks"] == "3 of 7 slices with ground truth have no mask"
    assert rows["object 1"]["remarks"] == (
        "label 5 in the prediction; 3 of 7 of its slices have no mask"
    )
    assert rows["plane 1"]["remarks"] == "missed: no prediction"
    words = "3 of 7 slices with ground truth have no mask and count as missed."
    assert words in dock.row.words.text()
    assert rows["volume"]["dice"] == score_masks(mine > 0, truth > 0, (3, 1, 0.5)).values["dice"]
    layer = dock.workspace.viewer.layers["mine"]
    layer.data = np.where(truth > 0, 5, 0).astype(np.uint8)
    assert not score(dock, qtbot)["volume"]["remarks"]
    assert "no mask" not in dock.row.words.text()


@pytest.mark.parametrize(
    ("image", "truth", "words", "unit"),
    [
        (MM, {}, "Distances are in mm, by the spacing of scan: truth has no unit.", "mm"),
        ({}, MM, "Distances are in px: scan has no unit, though truth is in mm.", "px"),
        (MM, MM, None, "mm"),
        ({}, {}, None, "px"),
    ],
)
def test_layers_of_different_units_are_scored_with_a_remark(
    open_dock: Open, qtbot: Any, image: Any, truth: Any, words: str | None, unit: str
) -> None:
    dock = open_dock(image, truth)
    assert dock.run.isEnabled()
    for _ in range(2):  # before it is scored, and after
        said = dock.row.words.text()
        assert ("Distances are in" in said) == (words is not None)
        assert words is None or words in said
        rows = score(dock, qtbot)
    assert rows["volume"]["unit"] == unit
    true, mine = (np.asarray(dock.workspace.viewer.layers[n].data) for n in ("truth", "mine"))
    spacing = (3, 1, 0.5) if unit == "mm" else (1, 1, 1)
    assert rows["volume"]["assd"] == score_masks(mine > 0, true > 0, spacing).values["assd"]
