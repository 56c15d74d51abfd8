import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.prompts.serialise import from_data, from_json, to_data, to_json

finite = st.floats(-1e6, 1e6, allow_nan=False)
sources = st.sampled_from(["cam", "truth", "user"])
scores = st.none() | st.floats(0, 1)
points = st.builds(Point, finite, finite, st.booleans(), sources, scores)
boxes = st.builds(
    lambda row, column, height, width, source, score: Box(
        row, column, row + height, column + width, source, score
    ),
    finite, finite, st.floats(0.5, 1e3), st.floats(0.5, 1e3), sources, scores,
)  # fmt: skip
objects = st.builds(
    ObjectPrompt, st.integers(1, 2**31), st.lists(points, max_size=3).map(tuple),
    st.none() | boxes,
)  # fmt: skip
planes = st.builds(
    PlanePrompts, st.integers(0, 2), st.integers(0, 5000),
    st.lists(objects, max_size=3).map(tuple), st.none() | st.text(),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(planes, max_size=4, unique_by=lambda plane: (plane.axis, plane.index)).map(tuple))
def test_round_trip(prompts):
    assert from_json(to_json(prompts)) == prompts


def test_the_file_says_what_it_is():
    data = json.loads(to_json([]))
    assert data["format"] == "napari-cam-sam prompts"
    assert data["version"] == 1
    assert "row and column" in data["coordinates"]


@pytest.fixture
def data():
    prompt = ObjectPrompt(1, (Point(3, 4), Point(5, 6.5, False)), Box(1, 2, 9, 10, "cam", 0.5))
    return to_data([PlanePrompts(2, 7, (prompt,)), PlanePrompts(2, 8, (), "no truth")])


def test_what_may_be_left_out():
    (plane,) = from_data({
        "format": "napari-cam-sam prompts", "version": 1,
        "planes": [{"axis": 0, "index": 0, "objects": [
            {"object_id": 4, "points": [{"row": 1, "column": 2}]},
        ]}],
    })  # fmt: skip
    assert plane == PlanePrompts(0, 0, (ObjectPrompt(4, (Point(1, 2),)),))


BAD = [
    (("format",), "napari", "format should be 'napari-cam-sam prompts', not 'napari'"),
    (("version",), 2, "version should be 1 or less, not 2"),
    (("version",), True, "version should be a whole number"),
    (("coordinates",), "x and y", "coordinates should be 'row and column"),
    (("planes",), {}, "planes should be a list"),
    (("planes", 0), 5, r"planes\[0\] should be an object with fields, not 5"),
    (("planes", 0, "axis"), 3, r"planes\[0\].axis should be 2 or less, not 3"),
    (("planes", 0, "index"), -1, r"planes\[0\].index should be 0 or more, not -1"),
    (("planes", 0, "index"), 1.5, r"planes\[0\].index should be a whole number, not 1.5"),
    (("planes", 0, "reason"), 5, r"planes\[0\].reason should be a text, not 5"),
    (("planes", 0, "objects"), None, r"planes\[0\].objects should be a list"),
    (("planes", 0, "objects", 0, "object_id"), 0, r"objects\[0\].object_id should be 1 or more"),
    (("planes", 0, "objects", 0, "points", 1, "row"), "a", r"\.row should be a number, not 'a'"),
    (("planes", 0, "objects", 0, "points", 1, "row"), float("nan"), r"\.row should be a finite"),
    (("planes", 0, "objects", 0, "points", 1, "row"), 10**400, r"points\[1\].row"),
    (("planes", 0, "objects", 0, "points", 1, "column"), True, r"points\[1\].column should be"),
    (("planes", 0, "objects", 0, "points", 0, "positive"), 1, r"positive should be true or false"),
    (("planes", 0, "objects", 0, "points", 0, "source"), "ai", r"source should be 'cam', 'truth"),
    (("planes", 0, "objects", 0, "points", 0, "source"), ["ai"], r"source should be 'cam', 'truth"),
    (("planes", 0, "objects", 0, "box", "row_max"), 1, r"row_max is more than its row_min"),
    (("planes", 0, "objects", 0, "box", "column_max"), 0, r"column_max is more than its"),
    (("planes", 0, "objects", 0, "box", "score"), "high", r"box.score"),
    (("planes", 0, "objects", 0, "boxes"), [], r"no field \S+\[0\].boxes: did you mean box\?"),
    (("planes", 1, "index"), 7, r"planes\[1\] is a second entry for slice 7 of axis 2"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_wrong_field_is_named(data, path, value, message):
    wrong = copy.deepcopy(data)
    place = wrong
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(CamSamError, match=message):
        from_data(wrong)


@pytest.mark.parametrize("path", [("version",), ("planes", 0, "axis")])
def test_a_missing_field_is_named(data, path):
    place = data
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    with pytest.raises(CamSamError, match=f"{path[-1]} is missing"):
        from_data(data)


@pytest.mark.parametrize("text", ["", "{", "<html>", "[" * 100_000, "[]", "3"])
def test_what_is_no_prompt_file_is_refused(text):
    with pytest.raises(CamSamError):
        from_json(text)


def test_prompts_that_could_not_be_read_are_not_written():
    bad = PlanePrompts(objects=(ObjectPrompt(1, (Point(float("inf"), 0),)),))
    with pytest.raises(CamSamError, match="row should be a finite number"):
        to_json([bad])


def test_a_coordinate_that_is_no_number_is_refused_in_words():
    point = Point(object(), 2.0, True, "user")
    with pytest.raises(CamSamError, match="A prompt is of numbers and texts, not of <object"):
        to_data([PlanePrompts(0, 0, (ObjectPrompt(1, (point,)),))])


def test_numpy_scalars_are_written_as_numbers():
    point = Point(np.float32(1.5), np.int64(2), np.bool_(True), "cam", np.float32(0.5))
    (plane,) = from_json(to_json([PlanePrompts(objects=(ObjectPrompt(1, (point,)),))]))
    assert plane.objects[0].points == (Point(1.5, 2, True, "cam", 0.5),)
