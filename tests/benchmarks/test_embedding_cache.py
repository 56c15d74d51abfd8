"""The benchmark of the cache still runs; its figures are not judged here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "embedding_cache.py"


@pytest.mark.slow
def test_the_short_benchmark_prints_its_tables() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--short"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # Packed features are smaller than plain float16, 192 × 32 × 32 of two bytes.
    plain, packed = (
        float(re.search(rf"{name} +([\d.]+)", done.stdout)[1])  # type: ignore[index]
        for name in ("as it is", "zstd 5, bits")
    )
    assert 0.37 < plain < 0.39
    assert packed < 0.9 * plain
    assert "box to masks, from disk" in done.stdout
