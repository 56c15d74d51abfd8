from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.upscale import grid_to_plane, resize_grid
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.classify.architectures import build

Make = Callable[..., Classifier]
Planes = list[NDArray[np.uint8]]


def test_fields_of_a_heatmap(shallow: Classifier, planes: Planes) -> None:
    (heatmap,) = compute_heatmaps(shallow, planes[:1], CamParameters(target="class 2"))
    assert heatmap.values.shape == (32, 32)
    assert heatmap.values.dtype == heatmap.raw.dtype == np.float32
    assert heatmap.method == "layer-cam"
    assert heatmap.layers == ("second",)
    assert (heatmap.target_index, heatmap.target_name) == (2, "class 2")
    assert heatmap.grid_shape == heatmap.raw.shape == (8, 8)
    expected = shallow.probabilities(planes[:1])[0]
    np.testing.assert_allclose(heatmap.probabilities, expected, atol=1e-6)
    assert heatmap.probability == pytest.approx(expected[2], abs=1e-6)
    assert heatmap.evidence
    assert heatmap.reason is None


def test_prediction_is_the_default_target(shallow: Classifier, planes: Planes) -> None:
    predicted = shallow.probabilities(planes).argmax(axis=1)
    heatmaps = list(compute_heatmaps(shallow, planes))
    assert [h.target_index for h in heatmaps] == predicted.tolist()


def test_values_are_the_relued_map_over_its_maximum(shallow: Classifier) -> None:
    plane = np.random.default_rng(3).integers(0, 256, (20, 50), dtype=np.uint8)
    (heatmap,) = compute_heatmaps(shallow, [plane], CamParameters("grad-cam"))
    assert heatmap.raw.min() < 0 or heatmap.raw.max() > 0
    expected = grid_to_plane(np.maximum(heatmap.raw, 0), heatmap.letterbox)
    np.testing.assert_allclose(heatmap.values, expected / expected.max(), atol=1e-6)
    assert heatmap.values.shape == (20, 50)


def test_several_layers_are_averaged(deep: Classifier, planes: Planes) -> None:
    both, first, second = (
        next(compute_heatmaps(deep, planes[:1], CamParameters("layer-cam", 0, layers)))
        for layers in (("first", "second"), ("first",), ("second",))
    )
    assert both.grid_shape == (16, 16)
    mean = (first.values + second.values) / 2
    np.testing.assert_allclose(both.values, mean / mean.max(), atol=1e-6)
    raw = (first.raw / first.raw.max() + resize_grid(second.raw / second.raw.max(), (16, 16))) / 2
    np.testing.assert_allclose(both.raw, raw, atol=1e-6)


def test_one_layer_named_twice_counts_once(deep: Classifier, planes: Planes) -> None:
    twice, once = (
        next(compute_heatmaps(deep, planes[:1], CamParameters(layers=layers)))
        for layers in (("first", "first"), ("first",))
    )
    assert twice.layers == ("first",)
    np.testing.assert_array_equal(twice.raw, once.raw)


class _Bright(nn.Module):
    """One feature, the brightness of 4×4 blocks; the score is its sum."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.AvgPool2d(4)
        self.head = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x + 0.45 / 0.22).mean(dim=(2, 3)))


@pytest.mark.parametrize("shape", [(64, 64), (64, 160), (150, 60)])
def test_a_bright_spot_is_hot_where_it_is(make: Make, shape: tuple[int, int]) -> None:
    """End to end on the plane's own pixels: letterbox, grid and way back."""
    classifier = make(_Bright(), layers=("blocks",), size=(64, 64), classes=1)
    row, column = shape[0] // 4, 3 * shape[1] // 4
    plane = np.zeros(shape, np.uint8)
    plane[row - 5 : row + 6, column - 5 : column + 6] = 255
    (heatmap,) = compute_heatmaps(classifier, [plane], CamParameters("hires-cam"))
    weights = heatmap.values / heatmap.values.sum()
    rows, columns = np.indices(shape)
    assert (rows * weights).sum() == pytest.approx(row, abs=1)
    assert (columns * weights).sum() == pytest.approx(column, abs=1)
    assert heatmap.values[row, column] > 0.8


def test_blank_plane_has_no_evidence(make: Make) -> None:
    classifier = make(_Bright(), layers=("blocks",), classes=1)
    (heatmap,) = compute_heatmaps(classifier, [np.zeros((9, 9), np.uint8)])
    assert not heatmap.evidence
    assert "no positive evidence" in str(heatmap.reason)
    assert not heatmap.values.any()


def test_evidence_in_the_padding_only_is_none(make: Make) -> None:
    net = _Bright()
    classifier = make(net, layers=("blocks",), classes=1, size=(32, 32))
    net.blocks = nn.Sequential(nn.AvgPool2d(4), _TopOnly())
    plane = np.full((16, 32), 255, np.uint8)
    (heatmap,) = compute_heatmaps(classifier, [plane], CamParameters("hires-cam"))
    assert heatmap.raw.max() > 0
    assert not heatmap.evidence
    assert "only in the padding" in str(heatmap.reason)


class _TopOnly(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top = torch.zeros_like(x)
        top[:, :, 0] = 1
        return top


def test_probability_below_the_cut_off(shallow: Classifier, planes: Planes) -> None:
    found, missed = (
        next(compute_heatmaps(shallow, planes, CamParameters(target=0, min_probability=limit)))
        for limit in (0.0, 1.0)
    )
    assert found.evidence
    assert not missed.evidence
    assert "below the cut-off 1" in str(missed.reason)
    assert not missed.values.any()
    np.testing.assert_array_equal(found.raw, missed.raw)


@pytest.mark.parametrize("method", ["layer-cam", "eigen-cam", "kpca-cam", "full-grad", "score-cam"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_no_evidence(
    shallow: Classifier, planes: Planes, method: str, bad: float
) -> None:
    shallow.module.first[0].bias.data[0] = bad
    for heatmap in compute_heatmaps(shallow, planes[:2], CamParameters(method)):
        assert not heatmap.evidence
        assert "not finite" in str(heatmap.reason)
        assert not heatmap.values.any()


def test_one_bad_plane_does_not_spoil_its_batch(make: Make, planes: Planes) -> None:
    class Spoilt(_Bright):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.where(x.mean(dim=(1, 2, 3), keepdim=True) < -2, x / 0, x))

    classifier = make(Spoilt(), layers=("blocks",), classes=1)
    batch = [planes[0], np.zeros((32, 32), np.uint8), planes[1]]
    evidence = [h.evidence for h in compute_heatmaps(classifier, batch)]
    assert evidence == [True, False, True]


def test_progress_counts_planes(shallow: Classifier, planes: Planes) -> None:
    seen: list[int] = []
    list(compute_heatmaps(shallow, planes, CamParameters(batch_size=2), seen.append))
    assert seen == [2, 4, 5]
    assert list(compute_heatmaps(shallow, [])) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "grad-cma"}, r"Unknown method 'grad-cma'\. Did you mean grad-cam"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"min_probability": 1.5}, "from 0 to 1"),
        ({"min_probability": float("nan")}, "from 0 to 1"),
    ],
)
def test_parameters_are_checked(options: dict, words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        CamParameters(**options)


def test_layers_are_checked_at_once(make: Make, planes: Planes) -> None:
    with pytest.raises(CamSamError, match=r"Unknown layer 'secnd'\. Did you mean second"):
        compute_heatmaps(make(), planes, CamParameters(layers=("secnd",)))
    with pytest.raises(CamSamError, match="no default target layer"):
        compute_heatmaps(make(layers=()), planes)
    assert next(compute_heatmaps(make(layers=()), planes, CamParameters("full-grad"))).evidence


@pytest.mark.parametrize(
    ("layer", "words"),
    [("pool", "Layer 'pool' cannot be a target layer"), ("head", "cannot be a target layer")],
)
def test_layers_without_a_grid(shallow: Classifier, planes: Planes, layer: str, words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        list(compute_heatmaps(shallow, planes, CamParameters(layers=(layer,))))


def test_layers_that_do_not_run_or_return_no_tensor(make: Make, planes: Planes) -> None:
    class Odd(_Bright):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Identity()
            self.pair = _Pair()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(self.pair(x)[0])

    for layer, words in (("unused", "does not run"), ("pair", "returns tuple")):
        classifier = make(Odd(), layers=(layer,), classes=1)
        with pytest.raises(CamSamError, match=words):
            list(compute_heatmaps(classifier, planes))
        assert not any(m._forward_hooks for m in classifier.module.modules())


class _Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


def test_a_layer_beside_the_score_has_a_zero_gradient(make: Make, planes: Planes) -> None:
    class Aside(_Bright):
        def __init__(self) -> None:
            super().__init__()
            self.aside = nn.Conv2d(1, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.aside(x)
            return super().forward(x)

    classifier = make(Aside(), layers=("aside",), classes=1)
    heatmaps = list(compute_heatmaps(classifier, planes, CamParameters("grad-cam")))
    assert not any(h.evidence for h in heatmaps)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    colour=st.booleans(),
    fill=st.sampled_from([None, 0, 255]),
    method=st.sampled_from(["grad-cam", "grad-cam++", "xgrad-cam", "eigen-cam", "kpca-cam"]),
)
def test_any_plane_gives_a_map_of_its_shape_in_range(
    deep: Classifier, shape: tuple[int, int], colour: bool, fill: int | None, method: str
) -> None:
    full = (*shape, 3) if colour else shape
    plane = (
        np.random.default_rng(0).integers(0, 256, full, dtype=np.uint8)
        if fill is None
        else np.full(full, fill, np.uint8)
    )
    (heatmap,) = compute_heatmaps(deep, [plane], CamParameters(method))
    assert heatmap.values.shape == shape
    assert np.isfinite(heatmap.values).all()
    assert heatmap.values.min() >= 0
    assert heatmap.values.max() == (1 if heatmap.evidence else 0)
    assert (heatmap.reason is None) == heatmap.evidence


def test_small_cnn_end_to_end(make: Make, planes: Planes) -> None:
    net = build("small-cnn", num_classes=4, channels=1)
    classifier = make(net, layers=("stage3",), size=(64, 64), architecture="small-cnn")
    heatmaps = list(compute_heatmaps(classifier, planes))
    assert all(h.grid_shape == (8, 8) and h.evidence for h in heatmaps)
