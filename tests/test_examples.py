"""The examples of the gallery run as a reader would run them, and need no network."""

from __future__ import annotations

import runpy
import socket
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda one: one.stem)
def test_an_example_prints_and_draws(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an example asks for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out
    assert (tmp_path / f"{script.stem}.png").stat().st_size > 5000


def test_the_site_shows_every_example() -> None:
    pages = (EXAMPLES.parent / "tools" / "site_pages.py").read_text()
    assert all(f'"{one.name}"' in pages for one in EXAMPLES.glob("*.py"))
