"""The examples in the docstrings of the package's own names run, and print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

import napari_cam_sam

NAMES = [name for name in napari_cam_sam.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_name_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = getattr(napari_cam_sam, name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    parser = doctest.DocTestParser()
    known = {"np": np, "ncs": napari_cam_sam}
    test = parser.get_doctest(found.__doc__ or "", known, name, None, None)
    assert test.examples, f"{name} has no example"
    said: list[str] = []
    doctest.DocTestRunner(optionflags=flags).run(test, out=said.append)
    assert not said, "".join(said)
