"""Saving labels, heatmaps and scores from the docks: suggested names, suffixes, words, errors."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.score_steps import ScoredRow
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.io.reader import read_nifti_layers
from napari_cam_sam.plugin.io.writer import write_labels_layer
from napari_cam_sam.plugin.layers.layer_geometry import transform_of
from napari_cam_sam.plugin.qt import saving
from napari_cam_sam.plugin.qt.saving import SavingRow
from napari_cam_sam.plugin.scores.score_rows import Subject, as_text
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

AFFINE = np.array(
    [[0.88, 0.17, 0.3, -40], [-0.2, 1.05, 0.6, 12.5], [-0.1, -0.25, 2.9, 100], [0, 0, 0, 1]]
)


class Dialog:
    """Answers for the user: a name in a folder, and a line of the list of kinds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer, self.kind, self.replace = "", 0, True
        self.start, self.kinds, self.questions = Path(), [], []
        monkeypatch.setattr(QFileDialog, "getSaveFileName", self._ask)
        monkeypatch.setattr(saving, "confirm", self._question)

    def _ask(self, _parent: Any, _title: str, start: str, kinds: str) -> tuple[str, str]:
        self.start, self.kinds = Path(start), kinds.split(";;")
        if not self.answer:
            return "", ""
        return str(self.start.parent / self.answer), self.kinds[self.kind]

    def _question(self, _parent: Any, _title: str, question: str) -> bool:
        self.questions.append(question)
        return self.replace


@pytest.fixture
def dialog(monkeypatch: pytest.MonkeyPatch) -> Dialog:
    return Dialog(monkeypatch)


@pytest.fixture
def press(qtbot: Any, finish: Callable[[Any], None]) -> Callable[[SavingRow], str]:
    """Press a button that saves, wait, and give what the dock says then."""

    def press(row: SavingRow) -> str:
        qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
        finish(row.row)
        text: str = row.row.words.text()
        return text

    return press


def open_volume(viewer: Any, tmp_path: Path) -> Any:
    data = np.random.default_rng(0).integers(0, 900, (7, 6, 5), dtype=np.int16)
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "scan.nii.gz")
    ((values, meta, _),) = read_nifti_layers(str(tmp_path / "scan.nii.gz"))
    return viewer.add_image(values, **meta)


def accepted(viewer: Any) -> Any:
    """Give labels as an acceptance leaves them."""
    layer = workspace_of(viewer).layers.labels("labels")
    layer.data[(slice(1, 3),) * layer.ndim] = 7
    return layer


def test_labels_of_a_volume_are_saved_as_nifti_beside_it(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str]
) -> None:
    open_volume(viewer, tmp_path)
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    assert press(dock.saving).startswith("No labels yet")
    layer = accepted(viewer)
    dialog.answer = "mine"  # as a user types it
    said = press(dock.saving)
    assert said == f"Saved labels as mine.nii.gz, in {tmp_path}."
    assert dialog.start == tmp_path / "scan-labels.nii.gz"
    suffixes = [kind.partition("*")[2] for kind in dialog.kinds]
    assert suffixes == [".nii.gz)", ".nii)", ".seg.nrrd)", ".mha)"]  # no other keeps its place
    back = nib.load(tmp_path / "mine.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj).T, layer.data)
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-5)
    assert not dialog.questions  # the file was not there
    dialog.replace = False
    before = (tmp_path / "mine.nii.gz").read_bytes()
    layer.data[:] = 0
    press(dock.saving)
    assert dialog.questions == ["mine.nii.gz already exists. Replace it?"]
    assert (tmp_path / "mine.nii.gz").read_bytes() == before
    dialog.answer, dialog.kind = "scan.v2", 1
    assert "scan.v2.nii," in press(dock.saving)
    assert (tmp_path / "scan.v2.nii").is_file()


def test_masks_that_nobody_accepted_yet_are_saved_and_further_ones_are_not(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str], finish: Any
) -> None:
    open_volume(viewer, tmp_path)
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    workspace = dock.workspace
    dock.segmenter.choose("seeded")
    dock.live.setChecked(False)
    box = ObjectPrompt(1, (), Box(1, 1, 4, 4))
    workspace.prompts.write((PlanePrompts(0, i, (box,)) for i in (2, 3)), "replace")
    dock.run_all.click()
    finish(dock.row)
    assert workspace.masks.planes(0) == [2, 3]
    dialog.answer = "first"
    assert press(dock.saving) == f"Saved labels as first.nii.gz, in {tmp_path}."
    saved = np.asarray(nib.load(tmp_path / "first.nii.gz").dataobj).T
    assert [bool(plane.any()) for plane in saved] == [i in (2, 3) for i in range(len(saved))]
    assert dock.outcome == "Accepted the masks of 2 slices; Ctrl-Z undoes it."
    # From then on only what is accepted is saved.
    workspace.prompts.write([PlanePrompts(0, 4, (box,))], "replace")
    dock.run_all.click()
    finish(dock.row)
    dialog.answer = "second"
    press(dock.saving)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "second.nii.gz").dataobj).T, saved)


def test_what_cannot_be_saved_is_said_in_the_dock_and_stays(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str], qtbot: Any
) -> None:
    open_volume(viewer, tmp_path)
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    accepted(viewer)
    dialog.answer = "labels.tif"
    said = press(dock.saving)
    assert said[:60].startswith("This format would lose the affine")
    assert "labels.tif" in said
    workspace_of(viewer).show_plane(0, 1)
    dock.saving.row.set_message("something else")
    assert dock.saving.row.words.text() == said
    dialog.answer = "scan.nii.gz"
    assert "the image itself" in press(dock.saving)
    dialog.answer = ""
    press(dock.saving)  # cancelled: the error is over
    assert not dock.saving.row.has_error


@pytest.mark.parametrize("unit", ["pixel", "mm"])
def test_pictures_and_stacks_can_be_saved_as_nifti_too(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str],
    monkeypatch: pytest.MonkeyPatch, unit: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    viewer.add_image(np.zeros((20, 30), np.uint8), name="a/b: <i>c", scale=(2, 1), units=unit)
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    layer = accepted(viewer)
    dialog.answer = "first"
    suffix = "png" if unit == "pixel" else "tif"
    assert f"first.{suffix}" in press(dock.saving)
    read = np.array(Pillow.open("first.png")) if unit == "pixel" else tifffile.imread("first.tif")
    np.testing.assert_array_equal(read, layer.data if unit == "mm" else (layer.data > 0) * 255)
    assert dialog.start.name == f"a_b_ _i_c-labels.{suffix}"
    dialog.kind = next(line for line, kind in enumerate(dialog.kinds) if ".nii.gz" in kind)
    dialog.answer = "second"
    assert "second.nii.gz" in press(dock.saving)
    back = nib.load("second.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj).T, layer.data)
    assert back.header.get_zooms()[:2] == (1, 2)
    assert back.header.get_xyzt_units()[0] == ("mm" if unit == "mm" else "unknown")


def test_labels_of_a_picture_lie_beside_it_and_can_be_seen(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from napari_cam_sam.plugin.scores.scores_dock import ScoresDock

    folder, elsewhere = tmp_path / "pictures", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    Pillow.fromarray(pixels).save(folder / "scan.png")
    viewer.open(str(folder / "scan.png"), plugin="napari")
    dock, heatmaps, scores = SegmentDock(viewer), HeatmapDock(viewer), ScoresDock(viewer)
    for one in (dock, heatmaps, scores):
        viewer.window.add_dock_widget(one)
    layer = accepted(viewer)
    dialog.answer = "mine"
    words = "the object is white (255) in place of its number 7"
    assert press(dock.saving) == f"Saved labels as mine.png, in {folder}: {words}."
    assert dialog.start == folder / "scan-labels.png"
    np.testing.assert_array_equal(Pillow.open(folder / "mine.png"), (layer.data > 0) * 255)
    layer.data[5:9] = 8
    words = "each object by its number, 7 to 8, which picture viewers show as dark"
    assert press(dock.saving) == f"Saved labels as mine.png, in {folder}: {words}."
    np.testing.assert_array_equal(Pillow.open(folder / "mine.png"), layer.data)
    dialog.answer = "scan.png"
    assert "the image itself" in press(dock.saving)
    np.testing.assert_array_equal(Pillow.open(folder / "scan.png"), pixels)
    dialog.answer = ""
    workspace_of(viewer).heatmaps.layer(0, create=True)
    press(heatmaps.saving)
    assert dialog.start == folder / "scan-heatmap.tif"
    scores.save.setEnabled(True)
    press(scores.saving)
    assert dialog.start == folder / "scan-scores.csv"


def test_heatmaps_and_scores_are_saved(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str]
) -> None:
    from napari_cam_sam.plugin.scores.scores_dock import ScoresDock

    open_volume(viewer, tmp_path)
    dock = HeatmapDock(viewer)
    viewer.window.add_dock_widget(dock)
    assert not dock.saving.button.isEnabled()
    assert "No heatmap" in dock.saving.button.toolTip()
    heat = workspace_of(viewer).heatmaps.layer(0, create=True)
    heat.data[:] = np.random.default_rng(0).random(heat.data.shape)
    dialog.answer = "h"
    assert "Saved heatmap as h.nii.gz" in press(dock.saving)
    assert dialog.start.name == "scan-heatmap.nii.gz"
    np.testing.assert_allclose(np.asarray(nib.load(tmp_path / "h.nii.gz").dataobj).T, heat.data)

    scores = ScoresDock(viewer)
    viewer.window.add_dock_widget(scores)
    scores.save.setEnabled(True)
    dialog.answer = "s"
    assert "Saved scores as s.csv" in press(scores.saving)
    assert dialog.start == tmp_path / "scan-scores.csv"
    assert (tmp_path / "s.csv").read_text().startswith("scored,")


def test_naparis_own_dialog_says_first_what_is_wrong(tmp_path: Path, viewer: Any) -> None:
    layer = open_volume(viewer, tmp_path)
    where = {**transform_of(layer), "metadata": dict(layer.metadata)}
    labels = viewer.add_labels(np.ones(layer.data.shape, np.uint8), **where)
    for name in ("labels", "labels.tif"):
        with pytest.raises(CamSamError) as raised:
            write_labels_layer(str(tmp_path / name), *labels.as_layer_data_tuple()[:2])
        assert not str(raised.value)[:60].startswith(str(tmp_path)[:20])
        assert str(tmp_path / name) in str(raised.value)[20:]


def test_no_cell_of_scores_is_a_formula() -> None:
    """Names of layers are the user's, or a file's; numbers stay numbers."""
    subject = Subject("=image", None, 0, 1, "@mask", "+truth", "-heat", "px")
    scores = Scores({"dice": 0.5, "hd95": -1.0}, ())
    text = as_text([ScoredRow("plane", 3, 3, scores)], subject, lambda _: False)
    (row,) = csv.DictReader(io.StringIO(text))
    names = [row[name] for name in ("image", "prediction", "truth", "heatmap")]
    assert names == ["'=image", "'@mask", "'+truth", "'-heat"]
    assert float(row["hd95"]) == -1


@pytest.mark.parametrize(
    ("ndim", "line", "qt", "ours"),
    [
        (3, 1, "scan-labels.nii.nii", "scan-labels.nii"),
        (3, 2, "scan-labels.nii.tif", "scan-labels.tif"),
        (3, 3, "scan-labels.nii.nrrd", "scan-labels.seg.nrrd"),
        (3, 4, "scan-labels.nii.mha", "scan-labels.mha"),
        (3, 0, "scan-labels.seg.gz", "scan-labels.nii.gz"),
        (3, 4, "scan-labels.seg.mha", "scan-labels.mha"),
        (2, 2, "scan-labels.gz", "scan-labels.nii.gz"),
        (2, 0, "case.nii.png", "case.png"),
    ],
)
def test_another_kind_chosen_in_the_dialog_gives_the_name_one_right_suffix(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str],
    monkeypatch: pytest.MonkeyPatch, ndim: int, line: int, qt: str, ours: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    viewer.add_image(np.zeros((4, 20, 30)[-ndim:], np.uint8), name="scan")
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    accepted(viewer)
    dialog.answer, dialog.kind = qt, line  # as Qt changes the name that it was given
    assert f"Saved labels as {ours}," in press(dock.saving)
    assert [path.name for path in tmp_path.glob("*.*")] == [ours]
    dialog.replace = False
    press(dock.saving)  # Qt asked for another name
    assert dialog.questions == [f"{ours} already exists. Replace it?"]


def test_what_was_saved_is_not_said_of_what_is_there_later(
    viewer: Any, tmp_path: Path, dialog: Dialog, press: Callable[[SavingRow], str]
) -> None:
    open_volume(viewer, tmp_path)
    dock, heatmaps = SegmentDock(viewer), HeatmapDock(viewer)
    for one in (dock, heatmaps):
        viewer.window.add_dock_widget(one)
    workspace = workspace_of(viewer)
    accepted(viewer)
    workspace.heatmaps.layer(0, create=True)
    dialog.answer = "labels.tif"
    assert press(dock.saving).startswith("This format would lose")
    dock.saving.row.clear_error()
    assert dock.saving.row.words.text() == ""  # and not that it is being saved
    for name, change in (
        ("first", workspace.masks.accepted_changed.emit),
        ("second", lambda: workspace.choose_image(None)),
    ):
        dialog.answer = name
        assert press(dock.saving).startswith("Saved labels")
        assert press(heatmaps.saving).startswith("Saved heatmap")
        change()
        assert dock.saving.row.words.text() == ""
    assert heatmaps.saving.row.words.text() == ""
