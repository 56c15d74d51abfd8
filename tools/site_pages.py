"""Pages of the site that are made of other files, as a hook of MkDocs.

The README, the changelog and their like stay where people look for them, beside the code; the
command line is shown as ``--help`` prints it, and each example with what it printed and drew.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/napari-cam-sam/napari-cam-sam"
PAGES = {
    "index.md": "README.md",
    "docks.md": "src/napari_cam_sam/plugin/qt/docks.md",
    "benchmarks.md": "benchmarks/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
}
GALLERY = (
    "prompts_from_a_heatmap.py",
    "heatmap_of_your_network.py",
    "object_of_a_volume.py",
    "study_of_many_images.py",
    "your_own_segmenter.py",
)
ROOMS = {
    "images": "Images",
    "models": "Models and training",
    "cam": "Heatmaps",
    "prompts": "Prompts",
    "sam": "Segmenters and masks",
    "metrics": "Scores",
    "evaluation": "Scores",
    "pipeline": "The whole way",
    "session": "Sessions",
    "studies": "Studies",
    "errors": "Errors",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files."""
    made = {page: (ROOT / source).read_text() for page, source in PAGES.items()}
    made["command-line.md"] = command_line()
    made["python.md"] = python_reference()
    pictures: dict[str, bytes] = {}
    made["examples.md"] = gallery(pictures)
    for name, content in {**made, **pictures}.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, **_: Any) -> str:
    """Turn links to files of the repository into links to pages of the site."""
    here = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {source: target for target, source in PAGES.items()}

    def link(found: re.Match[str]) -> str:
        target, anchor = found["target"], found["anchor"] or ""
        for kind in ("blob", "raw", "tree"):
            if target.startswith(f"{ADDRESS}/{kind}/main/"):
                path = target.removeprefix(f"{ADDRESS}/{kind}/main/")
                break
        else:
            if re.match(r"[a-z]+:|#|$", target):
                return found[0]
            path = os.path.normpath(Path(here).parent / target)
        if path in pages:
            return f"]({pages[path]}{anchor})"
        if path.startswith("docs/"):
            return f"]({path.removeprefix('docs/')}{anchor})"
        if not (ROOT / path).exists():
            return found[0]  # MkDocs names it as broken
        return f"]({ADDRESS}/blob/main/{path}{anchor})"

    linked = re.sub(r"\]\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)", link, markdown)
    titles = {page: title for title, page in nav_entries(config.nav)}

    def titled(found: re.Match[str]) -> str:
        """Name a page by its title where the text of a link, as on GitHub, names its file."""
        page = pages.get(found[1], found[1].removeprefix("docs/"))
        return f"[{titles.get(page, found[1])}]"

    return re.sub(r"\[([\w/-]+\.md)\](?=\([^)\s]+\.md)", titled, linked)


def nav_entries(nav: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield title and page of each entry of a navigation, and of its sections."""
    for entry in nav:
        for title, what in entry.items():
            if isinstance(what, str):
                yield title, what
            else:
                yield from nav_entries(what)


def on_page_content(html: str, **_: Any) -> str:
    """Show the roles of docstrings, as ``:func:``, as the name that they hold.

    A parameter whose type says all has no dash behind it.
    """
    html = re.sub(r"\s*–\s*(<div class=\"doc-md-description\">\s*</div>)", r"\1", html)
    return re.sub(r":[a-z]+:<code>~?(?:[\w.]+\.)?(\w+)</code>", r"<code>\1</code>", html)


def printed_help(*words: str) -> str:
    """Return what the command line prints as help, 100 columns wide."""
    from napari_cam_sam.cli import main

    os.environ["COLUMNS"] = "100"
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return text.getvalue().rstrip()


def command_line() -> str:
    """Return the page of the command line: the help of each command."""
    parts = [
        "# Command line\n\nEvery command exits with 2 and one clear line where its input is at "
        "fault, prints a table for people, and one JSON object with `--json`.",
        f"```text\n{printed_help()}\n```",
    ]

    def add(words: tuple[str, ...]) -> None:
        text = printed_help(*words)
        parts.append(f"{'#' * (len(words) + 1)} {' '.join(words)}\n\n```text\n{text}\n```")
        for one in choices(text):
            add((*words, one))

    for command in choices(printed_help()):
        add((command,))
    return "\n\n".join(parts) + "\n"


def choices(text: str) -> list[str]:
    """Return the commands that a help text lists below a word in capitals."""
    found = re.search(r"^  [A-Z]+\n((?:    .+\n)+)", text + "\n", re.MULTILINE)
    return re.findall(r"^    ([a-z]+)", found[1], re.MULTILINE) if found else []


def python_reference() -> str:
    """Return the page of the names that the package hands on, by room."""
    import napari_cam_sam as ncs

    rooms = defaultdict(list)
    for name in sorted(set(ncs.__all__) - {"__version__"}, key=str.lower):
        found = getattr(ncs, name)
        title = ROOMS.get(found.__module__.split(".")[1], "Other")
        rooms[title].append(f"::: {found.__module__}.{found.__qualname__}")
    order = [*dict.fromkeys(ROOMS.values()), "Other"]
    parts = [
        "# Python\n\nEach name is handed on by the package, as `ncs.read_image` after "
        "`import napari_cam_sam as ncs`, and imported when it is first used. Arrays are (plane, "
        "row, column); coordinates are (row, column) in pixels. What a user can mend is raised as "
        "`CamSamError`."
    ]
    for title in sorted(rooms, key=order.index):
        parts += [f"## {title}", *rooms[title]]
    parts += ["## To write your own", "::: napari_cam_sam.sam.segmenter.Segmenter"]
    parts += [f"::: napari_cam_sam.sam.segmenter.{one}" for one in ("Embedding", "MaskCandidates")]
    return "\n\n".join(parts) + "\n"


def gallery(pictures: dict[str, bytes]) -> str:
    """Run the examples; return their page, and put what they drew into `pictures`."""
    parts = [
        "# Examples\n\nThese run in seconds, without a network, on the samples and models that "
        "ship. Each is a file in `examples/`, was run when this page was made, and is run by the "
        "tests. The shipped models know phantoms alone: take your own for real images."
    ]
    for script in (ROOT / "examples" / name for name in GALLERY):
        code = script.read_text()
        title, _, text = (ast.get_docstring(ast.parse(code)) or script.stem).partition("\n")
        body = code.split('"""', 2)[2].lstrip()
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, script], cwd=folder, capture_output=True, text=True, check=True
            )
            drawn = {f"gallery/{one.name}": one for one in sorted(Path(folder).glob("*.png"))}
            pictures |= {name: one.read_bytes() for name, one in drawn.items()}
        parts.append(f"## {title.rstrip('.')}\n\n{text.strip()}")
        parts += [f"![{title}]({name})" for name in drawn]
        parts.append(f'```python title="examples/{script.name}"\n{body}```')
        parts.append(f'```text title="What it prints"\n{done.stdout}```')
    return "\n\n".join(parts) + "\n"
