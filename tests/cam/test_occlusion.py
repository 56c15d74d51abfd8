"""Occlusion: against a closed form, captum, and its limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from numpy.typing import NDArray
from torch import nn

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.errors import CamSamError, Cancelled
from napari_cam_sam.models.classifiers import Classifier

Make = Callable[..., Classifier]
Planes = list[NDArray[np.uint8]]


def _maps(classifier: Classifier, planes: Planes, batch_size: int = 16, **options: object):
    parameters = CamParameters(
        "occlusion", target=1, batch_size=batch_size, occlusion=OcclusionParameters(**options)
    )
    return list(compute_heatmaps(classifier, planes, parameters))


@pytest.fixture
def linear(make: Make) -> Classifier:
    torch.manual_seed(0)
    return make(nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 4)).eval(), layers=())


def test_of_a_linear_model_it_is_weight_times_what_is_lost(
    linear: Classifier, planes: Planes
) -> None:
    (heatmap,) = _maps(linear, planes[:1], patch=1, stride=1, fill=255)
    tensor, _ = linear.prepare(planes[:1])
    white = (1 - 0.45) / 0.22
    expected = linear.module[1].weight[1].view(32, 32) * (tensor[0, 0] - white)
    np.testing.assert_allclose(heatmap.raw, expected.detach().numpy(), atol=2e-5)
    assert not heatmap.layers


def test_agrees_with_captum(deep: Classifier, planes: Planes) -> None:
    tensor, _ = deep.prepare(planes[:2])
    theirs = Occlusion(deep.module).attribute(
        tensor, (1, 8, 8), strides=(1, 4, 4), target=1, baselines=(0 - 0.45) / 0.22
    )
    for heatmap, expected in zip(
        _maps(deep, planes[:2], patch=8, stride=4, fill=0), theirs, strict=True
    ):
        np.testing.assert_allclose(heatmap.raw, expected[0].detach().numpy(), atol=1e-5)


def test_squares_reach_the_edges_whatever_the_stride(linear: Classifier, planes: Planes) -> None:
    (heatmap,) = _maps(linear, planes[:1], patch=7, stride=6)
    tensor, _ = linear.prepare(planes[:1])
    with torch.no_grad():
        lost = (linear.module[1].weight[1].view(32, 32) * (tensor[0, 0] - tensor.mean()))[-7:, -7:]
    # The last pixel lies in the outermost square alone, which begins at pixel 25, not at 30.
    assert heatmap.raw[-1, -1] == pytest.approx(float(lost.sum()), abs=1e-5)
    assert np.isfinite(heatmap.raw).all()


def test_what_is_covered_by_itself_loses_nothing(linear: Classifier) -> None:
    (heatmap,) = _maps(linear, [np.full((32, 32), 90, np.uint8)])
    assert np.abs(heatmap.raw).max() < 1e-5


def test_the_size_of_a_pass_does_not_matter(deep: Classifier, planes: Planes) -> None:
    (one,), (other,) = (_maps(deep, planes[:1], size, patch=8, stride=8) for size in (1, 5))
    np.testing.assert_allclose(one.raw, other.raw, atol=1e-6)


def test_limits(linear: Classifier, planes: Planes, make: Make) -> None:
    for options, message in (
        ({"patch": 0}, "1 or more"),
        ({"patch": 4, "stride": 5}, "no pixel is left out"),
        ({"fill": 256}, "0 to 255"),
        ({"patch": 40, "stride": 8}, r"larger than the model's input of 32×32"),
    ):
        with pytest.raises(CamSamError, match=message):
            _maps(linear, planes[:1], **options)
    net = nn.Sequential(nn.Flatten(), nn.Linear(128 * 128, 4)).eval()
    with pytest.raises(CamSamError, match=r"12769 times .* larger stride"):
        _maps(make(net, layers=(), size=(128, 128)), planes[:1], stride=1)


@pytest.mark.parametrize("method", ["occlusion", "score-cam", "ablation-cam"])
def test_left_in_the_middle_of_a_plane(deep: Classifier, planes: Planes, method: str) -> None:
    passes: list[int] = []
    deep.module.register_forward_pre_hook(lambda *_: passes.append(1))
    found: list[Heatmap] = []
    parameters = CamParameters(method, batch_size=1)
    maps = compute_heatmaps(deep, planes, parameters, cancelled=lambda: len(passes) >= 3)
    with pytest.raises(Cancelled):
        found.extend(maps)
    assert len(passes) == 3
    assert not found
