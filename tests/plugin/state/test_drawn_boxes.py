"""Boxes drawn with the mouse: a click is none, and after one box the mouse selects again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.plugin.layers.drawn_regions import region_of
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of


@pytest.fixture
def boxes(workspace: ViewerWorkspace) -> Any:
    layer = workspace.prompts.create()[1]
    layer.mode = "add_rectangle"
    return layer


@pytest.mark.parametrize(
    "way",
    [[(2, 5, 5)], [(2, 5, 5), (2, 6, 6)], [(2, 5, 5), (2, 15, 7.9)], [(2, 9, 9), (2, 6.2, 2)]],
    ids=["click", "a pixel", "narrow", "flat"],
)
def test_what_is_under_three_pixels_a_side_is_no_box(
    way: list[tuple[float, ...]], workspace: ViewerWorkspace, boxes: Any, drag: Any, qtbot: Any
) -> None:
    told: list[str] = []
    workspace.prompts.ignored.connect(told.append)
    with qtbot.waitSignal(workspace.prompts.settled):
        drag(boxes, *way)
    assert len(boxes.data) == 0
    assert workspace.prompts.read(0, 2).objects == ()
    assert not workspace.prompts.touched()
    assert not workspace.prompts.undo()  # nothing was done
    assert len(told) == 1
    assert "below 3 pixels" in told[0]
    assert boxes.mode == "add_rectangle"  # the next may be meant


@pytest.mark.parametrize("told", [0, 1])
@pytest.mark.parametrize("end", [(2, 17, 21), (2, 1, 2), (2, 17, 2)])
def test_a_drag_ends_where_the_mouse_is_let_go_also_where_its_moves_were_not_told(
    workspace: ViewerWorkspace, boxes: Any, drag: Any, qtbot: Any, told: int, end: Any
) -> None:
    drag(boxes, (2, 9, 10), (2, 11, 12), end, told=told)
    qtbot.waitUntil(lambda: boxes.mode == "select")
    (prompt,) = workspace.prompts.read(0, 2).objects
    box = prompt.box
    assert box is not None
    rows, columns = sorted((9, end[1])), sorted((10, end[2]))
    near = np.array([box.row_min, box.column_min, box.row_max, box.column_max])
    np.testing.assert_allclose(near, [rows[0], columns[0], rows[1], columns[1]], atol=1)
    assert boxes.shape_type == ["rectangle"]
    assert workspace.prompts.undo()
    assert not len(boxes.data)


def test_after_one_box_the_mouse_selects(
    workspace: ViewerWorkspace, boxes: Any, drag: Any, qtbot: Any
) -> None:
    drag(boxes, (2, 5, 5), (2, 8, 8))
    qtbot.waitUntil(lambda: boxes.mode == "select")
    (prompt,) = workspace.prompts.read(0, 2).objects
    assert prompt.box is not None
    # What is small and was there before is not touched by what is drawn later.
    boxes.mode = "add_rectangle"
    drag(boxes, (2, 12, 12), (2, 12, 12))
    assert len(boxes.data) == 1
    drag(boxes, (2, 10, 10), (2, 14, 15))
    qtbot.waitUntil(lambda: boxes.mode == "select")
    assert len(boxes.data) == 2


@pytest.mark.parametrize("mode", ["add_ellipse", "add_rectangle"])
def test_in_two_dimensions_and_other_shapes(mode: str, viewer: Any, drag: Any, qtbot: Any) -> None:
    viewer.add_image(np.zeros((40, 50), np.uint8))
    layer = workspace_of(viewer).prompts.create()[1]
    layer.mode = mode
    drag(layer, (5, 5), (7, 20))
    assert len(layer.data) == 0
    drag(layer, (5, 5), (9, 20))
    qtbot.waitUntil(lambda: layer.mode == "select")
    assert len(layer.data) == 1


def test_clicks_are_no_part_of_a_region(viewer: Any) -> None:
    pixels = np.zeros((30, 40), np.uint8)
    image = image_from_array(pixels)
    source = viewer.add_image(pixels)
    click = np.array([[4, 4], [4, 5], [5, 5], [5, 4.0]])
    region = viewer.add_shapes([click], shape_type="rectangle", name="drawn")
    with pytest.raises(CamSamError, match="drawn holds no region of 3 pixels a side or more"):
        region_of(region, source, image, None)
    region.add(click * 4, shape_type="rectangle")
    inside = region_of(region, source, image, None)(0, 0)
    assert inside[18, 18]
    assert not inside[:10].any()


def test_with_a_real_mouse_on_the_canvas(
    viewer: Any, qtbot: Any, tmp_path: Any, finish: Callable[[Any], None]
) -> None:
    viewer.add_image(np.random.default_rng(0).random((60, 60)), name="scan")
    dock = PromptsDock(viewer)
    viewer.window.add_dock_widget(dock)
    viewer.show()
    canvas = viewer.window._qt_viewer.canvas.native
    viewer.reset_view()
    qtbot.waitUntil(lambda: canvas.width() > 100)
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    left = Qt.MouseButton.LeftButton
    qtbot.mouseClick(dock.draw_box, left)
    layer = dock.workspace.prompts.boxes
    assert layer.mode == "add_rectangle"
    qtbot.mouseClick(canvas, left, pos=middle)
    qtbot.waitUntil(lambda: "below 3 pixels" in dock.row.words.text())
    assert len(layer.data) == 0
    viewer.screenshot(tmp_path / "click.png", canvas_only=False)
    qtbot.mousePress(canvas, left, pos=middle)
    qtbot.mouseMove(canvas, middle + QPoint(60, 40))
    qtbot.mouseMove(canvas, middle + QPoint(90, 70))
    qtbot.mouseRelease(canvas, left, pos=middle + QPoint(90, 70))
    qtbot.waitUntil(lambda: layer.mode == "select")
    assert len(layer.data) == 1
    assert "below" not in dock.row.words.text()
    viewer.screenshot(tmp_path / "box.png", canvas_only=False)
