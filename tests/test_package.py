"""What the package hands on, and what importing it does not bring."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_cam_sam


@pytest.mark.parametrize("name", napari_cam_sam.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(napari_cam_sam, name) is not None
    assert name in dir(napari_cam_sam)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="propagat"):
        napari_cam_sam.propagat  # noqa: B018


@pytest.mark.parametrize(
    "first",
    ["import napari_cam_sam", "from napari_cam_sam.cli import commands; commands._parser()"],
)
def test_neither_the_package_nor_help_waits_for_pytorch_or_napari(first: str) -> None:
    code = f"{first}\nimport sys\nprint('torch' in sys.modules, 'napari' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
