"""The nine hazards of pytorch-grad-cam 1.5.7 (METHODS §1): each has a guard, shown here."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.cam import methods
from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.methods import METHODS
from napari_cam_sam.cam.upscale import upscale_volume
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.checkpoints import weights_sha256
from napari_cam_sam.models.classifiers import Classifier

Make = Callable[..., Classifier]
Planes = list[NDArray[np.uint8]]


def _maps(classifier: Classifier, planes: Planes, method: str, **options: object) -> list[Heatmap]:
    return list(compute_heatmaps(classifier, planes, CamParameters(method=method, **options)))


def test_1_magnitude_sign_and_nothing_found_survive(shallow: Classifier, planes: Planes) -> None:
    head = shallow.module.head
    (once,) = _maps(shallow, planes[:1], "grad-cam", target=0)
    head.weight.data[0] *= 3
    (thrice,) = _maps(shallow, planes[:1], "grad-cam", target=0)
    np.testing.assert_allclose(thrice.raw, 3 * once.raw, rtol=1e-4)
    head.weight.data[0] *= -1
    (turned,) = _maps(shallow, planes[:1], "grad-cam", target=0)
    np.testing.assert_allclose(turned.raw, -thrice.raw, rtol=1e-4)
    # A map that speaks against the class everywhere: min–max would show its least bad part.
    head.weight.data[0] = -1
    (against,) = _maps(shallow, planes[:1], "grad-cam", target=0)
    assert against.raw.max() <= 0
    assert against.raw.min() < 0
    assert not against.evidence
    assert not against.values.any()


def test_2_upscaling_in_3d_keeps_a_peak_in_place_and_does_not_ring() -> None:
    raw = np.zeros((4, 4, 4), np.float32)
    raw[1, 2, 1] = 1
    up = upscale_volume(raw, (24, 24, 24))
    axes = np.indices(up.shape)
    centre = [(axis * up).sum() / up.sum() for axis in axes]
    np.testing.assert_allclose(centre, [8.5, 14.5, 8.5], atol=1e-4)  # centres of 6-voxel cells
    assert up.min() == 0


def test_3_two_threads_on_one_model_give_the_maps_of_one(
    deep: Classifier, planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads with other planes, methods and layers, and one that only classifies."""
    jobs = [("grad-cam", "first"), ("hires-cam", "second"), ("layer-cam", "first")]
    alone = [_maps(deep, planes, m, layers=(layer,), batch_size=2) for m, layer in jobs]
    inside, most = [0], [0]
    run = methods.Batch.run

    def counted(self: methods.Batch, names: list[str]):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        result = run(self, names)
        inside[0] -= 1
        return result

    monkeypatch.setattr(methods.Batch, "run", counted)
    results: dict[int, list[list[Heatmap]]] = {i: [] for i in range(len(jobs))}
    together = threading.Barrier(len(jobs) + 1)

    def explain(i: int) -> None:
        method, layer = jobs[i]
        together.wait()
        for _ in range(5):
            results[i].append(_maps(deep, planes, method, layers=(layer,), batch_size=2))

    threads = [threading.Thread(target=explain, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    together.wait()
    before = deep.probabilities(planes)
    for thread in threads:
        thread.join()
    assert most[0] == 1
    np.testing.assert_allclose(before, deep.probabilities(planes), atol=1e-6)
    for i, expected in enumerate(alone):
        assert len(results[i]) == 5
        for repeat in results[i]:
            for got, want in zip(repeat, expected, strict=True):
                np.testing.assert_array_equal(got.raw, want.raw)


class _Failing(nn.Module):
    """A last layer that raises from its n-th call on."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("out of memory, say")
        return x


def _assert_untouched(net: nn.Module, modules: list[nn.Module], weights: str) -> None:
    assert all(a is b for a, b in zip(net.modules(), modules, strict=True))
    assert weights_sha256(net) == weights
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("method", "calls"),
    [
        ("ablation-cam", 0),
        ("ablation-cam", 1),
        ("ablation-cam", 3),
        ("score-cam", 0),
        ("score-cam", 2),
        ("guided-grad-cam", 0),
        ("guided-grad-cam", 1),
        ("full-grad", 0),
        ("full-grad", 1),
        ("layer-cam", 1),
    ],
)
def test_4_a_method_that_raises_leaves_the_model_whole(
    make: Make, planes: Planes, method: str, calls: int
) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    ).append(_Failing(calls))
    modules, weights = list(net.modules()), weights_sha256(net)
    with pytest.raises(RuntimeError, match="out of memory"):
        _maps(make(net, layers=("1",)), planes, method, batch_size=2)
    _assert_untouched(net, modules, weights)
    assert net.training


def test_5_a_wrong_class_is_an_error_before_anything_runs(
    shallow: Classifier, planes: Planes
) -> None:
    def never(_module: nn.Module, _inputs: object) -> None:
        raise AssertionError("the model ran")

    handle = shallow.module.register_forward_pre_hook(never)
    for target in (4, -1, "class 9"):
        with pytest.raises(CamSamError, match="class"):
            compute_heatmaps(shallow, planes, CamParameters(target=target))
    handle.remove()


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lrp"])  # not for Softplus
def test_6_the_model_is_left_as_it_was(deep: Classifier, planes: Planes, method: str) -> None:
    net = deep.module
    net.train()
    net.second.eval()
    net.first[0].weight.requires_grad_(False)
    net.head.weight.grad = torch.full_like(net.head.weight, 7.0)
    fired: list[int] = []
    handle = net.second.register_forward_hook(lambda *_: fired.append(1))
    modules, weights = list(net.modules()), weights_sha256(net)
    training = [m.training for m in modules]
    required = [p.requires_grad for p in net.parameters()]

    _maps(deep, planes[:2], method, layers=("first", "second"))

    assert all(a is b for a, b in zip(net.modules(), modules, strict=True))
    assert [m.training for m in net.modules()] == training
    assert [p.requires_grad for p in net.parameters()] == required
    assert weights_sha256(net) == weights
    grads = [p.grad for p in net.parameters() if p is not net.head.weight]
    assert all(grad is None for grad in grads)
    assert torch.equal(net.head.weight.grad, torch.full_like(net.head.weight, 7.0))
    assert [len(m._forward_hooks) for m in net.modules()] == [
        int(m is net.second) for m in net.modules()
    ]
    assert fired
    handle.remove()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["layer-cam", "shapley-cam", "full-grad", "guided-grad-cam"])
def test_7_works_without_gradients_around_it_and_for_frozen_models(
    deep: Classifier, planes: Planes, method: str, context: Callable
) -> None:
    expected = _maps(deep, planes[:2], method)
    deep.module.requires_grad_(False)
    with context():
        frozen = _maps(deep, planes[:2], method)
        assert not torch.is_grad_enabled()
    for got, want in zip(frozen, expected, strict=True):
        assert np.abs(want.raw).max() > 0
        np.testing.assert_allclose(got.raw, want.raw, atol=1e-6 * np.abs(want.raw).max())


class _Wrapped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.net(x), "aux": x}


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lrp"])  # not for Softplus
def test_8_outputs_in_a_mapping_are_found(
    deep: Classifier, make: Make, planes: Planes, method: str
) -> None:
    wrapped = make(_Wrapped(deep.module), layers=("net.second",))
    for got, want in zip(
        _maps(wrapped, planes[:2], method), _maps(deep, planes[:2], method), strict=True
    ):
        np.testing.assert_array_equal(got.raw, want.raw)


def test_8_a_segmentation_output_is_refused_instead_of_explained(
    make: Make, planes: Planes
) -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1)).eval()
    with pytest.raises(CamSamError, match=r"scores of shape \(5, 4, 30, 30\)"):
        _maps(make(net, layers=("0",)), planes, "grad-cam")


def test_9_one_forward_and_one_backward_for_a_batch(shallow: Classifier) -> None:
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, (20, 31), dtype=np.uint8) for _ in range(11)]
    forwards: list[int] = []
    backwards: list[int] = []
    shallow.module.register_forward_pre_hook(lambda _m, inputs: forwards.append(len(inputs[0])))
    shallow.module.head.register_full_backward_hook(lambda _m, g, _o: backwards.append(len(g[0])))
    batched = _maps(shallow, planes, "grad-cam", batch_size=4)
    assert forwards == backwards == [4, 4, 3]
    for plane, one in zip(planes, batched, strict=True):
        (alone,) = _maps(shallow, [plane], "grad-cam")
        np.testing.assert_allclose(one.raw, alone.raw, atol=1e-6)


def test_9_planes_are_read_a_batch_at_a_time(shallow: Classifier) -> None:
    read: list[int] = []

    def source():
        for i in range(10):
            read.append(i)
            yield np.full((16, 16), i, np.uint8)

    heatmaps = compute_heatmaps(shallow, source(), CamParameters(batch_size=3))
    assert read == []
    next(heatmaps)
    assert read == [0, 1, 2]
    for _ in range(3):
        next(heatmaps)
    assert read == [0, 1, 2, 3, 4, 5]
