"""Every command that the README and the pages of docs show is one that the command line knows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from napari_cam_sam.cli.commands import _parser
from napari_cam_sam.errors import CamSamError

ROOT = Path(__file__).parents[1]
DOCKS = ROOT / "src/napari_cam_sam/plugin/qt/docks.md"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), DOCKS]
BLOCK = re.compile(r"^```(?:bash|sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(napari-cam-sam .*)$", re.MULTILINE)
INLINE = re.compile(r"`napari-cam-sam ([a-z][^`]*)`")


def commands(page: Path) -> list[list[str]]:
    """Give the words of each command of a page that stands in a block of its own."""
    text = page.read_text()
    lines = [
        line
        for block in BLOCK.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("napari-cam-sam")
    ]
    found = []
    for line in [*lines, *INDENTED.findall(text)]:
        words = shlex.split(line, comments=True)[1:]
        found.append(words[: words.index(">")] if ">" in words else words)
    return found


SHOWN = [(page.name, words) for page in PAGES for words in commands(page)]


def test_the_pages_show_commands() -> None:
    assert {name for name, _ in SHOWN} >= {"README.md", "studies.md", "run-settings.md", "cache.md"}
    assert len(SHOWN) > 25


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=[" ".join(words)[:60] for _, words in SHOWN])
def test_a_shown_command_is_known(page: str, words: list[str]) -> None:
    arguments = _parser().parse_args(words)
    assert callable(arguments.command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_in_a_sentence_is_known(page: Path) -> None:
    for line in INLINE.findall(page.read_text().replace("\n", " ")):
        words = [word for word in shlex.split(line) if not word.endswith("…")]
        try:
            _parser().parse_args(words)
        except SystemExit:  # --help and --version
            pass
        except CamSamError as error:
            # A sentence may leave out what a command needs, but names nothing that is not there.
            if "required" not in str(error):
                raise


def test_an_option_that_is_not_there_is_found() -> None:
    with pytest.raises(CamSamError, match="--margin"):
        _parser().parse_args(["run", "scan.nii.gz", "--margin", "2"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_option_in_a_sentence_is_one_of_some_command(page: Path) -> None:
    foreign = {"--lifetime", "--gres", "--nthreads", "--lifetime-stagger", "--phantoms", "--kinds"}
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*[a-z])", text)) - foreign
    if page.name == "run-settings.md":  # which names some that went
        named -= {"--margin", "--propagate-rule"}
    assert named <= _options(), named - _options()


def _options() -> set[str]:
    known: set[str] = set()
    waiting = [_parser()]
    while waiting:
        parser = waiting.pop()
        known |= set(parser._option_string_actions)
        for action in parser._actions:
            if isinstance(action.choices, dict):
                waiting += action.choices.values()
    return known
