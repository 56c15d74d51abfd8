import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry, spacing_from_affine

AFFINE = np.array([[0, 0, -0.8, 90], [0, 0.8, 0, -100], [6.5, 0, 0, -50], [0, 0, 0, 1.0]])


def geometry(affine: np.ndarray | None = AFFINE) -> Geometry:
    return Geometry((6.5, 0.8, 0.8), affine, "mm")


def test_plane_spacing_leaves_out_the_axis():
    volume = Geometry((3.0, 2.0, 1.0), None, "mm")
    assert [volume.plane_spacing(axis) for axis in (0, 1, 2)] == [(2, 1), (3, 1), (3, 2)]
    assert Geometry((0.5, 0.25)).plane_spacing(0) == (0.5, 0.25)


def test_spacing_from_affine_is_the_length_of_the_columns():
    np.testing.assert_allclose(spacing_from_affine(AFFINE), (6.5, 0.8, 0.8))


def test_matches_itself_and_what_float32_rounds_off():
    rounded = AFFINE.astype(np.float32).astype(np.float64)
    assert geometry().matches(geometry(rounded)) is None


def test_says_which_part_differs():
    shifted, turned = AFFINE.copy(), AFFINE.copy()
    shifted[2, 3] += 0.1
    turned[:3, 2] *= -1
    assert "first voxel" in str(geometry().matches(geometry(shifted)))
    assert "voxel axes" in str(geometry().matches(geometry(turned)))
    assert geometry().matches(geometry(shifted), tolerance=0.2) is None


def test_spacing_is_compared_in_mm_only():
    a, b = Geometry((1.0, 1.0), None, "mm"), Geometry((1.0, 2.0), None, "mm")
    assert "spacing" in str(a.matches(b))
    assert a.matches(Geometry((1.0, 2.0))) is None
    assert "axes" in str(a.matches(geometry()))


@pytest.mark.parametrize("spacing", [(1.0, 0.0), (1.0, -1.0), (np.nan, 1.0), (1.0,)])
def test_refuses_broken_spacing(spacing):
    with pytest.raises(CamSamError, match="spacing"):
        Geometry(spacing)


@pytest.mark.parametrize(
    "affine", [np.eye(3), np.full((4, 4), np.nan), np.diag([1.0, 1, 0, 1]), np.ones((4, 4))]
)
def test_refuses_broken_affine(affine):
    with pytest.raises(CamSamError, match="affine"):
        Geometry((1.0, 1.0, 1.0), affine)
