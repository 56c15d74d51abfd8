import numpy as np
import pytest
from scipy import ndimage
from scipy.cluster.vq import kmeans

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.prompts.regions import (
    distance_centre,
    find_regions,
    foreground_threshold,
    region_box,
)


def regions_of(mask, values=None, components="largest", max_objects=1, min_area=0):
    return find_regions(mask, values, components, max_objects=max_objects, min_area=min_area)


def test_components_touch_at_corners():
    mask = np.eye(4, dtype=bool)
    (region,) = regions_of(mask)
    assert region.mask.sum() == 4


@pytest.fixture
def three_blobs():
    """Areas 12, 6, 1; energies 1.2, 4.8, 1; maxima .1, .8, 1."""
    values = np.zeros((20, 20), np.float32)
    values[1:4, 1:5] = 0.1
    values[8:10, 8:11] = 0.8
    values[15, 15] = 1.0
    return values


@pytest.mark.parametrize(
    ("components", "order"),
    [
        ("largest", [(1, 1), (8, 8), (15, 15)]),
        ("most-energy", [(8, 8), (1, 1), (15, 15)]),
        ("with-maximum", [(15, 15), (8, 8), (1, 1)]),
    ],
)
def test_order_of_components(three_blobs, components, order):
    found = regions_of(three_blobs > 0, three_blobs, components, max_objects=9)
    assert [(region.row, region.column) for region in found] == order
    top = regions_of(three_blobs > 0, three_blobs, components, max_objects=2)
    assert [(region.row, region.column) for region in top] == order[:2]


def test_small_components_are_left_out(three_blobs):
    found = regions_of(three_blobs > 0, three_blobs, "with-maximum", max_objects=9, min_area=6)
    assert [(region.row, region.column) for region in found] == [(8, 8), (1, 1)]
    assert regions_of(three_blobs > 0, min_area=13) == []


def test_all_components_are_one_region(three_blobs):
    (region,) = regions_of(three_blobs > 0, three_blobs, "all", min_area=6)
    assert region.window == (slice(1, 10), slice(1, 11))
    assert region.mask.sum() == 18


def test_box_has_exclusive_ends_and_a_margin():
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    (region,) = regions_of(mask)
    box = region_box(region, 5, "truth", None)
    assert (box.row_min, box.row_max, box.column_min, box.column_max) == (-3, 10, -2, 14)


def test_points_of_a_ring():
    """Centre of mass in the hole; its snapped pixel and the distance centre on the ring."""
    rows, columns = np.mgrid[:41, :41]
    radius = np.hypot(rows - 20, columns - 20)
    mask = (radius < 18) & (radius > 8)
    (region,) = regions_of(mask)
    assert region.point("mass-centre", None) == (20, 20)
    assert region.point("box-centre", None) == (20, 20)
    assert not mask[20, 20]
    assert mask[region.point("mass-centre-snapped", None)]
    place = region.point("distance-centre", None)
    assert mask[place]
    assert ndimage.distance_transform_edt(mask)[place] == pytest.approx(
        ndimage.distance_transform_edt(mask).max()
    )


def test_box_centre_is_rounded_down_from_exclusive_ends():
    mask = np.zeros((20, 20), bool)
    mask[3:9, 4:9] = True  # rows 3..8, columns 4..8
    (region,) = regions_of(mask)
    assert region.point("box-centre", None) == (3 + (9 - 3) // 2, 4 + (9 - 4) // 2)


def test_argmax_is_the_first_highest_within_the_region():
    values = np.zeros((8, 8))
    values[0, 0] = 1
    values[3:6, 3:6] = 0.5
    values[4, 5] = values[5, 3] = 0.7
    (region,) = regions_of(values > 0, values)
    assert region.point("argmax", values) == (4, 5)
    with pytest.raises(CamSamError, match="needs a heatmap"):
        region.point("argmax", None)


def test_distance_centre_counts_the_border_as_an_edge():
    assert distance_centre(np.ones((5, 9), bool)) in {(2, c) for c in range(2, 7)}
    assert distance_centre(np.ones((5, 9), bool)) == (2, 4)
    assert distance_centre(np.ones((1, 1), bool)) == (0, 0)


class TestThresholds:
    values = np.concatenate([np.full(60, 0.1), np.full(30, 0.4), np.full(10, 0.8)]).reshape(10, 10)

    def threshold(self, **changes):
        return foreground_threshold(self.values, PromptParameters(**changes))

    def test_fixed(self):
        assert self.threshold(threshold_rule="fixed", threshold=0.3) == 0.3

    def test_fraction_of_maximum(self):
        value = self.threshold(threshold_rule="fraction-of-max", threshold=0.5)
        assert value == pytest.approx(0.4)

    def test_percentile(self):
        value = self.threshold(threshold_rule="percentile", threshold=0.75)
        assert value == pytest.approx(np.percentile(self.values, 75))

    def test_otsu_maximises_the_variance_between_both_sides(self):
        found = self.threshold(threshold_rule="otsu")

        def between(threshold):
            high = self.values > threshold
            gap = self.values[high].mean() - self.values[~high].mean()
            return high.mean() * (1 - high.mean()) * gap**2

        assert between(found) == pytest.approx(max(between(0.2), between(0.5)))

    def test_k_means_of_three_separates_the_highest(self):
        found = self.threshold(threshold_rule="k-means", clusters=3)
        assert found == pytest.approx((0.4 + 0.8) / 2, abs=0.005)

    def test_k_means_of_two_agrees_with_scipy_on_all_values(self):
        values = np.random.default_rng(0).beta(1, 4, (40, 40))
        parameters = PromptParameters(threshold_rule="k-means", clusters=2)
        centres, _ = kmeans(values.reshape(-1, 1), np.array([[0.0], [1.0]]))
        expected = centres.mean()
        assert foreground_threshold(values, parameters) == pytest.approx(expected, abs=0.01)

    def test_k_means_with_more_clusters_than_values(self):
        values = np.array([[0.0, 1.0]])
        parameters = PromptParameters(threshold_rule="k-means", clusters=5)
        assert 0 < foreground_threshold(values, parameters) < 1
