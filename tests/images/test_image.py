import dask.array as da
import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image, image_from_array

RNG = np.random.default_rng(0)
VOLUME = RNG.integers(-1000, 1000, (3, 4, 5), dtype=np.int16)


class Recorder:
    """A lazy array that remembers how much was asked of it."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, []

    def __getitem__(self, key):
        part = self.data[key]
        self.read.append(part.size)
        return part


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("wrap", [np.asarray, da.from_array, Recorder])
def test_planes_along_any_axis(axis, rgb, wrap):
    data = np.stack([VOLUME] * 3, axis=-1) if rgb else VOLUME
    image = image_from_array(wrap(data), rgb=rgb)
    assert image.axes == (0, 1, 2)
    assert image.n_planes(axis) == VOLUME.shape[axis]
    for index, plane in enumerate(image.planes(axis)):
        np.testing.assert_array_equal(plane, np.take(data, index, axis=axis))
        assert plane.shape[:2] == image.plane_shape(axis)


def test_reads_only_the_plane():
    lazy = Recorder(VOLUME)
    image_from_array(lazy).plane(1, 2)
    assert lazy.read == [15]


def test_dask_computes_only_the_plane():
    computed = []

    def block(block_info=None):
        computed.append(block_info[None]["chunk-location"])
        return np.zeros((1, 4, 5))

    lazy = da.map_blocks(
        block, chunks=((1,) * 9, (4,), (5,)), dtype=float, meta=np.empty((0, 0, 0))
    )
    computed.clear()
    image_from_array(lazy).plane(0, 6)
    assert computed == [(6, 0, 0)]


@pytest.mark.parametrize("channels", [0, 3, 4])
def test_two_dimensions_have_one_plane(channels):
    data = np.zeros((4, 5, channels) if channels else (4, 5), np.uint8)
    image = image_from_array(data, rgb=bool(channels))
    assert (image.axes, image.n_planes(0), image.plane_shape(0)) == ((0,), 1, (4, 5))
    assert image.plane(0, 0).shape == data.shape
    with pytest.raises(CamSamError, match="only axis 0"):
        image.plane(1, 0)


def test_four_dimensions_by_frame():
    series = np.stack([VOLUME, VOLUME + 1])
    np.testing.assert_array_equal(image_from_array(series, frame=1).data, VOLUME + 1)
    assert image_from_array(series[:1]).spatial_shape == (3, 4, 5)
    with pytest.raises(CamSamError, match="2 frames: choose one, from 0 to 1"):
        image_from_array(series)
    for frame in (2, -1):
        with pytest.raises(CamSamError, match="frames are 0 to 1"):
            image_from_array(series, frame=frame)
    with pytest.raises(CamSamError, match="no frame 3"):
        image_from_array(VOLUME, frame=3)


@pytest.mark.parametrize(("axis", "index"), [(0, 3), (0, -1), (2, 5), (3, 0), (-1, 0)])
def test_planes_that_do_not_exist(axis, index):
    with pytest.raises(CamSamError, match=r"no slice|axes 0, 1 and 2"):
        image_from_array(VOLUME).plane(axis, index)


@pytest.mark.parametrize(
    ("data", "rgb", "words"),
    [
        (np.zeros((0, 4)), False, "empty"),
        (np.zeros((2, 2, 2, 2, 2)), False, "5 dimensions"),
        (np.zeros(4), False, "1 dimensions"),
        (np.zeros((4, 4)), True, "3 or 4 channels"),
        (np.zeros((4, 4, 2)), True, "3 or 4 channels"),
        (np.zeros((4, 4), complex), False, "complex128"),
        (np.array([["a", "b"]]), False, "real numbers"),
    ],
)
def test_refuses_what_is_no_image(data, rgb, words):
    with pytest.raises(CamSamError, match=words):
        image_from_array(data, rgb=rgb)


def test_refuses_a_geometry_of_other_dimensions():
    with pytest.raises(CamSamError, match="3 spatial axes, but 2 spacings"):
        Image(VOLUME, False, Geometry((1.0, 1.0)), "volume")
