"""What the commands print: tables, JSON, notes and progress."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import napari_cam_sam as ncs
from napari_cam_sam.records.values import plain
from napari_cam_sam.text import shown

__all__ = [
    "cell",
    "print_json",
    "print_note",
    "print_notes",
    "print_table",
    "progress",
    "warnings_as_notes",
]


def progress(
    arguments: argparse.Namespace, what: str, unit: str = "slice"
) -> tuple[Callable[[int, int], None], Any]:
    """Make a bar on a terminal's standard error, and what tells it (planes done, planes).

    Parameters
    ----------
    arguments : argparse.Namespace
    what : str
        Before the bar.
    unit : str

    Returns
    -------
    update : callable
        Takes the number done and the number of all.
    bar : tqdm
        A context manager.
    """
    from tqdm import tqdm

    bar = tqdm(desc=what, unit=unit, disable=arguments.json or not sys.stderr.isatty())

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return update, bar


def print_json(data: Mapping[str, Any]) -> None:
    """Print the one object of --json.

    Parameters
    ----------
    data : mapping
    """
    print(json.dumps(plain(dict(data)), allow_nan=False))


def print_notes(*images: ncs.Image | None) -> None:
    """Print what reading images decided, on standard error.

    Parameters
    ----------
    *images : Image or None
    """
    for image in filter(None, images):
        for note in image.notes:
            print_note(f"{image.name}: {note}")


def print_note(text: str) -> None:
    """Print what a user should know as one line on standard error.

    Parameters
    ----------
    text : str
    """
    print(_note(text), file=sys.stderr)


def _note(text: str) -> str:
    return "napari-cam-sam: note: " + shown(" ".join(text.split()))


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print warnings as notes, without the line of code that Python shows.

    Yields
    ------
    None
    """
    before = warnings.formatwarning
    # Only how they are written: who records warnings, or turns them into errors, still does.
    warnings.formatwarning = lambda message, *_, **__: _note(str(message)) + "\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under the keys of the first; numbers to four places, aligned right.

    Parameters
    ----------
    rows : sequence of mapping
    """
    if not rows:
        return
    names = list(rows[0])
    cells = [[cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(n), *(len(line[i]) for line in cells)) for i, n in enumerate(names)]
    print("  ".join(n.ljust(w) for n, w in zip(names, widths, strict=True)).rstrip())
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def cell(value: Any) -> str:
    """Write a value as a table shows it.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
    """
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
    return shown(str(value))
