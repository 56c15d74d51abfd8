"""What was chosen in a dock is there again when it is closed and opened in the same window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication

from napari_cam_sam.plugin.layers.layer_axes import KEY
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.parameters import PRESETS


class Window:
    """A viewer with a small volume, in which one dock is open at a time."""

    def __init__(self, viewer: Any) -> None:
        self.viewer, self.frame = viewer, None
        pixels = np.random.default_rng(0).random((5, 20, 22)).astype(np.float32)
        self.viewer.add_image(pixels, name="scan")
        truth = np.zeros((5, 20, 22), int)
        truth[1:4, 4:9, 4:9], truth[2, 12:16, 12:16] = 1, 2
        self.viewer.add_labels(truth, name="truth")

    def open(self, name: str) -> Any:
        self.close()
        self.frame, dock = self.viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
        QApplication.processEvents()
        return dock

    def close(self) -> None:
        if self.frame is not None:
            self.viewer.window.remove_dock_widget(self.frame)
            QApplication.processEvents()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            self.frame = None


@pytest.fixture
def window(viewer: Any) -> Window:
    return Window(viewer)


def test_choices_for_heatmaps_stay(window: Window, finish: Any) -> None:
    dock = window.open("Heatmap")
    dock.choose("lesion")
    dock.load()
    finish(dock.row)
    dock.method.set_value("grad-cam++")
    dock.least.set_value(0.25)
    dock.planes.scope.set_value("range")
    dock.planes.first.setValue(1)
    dock.planes.last.setValue(3)
    dock.classifier.target.setCurrentIndex(1)
    dock.follow.setChecked(True)
    before = dock.state()
    again = window.open("Heatmap")
    assert again is not dock
    finish(again.row)
    assert again.state() == before
    assert again.follow.isChecked()
    assert list(again.planes.indices()) == [1, 2, 3]
    # The dock with all steps has them, too.
    assert window.open("CAM → SAM").heatmap.state() == before


def test_slices_that_nobody_chose_are_those_that_suit_the_dock(window: Window) -> None:
    window.open("Heatmap").least.set_value(0.25)
    whole = window.open("CAM → SAM").heatmap
    assert whole.least.value() == 0.25
    assert whole.planes.scope.value() == "all"


def test_another_image_has_what_suits_it(window: Window) -> None:
    dock = window.open("Heatmap")
    dock.choose("organ")
    dock.least.set_value(0.25)
    window.open("Segment").segmenter.choose("seeded")
    window.close()
    suits = {"classifier": "lesion", "segmenter": "compact-sam"}
    pixels = np.random.default_rng(1).random((5, 20, 22))
    window.viewer.add_image(pixels, metadata={KEY: suits}, name="other")
    workspace = workspace_of(window.viewer)
    workspace.choose_image(workspace.images()[-1])
    workspace = workspace_of(window.viewer)
    workspace.choose_image(workspace.images()[-1])
    again = window.open("Heatmap")
    assert again.image.currentText() == "other"
    assert again.classifier.name.value() == "lesion"
    assert again.least.value() == 0.25
    assert window.open("Segment").segmenter.value() == "compact-sam"


def test_the_rule_of_the_prompts_and_what_is_taken_from_the_truth_stay(
    window: Window, qtbot: Any
) -> None:
    dock = window.open("Prompts")
    qtbot.waitUntil(lambda: dock.truth.label.count() == 3)
    name = list(PRESETS)[1]
    dock.choose_strategy(name)
    dock.threshold.set_value(0.35)
    dock.truth.rule.set_value("truth-point")
    dock.truth.margin.setValue(7)
    dock.truth.label.set_value(2)
    dock.preview.setChecked(False)
    dock.object.setValue(4)
    before = dock.state()
    again = window.open("Prompts")
    assert again.state() == before
    assert again.threshold.value() == 0.35
    assert (again.truth.rule.value(), again.truth.margin.value()) == ("truth-point", 7)
    assert again.object.value() == 4
    assert not again.preview.isChecked()
    assert again.truth.label.value() == 2
    qtbot.waitUntil(lambda: again.truth.label.count() == 3)
    assert again.truth.label.value() == 2


def test_choices_for_masks_stay(window: Window) -> None:
    dock = window.open("Segment")
    dock.segmenter.choose("compact-sam")
    dock.review.overlap.set_value("overwrite")
    dock.live.setChecked(False)
    dock.ahead.switch.setChecked(False)
    dock.through.start_from.setCurrentIndex(1)
    dock.through.rules.rule.widget("max_planes").set_value(3)
    dock.automatic.search.widget("points_per_side").setValue(9)
    dock.automatic.ranking.widget("union").setValue(0.75)
    before = dock.state()
    again = window.open("Segment")
    assert again.state() == before
    assert again.automatic.search.value().points_per_side == 9
    assert again.automatic.ranking.value().union == 0.75


def test_scores_stay_and_are_said_to_be_of_before(window: Window, finish: Any) -> None:
    masks = (window.viewer.layers["truth"].data == 1).astype(int)
    window.viewer.add_labels(masks, name="masks")
    dock = window.open("Scores")
    dock.choices.choose_prediction(window.viewer.layers["masks"])
    dock.score()
    finish(dock.row)
    before = dock.table.as_data()
    assert before
    again = window.open("Scores")
    assert again.table.as_data() == before
    assert again.row.words.text().startswith("Scores are from before")
