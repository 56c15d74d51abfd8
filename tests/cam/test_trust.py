"""Trust in heatmaps: what must fail fails, what must pass passes, and known outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torch import Tensor, nn

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.parameters import TrustParameters, count_steps
from napari_cam_sam.cam.randomisation import cascade, randomised_layers
from napari_cam_sam.cam.road import Road, road
from napari_cam_sam.cam.similarity import Similarity, compare_maps
from napari_cam_sam.cam.trust import HeatmapTrust, assess_trust, trust_steps
from napari_cam_sam.cam.trust_words import findings
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError, Cancelled
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.models.checkpoints import weights_sha256
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.models.classify.architectures import build

Make = Callable[..., Classifier]
Planes = list[NDArray[np.uint8]]

QUICK = TrustParameters(stages=2, draws=1, methods=("hires-cam",), removed=(20, 50))
ALIKE = Similarity(1, 1, 1)


@pytest.fixture(scope="module")
def lesion() -> Classifier:
    return load_classifier("lesion", device="cpu")


@pytest.fixture(scope="module")
def slice_11() -> NDArray[np.uint8]:
    image = make_sample("ct").image
    return apply_window(image.plane(0, 11), resolve_window(image, parse_window("ct-abdomen")))


def _levels(trust: HeatmapTrust) -> dict[str, str]:
    return {one.test: one.level for one in findings(trust)}


def test_eigen_cam_does_not_depend_on_the_head(
    lesion: Classifier, slice_11: NDArray[np.uint8]
) -> None:
    found = assess_trust(lesion, slice_11, CamParameters("eigen-cam", target="lesion"), QUICK)
    assert found.randomised[0] == ALIKE
    assert found.randomised[-1].top_iou < 0.3
    (head,) = (one for one in findings(found) if one.test == "head")
    assert head.level == "bad"
    assert head.words.startswith("The map hardly changes when the model's last layer is random")


def test_grad_cam_changes_with_the_model_and_stays_in_place(
    lesion: Classifier, slice_11: NDArray[np.uint8]
) -> None:
    parameters = TrustParameters(stages=3, methods=("hires-cam",), removed=(20, 40))
    found = assess_trust(lesion, slice_11, CamParameters("grad-cam", target="lesion"), parameters)
    assert all(stage.top_iou < 0.3 for stage in found.randomised)
    assert found.road is not None
    assert found.road.score > 0.1
    assert _levels(found) == {
        "head": "good", "randomisation": "good", "agreement": "good",
        "road": "good", "shift": "good", "noise": "good",
    }  # fmt: skip
    scores = found.scores()
    assert len(scores) == 16
    assert scores["trust_head_ssim"] == found.randomised[0].ssim
    assert scores["trust_agreement_rank"] == found.agreement["hires-cam"].rank
    assert all(np.isfinite(value) for value in scores.values())


class _Edges(nn.Module):
    """Edges that nobody learned, and a head that looks at them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.tensor([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]]))
        self.edges = nn.ReLU()
        self.head = nn.Linear(1, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.edges(nn.functional.conv2d(x, self.filter, padding=1))
        return self.head(x.mean((2, 3)))


def test_a_map_of_edges_survives_every_randomisation(make: Make, planes: Planes) -> None:
    """Whatever the head becomes, the only channel is the map, unless its weight turns negative."""
    classifier = make(_Edges(), layers=("edges",))
    for seed in range(4):
        found = assess_trust(classifier, planes[0], CamParameters("fem"), replace(QUICK, seed=seed))
        for stage in found.randomised:
            assert list(vars(stage).values()) == pytest.approx([1, 1, 1])
        assert _levels(found)["randomisation"] == "bad"


# Randomising


def test_the_cascade_goes_down_from_the_head_on_a_copy(lesion: Classifier) -> None:
    weights = weights_sha256(lesion.module)
    before = {name: p.clone() for name, p in lesion.module.named_parameters()}
    changed = []
    for model in cascade(lesion, 4, seed=3):
        now = dict(model.module.named_parameters())
        changed.append({name for name, p in before.items() if not torch.equal(p, now[name])})
        assert model.module is not lesion.module
    assert weights_sha256(lesion.module) == weights
    assert changed[0] <= {"head.weight", "head.bias"}
    assert "head.weight" in changed[0]
    assert all(small < large for small, large in pairwise(changed))
    assert {name for name in before if name.endswith("weight")} <= changed[-1]
    order = ["head", "stage4", "stage3", "stage2", "stage1", "stem"]
    reached = [max(order.index(name.partition(".")[0]) for name in part) for part in changed]
    assert reached[0] == 0
    assert reached[-1] == 5
    for name, tensor in now.items():
        if tensor.ndim > 1:
            was, scale = (float(one.detach().square().mean()) for one in (before[name], tensor))
            assert (scale / was) ** 0.5 == pytest.approx(1, abs=0.15), name


def test_the_cascade_is_seeded(shallow: Classifier) -> None:
    def last(seed: int) -> str:
        *_, model = cascade(shallow, 2, seed)
        return weights_sha256(model.module)

    assert last(1) == last(1) != last(2)


def test_the_cascade_reaches_parameters_that_no_layer_calls(make: Make) -> None:
    """A vision transformer's class token and the projections of its attention."""
    net = build("vit_b_16", num_classes=2, channels=1, input_size=(32, 32))
    del net.encoder.layers[1:]
    nn.init.normal_(net.class_token)
    classifier = make(net, layers=(), classes=2)
    before = {name: p.clone() for name, p in net.named_parameters() if p.ndim > 1}
    *_, model = cascade(classifier, 2, 0)
    now = dict(model.module.named_parameters())
    same = [n for n, p in before.items() if torch.equal(p, now[n]) and n != "heads.head.weight"]
    assert same == []


def test_stages_are_even() -> None:
    assert randomised_layers(21, 5) == [1, 6, 11, 16, 21]
    assert randomised_layers(7, 2) == [1, 7]
    assert randomised_layers(1, 3) == [1, 1, 1]


# ROAD


def _bright_middle(inputs: Tensor) -> list[float]:
    """A model that looks at the middle alone."""
    return torch.sigmoid(10 * inputs[:, 0, 12:20, 12:20].mean((1, 2)) - 5).tolist()


def test_road_prefers_the_perfect_map_to_its_inverse() -> None:
    torch.manual_seed(0)
    frame = torch.rand(1, 32, 32) * 0.1
    frame[0, 12:20, 12:20] = 1
    perfect = np.zeros((32, 32), np.float32)
    perfect[12:20, 12:20] = 1
    good, bad = (road(_bright_middle, frame, m, (10, 30), 0) for m in (perfect, -perfect))
    # The middle is 6.25 % of the pixels: without the highest 10 % all of it is gone.
    assert max(good.without_highest) < 0.05
    assert min(good.without_lowest) > 0.95
    assert good.score > 0.45
    assert bad.score == pytest.approx(-good.score, abs=0.02)
    flat = [road(_bright_middle, frame, np.zeros((32, 32), np.float32), (30,), s) for s in range(6)]
    assert abs(np.mean([one.score for one in flat])) < 0.1


class _Middle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        score = 20 * x[:, 0, 12:20, 12:20].mean((1, 2)) - 10
        return torch.stack([torch.zeros_like(score), score], dim=1)


def test_road_is_that_of_the_library() -> None:
    torch.manual_seed(0)
    frame = torch.rand(1, 32, 32)
    # The brightest first, without ties, from 0 to 1.
    raw = (frame.flatten().argsort().argsort().view(32, 32) / 1023).numpy()

    def probability(inputs: Tensor) -> list[float]:
        return torch.softmax(_Middle()(inputs), dim=1)[:, 1].tolist()

    mine = road(probability, frame, raw, (20, 50), 0).score
    theirs = ROADCombined([80, 50])(
        frame[None], raw[None], [ClassifierOutputSoftmaxTarget(1)], _Middle()
    )
    assert mine > 0.2
    assert mine == pytest.approx(float(theirs[0]), abs=0.01)  # their noise is not seeded


# Stability


def test_a_net_that_moves_with_the_image_is_stable_under_shifts(make: Make) -> None:
    """Pixel by pixel: its map of a shifted plane is the shifted map, to the last pixel."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    plane = np.zeros((32, 32), np.uint8)
    plane[10:20, 12:22] = np.add.outer(np.arange(10), np.arange(10)) * 12 + 30
    for method in ("hires-cam", "eigen-cam"):
        found = assess_trust(
            make(net.eval(), layers=("1",)),
            plane,
            CamParameters(method, target=1),
            replace(QUICK, shift=0.1),
        )
        assert found.reason is None
        assert found.shift is not None
        for value in vars(found.shift).values():
            assert value == pytest.approx(1, abs=1e-3)


def test_a_net_that_looks_at_a_fixed_place_is_not(make: Make) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2 * 32 * 32, 4))
    torch.manual_seed(0)
    weight = torch.zeros(4, 2, 32, 32)
    weight[:, :, 14:18, 14:18] = 1
    net[2].weight.data = weight.flatten(1)
    net[0].weight.data.abs_()
    net[0].bias.data.zero_()
    plane = np.full((32, 32), 250, np.uint8)
    found = assess_trust(
        make(net.eval(), layers=("0",)),
        plane,
        CamParameters("hires-cam"),
        replace(QUICK, shift=0.2),
    )
    assert found.shift is not None
    assert found.shift.top_iou < 0.3
    assert _levels(found)["shift"] == "bad"


def test_noise_that_rounds_away_changes_nothing(deep: Classifier, planes: Planes) -> None:
    parameters = replace(QUICK, noise=1e-4)
    found = assess_trust(deep, planes[0], CamParameters("layer-cam"), parameters)
    assert found.noise == ALIKE


# The whole


def test_the_same_seed_gives_the_same_figures(deep: Classifier, planes: Planes) -> None:
    state = torch.get_rng_state()
    one, two = (assess_trust(deep, planes[0], parameters=QUICK) for _ in range(2))
    other = assess_trust(deep, planes[0], parameters=replace(QUICK, seed=1))
    assert one == two
    assert one.randomised != other.randomised
    assert torch.equal(torch.get_rng_state(), state)


def test_it_comes_step_by_step(deep: Classifier, planes: Planes) -> None:
    weights, cam = weights_sha256(deep.module), CamParameters("hires-cam")
    told: list[tuple[int, int]] = []
    assess_trust(deep, planes[0], cam, QUICK, progress=lambda done, of: told.append((done, of)))
    n = count_steps(cam.method, QUICK)
    assert n == 6  # the method itself is not one of the others
    assert told == [(i, n) for i in range(1, n + 1)]
    steps = list(trust_steps(deep, planes[0], cam, QUICK))
    assert [len(s.randomised) for s in steps] == [0, 0, 2, 2, 2, 2]
    assert weights_sha256(deep.module) == weights


def test_several_classes_stay_one_target_in_all_tests(deep: Classifier, planes: Planes) -> None:
    cam = CamParameters("hires-cam", target="class 0+class 2", odds=True)
    found = assess_trust(deep, planes[0], cam, replace(QUICK, methods=("grad-cam",)))
    own, other = (
        next(compute_heatmaps(deep, planes[:1], replace(cam, method=method)))
        for method in ("hires-cam", "grad-cam")
    )
    assert found.target == "class 0+class 2"
    assert found.agreement["grad-cam"] == compare_maps(own.values, other.values, QUICK.top)

    def both(inputs: Tensor) -> list[float]:
        return deep.probabilities_of(inputs)[:, [0, 2]].sum(axis=1).tolist()

    frame = deep.prepare(planes[:1])[0][0]
    expected = road(both, frame, own.raw, QUICK.removed, QUICK.seed)
    assert found.road is not None
    assert found.road.without_highest == pytest.approx(expected.without_highest)
    assert found.road.without_lowest == pytest.approx(expected.without_lowest)


def test_a_method_that_cannot_explain_the_target_is_said_at_once(
    deep: Classifier, planes: Planes
) -> None:
    cam = CamParameters("grad-cam", "class 1+class 2")
    steps = trust_steps(deep, planes[0], cam, replace(QUICK, methods=("finer-cam",)))
    with pytest.raises(CamSamError, match="finer-cam explains one class"):
        next(steps)


def test_a_map_without_evidence_is_not_tested(deep: Classifier, planes: Planes) -> None:
    (only,) = trust_steps(deep, planes[0], CamParameters(min_probability=1.0), QUICK)
    assert "below the cut-off" in str(only.reason)
    assert findings(only) == ()
    assert all(np.isnan(value) for value in only.scores().values())


def test_methods_that_need_a_layer_are_left_out_where_none_is_known(
    make: Make, deep: Classifier, planes: Planes
) -> None:
    classifier = make(deep.module, layers=())
    cam = CamParameters("occlusion", target=1, batch_size=64)
    parameters = replace(QUICK, methods=("grad-cam", "full-grad"))
    steps = list(trust_steps(classifier, planes[0], cam, parameters))
    assert set(steps[-1].agreement) == {"full-grad"}
    assert len(steps) == count_steps("occlusion", parameters)


def test_road_can_be_left_between_two_imputations() -> None:
    asked: list[int] = []

    def third() -> bool:
        asked.append(1)
        return len(asked) == 3

    frame = torch.rand(1, 32, 32)
    with pytest.raises(Cancelled):
        road(_bright_middle, frame, np.zeros((32, 32), np.float32), (10, 20), 0, third)


def test_it_can_be_left_at_any_step(deep: Classifier, planes: Planes) -> None:
    seen: list[HeatmapTrust] = []
    steps = trust_steps(deep, planes[0], parameters=QUICK, cancelled=lambda: len(seen) >= 2)
    with pytest.raises(Cancelled):
        seen.extend(one for one in steps if seen.append(one))  # type: ignore[func-returns-value]
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": 1}, "1 stages; expected 2"),
        ({"draws": 0}, "0 draws"),
        ({"methods": ("grad-kam",)}, "Did you mean grad-cam"),
        ({"removed": (0,)}, "percentages"),
        ({"removed": ()}, "percentages"),
        ({"shift": 0.3}, "up to 0.25"),
        ({"noise": 0}, "noise"),
        ({"top": 1}, "between 0 and 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_parameters_out_of_range(change: dict[str, object], message: str) -> None:
    with pytest.raises(CamSamError, match=message):
        TrustParameters(**change)  # type: ignore[arg-type]


def test_words_follow_the_figures() -> None:
    def levels(overlap: float, score: float) -> dict[str, str]:
        one = Similarity(0, 0, overlap)
        removed = Road((50,), (0.5 - score,), (0.5 + score,))
        return _levels(
            HeatmapTrust("m", "t", 1, None, (one, one), {"other": one}, removed, one, one)
        )

    assert levels(0.75, 0.11) == {
        "head": "bad", "randomisation": "bad", "agreement": "good",
        "road": "good", "shift": "good", "noise": "good",
    }  # fmt: skip
    assert levels(0.5, 0.03) == {
        "head": "mixed", "randomisation": "mixed", "agreement": "good",
        "road": "mixed", "shift": "good", "noise": "good",
    }  # fmt: skip
    assert set(levels(0.25, 0.03).values()) == {"mixed"}
    assert levels(0.24, 0.019) == {
        "head": "good", "randomisation": "good", "agreement": "bad",
        "road": "bad", "shift": "bad", "noise": "bad",
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 7), (7, 40, 3)])
def test_a_slice_that_cannot_be_shifted_is_refused(lesion: Classifier, shape: tuple[int]) -> None:
    plane = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    with pytest.raises(CamSamError, match=f"{shape[0]} × {shape[1]} pixels is too small"):
        assess_trust(lesion, plane)
