"""What files and parameters may hold, checked by pydantic: errors are one sentence."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from napari_cam_sam.errors import CamSamError, refusal

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["check_fields", "check_json", "check_schema", "first_mistake", "shorten"]

T = TypeVar("T")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60

# By pydantic's kind of error: what a field should. Others keep pydantic's own words.
_SHOULD = {
    "bool_type": "be true or false",
    "dataclass_type": "be an object with fields",
    "dict_type": "be an object with fields",
    "float_type": "be a number",
    "greater_than": "be above {gt}",
    "greater_than_equal": "be {ge} or more",
    "int_from_float": "be a whole number",
    "int_type": "be a whole number",
    "invalid_key": "be the text of a field's name",
    "less_than": "be below {lt}",
    "less_than_equal": "be {le} or less",
    "list_type": "be a list",
    "literal_error": "be {expected}",
    "model_attributes_type": "be an object with fields",
    "model_type": "be an object with fields",
    "string_pattern_mismatch": "have the form {pattern}",
    "string_too_long": "have at most {max_length} characters",
    "string_too_short": "have {min_length} or more characters",
    "string_type": "be a text",
    "string_unicode": "be a text of Unicode characters",
    "too_long": "have at most {max_length} values",
    "too_short": "have {min_length} values or more",
    "tuple_type": "be a list",
    "value_error": "be {error}",
}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")


def check_schema(kind: type[T], value: Any, source: object) -> T:
    """Check what was parsed against a type: a model of pydantic, or a list of such.

    Parameters
    ----------
    kind : type
        It is strict: a text is no number.
    value : object
    source : object
        Where the value is from, for errors; often a path.

    Returns
    -------
    object
        Of that type.

    Raises
    ------
    CamSamError
        Names the first wrong value by its place, e.g. ``training[3].image``.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise refusal(_sentence(kind, error), source) from None


def check_json(kind: type[T], value: Any) -> T:
    """Check plain data against a type that may hold data classes and tuples, which JSON has not.

    Parameters
    ----------
    kind : type
        A model of pydantic; it is strict.
    value : object
        As `json` writes it.

    Returns
    -------
    object
        Of that type.

    Raises
    ------
    CamSamError
        Names the first wrong value by its place, e.g. ``accepted[3].overlap``, and no file.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise CamSamError(f"{_sentence(kind, error)}.") from None


def check_fields(parameters: Any) -> None:
    """Check that each value of a data class has the type that its field says.

    Choices, and how many values there are, are left to the class. NumPy's numbers count as
    Python's, and lists as tuples.

    Parameters
    ----------
    parameters : dataclass
        Its values are taken as they are: a text is no number.

    Raises
    ------
    CamSamError
        Names the class, and the first wrong value by its field.
    """
    from pydantic import ValidationError

    kind: Any = type(parameters)
    for name, adapter in _adapters(kind).items():
        value = getattr(parameters, name)
        try:
            adapter.validate_python(_plain(value), strict=True)
        except ValidationError as error:
            # Of a field of several types, each says what it would take.
            should = " or ".join(dict.fromkeys(map(_should, error.errors(include_url=False))))
            message = f"{kind.__name__}.{name} must {should}, not {shorten(value)}."
            raise CamSamError(message) from None


def _plain(value: Any) -> Any:
    """Return NumPy's numbers as Python's, and lists as tuples."""
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


@cache
def _adapters(kind: Any) -> dict[str, TypeAdapter[Any]]:
    """Return what checks each field of a data class."""
    from pydantic import TypeAdapter

    hints = get_type_hints(kind)
    checked = [one.name for one in fields(kind) if get_origin(hints[one.name]) is not Literal]
    return {name: TypeAdapter(_as_it_is(hints[name])) for name in checked}


def _as_it_is(hint: Any) -> Any:
    """Let pydantic look at the class alone where a value is of one, and not into it."""
    from pydantic import InstanceOf

    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_as_it_is, get_args(hint)))]  # noqa: UP007 - made of a list
    if get_origin(hint) is tuple:
        inner = tuple(one for one in get_args(hint) if one is not Ellipsis)
        return tuple[Union[inner], ...]  # type: ignore[valid-type]  # noqa: UP007 - as above
    instance_of: Any = InstanceOf
    return instance_of[hint] if is_dataclass(hint) or hint is range else hint


def shorten(value: object) -> str:
    """Return how a wrong value is shown in a sentence.

    Parameters
    ----------
    value : object
        However deep and large.

    Returns
    -------
    str
        Of at most 60 characters.
    """
    try:
        shown = _SHORT.repr(value)
    except ValueError:  # Python writes no integers of thousands of digits
        shown = "a number of many digits"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _sentence(kind: type[Any], error: ValidationError) -> str:
    """Return what is wrong first, without the full stop."""
    from pydantic import TypeAdapter

    first = error.errors(include_url=False)[0]
    place = ""
    for part in first["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    if first["type"] in _MISSING:
        return f"{place} is missing"
    if first["type"] in _UNKNOWN:
        name = str(first["loc"][-1])
        near = get_close_matches(name, set(_field_names(TypeAdapter(kind).json_schema())), n=1)
        return f"There is no field {place}" + (f": did you mean {near[0]}?" if near else "")
    return f"{place or 'This'} should {first_mistake(error)[1]}, not {shorten(first['input'])}"


def first_mistake(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """Return where the first wrong value is, and what it should, e.g. ``be a number``.

    Parameters
    ----------
    error : ValidationError
        Of pydantic.

    Returns
    -------
    place : tuple of str and int
        Keys and positions that lead to it.
    should : str
    """
    first = error.errors(include_url=False)[0]
    return first["loc"], _should(first)


def _should(mistake: ErrorDetails) -> str:
    should = _SHOULD.get(mistake["type"])
    if should is None:  # pydantic's own words may hold braces
        return mistake["msg"].removeprefix("Input should ")
    return should.format(**mistake.get("ctx", {}))


def _field_names(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from _field_names(inner)
