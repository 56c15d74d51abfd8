"""Values of a document as the fields of parameter groups, each mistake with file and line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.studies.config.document import Entry
from napari_cam_sam.text import find_file

__all__ = ["change_fields", "choose", "find_path", "read_value", "set_fields", "with_line"]

T = TypeVar("T")


def with_line(entry: Entry, make: Callable[[], T]) -> T:
    """Do what may be refused, and name the line where it is."""
    try:
        return make()
    except CamSamError as error:
        if f"({entry.file}:" in str(error):
            raise
        raise entry.error(str(error)) from error


def change_fields(default: T, entry: Entry, besides: Sequence[str] = ()) -> T:
    """Change the fields of a group of parameters that a section names.

    Parameters
    ----------
    default : dataclass
        What holds for fields that the section leaves out.
    entry : Entry
        A mapping; every key is a field, or one of `besides`.
    besides : sequence of str
        Keys that the caller reads itself.

    Returns
    -------
    dataclass
        Of the type of `default`.

    Raises
    ------
    CamSamError
        With file and line, for an unknown key, a wrong type or a value out of its range.
    """
    names = [f.name for f in fields(default)]  # type: ignore[arg-type]
    keys = entry.keys([*names, *besides])
    return set_fields(default, entry, {key: entry.at(key) for key in keys if key in names})


def set_fields(
    default: T,
    entry: Entry,
    given: Mapping[str, Entry],
    readers: Mapping[str, Callable[[Entry], Any]] | None = None,
) -> T:
    """Change the fields that are given, and name the line of a value out of its range.

    Parameters
    ----------
    default : dataclass
    entry : Entry
        What encloses the fields.
    given : mapping of str to Entry
        By field.
    readers : mapping of str to callable, optional
        What reads a field; others are read by their types.
    """
    readers = readers or {}
    typed = given.keys() - readers.keys()
    hints = get_type_hints(type(default)) if typed else {}
    values = {
        key: read_value(one, hints[key], getattr(default, key))
        if key in typed
        else readers[key](one)
        for key, one in given.items()
    }
    try:
        return replace(default, **values)  # type: ignore[type-var]
    except CamSamError as error:
        raise _blamed(default, entry, given, values, error) from error


def _blamed(
    default: Any,
    entry: Entry,
    given: Mapping[str, Entry],
    values: Mapping[str, Any],
    error: CamSamError,
) -> CamSamError:
    """Name the line of the value that is wrong by itself; else that of what encloses them."""
    for key, value in values.items():
        try:
            replace(default, **{key: value})
        except CamSamError as own:
            if str(own) == str(error):
                return given[key].error(str(error))
    return entry.error(str(error))


def read_value(entry: Entry, kind: Any, default: Any = None) -> Any:
    """Check a value against the type of a field; whole numbers pass for real ones.

    `default` is what a section changes, where the field is a group of parameters itself.
    """
    value, origin = entry.value, get_origin(kind)
    if origin in (Union, UnionType):
        parts = [part for part in get_args(kind) if part is not NoneType]
        return None if value is None else read_value(entry, parts[0], default)
    if isinstance(kind, type) and is_dataclass(kind):
        return change_fields(kind() if default is None else default, entry)
    if origin is Literal:
        if value not in get_args(kind):
            raise entry.error(str(unknown_name(entry.name, str(value), get_args(kind))))
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise entry.wrong("a list")
        inner = get_args(kind)[0]
        return tuple(read_value(entry.at(i), inner) for i in range(len(value)))
    if kind is bool:
        right, words = isinstance(value, bool), "true or false"
    elif kind is int:
        right, words = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif kind is float:
        right, words = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    else:
        right, words = isinstance(value, str), "a text"
    if not right:
        raise entry.wrong(words)
    return float(value) if kind is float else value


def choose(known: Mapping[str, Any] | Sequence[str], kind: str, entry: Entry) -> str:
    """Return a text that is one of those known; `kind` says what it names."""
    name = entry.text()
    if name not in known:
        raise entry.error(str(unknown_name(kind, name, known)))
    return name


def find_path(entry: Entry) -> Path:
    """Return the path that a text means, relative to the folder of its document."""
    try:
        path = Path(entry.text()).expanduser()
        folder = Path() if entry.file is None else entry.file.parent
        return find_file(folder, str(path)).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # NUL, half a character, ~nobody
        raise entry.error(f"No file can have this path, {error}") from error
