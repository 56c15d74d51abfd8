"""What is written as prompts is read again, whatever it is and along whichever axis."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point

FIRST = ObjectPrompt(1, (Point(6, 7, True, "cam", 0.75),), Box(3, 4, 11, 15, "cam", 0.5))
QUARTERS = st.integers(-8, 120).map(lambda n: n / 4)
SCORES = st.one_of(st.none(), st.integers(0, 8).map(lambda n: n / 8))
SOURCES = st.sampled_from(("cam", "truth", "user"))
POINTS = st.builds(Point, QUARTERS, QUARTERS, st.booleans(), SOURCES, SCORES)


@st.composite
def boxes(draw: Any) -> Box:
    top, left = draw(QUARTERS), draw(QUARTERS)
    height, width = (draw(st.integers(1, 60)) / 4 for _ in "hw")
    return Box(top, left, top + height, left + width, draw(SOURCES), draw(SCORES))


ENTRIES = st.builds(
    ObjectPrompt,
    st.integers(1, 4),
    st.lists(POINTS, max_size=3).map(tuple),
    st.one_of(st.none(), boxes()),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    axis=st.integers(0, 2),
    given_planes=st.dictionaries(st.integers(0, 5), st.lists(ENTRIES), max_size=3),
)
def test_what_is_written_is_read_again_along_every_axis(
    qapp: Any, axis: int, given_planes: dict[int, list[ObjectPrompt]]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((6, 7, 8)), scale=(3, 1, 0.5))
    prompts = workspace_of(viewer).prompts
    prompts.write(PlanePrompts(axis, i, tuple(found)) for i, found in given_planes.items())
    assert prompts.touched() == set()
    filled = {
        i: found for i, found in given_planes.items() if any(o.points or o.box for o in found)
    }
    assert prompts.planes(axis) == sorted(filled)
    for other in {0, 1, 2} - {axis}:
        assert prompts.read_all(other) == ()
    for plane in prompts.read_all(axis):
        wanted = filled[plane.index]
        assert Counter((o.object_id, p) for o in plane.objects for p in o.points) == Counter(
            (o.object_id, p) for o in wanted for p in o.points
        )
        assert [(o.object_id, o.box) for o in plane.objects if o.box] == [
            (o.object_id, o.box) for o in sorted(wanted, key=lambda o: o.object_id) if o.box
        ]
        for at, one in enumerate(plane.objects):
            mates = [o for o in plane.objects if o.object_id == one.object_id]
            if one.box is None:
                assert mates == [one]
            for point in one.points:
                holders = [o for o in mates if o.box and o.box.contains(point.row, point.column)]
                assert one is (holders or mates)[0] or one == (holders or mates)[0], at


def test_a_flat_picture_has_the_plane_zero(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((20, 24)))
    prompts = workspace_of(viewer).prompts
    flat = PlanePrompts(0, 0, (FIRST, ObjectPrompt(3, (Point(2, 3),))))
    assert prompts.write([flat]) == 1
    assert prompts.read_all(0) == (flat,)
    assert prompts.points is not None
    assert prompts.points.ndim == prompts.boxes.ndim == 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rectangles_have_four_corners_on_one_plane_round_the_pixels(
    model: ViewerModel, workspace: ViewerWorkspace, axis: int
) -> None:
    prompts = workspace.prompts
    prompts.write([PlanePrompts(axis, 3, (ObjectPrompt(1, (), Box(2, 3, 6, 5)),))])
    layer, image = prompts.boxes, model.layers["scan"]
    (corners,) = layer.data
    assert layer.shape_type == ["rectangle"]
    assert corners.shape == (4, 3)
    assert set(corners[:, axis]) == {3}
    rest = np.delete(corners, axis, axis=1)
    # Rows 2 to 5 and columns 3 to 4, each pixel half to both sides.
    assert {tuple(c) for c in rest} == {(1.5, 2.5), (1.5, 4.5), (5.5, 4.5), (5.5, 2.5)}
    for corner in corners:
        np.testing.assert_allclose(layer.data_to_world(corner), image.data_to_world(corner))
    assert layer.units == image.units
