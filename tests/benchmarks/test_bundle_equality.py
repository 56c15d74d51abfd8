"""Bundles against MONAI's own inference: its transforms, inferers, and their inverse."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "bundle_equality.py"


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle_equality", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bundle_equality"] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()
SMALL = [bundle for bundle in BENCHMARK.BUNDLES if bundle.small]


@pytest.mark.parametrize("bundle", SMALL, ids=lambda bundle: bundle.kind)
def test_a_bundle_answers_as_with_monai(bundle: Any, tmp_path: Path) -> None:
    found = BENCHMARK.compare(bundle, tmp_path)
    assert found.voxels >= 0.999
    assert found.difference < 1e-4
    assert found.largest_class < 0.9  # else any answer would agree
