"""Text files, JSON, YAML and CSV, read within the bounds of `limits`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from napari_cam_sam.errors import reason_of, refusal
from napari_cam_sam.limits import DEPTH, TEXT_BYTES, memory_bound, size_text

__all__ = ["compose_yaml", "parse_csv", "parse_json", "parse_yaml", "read_text"]

_VALUE_BYTES = 100  # of an empty list or mapping in Python
_SLOW_BYTES = 512 * 2**10  # YAML is parsed in Python, at some 150 kB a second
_YAML_NODES = 100_000
_NUMBER_CHARACTERS = 1_000
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_TAG = "tag:yaml.org,2002:"
_NUMBERS = (_TAG + "int", _TAG + "float")
_TAGS = {
    _TAG + name
    for name in ("str", "int", "float", "bool", "null", "seq", "map", "timestamp", "merge", "value")
}


def read_text(path: str | os.PathLike[str], what: str, most: int = TEXT_BYTES) -> str:
    """Read a whole text file in UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path : path-like
    what : str
        What the file should be, for errors, e.g. ``"a session"``.
    most : int
        Bytes that it may have.

    Returns
    -------
    str

    Raises
    ------
    CamSamError
        If it is missing, no regular file (a pipe would hold the program up), cannot be read, is
        too large, or is no text in UTF-8.
    """
    path = Path(path)
    try:
        # Without O_NONBLOCK a pipe waits for its writer. Windows has neither.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise refusal(f"This is a pipe, a socket or a device, but should be {what}", path)
            content = file.read(most + 1) if status.st_size <= most else None
    except FileNotFoundError:
        raise refusal(f"There is no such file: {what} could not be read", path) from None
    except IsADirectoryError:
        raise refusal(f"This is a folder, but should be {what}", path) from None
    except (OSError, ValueError) as error:  # ValueError: a name with NUL or half a character
        raise refusal(f"{reason_of(error)}: {what} could not be read", path) from error
    if content is None or len(content) > most:
        raise refusal(f"This is larger than {size_text(most)}, more than {what} can be", path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(f"This is no text in UTF-8, but should be {what}", path) from error
    if "\0" in text:
        raise refusal(f"This is no text, but should be {what}", path)
    return text


_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def parse_json(text: str, source: object) -> Any:
    """Parse JSON: no key twice, no NaN, no number of thousands of digits, not too deep.

    Parameters
    ----------
    text : str
    source : object
        Where the text is from, for errors; often a path.

    Returns
    -------
    object

    Raises
    ------
    CamSamError
        If it is none of that, or its values need more memory than is free.
    """
    needed = len(text) + _VALUE_BYTES * text.count(",")
    if needed > memory_bound():
        raise refusal(
            f"Its values need some {size_text(needed)}, and half of the free memory is "
            f"{size_text(memory_bound())}: free some",
            source,
        )
    if not text.strip():
        raise refusal("This is empty, and no JSON", source)
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, line {error.lineno}, column {error.colno}"
        raise refusal(f"This is no JSON: {reason}", source) from error
    except ValueError as error:  # a key twice, NaN, or more digits than Python takes
        raise refusal(f"This is no JSON that can be read: {reason_of(error)}", source) from error
    except RecursionError:
        raise _too_deep(source) from None
    if text.count("[") + text.count("{") > DEPTH:
        depth = 0
        for token in _TOKEN.finditer(text):
            sign = token[0][0]
            depth += (sign in "[{") - (sign in "]}")
            if depth > DEPTH:
                raise _too_deep(source)
    return value


def parse_yaml(text: str, source: object) -> Any:
    """Parse YAML of plain values: no tags, no key twice, no aliases that grow without bound.

    Parameters
    ----------
    text : str
        Of at most 512 KiB.
    source : object
        Where the text is from, for errors; often a path.

    Returns
    -------
    object

    Raises
    ------
    CamSamError
        If it is none of that.
    """
    return compose_yaml(text, source)[0]


def compose_yaml(text: str, source: object) -> tuple[Any, yaml.Node | None]:
    """Parse YAML, and return its nodes too, which know their lines.

    Parameters
    ----------
    text, source
        As for `parse_yaml`.

    Returns
    -------
    value : object
    node : yaml.Node or None
        None for an empty text.

    Raises
    ------
    CamSamError
        As `parse_yaml`.
    """
    if len(text) > _SLOW_BYTES:
        raise refusal(f"This text is longer than {size_text(_SLOW_BYTES)}", source)
    try:
        loader = _Loader(text, source)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            _check_yaml(node, source)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise refusal(f"This is no YAML: {error.problem}", source, line) from error
    except yaml.YAMLError as error:
        raise refusal(f"This is no YAML: {reason_of(error)}", source) from error
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # A tag that does not fit, as of ``!!int x`` or of a 31st of February.
        raise refusal(
            f"This YAML holds a value that is none: {reason_of(error)}", source
        ) from error
    _check_tree(value, source)
    return value, node


def parse_csv(
    text: str, source: object, *, lower: bool = False
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Parse a table whose first line names its columns, separated by commas or semicolons.

    Parameters
    ----------
    text : str
    source : object
        Where the text is from, for errors; often a path.
    lower : bool
        Whether names of columns are brought to lower case.

    Returns
    -------
    columns : list of str
        Empty where the text is.
    rows : list of (int, dict of str to str)
        Each with the line on which it ends. Cells that are missing at its end are empty.

    Raises
    ------
    CamSamError
        If a column is named twice, a row has more cells than there are columns, or it is no CSV.
    """
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not columns:
                columns = [cell.strip().lower() if lower else cell.strip() for cell in cells]
                twice = [name for name in columns if name and columns.count(name) > 1]
                if twice:
                    raise refusal(f"The column {twice[0][:60]!r} is there twice", source)
                continue
            if len(cells) > len(columns):
                raise refusal(
                    f"This row has {len(cells)} values, more than the {len(columns)} columns",
                    source,
                    reader.line_num,
                )
            more = [""] * (len(columns) - len(cells))
            rows.append((reader.line_num, dict(zip(columns, [*cells, *more], strict=True))))
    except csv.Error as error:
        raise refusal(f"This is no CSV: {reason_of(error)}", source, reader.line_num) from error
    return columns, rows


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return mapping


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _too_deep(source: object) -> Exception:
    return refusal(f"Its values lie more than {DEPTH} deep in one another", source)


class _Loader(yaml.SafeLoader):
    """Counts nodes as they are composed: an alias counts as all that it stands for."""

    def __init__(self, text: str, source: object) -> None:
        super().__init__(text)
        self._source = source
        self._depth = self._count = 0
        self._counts: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        before = self._count
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            inside = self._counts.get(id(node))
            if inside is None:
                raise refusal("This value contains itself", self._source, line)
            self._count += inside
        else:
            self._count += 1
            self._depth += 1
            if self._depth > DEPTH:
                raise _too_deep(self._source)
            node = super().compose_node(parent, index)
            self._depth -= 1
            self._counts[id(node)] = self._count - before
        if self._count > _YAML_NODES:
            raise refusal(
                f"This YAML holds more than {_YAML_NODES} values, counted with its aliases",
                self._source,
                line,
            )
        return node


def _check_yaml(top: yaml.Node, source: object) -> None:
    """Check tags, keys and the length of numbers, each node once."""
    waiting, seen = [top], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        line = node.start_mark.line + 1
        if node.tag not in _TAGS:
            tag = str(node.tag).replace(_TAG, "!!")[:60]
            raise refusal(f"The tag {tag} is not read here: write a plain value", source, line)
        if isinstance(node, yaml.MappingNode):
            keys: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                waiting += [key, value]
                if not isinstance(key, yaml.ScalarNode):
                    raise refusal("A key must be a plain value", source, key.start_mark.line + 1)
                name = (key.tag, key.value)
                if name in keys:
                    raise refusal(
                        f"The key {key.value[:60]!r} is there twice, first on line {keys[name]}",
                        source,
                        key.start_mark.line + 1,
                    )
                keys[name] = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif node.tag in _NUMBERS:
            if len(node.value) > _NUMBER_CHARACTERS:
                raise refusal(f"A number of {len(node.value)} characters is too long", source, line)
            if ":" in node.value:  # 3:50 is text, as in YAML 1.2, and no number to base 60
                node.tag = _TAG + "str"


def _check_tree(value: Any, source: object) -> None:
    """Check depth and whole numbers of what was parsed."""
    level: list[Any] = [value]
    for _ in range(DEPTH + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one
                below += one.values()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, int) and not -(2**63) <= one < 2**64:
                raise refusal("A whole number of more than 64 bits is too long", source)
        if not below:
            return
        level = below
    raise _too_deep(source)
