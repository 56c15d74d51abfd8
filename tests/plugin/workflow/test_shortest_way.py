"""From an opened volume to a saved NIfTI of one object, by the mouse and the keys of a user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.plugin.io.reader import read_nifti_layers
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock

LEFT = Qt.MouseButton.LeftButton


@pytest.mark.parametrize("view", [0, 1, 2])
def test_a_box_and_a_file(
    view: int,
    viewer: Any,
    tmp_path: Path,
    qtbot: Any,
    finish: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).normal(40, 3, (40, 44, 36)).astype(np.int16)
    values[10:24, 12:30, 8:26] = 200
    affine = np.diag([-0.9, 1.1, 1.3, 1.0])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    ((data, meta, _),) = read_nifti_layers(str(tmp_path / "scan.nii.gz"))
    layer = viewer.add_image(data, **meta)
    dock = WorkflowDock(viewer)
    viewer.window.add_dock_widget(dock)
    dock.segment.segmenter.choose("seeded")
    viewer.show()
    (canvas,) = (w for w in QApplication.allWidgets() if "CanvasBackend" in type(w).__name__)

    qtbot.mouseClick(dock.heatmap.views.buttons[view], LEFT)
    axis, _ = dock.workspace.plane()
    assert axis == view
    index = 18  # through the object along each axis
    dock.workspace.show_plane(axis, index)
    viewer.reset_view()
    lesion = np.argwhere(np.take(layer.data, index, axis) == 200)
    corners = [np.insert(corner, axis, index) for corner in (lesion.min(0) - 2, lesion.max(0) + 2)]
    camera = getattr(viewer, "scene", viewer).camera

    def pixel(corner: Any) -> QPoint:
        world = np.array(layer.data_to_world(corner))[list(viewer.dims.displayed)]
        row, column = (world - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(canvas.width() / 2 + column), round(canvas.height() / 2 + row))

    qtbot.keyClick(canvas, Qt.Key.Key_R)
    boxes = dock.workspace.own("boxes")
    qtbot.waitUntil(lambda: boxes.mode == "add_rectangle")
    start, end = (pixel(corner) for corner in corners)
    way = [start + (end - start) * part for part in (0.3, 0.6, 1.0)]
    qtbot.mouseMove(canvas, start)
    qtbot.wait(50)  # the viewer takes one move of the mouse at a time
    qtbot.mousePress(canvas, LEFT, pos=start)
    for place in way:
        qtbot.mouseMove(canvas, place)
        qtbot.wait(50)
    qtbot.mouseRelease(canvas, LEFT, pos=end)
    qtbot.waitUntil(lambda: bool(dock.workspace.prompts.read(axis, index).objects))
    qtbot.keyClick(canvas, Qt.Key.Key_S)
    finish(dock.segment.row)
    qtbot.waitUntil(lambda: dock.workspace.masks.planes(axis) == [index], timeout=60_000)
    # Enter takes what the dialog suggests.
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda _p, _t, start, kinds: (start, kinds.split(";;")[0])
    )
    qtbot.mouseClick(dock.segment.saving.button, LEFT)
    finish(dock.segment.saving.row)

    saved = nib.load(tmp_path / "scan-labels.nii.gz")
    np.testing.assert_allclose(saved.affine, affine, atol=1e-6)
    labels = np.asarray(saved.dataobj)
    there = np.take(labels, index, 2 - axis)  # the file's axes run the other way
    assert np.count_nonzero(labels) == np.count_nonzero(there)
    assert overlap(there > 0, np.take(values, index, 2 - axis) == 200).dice > 0.95
