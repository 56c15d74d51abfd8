"""Prompts as layers: written, read, edited by hand, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.utils.colormaps.standardize_color import transform_color

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.io.sample_data import ct_sample
from napari_cam_sam.plugin.layers.styles import PROMPTS
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.state.prompt_layers import PromptLayers
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point

Drag = Callable[..., None]
BOX = Box(3, 4, 11, 15, "cam", 0.5)
FROM_CAM = ObjectPrompt(1, (Point(6, 7, True, "cam", 0.75), Point(1, 2, False, "cam", 0.25)), BOX)
PLANE = PlanePrompts(0, 2, (FROM_CAM,))
BY_USER = Box(3, 4, 11, 15, "user", 0.5)


@pytest.fixture
def prompts(workspace: ViewerWorkspace) -> PromptLayers:
    return workspace.prompts


def write(prompts: PromptLayers, qtbot: Any, *planes: PlanePrompts) -> None:
    """Place prompts, and wait until that is one step of the history."""
    with qtbot.waitSignal(prompts.settled, timeout=10_000):
        prompts.write(planes)


def test_features_hold_the_provenance_and_colours_show_it(prompts: PromptLayers) -> None:
    prompts.write([PLANE, PlanePrompts(1, 4, (ObjectPrompt(7, (Point(1, 2, True, "truth"),)),))])
    table = prompts.points.features
    assert list(table["object"]) == [1, 1, 7]
    assert list(table["polarity"]) == ["positive", "negative", "positive"]
    assert list(table["source"]) == ["cam", "cam", "truth"]
    assert list(table["plane"]) == [2, 2, 4]
    assert list(table["axis"]) == [0, 0, 1]
    np.testing.assert_array_equal(table["score"], [0.75, 0.25, np.nan])
    wanted = [PROMPTS.colours["positive"], PROMPTS.colours["negative"], PROMPTS.colours["positive"]]
    np.testing.assert_allclose(prompts.points.face_color, transform_color(wanted))
    assert list(prompts.boxes.features["source"]) == ["cam"]


@pytest.mark.parametrize("role", ["boxes", "points"])
def test_a_drag_that_rests_on_its_way_is_one_edit_by_the_user(
    prompts: PromptLayers, qtbot: Any, drag: Drag, role: str
) -> None:
    write(prompts, qtbot, PLANE)
    layer = getattr(prompts, role)
    layer.mode = "select"
    before = np.array(layer.data)
    layer.selected_data = set()
    start = (2, 5, 6) if role == "boxes" else (2, 6, 7)
    way = [start, *((2, start[1] + n, start[2] + n) for n in (1, 2))]

    def rest() -> None:
        qtbot.wait(300)
        prompts.settle()  # as what saves by itself asks for

    drag(layer, *way, rest=rest)
    assert layer.features["source"][0] == "user"
    assert not np.array_equal(np.array(layer.data), before)
    assert prompts.undo()
    np.testing.assert_array_equal(np.array(layer.data), before)
    assert layer.features["source"][0] == "cam"


def test_a_point_that_is_added_is_the_users_and_so_is_its_plane(
    workspace: ViewerWorkspace, prompts: PromptLayers
) -> None:
    heat = workspace.heatmaps.layer(0, create=True)
    heat.data[3, 5, 6] = 0.625
    workspace.heatmaps.set_record(heat, 3, HeatmapRecord("a", {"a": 1.0}, None, {}))
    prompts.write([PLANE])
    prompts.set_object(2)
    # The viewer stands between planes as often as on one.
    workspace.show_plane(0, 3)
    prompts.points.add(np.array([[3.4, 5, 6]]))
    assert prompts.read(0, 3).objects == (ObjectPrompt(2, (Point(5, 6, True, "user", 0.625),)),)
    assert prompts.touched() == {(0, 3)}
    assert prompts.read(0, 2) == PLANE


def test_a_point_that_is_dragged_becomes_the_users(
    prompts: PromptLayers, qtbot: Any, drag: Drag
) -> None:
    write(prompts, qtbot, PLANE)
    prompts.points.mode = "select"
    drag(prompts.points, (2, 6, 7), (2, 7, 8), (2, 9, 10.5))
    moved = Point(9, 10.5, True, "user", 0.75)
    assert prompts.read(0, 2).objects == (ObjectPrompt(1, (moved, FROM_CAM.points[1]), BOX),)
    assert prompts.touched() == {(0, 2)}
    assert prompts.undo()
    assert prompts.read(0, 2) == PLANE
    assert prompts.touched() == set()


@pytest.mark.parametrize("between", [2.0, 2.4])
def test_a_box_that_is_drawn_or_dragged_is_the_users(
    prompts: PromptLayers, qtbot: Any, drag: Drag, between: float
) -> None:
    write(prompts, qtbot, PLANE)
    prompts.boxes.mode = "add_rectangle"
    # As in a window: a pixel of the image is many of the canvas.
    prompts.boxes.scale_factor = 0.01
    with qtbot.waitSignal(prompts.settled, timeout=10_000):
        drag(prompts.boxes, (between, 12, 3), (between, 14, 4), (between, 16, 8))
    assert set(prompts.boxes.data[1][:, 0]) == {2}
    (first, second) = prompts.read(0, 2).objects
    assert first == FROM_CAM
    assert second.box is not None
    assert (second.box.row_min, second.box.row_max) == (12.5, 16.5)
    assert (second.box.column_min, second.box.column_max) == (3.5, 8.5)
    assert second.box.source == "user"
    prompts.boxes.mode = "select"
    prompts.boxes.selected_data = set()
    drag(prompts.boxes, (2, 5, 6), (2, 6, 6), (2, 7, 9))
    moved = prompts.read(0, 2).objects[0].box
    assert moved is not None
    assert (moved.row_min, moved.column_min, moved.height, moved.width) == (5, 7, 8, 11)
    assert moved.source == "user"
    assert prompts.undo()
    assert prompts.read(0, 2).objects == (first, second)


def test_the_last_prompt_deleted_leaves_a_plane_that_is_the_users(prompts: PromptLayers) -> None:
    prompts.write([PLANE, PlanePrompts(0, 4, (FROM_CAM,))])
    for layer in (prompts.points, prompts.boxes):
        rows = np.flatnonzero(layer.features["plane"] == 2)
        layer.selected_data = set(rows.tolist())
        layer.remove_selected()
    assert prompts.planes(0) == [4]
    assert prompts.touched() == {(0, 2)}
    # What the user deleted does not come back by itself.
    assert prompts.write([PLANE]) == 0
    assert prompts.read(0, 2).objects == ()


@pytest.mark.parametrize("conflict", ["keep", "replace", "add"])
def test_edited_planes_are_kept_replaced_or_added_to(prompts: PromptLayers, conflict: Any) -> None:
    prompts.write([PLANE, PlanePrompts(0, 4, (FROM_CAM,))])
    mine = Point(18, 19)
    prompts.points.add(np.array([[2.0, 18, 19]]))
    new = ObjectPrompt(1, (Point(8, 8, True, "truth"),))
    planes = [PlanePrompts(0, 2, (new,)), PlanePrompts(0, 4, (new,))]
    assert prompts.write(planes, conflict) == (1 if conflict == "keep" else 2)
    assert prompts.read(0, 4).objects == (new,)
    both = (*FROM_CAM.points, mine)
    expected = {
        "keep": ObjectPrompt(1, both, BOX),
        "replace": new,
        "add": ObjectPrompt(1, (*both, *new.points), BOX),
    }
    assert prompts.read(0, 2).objects == (expected[conflict],)
    assert prompts.touched() == (set() if conflict == "replace" else {(0, 2)})


@pytest.mark.parametrize("conflict", ["keep", "replace", "add"])
def test_prompts_of_one_object_leave_those_of_others(
    prompts: PromptLayers, qtbot: Any, conflict: Any
) -> None:
    second = ObjectPrompt(2, (Point(15, 16, True, "cam"),))
    write(prompts, qtbot, *(PlanePrompts(0, i, (FROM_CAM, second)) for i in (2, 3, 4)))
    third = ObjectPrompt(2, (Point(17, 18, True, "cam"),))
    # Of plane 2 the user moves what is of the first object, of plane 3 what is of the second: only
    # there is there anything to decide.
    data = prompts.points.data.copy()
    data[[0, 5], 1] += 1
    prompts.points.data = data
    assert prompts.touched() == {(0, 2), (0, 3)}
    on_2, on_3 = (prompts.read(0, i).objects for i in (2, 3))
    prompts.write([PlanePrompts(0, i, (third,)) for i in (2, 3, 4)], conflict, 2)
    assert prompts.read(0, 4).objects == (FROM_CAM, third)

    def both(old: ObjectPrompt) -> ObjectPrompt:
        return ObjectPrompt(2, (*old.points, *third.points))

    expected = {
        "keep": ((on_2[0], third), on_3),
        "replace": ((on_2[0], third), (FROM_CAM, third)),
        "add": ((on_2[0], third), (FROM_CAM, both(on_3[1]))),
    }
    assert (prompts.read(0, 2).objects, prompts.read(0, 3).objects) == expected[conflict]
    # What the user moved of the other object is the user's still.
    assert prompts.touched() == ({(0, 2)} if conflict == "replace" else {(0, 2), (0, 3)})


def placed(*ids: int, row: float = 5) -> list[PlanePrompts]:
    """Make prompts of objects with a point each."""
    one = [ObjectPrompt(i, (Point(row, 2.0 * i, True, "cam"),)) for i in ids]
    return [PlanePrompts(0, 2, tuple(one))]


def test_an_extraction_replaces_all_that_the_one_before_it_placed(prompts: PromptLayers) -> None:
    prompts.write(placed(1, 2, 3), extraction_id=1)
    prompts.write(placed(7, 8), extraction_id=7)
    prompts.write(placed(1, row=9), extraction_id=1)
    (fewer,), (others,) = placed(1, row=9), placed(7, 8)
    assert prompts.read(0, 2).objects == (*fewer.objects, *others.objects)
    # What the user draws into an object of it goes with it, and is asked for.
    prompts.write(placed(1, 2), extraction_id=1)
    prompts.set_object(2)
    prompts.points.add(np.array([[2.0, 18, 19]]))
    assert prompts.edited(1) == {(0, 2)}
    assert prompts.edited(7) == set()
    prompts.write(placed(1, row=9), "replace", 1)
    assert prompts.read(0, 2).objects == (*fewer.objects, *others.objects)


@pytest.mark.parametrize("whose", ["another extraction", "the user", "moved to it"])
def test_an_object_that_has_other_prompts_is_refused(prompts: PromptLayers, whose: str) -> None:
    prompts.write(placed(5, 6) if whose == "moved to it" else placed(5), extraction_id=5)
    if whose == "another extraction":
        prompts.write(placed(2), extraction_id=2)
    elif whose == "the user":
        prompts.set_object(2)
        prompts.points.add(np.array([[2.0, 18, 19]]))
    else:
        prompts.points.selected_data = {1}
        prompts.set_object(2)
    before = prompts.read(0, 2)
    with pytest.raises(CamSamError, match="Object 2 has other prompts on slice 2: choose object 6"):
        prompts.write(placed(1, 2, 3), "replace", 1)
    assert prompts.read(0, 2) == before


def test_a_part_of_an_object_is_not_taken_for_another_class(prompts: PromptLayers) -> None:
    prompts.write(placed(1, 2, 3), extraction_id=1)
    with pytest.raises(CamSamError, match="choose object 4"):
        prompts.write(placed(2, row=9), extraction_id=2)
    assert prompts.read(0, 2) == placed(1, 2, 3)[0]


def test_a_plane_whose_prompts_were_deleted_is_asked_for_by_every_object(
    prompts: PromptLayers,
) -> None:
    prompts.write(placed(1, 2), extraction_id=1)
    prompts.points.selected_data = {1}
    prompts.points.remove_selected()
    assert prompts.edited(1) == prompts.edited(2) == {(0, 2)}


def test_undo_and_redo_go_several_steps_also_past_a_clear(
    prompts: PromptLayers, qtbot: Any
) -> None:
    states = [prompts.read_all(0)]

    def step(edit: Callable[[], object]) -> None:
        with qtbot.waitSignal(prompts.settled, timeout=10_000):
            edit()
        states.append(prompts.read_all(0))

    def turn() -> None:
        prompts.points.selected_data = {0}
        prompts.switch_polarity()

    rectangle = np.array([[2, 2, 2], [2, 2, 8], [2, 9, 8], [2, 9, 2.0]])
    step(lambda: prompts.write([PLANE]))
    step(lambda: prompts.points.add(np.array([[2.0, 5, 6]])))
    step(turn)
    step(lambda: prompts.clear(0, 2))
    step(lambda: prompts.boxes.add(rectangle, shape_type="rectangle"))
    assert [len(planes) for planes in states] == [0, 1, 1, 1, 0, 1]
    assert len(set(map(repr, states))) == 5
    for wanted in reversed(states[:-1]):
        assert prompts.undo()
        assert prompts.read_all(0) == wanted
    assert not prompts.undo()
    assert prompts.touched() == set()
    for wanted in states[1:]:
        assert prompts.redo()
        assert prompts.read_all(0) == wanted
    assert not prompts.redo()
    assert prompts.touched() == {(0, 2)}
    # A new edit ends what could be redone.
    prompts.undo()
    prompts.write([PlanePrompts(0, 4, (FROM_CAM,))])
    assert not prompts.redo()


def test_t_turns_the_selected_points_else_those_to_come(prompts: PromptLayers) -> None:
    prompts.write([PLANE])
    assert prompts.switch_polarity() == "negative"
    prompts.points.add(np.array([[2.0, 9, 9]]))
    prompts.points.selected_data = set()
    assert prompts.read(0, 2).objects[0].points == (*FROM_CAM.points, Point(9, 9, False))
    prompts.points.selected_data = {0, 1}
    # The first one says which way all are turned.
    assert prompts.switch_polarity() == "negative"
    assert [p.positive for p in prompts.read(0, 2).objects[0].points] == [False] * 3
    assert prompts.polarity == "negative"
    assert prompts.switch_polarity() == "positive"
    assert [p.positive for p in prompts.read(0, 2).objects[0].points] == [True, True, False]
    # napari selects the point that was just added; those to come are meant.
    prompts.points.mode = "add"
    prompts.points.selected_data = {0}
    assert prompts.switch_polarity() == "positive"
    assert [p.positive for p in prompts.read(0, 2).objects[0].points] == [True, True, False]
    assert {p.source for p in prompts.read(0, 2).objects[0].points} == {"user"}


def test_selected_prompts_move_to_another_object(prompts: PromptLayers, qtbot: Any) -> None:
    write(prompts, qtbot, PLANE)
    prompts.points.selected_data = {1}
    with qtbot.waitSignal(prompts.changed, timeout=1000):
        prompts.set_object(5)
    assert [o.object_id for o in prompts.read(0, 2).objects] == [1, 5]
    assert prompts.touched() == {(0, 2)}
    assert prompts.undo()
    assert prompts.read(0, 2) == PLANE


def test_features_that_the_user_removed_count_as_never_said(prompts: PromptLayers) -> None:
    prompts.write([PlanePrompts(0, 2, (ObjectPrompt(4, FROM_CAM.points, BOX),))])
    prompts.points.features = pd.DataFrame(index=range(2))
    prompts.boxes.features = prompts.boxes.features.drop(columns=["source", "score"])
    bare = (Point(6, 7), Point(1, 2))
    assert prompts.read(0, 2).objects == (
        ObjectPrompt(1, bare),
        ObjectPrompt(4, (), Box(3, 4, 11, 15)),
    )
    prompts.points.add(np.array([[2.0, 9, 9]]))
    assert prompts.read(0, 2).objects[0].points == (*bare, Point(9, 9))


def test_a_layer_that_is_deleted_takes_its_prompts_but_not_whose_the_plane_is(
    model: ViewerModel, prompts: PromptLayers
) -> None:
    prompts.write([PLANE])
    prompts.boxes.add(np.array([[2, 2, 2], [2, 2, 8], [2, 9, 8], [2, 9, 2.0]]))
    model.layers.remove(prompts.points)
    assert prompts.points is None
    assert prompts.read(0, 2).objects[0].box == BOX
    assert prompts.touched() == {(0, 2)}
    assert prompts.write([PLANE]) == 0
    prompts.points.add(np.array([[2.0, 9, 9]]))
    assert len(prompts.read(0, 2).objects[0].points) == 1


def test_a_layer_that_is_deleted_comes_back_by_undo(
    model: ViewerModel, prompts: PromptLayers, qtbot: Any
) -> None:
    write(prompts, qtbot, PLANE)
    with qtbot.waitSignal(prompts.settled, timeout=10_000):
        prompts.points.add(np.array([[2.0, 8, 9]]))
    before = prompts.read_all(0)
    for layer in (prompts.boxes, prompts.points):
        model.layers.remove(layer)
    assert prompts.read_all(0) == ()
    # Both at once are one step.
    assert prompts.undo()
    assert prompts.read_all(0) == before
    assert prompts.touched() == {(0, 2)}
    assert prompts.undo()
    assert prompts.read_all(0) == (PLANE,)
    assert [prompts.redo() for _ in range(3)] == [True, True, False]
    assert prompts.read_all(0) == ()


def test_prompts_deleted_with_another_image_leave_the_history_alone(
    model: ViewerModel, workspace: ViewerWorkspace, prompts: PromptLayers, qtbot: Any
) -> None:
    write(prompts, qtbot, PLANE)
    of_scan, scan = prompts.points, workspace.image_layer
    workspace.choose_image(model.add_image(np.zeros((6, 20, 24)), name="other"))
    write(prompts, qtbot, PLANE)
    model.layers.remove(of_scan)
    assert prompts.undo()
    assert prompts.read_all(0) == ()
    assert not prompts.undo()
    workspace.choose_image(scan)
    assert prompts.read(0, 2).objects[0].points == ()


def test_a_window_that_closes_brings_nothing_back(
    model: ViewerModel, prompts: PromptLayers, qtbot: Any
) -> None:
    write(prompts, qtbot, PLANE)
    model.layers.clear()
    assert not prompts.undo()
    assert len(model.layers) == 0


def test_prompts_of_another_image_stay_with_it(
    model: ViewerModel, workspace: ViewerWorkspace
) -> None:
    workspace.prompts.write([PLANE])
    other = model.add_image(np.zeros((6, 20, 24)), name="other")
    workspace.choose_image(other)
    assert workspace.prompts.read_all(0) == ()
    assert not workspace.prompts.undo()
    workspace.choose_image(model.layers["scan"])
    assert workspace.prompts.read_all(0) == (PLANE,)


def test_a_box_can_be_clicked_wherever_the_slider_stops(qapp: Any) -> None:
    (data, meta, _), _ = ct_sample()
    viewer = ViewerModel()
    image = viewer.add_image(data, **meta)
    workspace = workspace_of(viewer)
    box = ObjectPrompt(1, (), Box(30, 40, 50, 60))
    workspace.prompts.write(PlanePrompts(0, i, (box,)) for i in range(len(data)))
    layer = workspace.prompts.boxes
    clicked = []
    for step in range(viewer.dims.nsteps[0]):
        viewer.dims.set_current_step(0, step)
        at = image.data_to_world((workspace.plane()[1], 40, 50))
        clicked.append(layer.get_value(at, world=True)[0])
    assert sorted(clicked) == list(range(24))


CORNERS = np.array([[2, 2, 2], [2, 2, 8], [2, 9, 8], [2, 9, 2.0]])


def test_a_pasted_box_is_the_users_and_keeps_its_object(
    workspace: ViewerWorkspace, prompts: PromptLayers, qtbot: Any
) -> None:
    given = PlanePrompts(0, 2, (ObjectPrompt(4, (), BOX),))
    write(prompts, qtbot, given)
    prompts.boxes.selected_data = {0}
    prompts.boxes._copy_data()
    workspace.show_plane(0, 3)
    with qtbot.waitSignals([prompts.changed, prompts.settled], timeout=10_000):
        prompts.boxes._paste_data()
    pasted = ObjectPrompt(4, (), Box(3, 4, 11, 15, "user"))
    assert prompts.read_all(0) == (given, PlanePrompts(0, 3, (pasted,)))
    assert prompts.touched() == {(0, 3)}
    # What a rule places does not take it away, and undo does.
    assert prompts.write([PlanePrompts(0, 3, (FROM_CAM,))]) == 0
    assert prompts.undo()
    assert prompts.read_all(0) == (given,)


def test_a_pasted_point_is_the_users_and_keeps_its_polarity(qapp: Any, qtbot: Any) -> None:
    # On a volume napari's own pasting of points fails.
    viewer = ViewerModel()
    viewer.add_image(np.zeros((20, 24)))
    prompts = workspace_of(viewer).prompts
    write(prompts, qtbot, PlanePrompts(0, 0, (ObjectPrompt(4, FROM_CAM.points[1:]),)))
    prompts.points.selected_data = {0}
    prompts.points._copy_data()
    with qtbot.waitSignals([prompts.changed, prompts.settled], timeout=10_000):
        prompts.points._paste_data()
    pasted = Point(1, 2, False, "user")
    assert prompts.read(0, 0).objects == (ObjectPrompt(4, (FROM_CAM.points[1], pasted)),)
    assert prompts.touched() == {(0, 0)}


def test_boxes_that_are_added_together_all_lie_on_the_plane_shown(
    workspace: ViewerWorkspace, prompts: PromptLayers
) -> None:
    prompts.write([PLANE])
    workspace.show_plane(1, 4)
    corners = np.array([[1, 4, 2], [1, 4, 8], [5, 4, 8], [5, 4, 2.0]])
    prompts.boxes.add([corners, np.add(corners, (0, 0, 3))], shape_type="rectangle")
    found = [o.box for o in prompts.read(1, 4).objects]
    assert found == [Box(1.5, 2.5, 5.5, 8.5), Box(1.5, 5.5, 5.5, 11.5)]
    assert prompts.read_all(0) == (PLANE,)
    assert prompts.touched() == {(1, 4)}


def test_a_path_that_is_given_up_leaves_other_boxes_where_they_are(
    workspace: ViewerWorkspace, prompts: PromptLayers, drag: Drag
) -> None:
    there = PlanePrompts(0, 4, (FROM_CAM,))
    prompts.write([there])
    workspace.show_plane(0, 2)
    prompts.boxes.mode = "add_path"
    drag(prompts.boxes, (2, 5, 5))
    assert prompts.boxes.nshapes == 2
    # As Escape does.
    prompts.boxes._finish_drawing()
    assert prompts.boxes.nshapes == 1
    assert prompts.read_all(0) == (there,)
    assert prompts.touched() == set()


def test_a_polygon_drawn_between_two_planes_lies_on_the_one_shown(
    prompts: PromptLayers, drag: Drag
) -> None:
    prompts.write([PlanePrompts(0, 4, (FROM_CAM,))])
    prompts.boxes.mode = "add_polygon"
    prompts.boxes.scale_factor = 0.01
    for corner in ((2.4, 12, 3), (2.4, 12, 9), (2.4, 16, 9), (2.4, 16, 3)):
        drag(prompts.boxes, corner)
    prompts.boxes.mode = "select"
    (drawn,) = prompts.read(0, 2).objects
    assert drawn.box is not None
    assert (drawn.box.row_min, drawn.box.column_max) == (12.5, 9.5)
    assert set(prompts.boxes.data[1][:, 0]) == {2}
    assert prompts.touched() == {(0, 2)}


def test_a_box_drawn_far_between_planes_lies_on_the_one_shown(
    workspace: ViewerWorkspace, prompts: PromptLayers
) -> None:
    prompts.write([PLANE])
    workspace.show_plane(0, 5)
    # Farther off than napari draws it.
    prompts.boxes.add(np.add(CORNERS, (2.3, 0, 0)), shape_type="rectangle")
    assert set(prompts.boxes.data[1][:, 0]) == {5}


def test_a_point_that_changes_planes_makes_both_the_users(
    prompts: PromptLayers, qtbot: Any
) -> None:
    write(prompts, qtbot, PLANE, PlanePrompts(0, 4, (FROM_CAM,)))
    data = prompts.points.data.copy()
    data[0, 0] = 3
    prompts.points.data = data
    assert prompts.touched() == {(0, 2), (0, 3)}
    assert prompts.read(0, 4).objects == (FROM_CAM,)


def test_points_along_another_axis_are_hidden_whenever_they_come(
    prompts: PromptLayers, qtbot: Any
) -> None:
    across = PlanePrompts(1, 6, (ObjectPrompt(1, (Point(2, 3),)),))
    write(prompts, qtbot, PLANE, across)
    assert prompts.points.shown.tolist() == [True, True, False]
    with qtbot.waitSignal(prompts.settled, timeout=10_000):
        prompts.clear(1, 6)
    prompts.undo()
    assert prompts.points.shown.tolist() == [True, True, False]


def test_undo_leaves_the_prompts_before_the_edited_one_alone(
    prompts: PromptLayers, qtbot: Any
) -> None:
    planes = [PlanePrompts(0, i, (ObjectPrompt(i + 1, FROM_CAM.points, BOX),)) for i in range(5)]
    write(prompts, qtbot, *planes)
    for layer, shift in ((prompts.boxes, np.float32([0, 1, 1])), (prompts.points, [0, 1, 1])):
        with qtbot.waitSignal(prompts.settled, timeout=10_000):
            layer.data = [one + shift if i == 1 else one for i, one in enumerate(layer.data)]
    first = prompts.boxes._data_view.shapes[0]
    edited = prompts.read_all(0)
    assert prompts.undo()
    assert prompts.undo()
    assert prompts.read_all(0) == tuple(planes)
    assert prompts.boxes._data_view.shapes[0] is first
    assert prompts.redo()
    assert prompts.redo()
    assert prompts.read_all(0) == edited
    np.testing.assert_array_equal(prompts.boxes.features["object"], [1, 2, 3, 4, 5])


def test_prompts_of_an_image_not_worked_on_are_marked_in_their_own_layer(
    model: ViewerModel, workspace: ViewerWorkspace, prompts: PromptLayers
) -> None:
    prompts.write([PLANE])
    points, first = prompts.points, workspace.image_layer
    other = model.add_image(np.zeros((4, 5, 6)), name="other")
    workspace.choose_image(other)
    points.add(np.array([[3.0, 8, 9]]))
    assert prompts.points is None
    assert prompts.touched() == set()
    assert not prompts.undo()
    workspace.choose_image(first)
    assert prompts.touched() == {(0, 3)}
    assert points.features["source"].iloc[-1] == "user"


def test_a_point_on_a_picture_in_three_dimensions_after_a_turned_volume(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((5, 6, 7)))
    workspace = workspace_of(viewer)
    workspace.show_plane(2, 3)
    points, _ = workspace.prompts.create()
    points.add([1, 2, 3])
    workspace.choose_image(viewer.add_image(np.zeros((6, 7))))
    viewer.dims.ndisplay = 3
    points, _ = workspace.prompts.create()
    points.add([1, 2])
    assert [p.objects[0].points[0].column for p in workspace.prompts.read_all(0)] == [2]
