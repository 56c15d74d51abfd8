"""Prompts as they are read: always what lies in the layers now, however it came there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_cam_sam.plugin.layers.prompt_provenance import COLUMNS, column, complete
from napari_cam_sam.plugin.layers.prompt_table import places_of
from napari_cam_sam.plugin.state.prompt_layers import PromptLayers
from napari_cam_sam.plugin.state.workspace import Workspace
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point

POINT, BOX = Point(6, 7, True, "cam", 0.75), Box(3, 4, 11, 15, "cam", 0.5)
PLANE = PlanePrompts(0, 2, (ObjectPrompt(1, (POINT,), BOX),))
OTHER = PlanePrompts(0, 4, (ObjectPrompt(3, (Point(1, 2),), Box(0, 1, 2, 3)),))
CORNERS = np.array([[2, 2, 2], [2, 2, 8], [2, 9, 8], [2, 9, 2.0]])


@pytest.fixture
def prompts(workspace: Workspace) -> PromptLayers:
    workspace.prompts.write([PLANE, OTHER])
    workspace.prompts.points.selected_data = workspace.prompts.boxes.selected_data = set()
    return workspace.prompts


def set_points(prompts: PromptLayers) -> None:
    prompts.points.data = np.add(prompts.points.data, (0, 1, 2))


def set_points_in_place(prompts: PromptLayers) -> None:
    prompts.points.data[0] = (2, 7, 9)


def set_boxes(prompts: PromptLayers) -> None:
    prompts.boxes.data = [prompts.boxes.data[0] + np.float32([0, 1, 2]), prompts.boxes.data[1]]


def set_boxes_in_place(prompts: PromptLayers) -> None:
    prompts.boxes.data[0][:] += np.float32([0, 1, 2])


def set_features(prompts: PromptLayers) -> None:
    table = prompts.points.features.copy()
    table["polarity"] = "negative"
    prompts.points.features = table


def set_features_in_place(prompts: PromptLayers) -> None:
    prompts.points.features.loc[0, "object"] = 9


def set_axis(prompts: PromptLayers) -> None:
    prompts.boxes.features = prompts.boxes.features.assign(axis=1)


def paste(prompts: PromptLayers) -> None:
    prompts.boxes.selected_data = {0}
    prompts.boxes._copy_data()
    prompts.boxes._paste_data()


def take_away(prompts: PromptLayers) -> None:
    prompts.boxes.selected_data = {0}
    prompts.boxes.remove_selected()


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (set_points, (ObjectPrompt(1, (Point(7, 9, True, "user", 0.75),), BOX),)),
        (set_points_in_place, (ObjectPrompt(1, (Point(7, 9, True, "cam", 0.75),), BOX),)),
        (set_boxes, (ObjectPrompt(1, (POINT,), Box(4, 6, 12, 17, "user", 0.5)),)),
        (set_boxes_in_place, (ObjectPrompt(1, (POINT,), Box(4, 6, 12, 17, "cam", 0.5)),)),
        (set_features, (ObjectPrompt(1, (Point(6, 7, False, "cam", 0.75),), BOX),)),
        (set_features_in_place, (ObjectPrompt(1, (), BOX), ObjectPrompt(9, (POINT,)))),
        (set_axis, (ObjectPrompt(1, (POINT,)),)),
        (paste, (ObjectPrompt(1, (POINT,), BOX), ObjectPrompt(1, (), Box(3, 4, 11, 15)))),
        (take_away, (ObjectPrompt(1, (POINT,)),)),
    ],
)
def test_what_changed_in_any_way_is_read_at_once(
    prompts: PromptLayers, change: Callable[[PromptLayers], None], wanted: tuple[ObjectPrompt, ...]
) -> None:
    # Read before, too: nothing may be left of it.
    assert (prompts.read(0, 2), prompts.read_all(0)) == (PLANE, (PLANE, OTHER))
    change(prompts)
    assert prompts.read(0, 2).objects == wanted
    assert prompts.read_all(0)[0].objects == wanted


def test_a_prompt_is_read_where_it_is_while_it_is_dragged(
    prompts: PromptLayers, drag: Callable[..., None]
) -> None:
    seen: list[tuple[ObjectPrompt, ...]] = []
    prompts.moving.connect(lambda: seen.append(prompts.read(0, 2).objects))
    prompts.points.mode = "select"
    drag(prompts.points, (2, 6, 7), (2, 7, 8), (2, 9, 10.5))
    at = [(one.points[0].row, one.points[0].column) for (one,) in seen]
    assert (7, 8) in at
    seen.clear()
    prompts.boxes.mode = "select"
    drag(prompts.boxes, (2, 5, 6), (2, 6, 6), (2, 7, 9), (2, 8, 9))
    tops = [one.box.row_min for (one,) in seen if one.box is not None]
    assert {4, 5} < set(tops)


def test_only_the_plane_asked_for_is_read(prompts: PromptLayers) -> None:
    assert prompts.read(0, 3) == PlanePrompts(0, 3)
    assert prompts.read(1, 2) == PlanePrompts(1, 2)
    assert prompts.planes(0) == [2, 4]
    assert prompts.planes(1) == []


def test_any_shape_stands_for_the_box_round_it(prompts: PromptLayers) -> None:
    ellipse, triangle = np.add(CORNERS, (1, 0, 0)), np.add(CORNERS[:3], (1, 0, 0))
    with prompts.as_ours():
        prompts.boxes.add([ellipse], shape_type="ellipse")
        prompts.boxes.add([triangle], shape_type="polygon")
        prompts.boxes.add([triangle[:2]], shape_type="line")
    found = prompts.read(0, 3).objects
    # A line along a row has no height: it is no box.
    assert [(o.box.row_min, o.box.column_max) for o in found if o.box] == [(2.5, 8.5)] * 2
    assert prompts.planes(0) == [2, 3, 4]
    prompts.boxes.selected_data = {2, 3}
    prompts.boxes.remove_selected()
    assert prompts.planes(0) == [2, 4]


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("object", [3, 4], [3, 4]),
        ("object", [3.0, np.nan], [3, 1]),
        ("object", ["7", "a lesion"], [7, 1]),
        ("object", [5], [5, 1]),
        ("object", [5, 6, 7], [5, 6]),
        ("polarity", ["negative", None], ["negative", "positive"]),
        ("polarity", [np.nan, "negative"], ["positive", "negative"]),
        ("score", [0.5, None], [0.5, np.nan]),
        ("other", [1, 2], [1, 1]),
    ],
)
def test_gaps_in_features_are_filled(name: str, given: list[Any], wanted: list[Any]) -> None:
    features = pd.DataFrame({name: given})
    asked = "object" if name == "other" else name
    np.testing.assert_array_equal(column(features, asked, 2), wanted)
    table = complete(features, 2)
    assert list(table) == list(COLUMNS)
    np.testing.assert_array_equal(table[asked].to_numpy(), wanted)


def test_an_axis_that_is_none_counts_as_never_said() -> None:
    data = np.array([[1, 2, 3.0], [1, 2, 3], [1, 2, 3]])
    features = pd.DataFrame({"axis": [7, -1, 2]})
    np.testing.assert_array_equal(places_of(data, features), [[0, 1], [0, 1], [2, 3]])
