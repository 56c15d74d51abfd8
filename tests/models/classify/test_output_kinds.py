"""Networks that end in a sigmoid or softmax: seen, told, and taken for what they are."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier, classifier_of_module
from napari_cam_sam.models.classify.output_kinds import as_logits, find_outputs
from napari_cam_sam.models.outputs import unwrap_logits
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.models.segmentation import SegmentationNetwork, network_of_module

CPU = torch.device("cpu")
PLANES = [np.random.default_rng(i).integers(0, 255, (64, 64), dtype=np.uint8) for i in range(3)]


class Ends(nn.Module):
    """A small residual network with something behind its logits."""

    def __init__(self, classes: int, end: Callable[[Tensor], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torchvision.models.resnet18(num_classes=classes)
        self.end = end

    def forward(self, x: Tensor) -> object:
        return self.end(self.net(x))


def _classifier(module: nn.Module, classes: int, **fields: object) -> tuple[Classifier, list[str]]:
    card = {
        "architecture": "mine", "num_classes": classes, "input_size": (64, 64),
        "layers": ["net.layer4"], **fields,
    }  # fmt: skip
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = classifier_of_module("mine:make", module, card, CPU)
    return found, [str(one.message) for one in said]


ENDS: dict[str, tuple[int, Callable[[Tensor], object], str]] = {
    "linear": (1, lambda x: x, "logits"),
    "linear, two": (2, lambda x: {"out": x}, "logits"),
    "scaled": (1, lambda x: x * 0.01 + 0.4, "logits"),
    "tanh": (2, torch.tanh, "logits"),
    "relu": (1, torch.relu, "logits"),
    "sigmoid": (1, torch.sigmoid, "probabilities"),
    "sigmoid by hand": (1, lambda x: 1 / (1 + torch.exp(-x)), "probabilities"),
    "sigmoid in a tuple": (1, lambda x: (torch.sigmoid(x), x), "probabilities"),
    "sigmoid, two": (2, torch.sigmoid, "probabilities"),
    "hard sigmoid": (1, functional.hardsigmoid, "probabilities"),
    "cut": (1, lambda x: (0.1 * x + 0.5).clamp(0, 1), "probabilities"),
    "softmax": (2, lambda x: x.softmax(1), "probabilities"),
    "softmax in a mapping": (3, lambda x: {"logits": x.softmax(1)}, "probabilities"),
    "softmax by hand": (3, lambda x: x.exp() / x.exp().sum(1, keepdim=True), "probabilities"),
    "both classes of one": (
        2, lambda x: torch.stack([1 - x[:, 0].sigmoid(), x[:, 0].sigmoid()], 1), "probabilities",
    ),
    "mean of two": (2, lambda x: (x.softmax(1) + (2 * x).softmax(1)) / 2, "probabilities"),
    "log softmax": (2, lambda x: functional.log_softmax(x, 1), "log-probabilities"),
    "log of softmax": (3, lambda x: torch.log(x.softmax(1)), "log-probabilities"),
    "detached": (1, lambda x: x.sigmoid().detach(), "probabilities"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_what_a_network_gives_is_found_told_and_reported_as_it_is(name: str) -> None:
    classes, end, kind = ENDS[name]
    module = Ends(classes, end).eval()
    found, said = _classifier(module, classes)
    assert found.card.output == kind
    assert len(said) == (kind != "logits")
    with torch.no_grad():
        own = unwrap_logits(module(found.prepare(PLANES)[0]), classes)
    if kind == "logits":
        own = own.sigmoid() if classes == 1 else own.softmax(1)
    elif kind == "log-probabilities":
        own = own.exp()
    np.testing.assert_allclose(found.probabilities(PLANES), own.numpy(), atol=2e-6)
    if said:
        assert f"are taken as {kind}" in said[0]
        assert "--output-kind" in said[0]


@pytest.mark.parametrize(
    "begin",
    [lambda x: x.mul_(2), lambda x: torch.from_numpy(x.numpy().copy())],
    ids=["changes its input", "leaves the graph"],
)
def test_a_network_that_fails_with_gradients_is_looked_at_all_the_same(
    begin: Callable[[Tensor], Tensor],
) -> None:
    class Begins(Ends):
        def forward(self, x: Tensor) -> object:
            return super().forward(begin(x))

    found, said = _classifier(Begins(2, torch.sigmoid).eval(), 2)
    assert found.card.output == "probabilities"
    assert len(said) == 1


def test_modules_at_the_end_are_seen_by_the_graph_alone() -> None:
    convolution = nn.Conv2d(1, 2, 3)
    for end, kind in (
        (nn.Sigmoid(), "probabilities"),
        (nn.Softmax(1), "probabilities"),
        (nn.LogSoftmax(1), "log-probabilities"),
        (nn.LogSigmoid(), "log-probabilities"),
        (nn.Hardtanh(0, 1), "probabilities"),
        (nn.Identity(), "logits"),
    ):
        module = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), end)
        found = find_outputs(module, 1, (16, 16), lambda x: x)
        assert (found.kind, "last step" in found.why) == (kind, kind != "logits")


def test_what_is_told_counts(recwarn: pytest.WarningsRecorder) -> None:
    module = Ends(1, torch.sigmoid)
    told, said = _classifier(module, 1, output="probabilities")
    assert (told.card.output, said) == ("probabilities", [])
    against, said = _classifier(module, 1, output="logits")
    assert against.card.output == "logits"
    assert len(said) == 1
    assert "as its card says, but its last step is Sigmoid" in said[0]
    assert (against.probabilities(PLANES) >= 0.5).all()
    plain, _ = _classifier(Ends(1, lambda x: 9 * x - 9), 1, output="probabilities")
    with pytest.raises(CamSamError, match=r"said to give probabilities, but gives numbers from -"):
        plain.probabilities(PLANES)
    with pytest.raises(CamSamError, match="output should be 'logits', 'probabilities' or"):
        _classifier(module, 1, output="scores")


@pytest.mark.parametrize(
    ("classes", "end"),
    [
        (1, torch.sigmoid),
        (1, functional.logsigmoid),
        (2, lambda x: x.softmax(1)),
        (2, lambda x: functional.log_softmax(x, 1)),
    ],
)
@pytest.mark.parametrize("odds", [False, True])
def test_heatmaps_are_those_of_the_logits(classes: int, end: Callable, odds: bool) -> None:
    """Of one class the logit's; of several those of log p, whose odds are the logits' own."""
    squashed, _ = _classifier(Ends(classes, end), classes)
    plain, _ = _classifier(
        Ends(classes, (lambda x: x) if classes == 1 or odds else _log_softmax), classes,
        output="logits",
    )  # fmt: skip
    parameters = CamParameters(method="grad-cam", target=0, odds=odds)
    ours = [one.raw for one in compute_heatmaps(squashed, PLANES, parameters)]
    theirs = [one.raw for one in compute_heatmaps(plain, PLANES, parameters)]
    assert max(float(np.abs(one).max()) for one in theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(np.abs(other).max()))


def _log_softmax(x: Tensor) -> Tensor:
    # As logits, which the linear end hides from the look at the graph.
    return functional.log_softmax(x, 1) + 0 * x.sum()


def test_logits_of_probabilities_and_back() -> None:
    logits = torch.linspace(-15, 15, 301, dtype=torch.float64)[:, None]
    chances = logits.sigmoid()
    for scores, kind in ((chances, "probabilities"), (chances.log(), "log-probabilities")):
        back = as_logits(scores, kind, "sigmoid", "x")
        torch.testing.assert_close(back.sigmoid(), chances.float(), atol=1e-6, rtol=1e-5)
    ends = as_logits(torch.tensor([[0.0], [1.0]]), "probabilities", "sigmoid", "x")
    assert bool(torch.isfinite(ends).all())
    torch.testing.assert_close(ends.sigmoid(), torch.tensor([[0.0], [1.0]]))
    several = torch.tensor([[0.0, 1.0], [0.3, 0.7]])
    back = as_logits(several, "probabilities", "softmax", "x").softmax(1)
    torch.testing.assert_close(back, several)


class Maps(nn.Module):
    def __init__(self, classes: int, end: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.end = SmallUNet(classes, 1), end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.net(x))


@pytest.mark.parametrize(
    ("classes", "end", "activation", "kind"),
    [
        (1, nn.Sigmoid(), "sigmoid", "probabilities"),
        (2, nn.Softmax(1), "softmax", "probabilities"),
        (2, nn.Sigmoid(), "sigmoid", "probabilities"),
        (3, nn.LogSoftmax(1), "softmax", "log-probabilities"),
    ],
)
def test_segmentation_networks(classes: int, end: nn.Module, activation: str, kind: str) -> None:
    module = Maps(classes, end).eval()
    fields = {"num_classes": classes, "input_size": (64, 64), "layers": ["net.bottleneck"]}
    with pytest.warns(UserWarning, match=f"are taken as {kind}"):
        network: SegmentationNetwork = network_of_module("mine:make", module, fields, CPU)
    assert (network.card.output, network.card.activation) == (kind, activation)
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        own = module(image)
        ours = network.to_probabilities(network.logits(own))
    own = own.exp() if kind == "log-probabilities" else own
    torch.testing.assert_close(ours, own, atol=2e-6, rtol=1e-5)
