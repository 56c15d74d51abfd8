import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.bounds import check_on_plane, clip_box
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point


def plane(*points, box=None):
    return PlanePrompts(1, 4, (ObjectPrompt(2, points, box),))


def test_points_on_the_plane_and_boxes_that_hang_over_pass():
    check_on_plane(plane(Point(-0.5, 0), Point(9.4, 19.4), box=Box(-5, -5, 3, 40)), (10, 20))
    check_on_plane(PlanePrompts(reason="the slice has no truth"), (10, 20))


@pytest.mark.parametrize("point", [Point(-0.6, 3), Point(9.5, 3), Point(3, 19.5), Point(3, -1)])
def test_points_outside_are_refused_and_named(point):
    with pytest.raises(CamSamError, match=r"object 2 .*slice 4 of axis 1, 10 rows × 20 columns"):
        check_on_plane(plane(Point(1, 1), point), (10, 20))


@pytest.mark.parametrize("box", [Box(-8, 2, 0, 9), Box(2, 20, 5, 30), Box(10, 0, 12, 5)])
def test_boxes_outside_are_refused(box):
    with pytest.raises(CamSamError, match="has no part on"):
        check_on_plane(plane(box=box), (10, 20))


def test_clipping():
    assert clip_box(Box(-5, 3, 30, 40, "cam", 0.5), (10, 20)) == Box(0, 3, 10, 20, "cam", 0.5)
    inside = Box(1, 2, 3, 4)
    assert clip_box(inside, (10, 20)) == inside
    away = clip_box(Box(30, 30, 40, 40), (10, 20))
    assert (away.height, away.width) == (0, 0)
