"""What the package hands on, and what importing it does not bring."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import napari_cam_sam


@pytest.mark.parametrize("name", napari_cam_sam.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(napari_cam_sam, name) is not None
    assert name in dir(napari_cam_sam)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="propagat"):
        napari_cam_sam.propagat  # noqa: B018


def test_the_stub_lists_what_it_imports() -> None:
    """Whoever adds a name to one list and not to the other hears it here; mypy reads the types."""
    stub = ast.parse(Path(napari_cam_sam.__file__).with_suffix(".pyi").read_text("utf-8"))
    homes = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    listed = next(
        ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)
    )
    assert sorted(listed) == sorted(homes)
    assert sorted(napari_cam_sam.__all__) == sorted(listed)
    for name, home in homes.items():
        module = import_module(f"napari_cam_sam.{home}")
        assert name in module.__all__
        assert getattr(napari_cam_sam, name) is getattr(module, name)


@pytest.mark.parametrize(
    "name", ["Point", "Box", "ObjectPrompt", "PlanePrompts", "Geometry", "AutomaticParameters"]
)
def test_the_types_of_its_own_signatures_are_there(name: str) -> None:
    assert name in napari_cam_sam.__all__


@pytest.mark.parametrize(
    "first",
    ["import napari_cam_sam", "from napari_cam_sam.cli import commands; commands._parser()"],
)
def test_neither_the_package_nor_help_waits_for_pytorch_or_napari(first: str) -> None:
    code = f"{first}\nimport sys\nprint('torch' in sys.modules, 'napari' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
