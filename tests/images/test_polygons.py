from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import grid_points_in_poly

from napari_cam_sam.images.polygons import crosses_itself, fill, outlines

SQUARE = np.array([(1.0, 1.0), (1.0, 5.0), (5.0, 5.0), (5.0, 1.0)])


def blobs(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=rng.integers(1, 60, 2)), rng.uniform(0, 3))
    mask = noise > 0
    mask[0, 0] = True
    return mask


@pytest.mark.parametrize("seed", range(8))
def test_polygons_fill_what_scikit_image_says(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        shape = tuple(int(n) for n in rng.integers(1, 14, 2))
        polygons = [rng.uniform(-3, 16, (n, 2)) for n in rng.integers(1, 9, 3)]
        expected = np.zeros(shape, bool)
        for polygon in polygons:
            expected ^= grid_points_in_poly(shape, np.round(polygon * 64) / 64)
        # Where a line meets a centre within rounding, scikit-image's floats do not tell.
        assert np.count_nonzero(fill(polygons, shape) != expected) <= 1


def test_pixels_on_a_line_belong_and_half_a_pixel_does_not():
    assert fill([SQUARE], (8, 8)).sum() == 25
    assert fill([SQUARE * 0.999], (8, 8)).sum() == 16 + 9  # rounded to the line again
    assert fill([SQUARE + 0.5], (8, 8)).sum() == 16
    triangle = np.array([(0.0, 0.0), (4.0, 4.0), (4.0, 0.0)])
    assert np.array_equal(fill([triangle], (5, 5)), np.tri(5, dtype=bool))
    assert fill([np.array([(2.0, 3.0)])], (5, 5)).nonzero() == (2, 3)


def test_an_inner_contour_is_a_hole_and_its_line_belongs():
    inner = np.array([(2.0, 2.0), (2.0, 4.0), (4.0, 4.0), (4.0, 2.0)])
    ring = fill([SQUARE, inner], (7, 7))
    assert ring.sum() == 24
    assert not ring[3, 3]
    island = np.array([(3.0, 3.0)])
    assert fill([SQUARE, inner, island], (7, 7))[3, 3]


def test_far_and_many_corners_are_no_trouble():
    far = (SQUARE - 3) * np.array([1e300, 1e9])
    assert fill([far], (16, 16)).all()
    around = np.stack([np.cos(np.linspace(0, 40, 200_000)), np.sin(np.linspace(0, 40, 200_000))], 1)
    assert fill([around * 1e4], (50, 50)).shape == (50, 50)
    assert not fill([SQUARE + 100], (8, 8)).any()
    assert not fill([], (8, 8)).any()


@pytest.mark.parametrize("seed", range(40))
def test_outlines_give_the_mask_back_one_polygon_a_part(seed):
    mask = blobs(seed)
    polygons = outlines(mask)
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    assert len(polygons) == count
    assert np.array_equal(fill(polygons, mask.shape), mask)
    for polygon in polygons:
        own = fill([polygon], mask.shape)
        assert len(np.unique(parts[own])) == 1
        assert not crosses_itself(polygon, int(own.sum()))


@pytest.mark.parametrize("seed", range(10))
def test_outlines_rounded_to_whole_pixels_still_give_the_mask(seed):
    mask = blobs(seed)
    rounded = [np.round(polygon) for polygon in outlines(mask)]
    assert np.array_equal(fill(rounded, mask.shape), mask)


def test_the_area_of_outlines_is_that_of_the_mask():
    rows, columns = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 < 80**2
    (polygon,) = outlines(disc)
    following = np.roll(polygon, -1, axis=0)
    area = abs((polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]).sum()) / 2
    assert area == pytest.approx(disc.sum(), rel=1e-3)


def test_nothing_has_no_outline():
    assert outlines(np.zeros((5, 5), bool)) == []


def test_a_bow_tie_crosses_itself():
    tie = np.array([(0.0, 0.0), (30.0, 30.0), (0.0, 30.0), (30.0, 0.0)])
    assert crosses_itself(tie, int(fill([tie], (40, 40)).sum()))
    twice = np.concatenate([SQUARE * 9, SQUARE * 4])
    assert crosses_itself(twice, int(fill([twice], (60, 60)).sum()))
