"""How the benchmark of weak supervision chooses; its figures are not judged here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "weak_busi.py"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("weak_busi", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["weak_busi"] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    yield module
    del sys.modules["weak_busi"]


def test_no_lesion_chooses_how_it_or_its_copies_are_reported(benchmark: ModuleType) -> None:
    malignant = np.arange(20) >= 8
    pictures = np.array([*range(14), *[14] * 6])

    def chosen_by(half: NDArray[np.bool_]) -> tuple[str, NDArray[np.float64]]:
        """Say of each lesion whether it, or a copy of it, was among those that chose."""
        found = np.isin(pictures, pictures[half])
        for kind in (malignant, ~malignant):
            n = len(np.unique(pictures[half & kind]))
            assert abs(n - len(np.unique(pictures[kind])) / 2) <= 0.5
        return "any", found.astype(np.float64)

    scores, taken = benchmark.cross_fitted(chosen_by, malignant, pictures, splits=10)
    assert scores.shape == (10, 20)
    assert not scores.any()
    assert taken["any"] == 20


def test_frames_of_one_lesion_are_one_picture(benchmark: ModuleType) -> None:
    rng = np.random.default_rng(0)
    planes = [np.kron(rng.integers(0, 200, (8, 8)), np.ones((8, 8))) for _ in range(2)]
    lesions = [
        benchmark.Lesion("", True, (plane + offset).astype(np.uint8), plane > 100)
        for plane, offset in ((planes[0], 0), (planes[1], 0), (planes[0], 20))
    ]
    first, other, again = benchmark.pictures_of(lesions)
    assert first == again != other
