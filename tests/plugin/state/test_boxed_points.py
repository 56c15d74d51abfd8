"""Points that came with a box go with it when the user moves it, and come back with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point, Source

IN = (2, 5, 5)
BOX = Box(3, 3, 9, 9, "cam")


def placed(*points: Point, box: Box = BOX, object_id: int = 1) -> ObjectPrompt:
    return ObjectPrompt(object_id, points, box)


def write(workspace: ViewerWorkspace, *prompts: ObjectPrompt) -> Any:
    """Place prompts, and return the layer of the boxes as it is when one selects in it."""
    workspace.prompts.write([PlanePrompts(0, 2, prompts)])
    workspace.prompts.settle()
    boxes = workspace.prompts.boxes
    boxes.mode = "select"
    return boxes


def points_of(workspace: ViewerWorkspace) -> list[tuple[float, float]]:
    return [(p.row, p.column) for o in workspace.prompts.read(0, 2).objects for p in o.points]


@pytest.mark.parametrize("source", ["cam", "truth"])
def test_a_point_goes_with_its_box_and_one_undo_brings_both_back(
    workspace: ViewerWorkspace, drag: Any, source: Source
) -> None:
    boxes = write(workspace, placed(Point(7, 6, True, source)))
    before = workspace.prompts.read(0, 2)
    drag(boxes, IN, (2, 8, 9), (2, 14, 15))
    workspace.prompts.settle()
    (moved,) = workspace.prompts.read(0, 2).objects
    assert moved.points == ()
    assert moved.box is not None
    assert moved.box.row_min == 12
    # Another point is the user's, also after one has gone.
    workspace.prompts.points.add([(2, 14, 14)])
    workspace.prompts.settle()
    ((mine,),) = [one.points for one in workspace.prompts.read(0, 2).objects]
    assert mine.source == "user"
    assert workspace.prompts.undo()
    assert workspace.prompts.undo()
    assert workspace.prompts.read(0, 2) == before
    assert workspace.prompts.redo()
    assert points_of(workspace) == []


def test_a_point_that_is_still_in_the_box_stays_as_it_is(
    workspace: ViewerWorkspace, drag: Any
) -> None:
    boxes = write(workspace, placed(Point(7, 6, True, "cam", 0.9)))
    drag(boxes, IN, (2, 6, 6))
    (moved,) = workspace.prompts.read(0, 2).objects
    assert moved.box != BOX
    assert moved.points == (Point(7, 6, True, "cam", 0.9),)


def test_while_a_box_is_dragged_its_point_goes_and_comes_back(
    workspace: ViewerWorkspace, drag: Any
) -> None:
    boxes = write(workspace, placed(Point(7, 6, True, "cam")))
    seen: list[int] = []
    workspace.prompts.moving.connect(lambda: seen.append(len(points_of(workspace))))
    drag(boxes, IN, (2, 14, 15), (2, 14, 15), (2, 6, 6))
    assert 0 in seen
    assert points_of(workspace) == [(7, 6)]


def test_the_users_own_points_and_those_of_other_boxes_stay(
    workspace: ViewerWorkspace, drag: Any
) -> None:
    other = Box(6, 6, 12, 12, "cam")
    boxes = write(
        workspace,
        placed(Point(4, 4, True, "cam"), Point(4, 5, True, "user"), Point(7, 7, True, "cam")),
        placed(box=other),
        placed(Point(5, 4, True, "cam"), box=Box(2, 2, 8, 8, "cam"), object_id=2),
    )
    boxes.selected_data = {0}
    data = boxes.data
    data[0] = data[0] + np.array([0, 10, 12])
    boxes.data = data
    # The first has left its box; the third lies in the other box of its object.
    assert points_of(workspace) == [(4, 5), (7, 7), (5, 4)]


def test_a_negative_point_goes_where_a_box_comes_over_it(
    workspace: ViewerWorkspace, drag: Any
) -> None:
    there, off = Point(13, 14, False, "cam"), Point(2, 18, False, "cam")
    boxes = write(workspace, placed(there, off))
    drag(boxes, IN, (2, 8, 9), (2, 13, 14))
    assert points_of(workspace) == [(2, 18)]
