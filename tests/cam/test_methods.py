"""Every method against its formula, or against pytorch-grad-cam's own call, on small nets."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
from captum.attr import GuidedGradCam
from numpy.typing import NDArray
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget
from torch import nn

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.methods import METHODS
from napari_cam_sam.cam.names import METHOD_NAMES
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.models.classify.architectures import build

Make = Callable[..., Classifier]
Planes = list[NDArray[np.uint8]]


def _maps(classifier: Classifier, planes: Planes, method: str, **options: object) -> list[Heatmap]:
    return list(compute_heatmaps(classifier, planes, CamParameters(method=method, **options)))


def _parts(classifier: Classifier, plane: NDArray[np.uint8], layer: str, target: int):
    """Activations and gradients by plain autograd, without any of the code under test."""
    kept = {}

    def keep(_m: nn.Module, _i: object, out: torch.Tensor) -> None:
        out.retain_grad()
        kept["out"] = out

    handle = classifier.module.get_submodule(layer).register_forward_hook(keep)
    tensor, _ = classifier.prepare([plane])
    logits = classifier.module(tensor.requires_grad_(True))
    handle.remove()
    logits[0, target].backward()
    out = kept["out"]
    classifier.module.zero_grad(set_to_none=True)
    return out.detach()[0].double().numpy(), out.grad[0].double().numpy()


def _formula(method: str, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """METHODS §1, in numpy, for activations and gradients of shape (C, h, w)."""
    if method == "grad-cam":
        return np.tensordot(g.mean(axis=(1, 2)), a, 1)
    if method == "grad-cam++":
        total = a.sum(axis=(1, 2), keepdims=True)
        weights = np.maximum(g, 0) * g**2 / (2 * g**2 + total * g**3 + 1e-6)
        return np.tensordot(weights.sum(axis=(1, 2)), a, 1)
    if method == "xgrad-cam":
        weights = (g * a).sum(axis=(1, 2)) / (a.sum(axis=(1, 2)) + 1e-7)
        return np.tensordot(weights, a, 1)
    if method == "hires-cam":
        return (g * a).sum(axis=0)
    if method == "layer-cam":
        return (np.maximum(g, 0) * a).sum(axis=0)
    if method == "element-wise":
        return np.maximum(g * a, 0).sum(axis=0)
    if method == "fem":
        limit = a.mean(axis=(1, 2)) + 2 * a.std(axis=(1, 2))
        weights = (a > limit[:, None, None]).mean(axis=(1, 2))
        return np.tensordot(weights, a, 1)
    flat = {"eigen-cam": a, "eigen-grad-cam": g * a, "seg-eigen-cam": np.abs(g) * a}[method]
    flat = flat.reshape(len(a), -1).T
    flat = flat - flat.mean(axis=0)
    _, vectors = np.linalg.eigh(flat.T @ flat)
    image = (flat @ vectors[:, -1]).reshape(a.shape[1:])
    return -image if -image.min() > image.max() else image


@pytest.mark.parametrize("layer", ["first", "second"])
@pytest.mark.parametrize(
    "method",
    [
        "grad-cam",
        "grad-cam++",
        "xgrad-cam",
        "hires-cam",
        "layer-cam",
        "element-wise",
        "fem",
        "eigen-cam",
        "eigen-grad-cam",
        "seg-eigen-cam",
    ],
)
def test_raw_map_is_the_formula(deep: Classifier, planes: Planes, method: str, layer: str) -> None:
    heatmaps = _maps(deep, planes, method, target=2, layers=(layer,))
    for plane, heatmap in zip(planes, heatmaps, strict=True):
        expected = _formula(method, *_parts(deep, plane, layer, 2))
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(heatmap.raw / scale, expected / scale, atol=1e-4)


def test_hires_equals_grad_cam_before_a_pooled_linear_head(
    shallow: Classifier, planes: Planes
) -> None:
    one, other = (_maps(shallow, planes, m, target=1) for m in ("grad-cam", "hires-cam"))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first.raw, second.raw, atol=1e-6)


def _theirs(cam: object, classifier: Classifier, plane: NDArray[np.uint8], **kwargs: object):
    """pytorch-grad-cam's own call: ReLU and min–max, at the input size."""
    tensor, _ = classifier.prepare([plane])
    return cam(tensor, **kwargs)[0]


def _as_theirs(raw: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    scale = library.utils.image.scale_cam_image
    return scale(scale(np.maximum(raw, 0)[None], (size, size)))[0]


@pytest.mark.parametrize(
    ("method", "cls", "target"),
    [
        ("shapley-cam", library.ShapleyCAM, ClassifierOutputReST),
        ("kpca-cam", library.KPCA_CAM, ClassifierOutputTarget),
        ("grad-cam", library.GradCAM, ClassifierOutputTarget),
    ],
)
def test_agrees_with_the_library_call(
    deep: Classifier, planes: Planes, method: str, cls: type, target: type
) -> None:
    cam = cls(deep.module, [deep.module.second])
    compared = 0
    for plane in planes:
        (mine,) = _maps(deep, [plane], method, target=2)
        theirs = _theirs(cam, deep, plane, targets=[target(2)])
        choices = [mine.raw, -mine.raw] if METHODS[method].decomposes else [mine.raw]
        errors = [np.abs(_as_theirs(raw, 32) - theirs).max() for raw in choices]
        assert min(errors) < 1e-3
        compared += theirs.max() > 0.5
    assert compared >= 2


def test_finer_cam_is_grad_cam_of_the_weighted_difference(deep: Classifier, planes: Planes) -> None:
    (heatmap,) = _maps(deep, planes[:1], "finer-cam", target=0)
    kept = []
    tensor, _ = deep.prepare(planes[:1])
    handle = deep.module.second.register_forward_hook(lambda _m, _i, out: kept.append(out))
    logits = deep.module(tensor.requires_grad_(True))[0]
    handle.remove()
    weights = torch.softmax(logits, 0)[1:]
    score = (weights * (logits[0] - logits[1:])).sum() / weights.sum()
    (gradient,) = torch.autograd.grad(score, kept[0])
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1)[0].detach().numpy()
    np.testing.assert_allclose(heatmap.raw, expected, atol=1e-5 * np.abs(expected).max())


def test_finer_cam_needs_two_classes(make: Make, planes: Planes) -> None:
    with pytest.raises(CamSamError, match="only one"):
        _maps(make(classes=1), planes, "finer-cam")


def test_score_cam_is_the_softmax_of_masked_scores(deep: Classifier, planes: Planes) -> None:
    (heatmap,) = _maps(deep, planes[:1], "score-cam", target=1, batch_size=3)
    a, _ = _parts(deep, planes[0], "second", 1)
    tensor, _ = deep.prepare(planes[:1])
    scores = []
    for channel in a:
        mask = torch.nn.functional.interpolate(
            torch.from_numpy(channel).float()[None, None], (32, 32), mode="bilinear"
        )
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
        with torch.no_grad():
            scores.append(float(deep.module(tensor * mask)[0, 1]))
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(heatmap.raw, np.tensordot(weights, a, 1), rtol=1e-3, atol=1e-5)


def test_ablation_cam_against_the_library_where_the_score_is_positive(
    deep: Classifier, planes: Planes
) -> None:
    deep.module.head.bias.data += 3
    (mine,) = _maps(deep, planes[:1], "ablation-cam", target=1, batch_size=4)
    cam = library.AblationCAM(
        deep.module, [deep.module.second], ablation_layer=library.AblationLayer(), batch_size=4
    )
    theirs = _theirs(cam, deep, planes[0], targets=[ClassifierOutputTarget(1)])
    np.testing.assert_allclose(_as_theirs(mine.raw, 32), theirs, atol=1e-3)
    assert theirs.max() > 0.5


def test_ablation_cam_does_not_turn_over_with_the_sign_of_the_score(
    shallow: Classifier, planes: Planes
) -> None:
    """With a linear head an added bias changes no drop, only the score it is relative to."""
    shallow.module.head.bias.data += 10
    (high,) = _maps(shallow, planes[:1], "ablation-cam", target=1)
    shallow.module.head.bias.data -= 20
    (low,) = _maps(shallow, planes[:1], "ablation-cam", target=1)
    assert np.corrcoef(high.raw.ravel(), low.raw.ravel())[0, 1] > 0.999


def test_full_grad_sums_input_and_bias_gradients(deep: Classifier, planes: Planes) -> None:
    (mine,) = _maps(deep, planes[:1], "full-grad", target=2)
    cam = library.FullGrad(deep.module, [])
    theirs = _theirs(cam, deep, planes[0], targets=[ClassifierOutputTarget(2)])
    assert mine.raw.shape == (32, 32)
    assert mine.layers == ()
    assert mine.raw.min() >= 0
    raw = (mine.raw - mine.raw.min()) / (mine.raw.max() - mine.raw.min())
    np.testing.assert_allclose(raw, theirs, atol=1e-4)


def test_guided_grad_cam_on_relu_nets(shallow: Classifier, planes: Planes) -> None:
    """Without negative weights after the input nothing is clipped: plain gradient × Grad-CAM."""
    for parameter in shallow.module.parameters():
        parameter.data.abs_()
    (heatmap,) = _maps(shallow, planes[:1], "guided-grad-cam", target=1)
    (coarse,) = _maps(shallow, planes[:1], "grad-cam", target=1)
    tensor, _ = shallow.prepare(planes[:1])
    (gradient,) = torch.autograd.grad(shallow.module(tensor.requires_grad_(True))[0, 1], tensor)
    up = torch.nn.functional.interpolate(
        torch.from_numpy(coarse.raw)[None, None], (32, 32), mode="bilinear", align_corners=False
    )
    expected = (gradient[0, 0] * up[0, 0]).numpy()
    np.testing.assert_allclose(heatmap.raw, expected, atol=1e-5 * np.abs(expected).max())
    kinds = [type(m) for m in shallow.module.modules()]
    assert kinds.count(nn.ReLU) == 2


def test_guided_grad_cam_clips_negative_gradients(shallow: Classifier, planes: Planes) -> None:
    """A head of negative weights sends nothing back through guided ReLUs."""
    shallow.module.head.weight.data[1] = -1
    plain, _ = shallow.prepare(planes[:1])
    score = shallow.module(plain.requires_grad_(True))[0, 1]
    (gradient,) = torch.autograd.grad(score, plain)
    assert gradient.abs().max() > 0
    (heatmap,) = _maps(shallow, planes[:1], "guided-grad-cam", target=1)
    assert not heatmap.raw.any()


@pytest.mark.parametrize("layer", ["first", "second"])
def test_guided_grad_cam_agrees_with_captum(
    shallow: Classifier, planes: Planes, layer: str
) -> None:
    module = shallow.module
    theirs = GuidedGradCam(module, getattr(module, layer))
    compared = 0
    for plane in planes:
        (mine,) = _maps(shallow, [plane], "guided-grad-cam", target=2, layers=(layer,))
        tensor, _ = shallow.prepare([plane])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of captum's hooks
            expected = theirs.attribute(tensor, target=2, interpolate_mode="bilinear")
        scale = np.abs(expected := expected[0, 0].detach().numpy()).max()
        np.testing.assert_allclose(mine.raw, expected, atol=1e-4 * scale)
        compared += scale > 0
    assert compared >= 2


def test_guided_grad_cam_warns_where_it_has_no_effect(make: Make, planes: Planes) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    ).eval()
    with pytest.warns(UserWarning, match="Hardswish"):
        compute_heatmaps(make(net, layers=("1",)), planes, CamParameters("guided-grad-cam"))


def test_guided_grad_cam_warns_where_there_is_no_relu(make: Make, planes: Planes) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.warns(UserWarning, match="has none"):
        compute_heatmaps(make(net, layers=("0",)), planes, CamParameters("guided-grad-cam"))


def test_first_components_refuse_large_grids(make: Make) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    large = make(net, layers=("0",), size=(65, 64))
    with pytest.raises(CamSamError, match="65×64; choose a later layer"):
        _maps(large, [np.zeros((65, 64), np.uint8)], "eigen-cam")


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lrp"])  # not for Softplus
def test_every_method_in_batches_gives_what_it_gives_alone(
    deep: Classifier, planes: Planes, method: str
) -> None:
    together = _maps(deep, planes, method, batch_size=3)
    for plane, one in zip(planes, together, strict=True):
        (alone,) = _maps(deep, [plane], method, batch_size=3)
        np.testing.assert_allclose(one.raw, alone.raw, atol=1e-4 * max(1, np.abs(alone.raw).max()))
        assert one.target_index == alone.target_index
        assert one.evidence == alone.evidence
        if one.evidence:
            assert one.values.max() == 1
            assert one.values.min() >= 0


@pytest.mark.parametrize("method", ["layer-cam", "shapley-cam", "ablation-cam", "eigen-cam"])
@pytest.mark.parametrize("name", ["swin_t", "vit_b_16"])
def test_transformer_layouts(make: Make, name: str, method: str) -> None:
    """One block of each: the layouts and second derivatives matter, not the depth."""
    torch.manual_seed(0)
    if name == "vit_b_16":
        from torchvision.models import VisionTransformer

        net: nn.Module = VisionTransformer(32, 8, 1, 2, 16, 32, num_classes=4)
        layer = "encoder.layers.encoder_layer_0.ln_1"
        nn.init.normal_(net.heads.head.weight)
    else:
        from torchvision.models import SwinTransformer

        net = SwinTransformer([4, 4], 12, [2], [2], [4, 4], num_classes=4)
        layer = "features.1.1.norm1"
        nn.init.normal_(net.head.weight)
    net = nn.Sequential(nn.Conv2d(1, 3, 1), net).eval()
    classifier = make(net, layers=(f"1.{layer}",), architecture=name)
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, (32, 32), dtype=np.uint8) for _ in range(2)]
    grid = (4, 4) if name == "vit_b_16" else (8, 8)
    for heatmap in _maps(classifier, planes, method, target=1):
        assert heatmap.grid_shape == grid
        assert np.abs(heatmap.raw).max() > 0


def test_densenet_activations_survive_the_in_place_relu_after_them(planes: Planes, make) -> None:
    net = nn.Sequential(build("densenet121", num_classes=4, channels=1)).eval()
    classifier = make(net, layers=("0.features.norm5",), size=(64, 64))
    (heatmap,) = _maps(classifier, planes[:1], "hires-cam", target=0)
    tensor, _ = classifier.prepare(planes[:1])
    with torch.no_grad():
        a = net[0].features(tensor)
    gradient = (a > 0) * net[0].classifier.weight[0].detach()[:, None, None] / a[0, 0].numel()
    expected = (gradient * a).sum(dim=1)[0].numpy()
    np.testing.assert_allclose(heatmap.raw, expected, atol=1e-4 * np.abs(expected).max())


def test_the_names_known_before_pytorch_are_the_methods_that_there_are() -> None:
    assert list(METHOD_NAMES) == list(METHODS)


def test_kpca_cam_gives_the_same_map_each_time() -> None:
    plane = make_sample("ultrasound").image.plane(0, 0)
    lesion = load_classifier("lesion")
    maps = [
        next(compute_heatmaps(lesion, [plane], CamParameters("kpca-cam", target="lesion"))).raw
        for _ in range(4)
    ]
    for other in maps[1:]:
        np.testing.assert_array_equal(other, maps[0])
