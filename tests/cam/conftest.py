from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_cam_sam.models.cards import ClassifierCard
from napari_cam_sam.models.classifiers import Classifier


class TinyNet(nn.Module):
    """Two strided convolutions, pooling, a linear head: 32×32 gives 16×16 and 8×8."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 10, 3, 2, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.second(self.first(x))).flatten(1))


class DeepHeadNet(TinyNet):
    """As TinyNet, with a curved head, so that gradients differ from place to place."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__(classes)
        self.third = nn.Sequential(nn.Conv2d(10, 8, 3, 1, 1), nn.Softplus())
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.third(self.second(self.first(x)))).flatten(1))


def _make(
    module: nn.Module | None = None,
    *,
    layers: tuple[str, ...] = ("second",),
    size: tuple[int, int] = (32, 32),
    classes: int = 4,
    architecture: str = "tiny",
) -> Classifier:
    names = tuple(f"class {i}" for i in range(classes))
    card = ClassifierCard(architecture, classes, names, size, (0.45,), (0.22,), 1)
    return Classifier(
        module or tiny(classes=classes), card, "tiny", "0" * 64, layers, torch.device("cpu")
    )


def tiny(kind: type[TinyNet] = TinyNet, classes: int = 4, seed: int = 5) -> TinyNet:
    torch.manual_seed(seed)
    return kind(classes).eval()


@pytest.fixture
def make() -> Callable[..., Classifier]:
    return _make


@pytest.fixture
def deep() -> Classifier:
    return _make(tiny(DeepHeadNet))


@pytest.fixture
def shallow() -> Classifier:
    return _make(tiny(TinyNet))


@pytest.fixture
def planes() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (32, 32), dtype=np.uint8) for _ in range(5)]
