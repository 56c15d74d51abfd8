"""The wheel holds what it needs, and nothing else; its command starts without napari."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import napari_cam_sam

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what it is made of, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    build = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_it_holds_the_package_as_it_is(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    ours = {
        str(path.relative_to(source).as_posix())
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert held == ours
    assert {
        "napari_cam_sam/napari.yaml",
        "napari_cam_sam/py.typed",
        "napari_cam_sam/demo/weights/compact-sam.safetensors",
        "napari_cam_sam/studies/report/page.html.jinja",
    } <= held


def test_its_metadata_say_what_the_hub_shows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        points = archive.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert "napari_cam_sam:napari.yaml" in points
    assert "napari_cam_sam.cli:main" in points
    assert "Framework :: napari" in metadata.get_all("Classifier", [])
    assert len(metadata.get_all("Project-URL", [])) == 5
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_its_command_starts_without_napari(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys, napari_cam_sam.cli as cli\n"
        "try: cli.main(['models', 'list'])\n"
        "finally: print(cli.__file__); print('napari' in sys.modules, 'qtpy' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NAPARI_CAM_SAM_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *printed, place, loaded = done.stdout.splitlines()
    assert any("compact-sam" in line for line in printed)
    assert place.startswith(str(tmp_path))
    assert loaded == "False False"


def test_the_version_is_one() -> None:
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert PROJECT["version"] == napari_cam_sam.__version__ == cited[1]
    assert f"## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text()
