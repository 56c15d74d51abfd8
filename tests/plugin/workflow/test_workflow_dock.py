"""The dock for the whole way, and what the manifest promises."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QScrollArea

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.pipeline import RunParameters, run_image
from napari_cam_sam.plugin.state.preferences import Preferences, preferences
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.loading import load_segmenter


@pytest.fixture
def way(viewer: Any) -> Any:
    viewer.open_sample("napari-cam-sam", "ct")
    dock = WorkflowDock(viewer)
    viewer.window.add_dock_widget(dock)
    return dock


def test_one_button_goes_from_the_image_to_the_scores(viewer: Any, way: Any, qtbot: Any) -> None:
    way.run.click()
    assert not way.run.isEnabled()
    qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
    assert way.words.text().startswith("Done")
    sample = make_sample("ct")
    expected = run_image(
        sample.image,
        load_segmenter("compact-sam", "cpu"),
        load_classifier("lesion", device="cpu"),
        RunParameters(
            window=parse_window(sample.window),
            cam=CamParameters(target="lesion", min_probability=0.5),
        ),
        sample.truth,
    )
    np.testing.assert_array_equal(way.workspace.own("preview").data, expected.labels)
    np.testing.assert_allclose(way.workspace.own("heatmap", 0).data, expected.heatmap, atol=1e-5)
    dice = {
        row["number"]: row["dice"] for row in way.scores.table.as_data() if row["kind"] == "plane"
    }
    assert dice == pytest.approx({i: s.values["dice"] for (i, _), s in expected.scores.items()})
    # Nothing was accepted without being asked for.
    assert way.workspace.own("labels") is None


def test_pressed_while_the_classifier_loads_it_runs_when_that_is_there(
    way: Any, qtbot: Any
) -> None:
    way.workspace.show_plane(0, 11)
    way.heatmap.planes.scope.set_value("shown")
    way.heatmap.load()
    assert way.heatmap.row.busy
    way.run.click()
    qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
    assert way.words.text().startswith(
        "Done for 1 of 24 slices; the volume scores count all slices."
    )
    assert way.workspace.heatmaps.computed_planes(0) == [11]
    # What is accepted is what is scored from then on.
    way.segment.review.accept.click()
    assert way.scores.choices.prediction.value() is way.workspace.own("labels")


def test_stop_ends_the_step_and_what_would_follow(viewer: Any, way: Any, qtbot: Any) -> None:
    viewer.dims.order = (1, 0, 2)
    way.heatmap.planes.scope.set_value("all")
    way.run.click()
    qtbot.waitUntil(lambda: len(way.workspace.heatmaps.computed_planes(1)) > 2, timeout=120_000)
    way.stop.click()
    qtbot.waitUntil(lambda: not way.heatmap.row.busy, timeout=120_000)
    assert way.run.isEnabled()
    assert "Stopped" in way.words.text()
    assert len(way.workspace.heatmaps.computed_planes(1)) < 128
    assert way.workspace.own("boxes") is None


def test_masks_that_are_all_refused_end_it_with_the_reason(
    way: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise CamSamError("The segmenter refuses it.")

    monkeypatch.setattr("napari_cam_sam.plugin.segment.segment_run.decode", refuse)
    way.workspace.show_plane(0, 11)
    way.heatmap.planes.scope.set_value("shown")
    way.run.click()
    qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
    assert "The segmenter refuses it." in way.words.text()
    assert "Stopped" not in way.words.text()


def test_a_range_of_planes_is_shown_without_a_wider_dock(way: Any, qtbot: Any) -> None:
    # As wide as the dock was made for, and nothing of it beyond the edge.
    inside = way.findChild(QScrollArea).widget()
    planes = way.heatmap.planes
    inside.layout().activate()
    before = inside.minimumSizeHint().width()
    assert not planes.first.isVisibleTo(way)
    planes.scope.set_value("range")
    assert planes.first.isVisibleTo(way)
    for layout in (planes.layout(), way.heatmap.layout(), inside.layout()):
        layout.activate()
    assert inside.minimumSizeHint().width() == before


def test_what_it_says_asks_for_no_wider_dock(way: Any) -> None:
    inside = way.findChild(QScrollArea).widget()
    widths = []
    for words in ("", "many words " * 60):
        for label in (way.plan, way.words):
            label.setText(words)
        inside.layout().activate()
        widths.append(inside.sizeHint().width())
    assert widths[0] == widths[1]


def test_without_an_image_it_says_what_is_missing(viewer: Any, qtbot: Any) -> None:
    way = WorkflowDock(viewer)
    qtbot.addWidget(way)
    assert "Open an image" in way.plan.text()
    assert not way.run.isEnabled()
    viewer.add_image(np.random.default_rng(0).random((40, 40)))
    assert "No classifier? Go to step 2" in way.plan.text()
    assert not way.run.isEnabled()


def test_a_class_that_is_nowhere_ends_in_words(way: Any, qtbot: Any) -> None:
    way.workspace.show_plane(0, 0)
    way.heatmap.planes.scope.set_value("shown")
    way.run.click()
    qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
    assert way.words.text().startswith("No prompts of lesion on slice 0: ")
    assert way.words.text().endswith(" Nothing to segment.")
    assert "below the cut-off" in way.heatmap.found.text()


def test_a_line_says_what_the_button_does_and_follows_the_choices(
    viewer: Any, way: Any, qtbot: Any
) -> None:
    choices = way.scores.choices
    way.workspace.device = "cpu"
    way.segment.segmenter.changed.emit()
    assert way.plan.text() == (
        "Heatmaps of lesion for all 24 axial slices, on the CPU; prompts (Strongest region: "
        "box, point) from each heatmap; masks of all slices with prompts, by compact-sam on "
        "the CPU; scores against CT-like phantom, truth."
    )
    way.heatmap.planes.scope.set_value("range")
    way.heatmap.planes.last.setValue(2)
    way.prompts.choose_strategy("s4-mode3")
    way.segment.segmenter.choose("seeded")
    viewer.layers.remove(choices.truth.value())
    assert "for 3 axial slices, on" in way.plan.text()
    assert way.plan.text().endswith(" Only 3 of 24 slices: choose more under Slices in step 1.")
    assert "prompts (Largest region: a box)" in way.plan.text()
    assert "by seeded on the CPU; no scores without a ground truth." in way.plan.text()
    way.heatmap.load()
    qtbot.waitUntil(lambda: not way.heatmap.row.busy, timeout=120_000)
    assert "axial slices, on the CPU; prompts" in way.plan.text()
    assert "about" not in way.plan.text()
    way.heatmap.classifier.target.set_value("normal")
    way.heatmap.classifier.target.chosen.emit()
    assert way.plan.text().startswith("Heatmaps of normal for")
    way.run.click()
    started = way.plan.text()
    way.prompts.choose_strategy("ours")
    assert way.plan.text() == started
    qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
    assert "prompts (Strongest region: box, point)" in way.plan.text()
    assert way.plan.text().endswith("Up to about 1 s.")


def test_all_planes_of_a_short_volume_and_one_of_a_long_one(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.zeros((65, 20, 64)), name="scan")
    way = WorkflowDock(viewer)
    qtbot.addWidget(way)
    way.heatmap.choose("lesion", "lesion")
    assert "slice 32 along axis 0" in way.plan.text()
    assert "Only 1 of 65 slices" in way.plan.text()
    for axis, scope, n in ((1, "all", 20), (2, "all", 64), (0, "shown", 65)):
        with qtbot.waitSignal(way.workspace.plane_changed):
            way.workspace.show_plane(axis, 0)
        assert way.heatmap.planes.scope.value() == scope
        assert (f"all {n} slices along axis {axis}" in way.plan.text()) == (scope == "all")
    # What was chosen stays, also where the view is turned.
    way.heatmap.planes.scope.set_value("all")
    with qtbot.waitSignal(way.workspace.plane_changed):
        way.workspace.show_plane(1, 3)
    way.heatmap.planes.scope.set_value("shown")
    with qtbot.waitSignal(way.workspace.plane_changed):
        way.workspace.show_plane(2, 3)
    assert "for slice 3 along axis 2" in way.plan.text()


def test_opened_beside_a_loaded_classifier_it_says_its_own_planes(
    way: Any, viewer: Any, qtbot: Any
) -> None:
    way.heatmap.load()
    qtbot.waitUntil(lambda: not way.heatmap.row.busy, timeout=120_000)
    again = WorkflowDock(viewer)
    qtbot.addWidget(again)
    assert "all 24 axial slices" in again.heatmap.row.words.text()


def test_in_three_dimensions_it_says_what_to_do(way: Any, viewer: Any, qtbot: Any) -> None:
    with qtbot.waitSignal(way.workspace.plane_changed):
        viewer.dims.ndisplay = 3
        # Pressed before the docks have heard of it, it starts nothing.
        way.run.click()
    assert "switch to 2D" in way.words.text()
    assert not way.run.isEnabled()
    assert "switch to 2D" in way.plan.text()
    assert not way.heatmap.row.busy
    with qtbot.waitSignal(way.workspace.plane_changed):
        viewer.dims.ndisplay = 2
    assert way.run.isEnabled()
    assert "all 24 axial slices" in way.plan.text()


def test_turned_to_three_dimensions_meanwhile_it_ends(way: Any, viewer: Any, qtbot: Any) -> None:
    # While the classifier loads, the press waits; then it cannot be done any more.
    way.heatmap.load()
    way.run.click()
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: "Stopped" in way.words.text(), timeout=120_000)
    viewer.dims.ndisplay = 2
    qtbot.waitUntil(way.run.isEnabled)
    way.run.click()
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: "switch to 2D" in way.words.text(), timeout=120_000)
    assert not way.stop.isEnabled()
    assert way.workspace.own("preview") is None


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_step_that_is_at_work_is_named(way: Any, qtbot: Any, step: int) -> None:
    way.workspace.show_plane(0, 11)
    way.heatmap.planes.scope.set_value("shown")
    rows = [one.row for one in (way.heatmap, way.prompts, way.segment, way.scores)]
    opened = threading.Event()

    def wait() -> Iterator[int]:
        assert opened.wait(60)
        yield 1

    rows[step - 1].start(wait, 1, "else", lambda _: None)
    if step == 4:
        way.scores._next = object()
    way.run.click()
    qtbot.waitUntil(lambda: "still running" in way.words.text(), timeout=120_000)
    opened.set()
    assert way.words.text().startswith(f"Step {step} is still running")
    assert way.run.isEnabled()
    way.scores._next = None
    qtbot.waitUntil(lambda: not any(row.busy for row in rows), timeout=120_000)


def test_prompts_that_cannot_be_placed_end_it_with_the_words_of_step_2(
    way: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise CamSamError("The points layer cannot be written into.")

    monkeypatch.setattr(way.workspace.prompts, "write", refuse)
    way.run.click()
    qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
    assert way.words.text() == "The points layer cannot be written into."
    assert way.workspace.own("preview") is None


def test_every_widget_of_the_manifest_opens_from_the_menu(viewer: Any) -> None:
    viewer.open_sample("napari-cam-sam", "shapes")
    for name in ("CAM → SAM", "Heatmap", "Prompts", "Segment", "Scores", "Train"):
        dock, widget = viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
        assert widget.isVisibleTo(dock)


def test_menus_are_those_that_napari_has() -> None:
    manifest = PluginManifest.from_distribution("napari-cam-sam")
    menus = manifest.contributions.menus
    # npe2 accepts any name; these are the ones that a plugin may fill.
    assert set(menus) == {
        f"napari/layers/{m}" for m in ("segment", "annotate", "visualize", "measure", "classify")
    }
    commands = {command.id for command in manifest.contributions.commands}
    assert all(item.command in commands for items in menus.values() for item in items)
    assert manifest.display_name == "CAM to SAM"
    assert manifest.icon


def test_preferences_are_those_of_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = PluginManifest.from_distribution("napari-cam-sam")
    declared = manifest.contributions.configurations["general"].properties
    assert {name: one.default for name, one in declared.items()} == vars(Preferences())
    # Not napari's own: it would write into the settings of whoever runs the tests.
    chosen = SimpleNamespace(general=SimpleNamespace(device="cpu", autosave_seconds=9.0))
    # napari has it from 0.9 on.
    monkeypatch.setattr("napari.settings.get_plugin_settings", lambda _: chosen, raising=False)
    assert preferences() == Preferences(device="cpu", autosave_seconds=9.0)


def test_docks_open_without_pytorch(tmp_path: Path) -> None:
    code = (
        "import sys, os, napari\n"
        "viewer = napari.Viewer(show=False)\n"
        "viewer.open_sample('napari-cam-sam', 'ct')\n"
        "viewer.window.add_plugin_dock_widget('napari-cam-sam', 'CAM → SAM')\n"
        "viewer.window.add_plugin_dock_widget('napari-cam-sam', 'Train')\n"
        "print('torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )
    environment = {"NAPARI_CAM_SAM_SESSIONS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert done.stdout.split()[:2] == ["False", "False"], done.stderr[-2000:]


def _top_of(way: Any, widget: Any) -> int:
    return int(widget.mapTo(way.scroll.widget(), QPoint(0, 0)).y())


def test_the_end_of_a_run_is_told_below_its_button_and_moves_nothing(
    make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.open_sample("napari-cam-sam", "ct")
    way = WorkflowDock(viewer)
    viewer.window.add_dock_widget(way)
    way.heatmap.load()
    qtbot.waitUntil(lambda: not way.heatmap.row.busy, timeout=120_000)
    way.heatmap.planes.scope.set_value("range")
    way.heatmap.planes.first.setValue(8)
    way.heatmap.planes.last.setValue(9)
    qtbot.wait(50)
    places = {_top_of(way, way.sections[0])}
    way.run.click()
    while way._step:
        qtbot.wait(20)
        places.add(_top_of(way, way.sections[0]))
    assert way.words.isVisible()
    assert not way.plan.isVisible()
    assert way.words.text().startswith("Done for 2 of 24 slices; ")
    dice = {row["number"]: row["dice"] for row in way.scores.table.as_data()[:9]}
    missed = "Missed: slice 8 (the heatmap is empty). Next: draw a box"
    said = f"Mean Dice {dice[9] / 2:.3f} on 2 slices. {missed}"
    assert said in way.words.text()
    assert _top_of(way, way.words) < _top_of(way, way.sections[0])
    qtbot.wait(50)
    places.add(_top_of(way, way.sections[0]))
    assert len(places) == 1
    # What the button would do is said again once that is something else.
    way.prompts.choose_strategy("s4-mode3")
    assert way.plan.isVisible()
    assert way.words.text().startswith("Done for 2")
    # Its slices are those of this axis.
    with qtbot.waitSignal(way.workspace.plane_changed):
        way.workspace.show_plane(1, 3)
    assert way.words.text() == ""


def test_what_a_run_asks_is_asked_below_its_button(viewer: Any, way: Any, qtbot: Any) -> None:
    way.workspace.show_plane(0, 11)
    way.heatmap.planes.scope.set_value("shown")
    for answer in (True, False):
        box = ObjectPrompt(1, (), Box(50, 50, 60, 60))
        way.workspace.prompts.write((PlanePrompts(0, 11, (box,)),), "add")
        way.workspace.prompts.clear(0, 11)
        way.run.click()
        question = way.prompts.question
        qtbot.waitUntil(lambda q=question: q.asking, timeout=120_000)
        assert way.top.isAncestorOf(question)
        assert way.words.text() == "Step 2 of 4: prompts. Answer to go on:"
        if answer:
            question.replace.click()
            qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
            assert way.words.text().startswith("Done for 1 of 24 slices")
        else:
            way.stop.click()
            assert way.words.text() == "Stopped. Results so far are kept."
        assert way.prompts.isAncestorOf(question)


def test_not_scored_is_said_until_there_is_a_truth(viewer: Any, way: Any, qtbot: Any) -> None:
    truth = way.scores.choices.truth.value()
    viewer.layers.remove(truth)
    way.workspace.show_plane(0, 11)
    way.heatmap.planes.scope.set_value("shown")
    way.run.click()
    qtbot.waitUntil(way.run.isEnabled, timeout=120_000)
    assert way.words.text().startswith("Done: masks on 1 slice. Not scored, as there is no ground")
    viewer.add_layer(truth)
    assert way.words.text() == ""
    assert "scores against CT-like phantom, truth" in way.plan.text()
