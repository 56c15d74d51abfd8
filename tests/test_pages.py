"""Links and pictures of the pages lead somewhere, whether they are read here or on PyPI."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]+)?\)")
# The help of the docks comes with the package.
DOCKS = ROOT / "src/napari_cam_sam/plugin/qt/docks.md"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md", DOCKS]
PAGES.sort()
# What tools/site_pages.py makes, so that only the site has it.
MADE = {"command-line.md", "python.md", "examples.md"}


def file_of(target: str, page: Path) -> Path | None:
    """Return the file of the repository that a link names, or None where it leads elsewhere."""
    for kind in ("blob", "raw", "tree"):
        if target.startswith(f"{ADDRESS}/{kind}/main/"):
            return ROOT / target.removeprefix(f"{ADDRESS}/{kind}/main/")
    return None if ":" in target else page.parent / target


@pytest.mark.parametrize("page", PAGES, ids=lambda one: str(one.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text()):
        found = file_of(target, page)
        assert found is None or found.exists() or found.name in MADE, target


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCKS], ids=lambda page: page.name)
def test_what_is_read_elsewhere_stands_alone(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert links
    assert all(target.startswith("https://") for target, _ in links)


def test_the_readme_installs_from_the_address_of_the_project() -> None:
    found = re.findall(r"git\+([^\s\"`]+)", (ROOT / "README.md").read_text())
    assert found == [ADDRESS]


def test_every_picture_is_shown() -> None:
    shown = {Path(target).name for page in PAGES for target, _ in LINK.findall(page.read_text())}
    assert {one.name for one in ROOT.glob("docs/images/*")} <= shown


def test_the_architecture_names_what_is_there() -> None:
    package = ROOT / "src/napari_cam_sam"
    text = (ROOT / "docs/architecture.md").read_text()
    missing = []
    for path, name in re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", text):
        if path.startswith(("tests/", "tools/")):
            found = (ROOT / path).exists()
        else:
            file = package / path
            code = file.read_text() if file.exists() else ""
            last = name.split(".")[-1]
            found = file.exists() and (
                not name or bool(re.search(rf"^\s*(?:def |class )?{last}\b[\s(:=]", code, re.M))
            )
        if not found:
            missing.append(f"{path}:{name}")
    assert not missing, missing
