import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_cam_sam.cam.predictions import predict_planes
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.segmentation import SegmentationNetwork, network_of_module

RNG = np.random.default_rng(4)


class _Bright(nn.Module):
    """The logit of a pixel is 8 (brightness - ½), and falls from left to right by 2."""

    def forward(self, x: Tensor) -> Tensor:
        return 8 * (x - 0.5) - torch.linspace(0, 2, x.shape[-1])


def network(side: int) -> SegmentationNetwork:
    card = {
        "class_names": ["bright"],
        "architecture": "bright",
        "input_size": [side, side],
        "mean": [0.0],
        "std": [1.0],
    }
    return network_of_module("bright", _Bright(), card, torch.device("cpu"))


def test_prediction_is_the_probability_at_each_pixel() -> None:
    plane = RNG.integers(0, 256, (24, 24), dtype=np.uint8)
    slope = np.linspace(0, 2, 24)
    expected = 1 / (1 + np.exp(-(8 * (plane / 255 - 0.5) - slope)))
    (found,) = predict_planes(network(24), [plane], "bright")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    other = 1 / (1 + np.exp(-(8 * (plane / 255 - 0.5) - slope[::-1])))
    (both,) = predict_planes(network(24), [plane], 0, mirrored=True)
    np.testing.assert_allclose(both, (expected + other) / 2, atol=1e-5)


def test_planes_of_every_shape_in_their_order_whatever_the_batch() -> None:
    planes = [
        np.full(shape, value, np.uint8)
        for shape, value in (((24, 24), 0), ((10, 31), 128), ((40, 12), 255))
    ]
    whole, single = (
        list(predict_planes(network(24), iter(planes), 0, batch_size=size)) for size in (8, 1)
    )
    assert [m.shape for m in whole] == [p.shape for p in planes]
    assert whole[0].mean() < 0.1 < whole[1].mean() < 0.9 < whole[2].mean()
    for a, b in zip(whole, single, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_class_that_is_not_there_is_said() -> None:
    with pytest.raises(CamSamError, match="dark"):
        next(predict_planes(network(24), [np.zeros((8, 8), np.uint8)], "dark"))


def test_no_planes_in_a_batch_is_said() -> None:
    with pytest.raises(CamSamError, match="1 or more"):
        next(predict_planes(network(24), [np.zeros((8, 8), np.uint8)], 0, batch_size=0))
