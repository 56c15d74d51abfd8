"""What the commands have in common: options of parameter groups, progress and tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

from napari_cam_sam.errors import CamSamError

__all__ = [
    "AXIS_HELP",
    "Parser",
    "add_fields",
    "cell",
    "changed",
    "print_json",
    "print_table",
    "progress",
    "window_help",
]

T = TypeVar("T")

AXIS_HELP = "array axis that the planes cut; of a NIfTI 0 is k, 1 j, 2 i (%(default)s)"


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what :func:`napari_cam_sam.cli.main` prints."""
        raise CamSamError(f"{message} (see {self.prog} --help)")


def add_fields(
    parser: argparse.ArgumentParser,
    title: str,
    group: type[Any],
    prefix: str = "",
    default: str | None = None,
) -> None:
    """Add an option for each field of a parameter group; what is not given stays None.

    `default` says in words what holds then, where it is not the field's own default.
    """
    options = parser.add_argument_group(title)
    hints = get_type_hints(group)
    for field in fields(group):
        flag = "--" + prefix + field.name.replace("_", "-")
        name = prefix.replace("-", "_") + field.name
        kind = hints[field.name]
        choices = [str(one) for one in get_args(kind) if isinstance(one, str)]
        text = " | ".join(choices)
        if default is None:
            text = f"{text} (default {field.default})".strip()
        elif not text:
            text = default
        if kind is bool:
            options.add_argument(
                flag,
                dest=name,
                action=argparse.BooleanOptionalAction,
                default=None,
                help=text,
            )
        elif kind in (int, float):
            options.add_argument(flag, dest=name, type=kind, help=text)
        elif isinstance(field.default, tuple):
            n = len(field.default)
            options.add_argument(flag, dest=name, type=int, nargs=n, help=text)
        else:
            options.add_argument(flag, dest=name, help=text)


def window_help() -> str:
    """Say what --window takes."""
    from napari_cam_sam.images.windows import CT_PRESETS

    return (
        "auto (8-bit as it is, else the volume's percentiles 0.5 and 99.5; the default), "
        f"minmax, percentiles:1,99, limits:A,B, or in HU {', '.join(CT_PRESETS)}"
    )


def changed(group: T, arguments: argparse.Namespace, prefix: str = "") -> T:
    """Apply the options that were given to a parameter group."""
    changes: dict[str, Any] = {}
    for field in fields(group):  # type: ignore[arg-type]
        value = getattr(arguments, prefix.replace("-", "_") + field.name, None)
        if value is not None:
            changes[field.name] = tuple(value) if isinstance(value, list) else value
    return replace(group, **changes)  # type: ignore[type-var]


def progress(arguments: argparse.Namespace, what: str) -> tuple[Callable[[int, int], None], Any]:
    """Make a bar on a terminal's standard error, and what tells it (planes done, planes)."""
    from tqdm import tqdm

    bar = tqdm(desc=what, unit="plane", disable=arguments.json or not sys.stderr.isatty())

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return update, bar


def print_json(data: Mapping[str, Any]) -> None:
    """Print the one object of --json."""
    from napari_cam_sam.outputs import plain

    print(json.dumps(plain(dict(data)), allow_nan=False))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under the keys of the first; numbers to four places, aligned right."""
    if not rows:
        return
    names = list(rows[0])
    cells = [[cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(n), *(len(line[i]) for line in cells)) for i, n in enumerate(names)]
    print("  ".join(n.ljust(w) for n, w in zip(names, widths, strict=True)).rstrip())
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def cell(value: Any) -> str:
    """Write a value as a table shows it."""
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
    return str(value)
