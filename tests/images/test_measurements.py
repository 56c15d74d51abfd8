from __future__ import annotations

import math

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.measurements import measure_labels, measurements_rows
from napari_cam_sam.images.segments import Segment

SPACING = (2.0, 0.5, 0.8)


def volume(values: np.ndarray):
    return image_from_array(values, geometry=Geometry(SPACING, None, "mm"))


@pytest.mark.parametrize("turn", [0, 0.3, 0.8, 1.2, 1.57])
def test_an_ellipse_has_the_diameters_of_its_axes(turn):
    rows, columns = np.mgrid[:200, :200]
    x, y = (rows - 100) * SPACING[1], (columns - 100) * SPACING[2]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    ellipse = ((along / 40) ** 2 + (across / 20) ** 2 < 1).astype(np.uint8)
    labels = np.stack([ellipse * 0, ellipse * 3, ellipse[::-1] * 3 * (columns < 100)])
    values = np.stack([rows + columns] * 3).astype(np.int16)
    (found,) = measure_labels(labels, volume(values), [Segment(3, "Liver")])
    assert (found.label, found.name, found.slice) == (3, "Liver", 1)
    assert found.longest_mm == pytest.approx(80, abs=1.2)
    assert found.perpendicular_mm == pytest.approx(40, abs=1.2)
    assert found.volume_ml == pytest.approx(np.count_nonzero(labels) * 0.8 / 1000)
    assert found.mean == pytest.approx(values[labels == 3].mean())
    assert found.sd == pytest.approx(values[labels == 3].std())


def test_a_ring_is_as_wide_as_its_outside_and_a_voxel_as_a_pixel():
    labels = np.zeros((1, 30, 30), np.uint8)
    labels[0, 5:15, 5:15] = 1
    labels[0, 7:13, 7:13] = 0
    labels[0, 20, 20] = 2
    image = image_from_array(labels, geometry=Geometry((1.0, 1.0, 1.0), None, "mm"))
    ring, dot = measure_labels(labels, image)
    assert ring.longest_mm == pytest.approx(10 * math.sqrt(2), abs=0.8)
    assert ring.perpendicular_mm == pytest.approx(10 * math.sqrt(2), abs=0.8)
    assert dot.longest_mm == pytest.approx(0.98)
    assert (dot.voxels, dot.volume_ml, dot.sd) == (1, 0.001, 0)


def test_large_values_lose_no_digits():
    values = 1e9 + np.arange(24.0).reshape(2, 3, 4)
    (found,) = measure_labels(np.ones((2, 3, 4), int), volume(values))
    assert found.sd == pytest.approx(np.arange(24).std())


def test_what_cannot_be_known_is_not_a_number():
    labels = np.ones((4, 5), int)
    (found,) = measure_labels(labels, image_from_array(np.zeros((4, 5, 3), np.uint8), rgb=True))
    assert all(math.isnan(v) for v in (found.mean, found.sd, found.volume_ml, found.longest_mm))
    (found,) = measure_labels(labels, image_from_array(np.full((4, 5), np.nan)))
    assert math.isnan(found.mean)
    assert measure_labels(labels * 0, image_from_array(np.zeros((4, 5)))) == ()
    with pytest.raises(CamSamError, match="The labels have shape"):
        measure_labels(labels, image_from_array(np.zeros((5, 4))))


def test_rows_have_a_column_for_each_measure():
    (row,) = measurements_rows(measure_labels(np.ones((2, 3, 4), int), volume(np.zeros((2, 3, 4)))))
    assert list(row) == [
        "label", "name", "voxels", "volume_ml", "longest_mm", "perpendicular_mm", "slice", "mean",
        "sd",
    ]  # fmt: skip
