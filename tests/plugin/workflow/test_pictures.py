"""A single picture in the docks: nothing that only means something for a volume is there."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication, QLabel, QPushButton

from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts


def scan(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)


def seen(way: Any) -> list[str]:
    """Return the texts in view, from top to bottom."""
    found = [*way.findChildren(QLabel), *way.findChildren(QPushButton)]
    return [one.text() for one in found if one.isVisibleTo(way) and one.text()]


def test_a_picture_has_no_slices(qapp: Any, qtbot: Any, finish: Any) -> None:
    viewer = ViewerModel()
    way = WorkflowDock(viewer)
    qtbot.addWidget(way)
    way.show()
    viewer.add_image(scan(30, 40), name="picture")
    workspace = way.workspace
    way.heatmap.choose("lesion", "lesion")
    way.heatmap.load()
    finish(way.heatmap.row)
    workspace.prompts.write([PlanePrompts(0, 0, (ObjectPrompt(1, (), Box(4, 5, 12, 15)),))])
    way.segment.segmenter.choose("seeded")
    QApplication.processEvents()
    workspace.prompts.settle()
    workspace.shown.look_at_plane()
    way.segment._refresh()
    texts = seen(way)
    assert [text for text in texts if "slice" in text.lower() and "<table>" not in text] == []
    assert {"Segment (S)", "Accept (C)", "Clear prompts (Shift-C)"} <= set(texts)
    assert "Propagate through volume" not in " ".join(texts)
    assert way.prompts.found.text() == "1 box, no points."
    assert way.segment.review.shown.text().startswith("No mask on this picture yet")
    # A volume has all of it.
    viewer.layers.clear()
    viewer.add_image(scan(4, 30, 40), name="volume")
    QApplication.processEvents()
    workspace.prompts.settle()
    workspace.shown.look_at_plane()
    assert {"Segment this slice (S)", "Accept all slices"} <= set(seen(way))
    assert way.segment._volume.isVisibleTo(way)
    assert way.prompts.found.text().startswith("Slice 1: ")
