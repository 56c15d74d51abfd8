from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.volume.smoothing import (
    interpolate_masks,
    signed_distance,
    smooth_along_axis,
)

SIDE = 81


def disc(radius: float, row: float = 40, column: float = 40) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - row, columns - column) <= radius


def radius_of(mask: np.ndarray) -> float:
    return float(np.sqrt(mask.sum() / np.pi))


def test_signed_distance_of_a_half_plane_is_the_distance_to_its_edge():
    mask = np.zeros((6, 9), bool)
    mask[:, 4:] = True
    expected = np.tile(np.arange(9) - 3.5, (6, 1))
    np.testing.assert_allclose(signed_distance(mask), expected)
    np.testing.assert_allclose(signed_distance(mask, (2.0, 2.0)), 2 * expected)
    np.testing.assert_array_equal(signed_distance(~mask), -signed_distance(mask))
    assert np.isposinf(signed_distance(np.ones((2, 3), bool))).all()
    assert np.isneginf(signed_distance(np.zeros((2, 3), bool))).all()


def test_between_two_discs_the_radius_goes_linearly():
    for fraction in (0.25, 0.5, 0.75):
        found = interpolate_masks(disc(10), disc(30), fraction)
        assert radius_of(found) == pytest.approx(10 + 20 * fraction, abs=0.4)


def test_between_two_places_a_disc_moves():
    found = interpolate_masks(disc(20, 40, 36), disc(20, 40, 44), 0.5)
    centre = np.argwhere(found).mean(axis=0)
    np.testing.assert_allclose(centre, (40, 40), atol=1e-6)


def test_interpolation_at_its_ends_and_of_nothing():
    one, two = disc(10), disc(20)
    np.testing.assert_array_equal(interpolate_masks(one, two, 0), one)
    np.testing.assert_array_equal(interpolate_masks(one, two, 1), two)
    nothing = np.zeros_like(one)
    assert not interpolate_masks(one, nothing, 0.5).any()
    assert not interpolate_masks(disc(5, 10, 10), disc(5, 70, 70), 0.5).any()
    full = np.ones_like(one)
    assert interpolate_masks(full, full, 0.5).all()


def stack(radii: list[float]) -> np.ndarray:
    return np.stack([disc(radius) for radius in radii])


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_a_plane_that_sticks_out_is_drawn_in_by_the_weight_of_the_kernel(sigma):
    """Signed distances of discs with one centre differ by their radii, so radii are blurred."""
    impulse = np.zeros(41)
    impulse[20] = 1
    expected = 20 + 10 * ndimage.gaussian_filter1d(impulse, sigma)
    radii = [20.0] * 41
    radii[20] = 30
    smooth = smooth_along_axis(stack(radii), 0, sigma * 5, (5, 1, 1))
    assert smooth.dtype == bool
    for i in range(12, 29):
        assert radius_of(smooth[i]) == pytest.approx(expected[i], abs=0.35)


def test_sigma_is_in_units_of_the_spacing():
    volume = stack([10, 22, 12, 25, 11, 20])
    by_pixels = smooth_along_axis(volume, 0, 1.0, (1, 1, 1))
    np.testing.assert_array_equal(smooth_along_axis(volume, 0, 6.5, (6.5, 1, 1)), by_pixels)
    np.testing.assert_array_equal(smooth_along_axis(volume, 0, 6.5, (6.5, 0.8, 0.8)), by_pixels)
    assert (smooth_along_axis(volume, 0, 1.0, (6.5, 1, 1)) != by_pixels).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cylinder_keeps_its_ends(axis):
    volume = np.zeros((14, SIDE, SIDE), np.uint16)
    volume[4:9] = disc(15) * 300
    turned = np.moveaxis(volume, 0, axis)
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    smooth = smooth_along_axis(turned, axis, 4.0, spacing)
    assert smooth.dtype == np.uint16
    np.testing.assert_array_equal(smooth, turned)


def test_neighbouring_objects_stay_apart_and_full_planes_are_allowed():
    labels = np.ones((5, 8, 8), np.uint8)
    labels[:, :, 4:] = 2
    np.testing.assert_array_equal(smooth_along_axis(labels, 0, 2, (1, 1, 1)), labels)
    full = np.ones((4, 3, 3), np.uint8)
    full[0] = 0
    np.testing.assert_array_equal(smooth_along_axis(full, 0, 0.5, (1, 1, 1)), full)


@given(st.integers(0, 999), st.floats(0, 5), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_any_labels_keep_their_type_and_make_no_new_values(seed, sigma, axis):
    labels = np.random.default_rng(seed).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    smooth = smooth_along_axis(labels, axis, sigma, (5.0, 0.7, 0.7))
    assert smooth.dtype == labels.dtype
    assert set(np.unique(smooth)) <= set(np.unique(labels)) | {0}
    if sigma == 0:
        np.testing.assert_array_equal(smooth, labels)
        assert smooth is not labels


@pytest.mark.parametrize(
    ("shape", "axis", "sigma", "said"),
    [
        ((4, 4), 0, 1.0, "needs a volume"),
        ((4, 4, 4), 3, 1.0, "not 3"),
        ((4, 4, 4), 0, -1.0, "0 or more"),
        ((4, 4, 4), 0, float("nan"), "0 or more"),
    ],
)
def test_refuses(shape, axis, sigma, said):
    with pytest.raises(CamSamError, match=said):
        smooth_along_axis(np.zeros(shape, np.uint8), axis, sigma, (1, 1, 1))


def test_a_sigma_beyond_all_measure_ends() -> None:
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[2:4, 2:6, 2:6] = 1
    far = smooth_along_axis(labels, 0, 1e12, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(far, smooth_along_axis(labels, 0, 1e3, (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("apart", range(1, 13))
def test_interpolation_is_the_same_from_either_end(apart):
    """An edge that moves by half a pixel a step lies on every other pixel's centre, exactly."""
    columns = np.arange(30)
    first, second = (np.tile(columns < end, (3, 1)) for end in (8, 8 + apart))
    steps = 2 * apart
    for step in range(1, steps):
        there = interpolate_masks(first, second, step / steps)
        back = interpolate_masks(second, first, (steps - step) / steps)
        np.testing.assert_array_equal(there, back)
        np.testing.assert_array_equal(there[0], columns + 0.5 < 8 + step / 2)
        mirrored = interpolate_masks(first[:, ::-1], second[:, ::-1], step / steps)
        np.testing.assert_array_equal(mirrored[:, ::-1], there)


@given(seed=st.integers(0, 2**32 - 1), axis=st.sampled_from([0, 1, 2]))
def test_smoothing_is_mirrored_with_the_volume(seed, axis):
    labels = np.zeros((9, 7, 6), np.uint8)
    rng = np.random.default_rng(seed)
    for plane in rng.choice(9, 3, replace=False):
        labels[plane] = (rng.random((7, 6)) < 0.5) * 1
    smooth = smooth_along_axis(labels, axis, 1.3, (1.0, 1.0, 1.0))
    for flip in (0, 1, 2):
        other = smooth_along_axis(np.flip(labels, flip), axis, 1.3, (1.0, 1.0, 1.0))
        # Where rounding decides of what lies on the edge itself, it may differ.
        assert (np.flip(other, flip) != smooth).mean() < 0.002
