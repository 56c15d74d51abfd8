import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.letterbox import Letterbox

SIDES = st.integers(1, 700)
SHAPES = st.tuples(SIDES, SIDES)
POSITION = st.floats(-1e4, 1e4)


@settings(deadline=None)
@given(SHAPES, SHAPES, POSITION, POSITION)
def test_there_and_back(plane_shape, target_shape, row, column):
    box = Letterbox.fit(plane_shape, target_shape)
    np.testing.assert_allclose(
        box.to_plane(*box.to_target(row, column)), (row, column), rtol=1e-9, atol=1e-7
    )
    np.testing.assert_allclose(
        box.to_target(*box.to_plane(row, column)), (row, column), rtol=1e-9, atol=1e-7
    )


@settings(deadline=None)
@given(SHAPES, SHAPES)
def test_edges_map_onto_the_edges_of_the_content(plane_shape, target_shape):
    box = Letterbox.fit(plane_shape, target_shape)
    first = np.array(box.to_target(-0.5, -0.5)) + 0.5
    last = np.array(box.to_target(plane_shape[0] - 0.5, plane_shape[1] - 0.5)) + 0.5
    np.testing.assert_allclose(first, box.offset, atol=1e-9)
    np.testing.assert_allclose(last - first, box.content_shape, atol=1e-9)


@settings(deadline=None)
@given(SHAPES, SHAPES)
def test_fits_with_the_aspect_ratio_kept(plane_shape, target_shape):
    box = Letterbox.fit(plane_shape, target_shape)
    content, target = np.array(box.content_shape), np.array(target_shape)
    assert (content <= target).all()
    assert (content == target).any()
    ideal = np.array(plane_shape) * min(target / np.array(plane_shape))
    assert (np.abs(content - ideal) <= 1).all()
    before, after = np.array(box.offset), target - content - np.array(box.offset)
    assert ((after - before >= 0) & (after - before <= 1)).all()


def test_numbers_by_hand():
    box = Letterbox.fit((100, 200), (64, 64))
    assert (box.content_shape, box.offset) == ((32, 64), (16, 0))
    np.testing.assert_allclose(box.to_target(0, 0), (16 + 0.16 - 0.5, 0.16 - 0.5))


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(30, 120), st.integers(30, 120)),
    st.tuples(st.integers(30, 120), st.integers(30, 120)),
    st.floats(0.25, 0.75),
    st.floats(0.25, 0.75),
)
def test_pixels_go_where_the_coordinates_say(plane_shape, target_shape, row, column):
    rows, columns = np.indices(plane_shape)
    centre = row * plane_shape[0], column * plane_shape[1]
    spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 2 / 3**2)
    box = Letterbox.fit(plane_shape, target_shape)
    frame = box.apply(spot.astype(np.float32))
    rows, columns = np.indices(target_shape)
    found = (frame * rows).sum() / frame.sum(), (frame * columns).sum() / frame.sum()
    np.testing.assert_allclose(found, box.to_target(*centre), atol=0.1)


@pytest.mark.parametrize("shape", [(90, 41), (33, 120), (64, 64)])
def test_agrees_with_torch(shape):
    plane = np.random.default_rng(0).random(shape).astype(np.float32)
    box = Letterbox.fit(shape, (64, 64))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(plane)[None, None],
        size=box.content_shape,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )[0, 0].numpy()
    frame = box.apply(plane)
    np.testing.assert_allclose(box.crop(frame), expected, atol=1e-5)
    assert frame.sum() == pytest.approx(expected.sum(), rel=1e-5)  # nothing but zeros around


@pytest.mark.parametrize("shape", [(30, 50), (30, 50, 3)])
def test_same_size_is_untouched(shape):
    plane = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    box = Letterbox.fit((30, 50), (30, 50))
    np.testing.assert_array_equal(box.apply(plane), plane)
    assert box.apply(plane).dtype == np.uint8


def test_colour_is_resized_channel_by_channel():
    plane = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    box = Letterbox.fit((40, 60), (32, 32))
    for channel in range(3):
        np.testing.assert_array_equal(
            box.apply(plane)[..., channel], box.apply(np.ascontiguousarray(plane[..., channel]))
        )


def test_crop_keeps_leading_axes():
    box = Letterbox.fit((10, 20), (8, 8))
    maps = np.arange(2 * 64).reshape(2, 8, 8)
    np.testing.assert_array_equal(box.crop(maps), maps[:, 2:6])


def test_refusals():
    box = Letterbox.fit((10, 20), (8, 8))
    with pytest.raises(CamSamError, match="letterbox is for"):
        box.apply(np.zeros((20, 10), np.uint8))
    with pytest.raises(CamSamError, match="map has shape"):
        box.crop(np.zeros((7, 7)))
    with pytest.raises(CamSamError, match="at least one pixel"):
        Letterbox.fit((0, 5), (8, 8))
