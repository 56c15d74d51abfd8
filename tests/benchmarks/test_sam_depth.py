"""The short forms of benchmarks that no other test runs; their figures are not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "sam_depth.py"


@pytest.mark.slow
def test_the_short_forms_print_their_tables() -> None:
    command = [sys.executable, str(SCRIPT), "sam_speed", "first_mask", "--short"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ours, float32" in done.stdout
    assert "failed" not in done.stdout
    # Where the heatmap fires, and nowhere else.
    assert "encoded: 20 planes, 44 never" in done.stdout
