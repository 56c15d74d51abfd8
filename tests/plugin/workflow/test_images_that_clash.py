"""An image that is opened twice, and a truth of another shape, in the dock with all four steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.writing import write_image
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

BOX = PlanePrompts(0, 11, (ObjectPrompt(1, (), Box(30, 40, 60, 70)),))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    write_image(path, make_sample("ct").image)
    return path


@pytest.fixture
def way(viewer: Any, scan: Path) -> Any:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", "CAM → SAM")
    viewer.open(str(scan), plugin="napari-cam-sam")
    QApplication.processEvents()
    return dock


def test_an_image_opened_twice_is_two_images(
    viewer: Any, way: Any, scan: Path, qtbot: Any, finish: Any
) -> None:
    workspace = way.workspace
    first = workspace.image_layer
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        workspace.prompts.write([BOX])
    way.segment.segmenter.choose("seeded")
    workspace.show_plane(0, 11)
    way.segment.segment()
    finish(way.segment.row)
    way.segment.review.accept_masks()
    labels = np.array(workspace.own("labels").data)
    assert labels.any()
    # The second is listed by a name of its own, and the work stays with the first.
    viewer.open(str(scan), plugin="napari-cam-sam")
    listed = [way.heatmap.image.itemText(i) for i in range(way.heatmap.image.count())]
    assert listed == ["scan", "scan [1]"]
    second = viewer.layers["scan [1]"]
    QApplication.processEvents()
    assert workspace.image_layer == second
    assert workspace.prompts.read(0, 11).objects == ()
    assert workspace.own("labels") is None
    workspace.choose_image(first)
    QApplication.processEvents()
    assert workspace.prompts.read(0, 11).objects == BOX.objects
    np.testing.assert_array_equal(workspace.own("labels").data, labels)
    # One of them goes: the other one's work stays.
    viewer.layers.remove(second)
    QApplication.processEvents()
    assert workspace.image_layer is first
    np.testing.assert_array_equal(workspace.own("labels").data, labels)


def test_a_truth_of_another_shape_is_refused_by_every_step(
    viewer: Any, way: Any, finish: Any
) -> None:
    workspace = way.workspace
    viewer.add_labels(np.ones((5, 30, 40), np.uint8), name="truth")
    QApplication.processEvents()
    assert workspace.truth() is None  # it is not taken by itself
    places = way.prompts.truth
    places.layer.setCurrentIndex(places.layer.findText("truth"))
    places.layer.chosen.emit()
    QApplication.processEvents()
    places.place.click()
    finish(way.prompts.row)
    assert "truth has shape (5, 30, 40)" in way.prompts.row.words.text()
    assert workspace.prompts.planes(0) == []
    way.scores.choices.choose_prediction(workspace.layers.labels("preview"))
    assert way.scores.choices.truth.currentText() == "truth"
    assert not way.scores.score()
    assert "truth has shape (5, 30, 40)" in way.scores.row.words.text()
    assert way.scores.table.subject is None
