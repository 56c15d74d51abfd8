"""The first box has its mask at once: the segmenter loads when it is begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.segment import first_load
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.prompts.data import PlanePrompts

WAIT = 60_000
BOX = np.array([[2, 4, 5], [2, 4, 18], [2, 15, 18], [2, 15, 5]], float)


@pytest.fixture
def dock(model: ViewerModel, qtbot: Any) -> Iterator[SegmentDock]:
    dock = SegmentDock(model)
    dock.segmenter.choose("seeded")
    yield dock
    qtbot.waitUntil(lambda: not dock.first.busy and not dock.row.busy, timeout=WAIT)


def begin(dock: SegmentDock) -> Any:
    """Choose the tool for boxes, as the button and napari's own do."""
    boxes = dock.workspace.prompts.create()[1]
    boxes.mode = "add_rectangle"
    return boxes


def masks(dock: SegmentDock) -> PlanePrompts | None:
    """Return the prompts that the masks on the slice shown are of."""
    found = dock.masks.get(0, 2)
    return None if found is None else found.prompts


@pytest.mark.parametrize("name", ["seeded", "compact-sam"])
@pytest.mark.parametrize("early", [True, False])
def test_the_first_box_has_its_mask_at_once(
    dock: SegmentDock, qtbot: Any, name: str, early: bool
) -> None:
    dock.segmenter.choose(name)
    assert dock.segmenter.loaded() is None
    boxes = begin(dock)
    assert dock.row.words.text() == f"Loading {dock.segmenter.words()}…"
    if not early:
        qtbot.waitUntil(lambda: not dock.first.busy, timeout=WAIT)
    boxes.add(BOX)
    qtbot.waitUntil(lambda: masks(dock) is not None, timeout=WAIT)
    assert masks(dock) == dock.workspace.prompts.read(0, 2)
    assert dock.workspace.own("preview").data[2].any()
    assert dock.segmenter.loaded().name == name
    assert "Loading" not in dock.row.words.text()


def test_boxes_of_the_truth_have_their_masks_at_once(
    model: ViewerModel, dock: SegmentDock, qtbot: Any
) -> None:
    image = model.layers["scan"]
    truth = np.zeros(image.data.shape, np.uint8)
    truth[2, 4:12, 5:15] = 1
    model.add_labels(truth, name="truth", scale=image.scale, affine=image.affine, units="mm")
    PromptsDock(model).truth.place.click()
    qtbot.waitUntil(lambda: masks(dock) is not None, timeout=WAIT)


def test_prompts_of_the_heatmap_have_their_mask_at_once(
    model: ViewerModel, dock: SegmentDock, qtbot: Any
) -> None:
    prompts = PromptsDock(model)
    assert not prompts.place.isEnabled()
    assert prompts.place.toolTip().startswith("No heatmap on this slice")
    heatmaps = dock.workspace.heatmaps
    layer = heatmaps.layer(0, create=True)
    layer.data[2, 4:12, 5:15] = 1
    heatmaps.set_record(layer, 2, HeatmapRecord("a", {"a": 0.9}, None, {}))
    dock.workspace.heatmaps_changed.emit()
    assert prompts.place.isEnabled()
    prompts.place.click()
    qtbot.waitUntil(lambda: masks(dock) is not None, timeout=WAIT)


def test_a_press_meanwhile_waits_for_the_segmenter(
    dock: SegmentDock, qtbot: Any, hold: Callable[..., Any]
) -> None:
    gate = hold(first_load, "load")
    boxes = begin(dock)
    boxes.add(BOX)
    begin(dock)
    assert dock.segment()
    assert not dock.row.busy
    gate.wait(1)
    gate.open()
    qtbot.waitUntil(lambda: masks(dock) is not None and not dock.row.busy, timeout=WAIT)
    assert gate.calls == 1
    assert dock.workspace.segmenter is dock.segmenter.loaded() is not None


def test_one_that_does_not_load_is_said_once(
    dock: SegmentDock, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise CamSamError("The checkpoint is damaged.")

    monkeypatch.setattr(first_load, "load", fail)
    begin(dock)
    qtbot.waitUntil(lambda: not dock.first.busy, timeout=WAIT)
    assert dock.row.words.text() == "The checkpoint is damaged."
    assert dock.segmenter.loaded() is None


def test_nothing_is_loaded_that_nobody_asked_for(dock: SegmentDock, qtbot: Any) -> None:
    dock.segmenter.choose("sam-vit-b")  # 375 MB
    begin(dock)
    assert not dock.first.busy
    dock.segmenter.choose("seeded")
    dock.live.setChecked(False)
    begin(dock).mode = "select"
    begin(dock)
    assert not dock.first.busy
    dock.live.setChecked(True)
    begin(dock).mode = "select"
    begin(dock)
    assert dock.first.busy
    # Another one was chosen while it loaded.
    dock.segmenter.choose("compact-sam")
    qtbot.waitUntil(lambda: not dock.first.busy, timeout=WAIT)
    assert dock.workspace.segmenter is None
