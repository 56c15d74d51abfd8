import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam.utils.image import scale_cam_image

from napari_cam_sam.cam.upscale import grid_to_plane, resize_grid, upscale_volume
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.letterbox import Letterbox


def _hat(coarse: int, fine: int, cell: int) -> np.ndarray:
    """The closed form: linear interpolation of a unit peak between cell centres."""
    at = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    return np.maximum(0, 1 - np.abs(at - cell))


@pytest.mark.parametrize("cell", range(6))
def test_volume_peak_stays_where_it_is(cell: int) -> None:
    raw = np.zeros((6, 5, 4), np.float32)
    raw[cell, 2, 1] = 1
    up = upscale_volume(raw, (24, 10, 12))
    expected = np.einsum("i,j,k->ijk", _hat(6, 24, cell), _hat(5, 10, 2), _hat(4, 12, 1))
    np.testing.assert_allclose(up, expected, atol=1e-6)
    assert up.min() >= 0


def test_volume_peak_where_the_library_moves_it_and_rings() -> None:
    raw = np.zeros((6, 6, 6), np.float32)
    raw[2] = 1  # covers planes 8…11 of 24, centre 9.5
    mine = upscale_volume(raw, (24, 6, 6))[:, 0, 0]
    planes = np.arange(24)
    assert (planes * mine).sum() / mine.sum() == pytest.approx(9.5, abs=1e-5)
    theirs = scale_cam_image(raw[None], (6, 6, 24))[0]
    assert theirs.shape == (24, 6, 6)
    profile = theirs[:, 0, 0]
    assert profile.argmax() == 9
    assert abs((planes * profile).sum() / profile.sum() - 9.5) > 0.2
    assert profile.min() < -0.05


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(*[st.integers(1, 5)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 99)
)
def test_volume_stays_in_range_and_keeps_constants(
    coarse: tuple[int, int, int], fine: tuple[int, int, int], seed: int
) -> None:
    raw = np.random.default_rng(seed).normal(size=coarse)
    up = upscale_volume(raw, fine)
    assert up.shape == fine
    assert up.dtype == np.float32
    assert up.min() >= raw.min() - 1e-5
    assert up.max() <= raw.max() + 1e-5
    np.testing.assert_allclose(upscale_volume(np.full(coarse, 3.0), fine), 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("raw", "shape"),
    [
        (np.zeros((3, 3)), (3, 3, 3)),
        (np.zeros((3, 3, 3)), (3, 3)),
        (np.zeros((3, 3, 3)), (0, 3, 3)),
        (np.zeros((0, 3, 3)), (3, 3, 3)),
    ],
)
def test_volume_refuses_other_shapes(raw: np.ndarray, shape: tuple) -> None:
    with pytest.raises(CamSamError, match="three sizes"):
        upscale_volume(raw, shape)


@pytest.mark.parametrize("shape", [(64, 64), (96, 96), (224, 224)])
def test_square_plane_agrees_with_interpolate(shape: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    mine = grid_to_plane(grid, Letterbox.fit(shape, (224, 224)))
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(grid)[None, None], shape, mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [(100, 237), (311, 90), (57, 224), (8, 500)])
@pytest.mark.parametrize("target", [(224, 224), (128, 96)])
def test_non_square_plane_is_sampled_at_its_own_positions(
    shape: tuple[int, int], target: tuple[int, int]
) -> None:
    """A grid that holds its own frame position must give each pixel's frame position back."""
    box = Letterbox.fit(shape, target)
    cells = (14, 12)
    rows, columns = np.indices(shape).astype(float)
    frame_rows, frame_columns = box.to_target(rows, columns)
    for axis, expected in enumerate((frame_rows, frame_columns)):
        centres = (np.arange(cells[axis]) + 0.5) * target[axis] / cells[axis] - 0.5
        grid = np.broadcast_to(centres[:, None] if axis == 0 else centres[None, :], cells)
        got = grid_to_plane(grid.astype(np.float32), box)
        np.testing.assert_allclose(got, np.clip(expected, centres[0], centres[-1]), atol=1e-3)


@pytest.mark.parametrize("shape", [(100, 237), (311, 90)])
def test_bright_cell_lands_on_its_pixels(shape: tuple[int, int]) -> None:
    """What is bright in the plane is, after apply, in the cell that brightens it again."""
    target, cells = (224, 224), 14
    box = Letterbox.fit(shape, target)
    where = (int(shape[0] * 0.3), int(shape[1] * 0.7))
    frame = [float(np.asarray(v)) for v in box.to_target(*where)]
    cell = tuple(int((v + 0.5) * cells / 224) for v in frame)
    grid = np.zeros((cells, cells), np.float32)
    grid[cell] = 1
    peak = np.unravel_index(grid_to_plane(grid, box).argmax(), shape)
    reach = 0.5 * 224 / cells / min(box.scale) + 1
    assert abs(peak[0] - where[0]) <= reach
    assert abs(peak[1] - where[1]) <= reach


def test_resize_grid_to_its_own_shape_changes_nothing() -> None:
    grid = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_array_equal(resize_grid(grid, (5, 7)), grid)
