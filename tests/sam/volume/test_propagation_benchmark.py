from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks/propagation.py"


def test_the_short_form_prints_every_row(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--short"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    found = dict(re.findall(r"^(\S.*?) {2,}([01]\.\d{3}) ", printed, flags=re.MULTILINE))
    assert len(found) == 21
    assert float(found["default"]) > float(found["floor: first mask, planes of the truth"])
    assert float(found["ceiling: box from truth on every plane"]) > float(found["default"])
