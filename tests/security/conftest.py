"""A folder as somebody else sent it: code lies beside its files, and leaves a trace if it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_cam_sam.plugin.session.recovery import FOLDER_VARIABLE
from napari_cam_sam.sam.registry import CACHE_VARIABLE

Shell = Callable[..., subprocess.CompletedProcess[str]]

# Names that a data file could ask for, and names of packages that the program itself asks for.
HELPERS = ("helpers", "mymodel", "make_net")
SHADOWS = ("yaml", "torch", "numpy", "pandas", "monai", "matplotlib", "distributed", "triton")
CODE = """\
import os, pathlib
pathlib.Path(__file__).with_name("RAN").write_text(__name__)
def make():
    import torch
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    module.card = {
        "class_names": ["no", "lesion"], "input_size": [64, 64], "layers": ["0"], "channels": 3
    }
    return module
"""


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A folder with code in it; ``RAN`` lies there once any of it was run."""
    folder = tmp_path / "received"
    folder.mkdir()
    for name in (*HELPERS, *SHADOWS):
        (folder / f"{name}.py").write_text(CODE)
    (folder / "matplotlibrc").write_text("backend: module://helpers\ntext.usetex: True\n")
    return folder


@pytest.fixture
def shell(tmp_path: Path, received: Path) -> Shell:
    """Run Python in the received folder, as a user in a terminal does."""

    def run(
        *arguments: str, path: str = "", options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            CACHE_VARIABLE: str(tmp_path / "cache"),
            FOLDER_VARIABLE: str(tmp_path / "autosaves"),
            "QT_QPA_PLATFORM": "offscreen",
            "OMP_NUM_THREADS": "1",
        }
        if path:
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, [environment.get("PYTHONPATH", ""), path])
            )
        return subprocess.run(
            [sys.executable, *options, *arguments], cwd=received, env=environment,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


@pytest.fixture
def command(shell: Shell) -> Shell:
    """Run the command line in the received folder, by ``python -m``, which searches it first."""

    def run(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
        return shell("-m", "napari_cam_sam", *arguments, path=path)

    return run


@pytest.fixture
def nothing_ran(received: Path) -> Callable[[], None]:
    """Check that no code of the received folder was run."""

    def check() -> None:
        trace = received / "RAN"
        assert not trace.exists(), f"{trace.read_text()} was run"

    return check
