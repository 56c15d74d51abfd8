"""The training dock: real trainings of tiny pictures, stopped, resumed, and handed on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image as Pillow
from qtpy.QtWidgets import QApplication

from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.models.training.parameters import PRESETS, AugmentationParameters
from napari_cam_sam.models.training.run import train
from napari_cam_sam.models.training.samples import samples_from_folder
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.training.training_dock import TrainingDock
from napari_cam_sam.plugin.viewer.attach import workspace_of

Finish = Callable[[Any], None]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Give a folder of two classes, with six pictures each: noise with and without a blot."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for name in ("blot", "none"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 120, (36, 36)).astype(np.uint8)
            if name == "blot":
                row, column = rng.integers(2, 20, 2)
                pixels[row : row + 14, column : column + 14] = 230
            Pillow.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def dock(qapp: Any, finish: Finish) -> Iterator[TrainingDock]:
    widget = TrainingDock(ViewerModel())
    small(widget)
    yield widget
    widget.cancel()
    finish(widget.row)


def small(dock: TrainingDock, epochs: int = 2) -> None:
    """Let the dock train the smallest network, on the smallest pictures."""
    form = dock.parameters
    form.architecture.set_value("small-cnn")
    form.rows.setValue(32)
    form.epochs.setValue(epochs)
    form.device.set_value("cpu")
    form.rest.widget("batch_size").setValue(4)


def choose(dock: TrainingDock, folder: Path, qtbot: Any) -> None:
    """Choose a folder, and wait until it was looked through."""
    dock.source.folder.text.setText(str(folder))
    qtbot.waitUntil(lambda: "2 classes" in dock.plan.text(), timeout=20_000)


def said(widget: Any) -> str:
    return str(widget.text())


def test_a_folder_becomes_the_classifier_that_the_core_trains(
    dock: TrainingDock, pictures: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    (pictures / "notes.txt").write_text("not an image")
    shutil.copy(pictures / "blot" / "0.png", pictures / "blot" / "0_mask.png")
    assert not dock.run.isEnabled()
    choose(dock, pictures, qtbot)
    words = said(dock.plan)
    assert (
        "12 images, 2 classes: blot 6, none 6; 1 mask beside them skipped; 1 other file skipped."
        in words
    )
    assert "small-cnn from scratch at 32 × 32, 2 epochs on the CPU." in words
    assert dock.output.path() == tmp_path / "pictures-classifier"
    assert not dock.resume.isVisibleTo(dock)
    parameters = dock.parameters.value()
    dock.run.click()
    assert not dock.run.isEnabled()
    finish(dock.row)
    expected = train(samples_from_folder(pictures), parameters, tmp_path / "core")
    assert dock.model == tmp_path / "pictures-classifier" / "model.safetensors"
    assert expected.model is not None
    mine, theirs = (load_classifier(str(m), device="cpu") for m in (dock.model, expected.model))
    values = theirs.module.state_dict()
    assert values.keys() == mine.module.state_dict().keys()
    for name, value in mine.module.state_dict().items():
        np.testing.assert_array_equal(value, values[name])
    # Figures: those of the core, a class a row, and the confusion as numbers.
    figures = expected.figures
    assert figures is not None
    assert f"accuracy <b>{figures.accuracy:.3f}</b>" in said(dock.report.words)
    # Two images or three cannot tell it from a guess.
    assert expected.warning
    assert f"<b>{expected.warning}</b>" in said(dock.report.words)
    table, counts = dock.report.classes, dock.report.confusion
    for row, one in enumerate(figures.classes):
        cells = [table.item(row, column).text() for column in range(5)]
        assert cells == [
            one.name, str(one.n), *(f"{v:.3f}" for v in (one.precision, one.recall, one.f1))
        ]  # fmt: skip
        shown = [int(counts.item(row, column).text()) for column in range(2)]
        assert tuple(shown) == figures.confusion[row]
    # The next one goes into another folder.
    dock.train()
    assert dock.output.path() == tmp_path / "pictures-classifier-2"
    finish(dock.row)
    assert (tmp_path / "pictures-classifier-2" / "model.safetensors").is_file()


def test_what_was_cancelled_goes_on_to_the_same_end(
    dock: TrainingDock, pictures: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    small(dock, epochs=6)
    choose(dock, pictures, qtbot)
    whole = train(samples_from_folder(pictures), dock.parameters.value(), tmp_path / "whole")
    dock.train()
    qtbot.waitUntil(lambda: len(dock._epochs) >= 2, timeout=60_000)
    dock.row.cancel.click()
    finish(dock.row)
    done = len(dock._epochs)
    assert 2 <= done < 6
    assert said(dock.row.words).startswith(f"Stopped after epoch {done}")
    # The best until then can be used, and its figures are there.
    assert dock.model is not None
    assert load_classifier(str(dock.model), device="cpu").card.class_names == ("blot", "none")
    assert "Stopped: epoch" in said(dock.report.words)
    assert dock.resume.isVisibleTo(dock)
    # It goes on as it was begun, whatever the form shows by now.
    small(dock, epochs=3)
    dock.resume.click()
    finish(dock.row)
    assert [e.loss for e in dock._epochs] == [e.loss for e in whole.epochs]
    assert said(dock.row.words).startswith("Done")
    assert not dock.resume.isVisibleTo(dock)
    assert dock.parameters.epochs.value() == 6


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: shutil.rmtree(folder / "none"), "two classes or more"),
        (shutil.rmtree, "does not exist: name a folder that holds one folder a class"),
        (lambda folder: [p.unlink() for p in list((folder / "none").iterdir())[1:]], "add images"),
        (lambda folder: [p.write_bytes(b"?") for p in folder.glob("*/*")], "could be read"),
    ],
)
def test_bad_folders_are_a_sentence(
    dock: TrainingDock, pictures: Path, finish: Finish, notices: list[str], qtbot: Any,
    spoil: Callable[[Path], object], sentence: str,
) -> None:  # fmt: skip
    spoil(pictures)
    dock.source.folder.text.setText(str(pictures))
    qtbot.waitUntil(lambda: not dock.source._looker.busy, timeout=20_000)
    dock.train()
    finish(dock.row)
    assert len(notices) == 1
    assert sentence in notices[0]
    assert dock.run.isEnabled()
    assert dock.model is None


def test_a_parameter_out_of_range_is_said_and_nothing_starts(
    dock: TrainingDock, pictures: Path, qtbot: Any
) -> None:
    choose(dock, pictures, qtbot)
    dock.parameters.rest.widget("batch_size").setValue(1)
    assert "batch_size must be 2 or more" in said(dock.plan)
    assert not dock.run.isEnabled()
    dock.parameters.rest.widget("batch_size").setValue(4)
    assert dock.run.isEnabled()


@pytest.mark.parametrize("name", PRESETS)
def test_the_form_gives_what_the_preset_says(dock: TrainingDock, name: str) -> None:
    dock.parameters.set_value(PRESETS[name])
    assert dock.parameters.value() == PRESETS[name]


def test_choices_come_back_with_the_session(dock: TrainingDock, pictures: Path) -> None:
    dock.source.folder.text.setText(str(pictures))
    dock.output.text.setText("/somewhere/else")
    dock.parameters.rest.widget("learning_rate").setValue(3e-4)
    dock.parameters.augmentation.set_value(AugmentationParameters(rotation=90, upside_down=True))
    plain = json.loads(json.dumps(dock.state()))
    other = TrainingDock(ViewerModel())
    other.set_state(plain)
    assert other.parameters.value() == dock.parameters.value()
    assert other.state() == dock.state()


def test_a_dock_that_is_opened_again_goes_on_with_its_choices(
    qapp: Any, pictures: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    viewer = ViewerModel()
    first = TrainingDock(viewer)
    small(first, epochs=50)
    choose(first, pictures, qtbot)
    first.train()
    qtbot.waitUntil(lambda: len(first._epochs) >= 1, timeout=60_000)
    first.cancel()
    finish(first.row)
    first.workspace.docks.cache_states()
    first.setEnabled(False)
    again = TrainingDock(viewer)
    assert again.output.path() == tmp_path / "pictures-classifier"
    assert again.parameters.epochs.value() == 50
    assert again.resume.isVisibleTo(again)
    # Anew, it takes another folder; and of other images it names another.
    (tmp_path / "pictures").rename(tmp_path / "others")
    choose(again, tmp_path / "others", qtbot)
    qtbot.waitUntil(lambda: again.output.path() == tmp_path / "others-classifier", timeout=20_000)
    assert not again.resume.isVisibleTo(again)


def test_closing_the_dock_stops_the_training_and_keeps_its_state(
    viewer: Any, pictures: Path, tmp_path: Path, qtbot: Any
) -> None:
    dock = TrainingDock(viewer)
    shell = viewer.window.add_dock_widget(dock, name="training")
    small(dock, epochs=5000)
    choose(dock, pictures, qtbot)
    dock.run.click()
    job = dock._job
    assert job is not None
    qtbot.waitUntil((tmp_path / "pictures-classifier" / "checkpoint.pt").is_file, timeout=60_000)
    del dock
    viewer.window.remove_dock_widget(shell)
    qtbot.waitUntil(job.stop.is_set, timeout=20_000)
    folder = tmp_path / "pictures-classifier"
    # It says so itself once it has stopped: the classifier until then, and what Resume needs.
    qtbot.waitUntil((folder / "model.safetensors").is_file, timeout=20_000)
    assert (folder / "checkpoint.pt").is_file()


def test_the_new_classifier_goes_to_the_heatmap_dock(
    viewer: Any, pictures: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    viewer.add_image(np.zeros((36, 36), np.uint8), name="picture")
    _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", "Train")
    small(dock, epochs=1)
    choose(dock, pictures, qtbot)
    dock.train()
    finish(dock.row)
    # None is open: all four steps are, since prompts and masks come next.
    dock.use.click()
    assert "CAM → SAM (napari-cam-sam)" in viewer.window.dock_widgets
    workspace = workspace_of(viewer)
    # Docks of other tests may not be collected yet.
    docks = [w for w in QApplication.allWidgets() if isinstance(w, HeatmapDock)]
    (heatmap,) = [one for one in docks if one.workspace is workspace]
    # In a window that is seen it loads at once.
    heatmap.load()
    finish(heatmap.row)
    held = workspace.classifier
    assert held is not None
    assert held.name == str(tmp_path / "pictures-classifier" / "model.safetensors")
    assert heatmap.classifier.name.value() == held.name
    assert held.card.class_names == ("blot", "none")
    assert "not clearly better than guessing" in said(heatmap.row.words)
    # It says that it is chosen and what comes next, until that was done.
    chosen = "pictures-classifier is chosen. Now press Compute heatmap."
    assert said(heatmap.row.words).startswith(chosen)
    heatmap.classifier.name.set_value("lesion")
    heatmap._refresh()
    assert "is chosen" not in said(heatmap.row.words)
    dock.use.click()
    heatmap.load()
    finish(heatmap.row)
    assert said(heatmap.row.words).startswith(chosen)
    viewer.layers.clear()
    assert said(heatmap.row.words).startswith("pictures-classifier is chosen. Open an image")
    viewer.add_image(np.zeros((36, 36), np.uint8), name="picture")
    assert said(heatmap.row.words).startswith(chosen)
    assert heatmap.compute()
    finish(heatmap.row)
    assert "is chosen" not in said(heatmap.row.words)


def test_folder_settings_and_result_stay_when_the_dock_is_closed(
    viewer: Any, pictures: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    shell, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", "Train")
    small(dock, epochs=3)
    choose(dock, pictures, qtbot)
    dock.train()
    finish(dock.row)
    before, model = dock.state(), dock.model
    said_before = [said(one) for one in (dock.row.words, dock.report.words, dock.plan)]
    viewer.window.remove_dock_widget(shell)
    _, again = viewer.window.add_plugin_dock_widget("napari-cam-sam", "Train")
    assert again is not dock
    assert again.state() == before
    qtbot.waitUntil(lambda: "2 classes" in again.plan.text(), timeout=20_000)
    assert [said(one) for one in (again.row.words, again.report.words, again.plan)] == said_before
    assert again.sections[3].isVisibleTo(again)
    assert again.curves.isVisibleTo(again)
    assert again.use.isEnabled()
    assert again.model == model == tmp_path / "pictures-classifier" / "model.safetensors"
