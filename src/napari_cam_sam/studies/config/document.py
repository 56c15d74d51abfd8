"""YAML files whose values know the line on which they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from napari_cam_sam.errors import CamSamError, refusal, unknown_name
from napari_cam_sam.parsing import compose_yaml, read_text

__all__ = ["Entry", "read_document"]

T = TypeVar("T")
Trail = tuple[str | int, ...]


@dataclass(frozen=True)
class Entry:
    """A value of a document, and where it stands.

    Attributes
    ----------
    value : object
        Mapping, list, text, number, bool, date or None.
    file : Path or None
        None for what the command line says.
    trail : tuple of str and int
        Keys and positions that lead to it from the top.
    lines : dict
        Line, counted from 1, by trail.
    """

    value: Any
    file: Path | None
    trail: Trail
    lines: dict[Trail, int]

    @property
    def line(self) -> int:
        """The line of the value, or of what encloses it where its own is not known."""
        trail = self.trail
        while trail and trail not in self.lines:
            trail = trail[:-1]
        return self.lines.get(trail, 1)

    @property
    def name(self) -> str:
        """What the value is called: the last key that leads to it."""
        return next((str(part) for part in reversed(self.trail) if isinstance(part, str)), "file")

    def error(self, message: str) -> CamSamError:
        """Build an error that names file and line, after the reason."""
        if self.file is None:
            return CamSamError(message)
        return refusal(message, self.file, self.line)

    def at(self, key: str | int) -> Entry:
        """Return what stands under a key, or at a position of a list."""
        return Entry(self.value[key], self.file, (*self.trail, key), self.lines)

    def keys(self, known: Collection[str], kind: str = "key") -> list[str]:
        """Return the keys of a mapping, all of them among the known ones."""
        mapping = self.mapping()
        for key in mapping:
            if key not in known:
                raise self.at(key).error(str(unknown_name(kind, str(key), known)))
        return list(mapping)

    def get(self, key: str) -> Entry | None:
        """Return what stands under a key of a mapping; None where it is not there."""
        return self.at(key) if key in self.mapping() else None

    def read(self, key: str, reader: Callable[[Entry], T], default: T) -> T:
        """Return what is read under a key of a mapping; the default where it is not there."""
        return reader(self.at(key)) if key in self.mapping() else default

    def some(self, keys: Iterable[str]) -> dict[str, Entry]:
        """Return what stands under those of the keys that are there."""
        return {key: self.at(key) for key in keys if key in self.mapping()}

    def need(self, key: str, what: str) -> Entry:
        """Return what stands under a key, or say what is missing."""
        found = self.get(key)
        if found is None:
            where = f"The section {self.name!r}" if self.trail else "The file"
            raise self.error(f"{where} has no {key!r}: {what}.")
        return found

    def mapping(self) -> dict[str, Any]:
        """Return a mapping."""
        if not isinstance(self.value, dict):
            raise self.wrong("keys with values")
        return self.value

    def items(self) -> Iterator[Entry]:
        """Yield what is in a list; a single value counts as a list of one."""
        if not isinstance(self.value, list):
            yield self
            return
        if not self.value:
            raise self.error(f"{self.name!r} is an empty list: name one at least.")
        for position in range(len(self.value)):
            yield self.at(position)

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.wrong("a text")
        return self.value

    def whole(self, least: int, most: float = math.inf, words: str = "") -> int:
        """Return a whole number in a range; the words say what it must be."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(words or f"a whole number of {least} or more")
        return value

    def wrong(self, right: str) -> CamSamError:
        """Build the error for a value of another type or range."""
        kind = type(self.value).__name__
        shown = {"dict": "keys with values", "list": "a list", "NoneType": "nothing"}.get(
            kind, repr(self.value)
        )
        return self.error(f"{self.name!r} must be {right}, not {shown}.")


def read_document(path: Path, what: str = "a study file") -> Entry:
    """Read a YAML file.

    Parameters
    ----------
    path : Path
        Ends in ``.yaml`` or ``.yml``.
    what : str
        What it should be, for errors.

    Returns
    -------
    Entry
        Its top, a mapping.

    Raises
    ------
    CamSamError
        With file and line, if it cannot be read, breaks the language's rules, names a key twice,
        or holds no keys.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise refusal(f"This is not {what}: its name must end in .yaml or .yml", path)
    lines: dict[Trail, int] = {}
    value, node = compose_yaml(read_text(path, what), path)
    if node is not None:
        _mark(node, (), lines)
    top = Entry(value, path, (), lines)
    if not isinstance(value, dict):
        raise top.error(f"{what.capitalize()} holds keys with values; this one does not.")
    return top


def _mark(node: yaml.Node, trail: Trail, lines: dict[Trail, int]) -> None:
    """Note the line of each value."""
    lines.setdefault(trail, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*trail, str(key.value))
            lines[below] = key.start_mark.line + 1
            _mark(value, below, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            _mark(value, (*trail, position), lines)
