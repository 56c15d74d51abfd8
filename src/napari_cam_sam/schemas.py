"""What files may hold, checked by pydantic: errors are one sentence that names the field."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from napari_cam_sam.errors import CamSamError, refusal

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["check_json", "check_schema", "first_mistake", "shorten"]

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
    should = _SHOULD.get(first["type"])
    if should is None:  # pydantic's own words may hold braces
        return first["loc"], first["msg"].removeprefix("Input should ")
    return first["loc"], should.format(**first.get("ctx", {}))


def _field_names(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from _field_names(inner)
