"""Maps that are 0 in theory stay without evidence; all others are what they were."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_cam_sam.cam import methods
from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.names import WITHOUT_LAYERS
from napari_cam_sam.cam.noise import added_up, without_noise
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.models.classify.architectures import build

PICTURES = [np.random.default_rng(i).integers(0, 256, (64, 64), dtype=np.uint8) for i in range(2)]


class Normed(nn.Module):
    """A convolution, a norm and a curved head: the layer before the norm cannot be explained."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.Softplus())
        self.norm = norm
        self.last = nn.Sequential(nn.Conv2d(16, 8, 3, 1, 1), nn.Softplus())
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.norm(self.first(x))).mean((2, 3)))


class OverChannels(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def found(classifier, method, planes=PICTURES, **more):
    return list(compute_heatmaps(classifier, planes, CamParameters(method, target=1, **more)))


@pytest.mark.parametrize(
    ("name", "layer"), [("convnext_tiny", "features.1.2"), ("swin_t", "features.7.1")]
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_before_a_layer_norm_there_is_no_evidence(make, name, layer, mirrored):
    torch.manual_seed(0)
    net = build(name, num_classes=4, channels=1).eval()
    classifier = make(net, layers=(layer,), size=(64, 64), architecture=name)
    for heatmap in found(classifier, "hires-cam", mirrored=mirrored):
        assert not heatmap.evidence
        assert not heatmap.values.any()
        assert "hires-cam found no positive evidence" in heatmap.reason
    assert any(h.evidence for h in found(classifier, "layer-cam", mirrored=mirrored))


@pytest.mark.parametrize(
    ("norm", "method"),
    [
        (OverChannels(16), "hires-cam"),
        (nn.InstanceNorm2d(16), "grad-cam"),
        (nn.InstanceNorm2d(16), "finer-cam"),
        (nn.GroupNorm(16, 16), "grad-cam"),
    ],
)
def test_what_a_norm_takes_away_is_no_evidence(make, norm, method):
    torch.manual_seed(1)
    classifier = make(Normed(norm).eval(), layers=("first",), size=(64, 64))
    assert not any(heatmap.evidence for heatmap in found(classifier, method))
    # Beside a layer that has a map, the other counts as 0 everywhere.
    both = found(classifier, method, layers=("first", "last"))
    alone = found(classifier, method, layers=("last",))
    for one, other in zip(both, alone, strict=True):
        assert one.evidence == other.evidence
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)


@pytest.mark.parametrize("method", [name for name in methods.METHODS if name not in WITHOUT_LAYERS])
def test_a_dead_layer_has_no_evidence(make, method):
    class Dead(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 0 * self.dead(x).mean()

    net = Dead(nn.Identity())
    net.dead = nn.Sequential(nn.Conv2d(1, 4, 3, 4, 1), nn.ReLU())
    nn.init.constant_(net.dead[0].bias, -100.0)
    with torch.no_grad():
        (heatmap,) = found(make(net.eval(), layers=("dead",), size=(64, 64)), method, PICTURES[:1])
    assert not heatmap.evidence


def test_occlusion_of_a_model_that_sees_nothing_is_no_evidence(make):
    class Blind(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 1e-7)

    torch.manual_seed(0)
    assert not any(
        h.evidence for h in found(make(Blind(nn.Identity()).eval(), layers=()), "occlusion")
    )


@pytest.mark.parametrize("method", methods.METHODS)
def test_maps_of_sound_layers_are_bit_for_bit_what_they_were(method, monkeypatch):
    if method == "lrp":
        pytest.importorskip("zennit")
    classifier, sample = load_classifier("shapes"), make_sample("shapes")
    parameters = CamParameters(method, target=sample.target)
    planes = [np.asarray(sample.image.plane(0, 0))]
    now = list(compute_heatmaps(classifier, planes, parameters))
    monkeypatch.setattr(methods, "without_noise", lambda maps, _: maps)
    before = list(compute_heatmaps(classifier, planes, parameters))
    for one, other in zip(now, before, strict=True):
        assert one.evidence
        assert one.values.tobytes() == other.values.tobytes()
        assert one.raw.tobytes() == other.raw.tobytes()


def test_each_sign_is_judged_by_itself():
    scale = np.ones((3, 1, 1))
    maps = np.array([[[1e-6, -0.5]], [[0.5, -1e-6]], [[1e-6, -1e-6]]], np.float32)
    kept = without_noise(maps, scale)
    np.testing.assert_array_equal(kept, np.array([[[0, -0.5]], [[0.5, 0]], [[0, 0]]], np.float32))
    assert without_noise(maps, None) is maps
    assert without_noise(maps, scale * 1e-4) is maps


def test_what_is_added_up_is_a_bound_of_the_map():
    generator = np.random.default_rng(0)
    a, g = generator.normal(size=(2, 2, 5, 4, 3)).astype(np.float32)
    for method, formula in (
        ("grad-cam", np.einsum("nc,nchw->nhw", g.mean((2, 3)), a)),
        ("hires-cam", (g * a).sum(1)),
    ):
        scale = added_up(method, a, g)
        assert scale.shape == formula.shape
        assert (np.abs(formula) <= scale * (1 + 1e-5)).all()
