"""What the Train dock says goes once it is no longer so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QFormLayout

from napari_cam_sam.plugin.qt.paths import PathRow
from napari_cam_sam.plugin.training.source import PLANES, TABLE
from napari_cam_sam.plugin.training.training_dock import TrainingDock


@pytest.fixture
def dock(qapp: Any, qtbot: Any) -> TrainingDock:
    dock = TrainingDock(ViewerModel())
    qtbot.addWidget(dock)
    return dock


def test_a_truth_is_asked_for_until_there_is_one(dock: TrainingDock) -> None:
    dock.source.kind.set_value(PLANES)
    assert dock.plan.text().startswith("Open an image first")
    dock.workspace.viewer.add_image(np.zeros((3, 8, 9)))
    assert dock.plan.text().startswith("Add two classes or more")
    dock.source.tagging.tag_by_truth()
    assert dock.plan.text().startswith("No ground truth")
    dock.workspace.viewer.add_labels(np.ones((3, 8, 9), int), name="truth")
    assert dock.plan.text().startswith("Add two classes or more")


def test_selected_is_said_until_another_classifier_is(dock: TrainingDock, tmp_path: Any) -> None:
    class Taker:
        def take(self, path: str) -> None:
            dock.workspace.classifier = SimpleNamespace(name=path)
            dock.workspace.classifier_changed.emit()

    taker = Taker()
    dock.workspace.docks.register("use classifier", taker.take)
    dock.model = tmp_path / "model.safetensors"
    dock.use_for_heatmaps()
    assert dock.row.words.text() == f"{dock.model} is now the classifier for heatmaps."
    taker.take(str(dock.model))
    assert dock.row.words.text() == f"{dock.model} is now the classifier for heatmaps."
    taker.take("lesion")
    assert dock.row.words.text() == ""


def test_each_path_has_a_name_that_says_what_it_is_for(dock: TrainingDock) -> None:
    dock.show()

    def named() -> list[str]:
        rows = [one for one in dock.findChildren(QFormLayout) if one.count()]
        fields = [(r.labelForField(w), w) for r in rows for w in dock.findChildren(PathRow)]
        return [label.text() for label, w in fields if label is not None and w.isVisible()]

    assert named() == ["Images in", "Save in"]
    dock.source.kind.set_value(TABLE)
    assert named() == ["Table", "Save in"]
    dock.source.kind.set_value(PLANES)
    assert named() == ["Save in"]


def test_the_plan_says_when_the_time_is_known(dock: TrainingDock, tmp_path: Path) -> None:
    dock.source.folder.text.setText(str(tmp_path))
    dock.source.look()
    assert dock.plan.text().endswith("How long it takes is said once it runs.")
