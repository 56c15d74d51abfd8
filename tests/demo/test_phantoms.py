"""Phantoms: the same from a seed, with a truth that fits what is drawn."""

from __future__ import annotations

import hashlib

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_cam_sam.demo import phantoms
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.demo.textures import blur, power_noise, speckle
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.errors import CamSamError


@pytest.mark.parametrize("family", [phantoms.shapes, phantoms.ultrasound, phantoms.mixed])
def test_a_seed_draws_the_same_and_another_seed_another(family) -> None:  # type: ignore[no-untyped-def]
    first, again, other = family(3), family(3), family(4)
    digest = [hashlib.sha256(p.image.tobytes()).hexdigest() for p in (first, again, other)]
    assert digest[0] == digest[1] != digest[2]
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.image.dtype == first.labels.dtype == np.uint8


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_shapes_stand_apart_and_differ_from_their_background(objects: int) -> None:
    for seed in range(12):
        phantom = phantoms.shapes(seed, objects=objects)
        values = np.unique(phantom.labels)
        assert values[0] == 0
        assert len(values) <= objects + 1
        # A tip one pixel wide hangs on by a corner: 8-connected.
        _, parts = ndimage.label(phantom.labels > 0, np.ones((3, 3)))
        assert parts == len(values) - 1
        inside = phantom.image[phantom.labels > 0].mean(axis=0)
        outside = phantom.image[phantom.labels == 0].mean(axis=0)
        assert abs(inside - outside).mean() > 15


@pytest.mark.parametrize("kind", phantoms.SHAPE_CLASSES)
def test_areas_of_shapes_have_their_closed_forms(kind: str) -> None:
    radius = 60.0
    inner, tip = 0.45 * radius, 1.1 * radius
    expected = {
        "circle": np.pi * radius**2,
        "square": (2 * 0.82 * radius) ** 2,
        "triangle": 3 * np.sqrt(3) * (0.55 * radius) ** 2,
        "star": 10 * 0.5 * inner * tip * np.sin(np.pi / 5),
        "cross": 4 * 0.34 * radius * 2 * radius - (2 * 0.34 * radius) ** 2,
    }
    field = phantoms._polygon_distance((200, 200), (99.7, 100.2), radius, 0.4, kind)
    assert (field > 0).sum() == pytest.approx(expected[kind], rel=0.01)


def test_ultrasound_has_a_lesion_exactly_where_it_is_asked_for() -> None:
    for seed in range(6):
        with_lesion = phantoms.ultrasound(seed, size=96, lesion=True)
        without = phantoms.ultrasound(seed, size=96, lesion=False)
        assert with_lesion.labels.any()
        assert with_lesion.class_index == 1
        assert not without.labels.any()
        assert without.class_index == 0


def test_ct_is_in_hounsfield_units_with_a_lesion_in_the_liver() -> None:
    phantom = ct(1, shape=(16, 96, 96))
    assert phantom.hounsfield.dtype == np.int16
    assert phantom.hounsfield.shape == phantom.labels.shape == (16, 96, 96)
    assert -1024 <= phantom.hounsfield.min() < -950
    assert phantom.hounsfield.max() > 300
    lesion = phantom.hounsfield[phantom.labels > 0]
    assert -30 < lesion.mean() < 180
    planes = np.flatnonzero(phantom.labels.any(axis=(1, 2)))
    assert len(planes) >= 2
    assert (np.diff(planes) == 1).all()
    # As the docstring says: planes from the head down, rows to the back, columns to the left.
    assert nib.aff2axcodes(phantom.affine) == ("I", "P", "L")
    sizes = np.linalg.norm(phantom.affine[:3, :3], axis=0)
    np.testing.assert_allclose(sizes, phantom.spacing)
    assert not ct(1, shape=(16, 96, 96), lesion=False).labels.any()


def test_textures_have_their_closed_forms() -> None:
    rng = np.random.default_rng(0)
    noise = power_noise(rng, (64, 64), 1.5)
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    impulse = np.zeros((65, 65), np.float32)
    impulse[32, 32] = 1
    spread = blur(impulse, 3.0)
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    expected = ndimage.gaussian_filter(impulse, 3.0, truncate=8)
    np.testing.assert_allclose(spread, expected, atol=2e-5)
    # Rayleigh: the standard deviation is sqrt(4/pi - 1) of the mean.
    amplitude = speckle(rng, (256, 256), (0.7, 0.7))
    assert amplitude.std() / amplitude.mean() == pytest.approx(np.sqrt(4 / np.pi - 1), rel=0.05)


def test_samples_have_a_truth_on_their_grid() -> None:
    for name in ("ct", "ultrasound", "shapes"):
        sample = make_sample(name)
        assert sample.truth.spatial_shape == sample.image.spatial_shape
        assert np.any(sample.truth.data)
    with pytest.raises(CamSamError, match="ultrasound"):
        make_sample("ultrsound")
