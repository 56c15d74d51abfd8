import math
import tracemalloc

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.metrics.surface import _element_sizes, nsd, surface_distances


def hd95(*arguments):
    return surface_distances(*arguments).hd95


def assd(*arguments):
    return surface_distances(*arguments).assd


def tensors(*masks):
    return [torch.from_numpy(mask.astype(np.float32))[None, None] for mask in masks]


def smooth_masks(shape, seed):
    """Two random blobby masks that overlap in part, some of them cut by the border."""
    rng = np.random.default_rng(seed)
    base = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    other = base + 0.4 * ndimage.gaussian_filter(rng.normal(size=shape), 1)
    return base > 0.05, other > 0.05


CASES = [
    ((24, 30), (1.0, 1.0), 0),
    ((24, 30), (0.5, 2.2), 1),
    ((12, 14, 16), (1.0, 1.0, 1.0), 2),
    ((12, 14, 16), (5.0, 0.7, 0.9), 3),
]


@pytest.mark.parametrize(("shape", "spacing", "seed"), CASES)
def test_distances_agree_with_monai(shape, spacing, seed):
    prediction, truth = smooth_masks(shape, seed)
    pair = tensors(prediction, truth)
    theirs = compute_hausdorff_distance(
        *pair, include_background=True, percentile=95, spacing=spacing
    )
    assert hd95(prediction, truth, spacing) == pytest.approx(theirs.item(), rel=1e-5)
    theirs = compute_average_surface_distance(
        *pair, include_background=True, symmetric=True, spacing=spacing
    )
    assert assd(prediction, truth, spacing) == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize(("shape", "spacing", "seed"), CASES)
@pytest.mark.parametrize("tolerance", [0.0, 0.8, 2.0])
def test_nsd_agrees_with_monai_with_subvoxels(shape, spacing, seed, tolerance):
    prediction, truth = smooth_masks(shape, seed)
    theirs = compute_surface_dice(
        *tensors(prediction, truth),
        class_thresholds=[tolerance],
        include_background=True,
        spacing=spacing,
        use_subvoxels=True,
    )
    found = nsd(prediction, truth, spacing, tolerance)
    assert 0 < found < 1 or tolerance == 0
    assert found == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("spacing", [(1.3, 0.4), (1.0, 1.0, 1.0), (5.0, 0.7, 0.9)])
def test_surface_elements_agree_with_monai_for_every_cell(spacing):
    from monai.metrics.utils import get_code_to_measure_table

    theirs, kernel = get_code_to_measure_table(spacing)
    bits = kernel.numpy().ravel().astype(int)
    for code, size in enumerate(_element_sizes(spacing)):
        their_code = sum(int(b) for i, b in enumerate(bits) if code >> i & 1)
        assert size == pytest.approx(float(theirs[their_code]), abs=1e-5), code


def test_two_pixels_have_their_distance_in_mm():
    prediction, truth = np.zeros((2, 10, 10, 10), bool)
    prediction[2, 3, 4] = truth[4, 6, 4] = True
    expected = math.hypot(2 * 5, 3 * 0.5)
    assert hd95(prediction, truth, (5, 0.5, 0.7)) == pytest.approx(expected)
    assert assd(prediction, truth, (5, 0.5, 0.7)) == pytest.approx(expected)


def test_shifted_square_in_closed_form():
    """A square against itself moved by 3 columns of 2 mm."""
    prediction, truth = np.zeros((2, 30, 40), bool)
    truth[10:20, 10:20] = True
    prediction[10:20, 13:23] = True
    found = surface_distances(prediction, truth, (1, 2))
    assert found.to_truth.size == found.to_prediction.size == 36
    assert found.to_truth.max() == pytest.approx(6)
    # The 10 pixels of the far side and the two last of top and bottom stick out: 10 at 6 mm,
    # 2 at 4, 2 at 2. Of the near side, 8 lie inside the truth: the closest edge of the truth
    # is above or below by up to 4 mm, or 6 mm aside.
    inside = [min(i, 9 - i, 6) for i in range(1, 9)]
    expected = (10 * 6 + 2 * 4 + 2 * 2 + sum(inside)) / 36
    assert found.assd == pytest.approx(expected)


def test_nsd_of_shifted_squares_in_closed_form():
    """Contours of 10 × 10 squares whose corners are cut: 36 + 4·√½ pixels long."""
    prediction, truth = np.zeros((2, 30, 40), bool)
    truth[10:20, 10:20] = True
    prediction[10:20, 11:21] = True
    assert nsd(prediction, truth, (1, 1), 1.0) == 1
    # With no tolerance, of each contour 9 straight pieces and one corner of the top, and as many
    # of the bottom, sit where the other contour has a piece.
    corner = math.sqrt(0.5)
    expected = 2 * (9 + corner) / (36 + 4 * corner)
    assert nsd(prediction, truth, (1, 1), 0.0) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(8, 9), (5, 6, 7)])
def test_equal_masks(shape):
    mask, _ = smooth_masks(shape, 5)
    spacing = (2.0, 0.5, 1.0)[: len(shape)]
    assert hd95(mask, mask, spacing) == assd(mask, mask, spacing) == 0
    assert nsd(mask, mask, spacing, 0.0) == 1


@pytest.mark.parametrize("shape", [(8, 9), (5, 6, 7)])
def test_empty_masks(shape):
    mask, empty = np.ones(shape, bool), np.zeros(shape, bool)
    spacing = (1.0,) * len(shape)
    for pair in ((mask, empty), (empty, mask)):
        assert hd95(*pair, spacing) == assd(*pair, spacing) == math.inf
        assert nsd(*pair, spacing) == 0
    assert hd95(empty, empty, spacing) == assd(empty, empty, spacing) == 0
    assert nsd(empty, empty, spacing) == 1


def test_distances_do_not_depend_on_memory_order_or_on_empty_space():
    prediction, truth = smooth_masks((10, 12, 14), 7)
    spacing = (3.0, 1.0, 0.5)
    padded = [np.pad(np.pad(mask, 1), 20) for mask in (prediction, truth)]
    plain = [mask[20:-20, 20:-20, 20:-20] for mask in padded]
    fortran = [np.asfortranarray(mask) for mask in plain]
    for metric in (hd95, assd, nsd):
        expected = metric(*plain, spacing)
        assert metric(*padded, spacing) == pytest.approx(expected, abs=1e-12)
        assert metric(*fortran, spacing) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_small_lesion_in_a_large_volume_needs_little_memory(order):
    prediction, truth = (np.zeros((300, 256, 256), bool, order) for _ in range(2))
    truth[40:52, 100:120, 100:120] = True
    prediction[250:262, 30:50, 100:120] = True
    spacing = (2.5, 0.7, 0.7)
    tracemalloc.start()
    overlap(prediction, truth)
    hd95(prediction, truth, spacing)
    nsd(prediction, truth, spacing)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6 < truth.nbytes


def test_wrong_arguments_are_refused():
    mask = np.ones((4, 4), bool)
    with pytest.raises(CamSamError, match="spacing"):
        hd95(mask, mask, (1, 1, 1))
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(CamSamError, match="tolerance of NSD must be 0 mm or more and finite"):
            nsd(mask, mask, (1, 1), tolerance)
    with pytest.raises(CamSamError, match="2D or 3D"):
        nsd(np.ones(4, bool), np.ones(4, bool), (1,))
