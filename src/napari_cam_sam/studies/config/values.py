"""Values of a document as the fields of parameter groups, each mistake with file and line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.schemas import first_mistake
from napari_cam_sam.studies.config.document import Entry
from napari_cam_sam.text import find_file

__all__ = ["change_fields", "choose", "find_path", "set_fields", "with_line"]

T = TypeVar("T")


def with_line(entry: Entry, make: Callable[[], T]) -> T:
    """Do what may be refused, and name the line where it is.

    Parameters
    ----------
    entry : Entry
        What is to blame.
    make : callable
        Takes nothing.

    Returns
    -------
    object
        What `make` returns.

    Raises
    ------
    CamSamError
        With file and line.
    """
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
    entry.keys([*(f.name for f in fields(default)), *besides])  # type: ignore[arg-type]
    return set_fields(default, entry)


def set_fields(
    default: T,
    entry: Entry,
    readers: Mapping[str, Callable[[Entry], Any]] | None = None,
    without: Collection[str] = (),
) -> T:
    """Change fields as `change_fields`, from a mapping with other keys beside them.

    Parameters
    ----------
    default : dataclass
    entry : Entry
        A mapping.
    readers : mapping of str to callable, optional
        What reads a field; others are read by their types.
    without : collection of str
        Fields that stay, whatever the mapping holds.

    Returns
    -------
    dataclass
        Of the type of `default`.

    Raises
    ------
    CamSamError
        With file and line, for a wrong type or a value out of its range.
    """
    names = [f.name for f in fields(default) if f.name not in without]  # type: ignore[arg-type]
    given, readers = entry.some(names), readers or {}
    hints = get_type_hints(type(default)) if given.keys() - readers.keys() else {}
    values = {
        key: readers[key](one)
        if key in readers
        else _read_value(one, hints[key], getattr(default, key))
        for key, one in given.items()
    }
    try:
        return replace(default, **values)  # type: ignore[type-var]
    except CamSamError as error:
        raise _blamed(default, entry, values, error) from error


def _blamed(
    default: Any, entry: Entry, values: Mapping[str, Any], error: CamSamError
) -> CamSamError:
    """Name the line of the value that is wrong by itself; else that of what encloses them."""
    for key, value in values.items():
        try:
            replace(default, **{key: value})
        except CamSamError as own:
            if str(own) == str(error):
                return entry.at(key).error(str(error))
    return entry.error(str(error))


def _read_value(entry: Entry, kind: Any, default: Any = None) -> Any:
    """Check a value against the type of a field; whole numbers pass for real ones.

    `default` is what a section changes, where the field is a group of parameters itself.
    """
    group = next((one for one in get_args(kind) if is_dataclass(one)), kind)
    if group is not kind and entry.value is None:
        return None
    if isinstance(group, type) and is_dataclass(group):
        return change_fields(group() if default is None else default, entry)
    value = tuple(entry.value) if isinstance(entry.value, list) else entry.value
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        place, should = first_mistake(error)
    if get_origin(kind) is Literal:
        raise entry.error(str(unknown_name(entry.name, str(entry.value), get_args(kind))))
    if not should.startswith("be "):  # of a tuple, whose values have all the right type
        wanted = len(get_args(kind))
        raise entry.error(f"{entry.name!r} must have {wanted} values, not {len(value)}.")
    raise reduce(Entry.at, place, entry).wrong(should.removeprefix("be "))


def choose(known: Mapping[str, Any] | Sequence[str], kind: str, entry: Entry) -> str:
    """Return a text that is one of those known.

    Parameters
    ----------
    known : mapping or sequence of str
    kind : str
        What the text names, for errors.
    entry : Entry

    Returns
    -------
    str

    Raises
    ------
    CamSamError
        With file and line, and the nearest ones that are known.
    """
    name = entry.text()
    if name not in known:
        raise entry.error(str(unknown_name(kind, name, known)))
    return name


def find_path(entry: Entry) -> Path:
    """Return the path that a text means, relative to the folder of its document.

    Parameters
    ----------
    entry : Entry

    Returns
    -------
    Path
        Absolute; there need not be a file.

    Raises
    ------
    CamSamError
        With file and line, for what can be no path.
    """
    try:
        path = Path(entry.text()).expanduser()
        folder = Path() if entry.file is None else entry.file.parent
        return find_file(folder, str(path)).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # NUL, half a character, ~nobody
        raise entry.error(f"No file can have this path, {error}") from error
