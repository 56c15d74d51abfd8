"""Seg-Grad-CAM and its kin on 2D networks, against the formula by plain autograd."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor, nn
from torch.nn import functional as F

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.methods import METHODS
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.checkpoints import weights_sha256
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.models.segmentation_cards import merge_segmentation_cards

Plane = NDArray[np.uint8]
LAYERS = ("bottleneck", "decoder3", "decoder2")


def network(
    module: nn.Module, classes: int, size: Sequence[int], layers: tuple[str, ...], **card: Any
) -> SegmentationNetwork:
    fields = {"architecture": "tiny", "num_classes": classes, "input_size": list(size), **card}
    merged = merge_segmentation_cards([("the test", fields)], "tiny")
    return SegmentationNetwork(module.eval(), merged, "tiny", "0" * 64, layers, torch.device("cpu"))


@pytest.fixture(scope="module")
def unet() -> SegmentationNetwork:
    torch.manual_seed(3)
    module = SmallUNet(3, channels=(4, 6, 8, 10))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return network(module, 3, (32, 48), ("bottleneck",), mean=[0.4], std=[0.3])


@pytest.fixture(scope="module")
def planes() -> list[Plane]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, (32, 48), dtype=np.uint8) for _ in range(3)]


def explain(
    model: SegmentationNetwork, planes: Sequence[Plane], regions: Any = None, **options: Any
) -> list[Heatmap]:
    return list(compute_heatmaps(model, planes, CamParameters(**options), regions=regions))


def by_formula(
    model: SegmentationNetwork, plane: Plane, layer: str, target: int, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Seg-Grad-CAM and Seg-HiRes-Grad-CAM by a forward hook and autograd, nothing of ours."""
    kept: list[Tensor] = []
    handle = model.module.get_submodule(layer).register_forward_hook(
        lambda _, __, output: kept.append(output)
    )
    x = (torch.from_numpy(plane.astype(np.float32))[None, None] / 255 - 0.4) / 0.3
    y = model.module(x)[0, target][torch.from_numpy(mask)].sum()
    handle.remove()
    (activations,) = kept
    (gradient,) = torch.autograd.grad(y, activations)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    seg = (weights * activations).sum(dim=1)[0]
    hires = (gradient * activations).sum(dim=1)[0]
    return seg.detach().numpy(), hires.detach().numpy()


def pixel_sets(truth: NDArray[np.bool_]) -> dict[str, tuple[PixelSet, Any]]:
    return {
        "whole": (PixelSet("whole"), None),
        "predicted": (PixelSet(), None),
        "probability": (PixelSet("probability", threshold=0.35), None),
        "largest": (PixelSet(component=1), None),
        "truth": (PixelSet("truth"), [truth]),
        "region": (PixelSet("region", component=1), [truth]),
        "pixel": (PixelSet("pixel", pixel=(9, 31)), None),
    }


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("target", [0, 1, 2])
def test_maps_are_those_of_the_formula(
    unet: SegmentationNetwork, planes: list[Plane], layer: str, target: int
) -> None:
    """Class 0 included: S3's trap, since 0 is also what is false."""
    truth = np.zeros((32, 48), dtype=bool)
    truth[5:20, 8:30] = truth[25, 2] = True
    logits = unet.module((torch.from_numpy(planes[0])[None, None] / 255 - 0.4) / 0.3)[0]
    chances = logits.softmax(0)[target].detach().numpy()
    expected = {
        "whole": np.ones((32, 48), dtype=bool),
        "predicted": (logits.argmax(0) == target).numpy(),
        "probability": chances > 0.35,
        "truth": truth,
        "pixel": np.zeros((32, 48), dtype=bool),
    }
    expected["pixel"][9, 31] = True
    for name, (pixel_set, regions) in pixel_sets(truth).items():
        for method, which in (("grad-cam", 0), ("hires-cam", 1)):
            (found,) = explain(
                unet, planes[:1], regions, method=method, target=target, layers=(layer,),
                pixel_set=pixel_set,
            )  # fmt: skip
            assert found.target_index == target
            assert found.region is not None
            if name in expected:
                assert np.array_equal(found.region, expected[name])
            want = by_formula(unet, planes[0], layer, target, found.region)[which]
            scale = max(float(np.abs(want).max()), 1e-12)
            np.testing.assert_allclose(found.raw / scale, want / scale, atol=1e-5)


def test_components_come_in_order_and_those_that_are_not_there_are_empty(
    unet: SegmentationNetwork, planes: list[Plane]
) -> None:
    mask = np.zeros((32, 48), dtype=bool)
    mask[2:6, 2:6] = mask[10:30, 10:30] = True
    sizes = []
    for n in (0, 1, 2, 3):
        chosen = PixelSet("region", component=n)
        (found,) = explain(unet, planes[:1], [mask], target=1, pixel_set=chosen)
        sizes.append(int(found.region.sum()))
    assert sizes == [416, 400, 16, 0]
    assert not found.evidence
    assert "component 3" in found.reason


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lrp"])
def test_an_empty_set_gives_an_empty_map_with_a_reason(
    unet: SegmentationNetwork, planes: list[Plane], method: str
) -> None:
    """Eigen-CAM and FEM too, which know no score; and its neighbours in the batch keep theirs."""
    empty, full = np.zeros((32, 48), dtype=bool), np.ones((32, 48), dtype=bool)
    first, second = explain(
        unet, planes[:2], [empty, full], method=method, target=1, layers=("decoder3",),
        pixel_set=PixelSet("truth"),
    )  # fmt: skip
    assert not first.values.any()
    assert not first.raw.any()
    assert not first.evidence
    assert first.reason == "The truth is empty here."
    assert second.region.all()
    # Maps of these two may be empty by themselves.
    assert second.raw.any() or method in ("fem", "guided-grad-cam")


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lrp"])
def test_a_batch_gives_the_maps_of_each_plane_alone(
    unet: SegmentationNetwork, planes: list[Plane], method: str
) -> None:
    options = {"method": method, "target": 2, "layers": ("decoder3",)}
    together = explain(unet, planes, **options)
    for plane, got in zip(planes, together, strict=True):
        (alone,) = explain(unet, [plane], **options)
        scale = max(float(np.abs(alone.raw).max()), 1e-12)
        np.testing.assert_allclose(got.raw / scale, alone.raw / scale, atol=2e-4)


def test_occlusion_covers_what_the_pixels_score_needs(
    unet: SegmentationNetwork, planes: list[Plane]
) -> None:
    mask = np.zeros((32, 48), dtype=bool)
    mask[10:20, 20:40] = True
    (found,) = explain(
        unet, planes[:1], [mask], method="occlusion", target=1, pixel_set=PixelSet("truth"),
        occlusion=OcclusionParameters(16, 16, fill=0),
    )  # fmt: skip

    def score(plane: Plane) -> float:
        x = (torch.from_numpy(plane.astype(np.float32))[None, None] / 255 - 0.4) / 0.3
        with torch.no_grad():
            return float(unet.module(x)[0, 1][torch.from_numpy(mask)].sum())

    for i in range(0, 32, 16):
        for j in range(0, 48, 16):
            covered = planes[0].copy()
            covered[i : i + 16, j : j + 16] = 0
            lost = score(planes[0]) - score(covered)
            np.testing.assert_allclose(
                found.raw[i : i + 16, j : j + 16], lost, rtol=1e-4, atol=1e-3
            )


def test_lrp_is_for_classifiers(unet: SegmentationNetwork, planes: list[Plane]) -> None:
    with pytest.raises(CamSamError, match="lrp explains classifiers, and tiny is a segmentation"):
        explain(unet, planes[:1], method="lrp")


def test_nothing_stays_behind_from_one_map_to_the_next(
    unet: SegmentationNetwork, planes: list[Plane]
) -> None:
    """S3's trap of stale gradients: they must not add up from class to class."""
    before = weights_sha256(unet.module)
    options = {"method": "hires-cam", "pixel_set": PixelSet("whole")}
    (fresh,) = explain(unet, planes[:1], target=2, **options)
    for target in (0, 1, 2):
        (again,) = explain(unet, planes[:1], target=target, **options)
    np.testing.assert_array_equal(again.raw, fresh.raw)
    assert all(p.grad is None and p.requires_grad for p in unet.module.parameters())
    assert not any(m._forward_hooks for m in unet.module.modules())
    assert weights_sha256(unet.module) == before


class Local(nn.Module):
    """Logits of two classes from the pixel alone, on a grid that is ``step`` times coarser."""

    def __init__(self, step: int = 1) -> None:
        super().__init__()
        self.features = nn.AvgPool2d(step)
        self.head = nn.Conv2d(1, 2, 1, bias=False)
        self.head.weight.data[:, 0, 0, 0] = torch.tensor([-1.0, 3.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def test_the_map_of_a_pixel_is_at_its_row_and_column(planes: list[Plane]) -> None:
    """In closed form: of logits that are w·A, Seg-HiRes-Grad-CAM is w·A on M and 0 elsewhere."""
    local = network(Local(), 2, (32, 48), ("features",))
    (found,) = explain(
        local, planes[:1], method="hires-cam", target=1,
        pixel_set=PixelSet("pixel", pixel=(4, 33)),
    )  # fmt: skip
    assert np.argwhere(found.raw != 0).tolist() == [[4, 33]]
    assert found.raw[4, 33] == pytest.approx(3 * int(planes[0][4, 33]) / 255, rel=1e-6)
    assert np.unravel_index(found.values.argmax(), found.values.shape) == (4, 33)


def test_a_set_on_a_plane_of_another_size_counts_what_the_interpolated_logits_do() -> None:
    """The score by the weights is the sum over M of the logits brought to the plane's pixels."""
    rng = np.random.default_rng(4)
    plane = rng.integers(0, 256, (24, 60), dtype=np.uint8)
    mask = rng.random((24, 60)) < 0.3
    local = network(Local(step=2), 2, (32, 40), ("features",))
    (found,) = explain(
        local, [plane], [mask], method="hires-cam", target=1, pixel_set=PixelSet("region")
    )
    tensor, (letterbox,) = local.prepare([plane])
    logits = local.module(tensor)[:, 1:]
    assert letterbox.content_shape == (16, 40)
    # Cells of two pixels, edge on edge. The map of a net without context adds up to its score.
    rows, columns = letterbox.to_target(*np.nonzero(mask))
    score = _sampled(logits[0, 0].detach().numpy(), rows / 2 - 0.25, columns / 2 - 0.25).sum()
    assert found.raw.sum() == pytest.approx(score, rel=1e-4)


def _sampled(grid: NDArray[np.float32], rows: Any, columns: Any) -> NDArray[np.float64]:
    return map_coordinates(grid.astype(float), [rows, columns], order=1, mode="nearest")


def test_where_none_is_named_the_largest_class_but_the_background_is_explained(
    unet: SegmentationNetwork, planes: list[Plane]
) -> None:
    for found, plane in zip(explain(unet, planes), planes, strict=True):
        logits = unet.module((torch.from_numpy(plane)[None, None] / 255 - 0.4) / 0.3)
        counts = torch.bincount(logits.argmax(1).flatten(), minlength=3)[1:]
        assert found.target_index == 1 + int(counts.argmax())
        assert found.pixel_set == PixelSet()
        peaks = logits.softmax(1)[0].amax(dim=(1, 2)).detach().numpy()
        np.testing.assert_allclose(found.probabilities, peaks, atol=1e-5)


def test_independent_classes_are_predicted_above_one_half(planes: list[Plane]) -> None:
    module = Local()
    module.head = nn.Conv2d(1, 2, 1)
    module.head.weight.data[:, 0, 0, 0] = torch.tensor([4.0, 4.0])
    module.head.bias.data[:] = torch.tensor([-2.0, -3.0])
    both = network(module, 2, (32, 48), ("features",), activation="sigmoid")
    for target, least in ((0, 0.5), (1, 0.75)):
        (found,) = explain(both, planes[:1], target=target)
        assert np.array_equal(found.region, planes[0] / 255 > least)


class Wrapped(nn.Module):
    """The maps in a dict, or as deep supervision gives them: coarse ones first."""

    def __init__(self, inner: nn.Module, how: str) -> None:
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, x: Tensor) -> object:
        out = self.inner(x)
        if self.how == "dict":
            return {"out": out, "aux": out * 0}
        return (F.avg_pool2d(out, 4), [F.avg_pool2d(out, 2), out])


@pytest.mark.parametrize("how", ["dict", "deep supervision"])
def test_wrapped_outputs_give_the_same_maps(
    unet: SegmentationNetwork, planes: list[Plane], how: str
) -> None:
    wrapped = network(
        Wrapped(unet.module, how), 3, (32, 48), ("inner.bottleneck",), mean=[0.4], std=[0.3]
    )
    for got, want in zip(
        explain(wrapped, planes, target=1), explain(unet, planes, target=1), strict=True
    ):
        np.testing.assert_array_equal(got.raw, want.raw)


def test_what_does_not_fit_is_refused_at_once(
    unet: SegmentationNetwork, planes: list[Plane], make: Callable[..., Classifier]
) -> None:
    with pytest.raises(CamSamError, match="segmentation networks"):
        compute_heatmaps(make(), planes, CamParameters(pixel_set=PixelSet("whole")))
    with pytest.raises(CamSamError, match="needs a truth"):
        compute_heatmaps(unet, planes, CamParameters(pixel_set=PixelSet("truth")))
    with pytest.raises(CamSamError, match="bottleneck"):
        compute_heatmaps(unet, planes, CamParameters(layers=("botleneck",)))
    maps = compute_heatmaps(
        unet, planes, CamParameters(pixel_set=PixelSet("region")),
        regions=[np.ones((32, 48), dtype=bool)],
    )  # fmt: skip
    with pytest.raises(CamSamError, match="fewer regions"):
        list(maps)
