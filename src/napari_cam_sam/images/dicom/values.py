"""Single values of a DICOM header: absent ones are None, broken ones are refused."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from napari_cam_sam.errors import CamSamError

__all__ = ["item", "number", "numbers", "text", "whole"]

_MOST_TEXT = 256
_PADDING = "\x00 \n\r\t"
_NUMBERS = frozenset(("DS", "IS"))
_TEXTS = frozenset(("CS", "UI", "DA", "TM", "DT", "SH", "LO"))


@lru_cache(maxsize=512)
def _tag(keyword: Any) -> tuple[Any, str]:
    """Return the tag of a keyword, and the type that the standard gives it."""
    from pydicom.datadict import dictionary_VR
    from pydicom.tag import Tag

    tag = Tag(keyword)
    try:
        return tag, dictionary_VR(tag)
    except KeyError:
        return tag, ""


def _written(data: Any, keyword: Any, kinds: frozenset[str]) -> bytes | None:
    """Return what is written for an element, if it is plain text that nothing converted yet.

    pydicom checks each value that it converts, which takes most of the time of a header.
    """
    tag, usual = _tag(keyword)
    element: Any = data.get_item(tag) if tag in data else None
    value = getattr(element, "value", None)
    if not isinstance(value, bytes) or not hasattr(element, "value_tell"):
        return None
    return value if (element.VR or usual) in kinds and value.isascii() else None


def _value(data: Any, keyword: Any) -> Any:
    try:
        tag = _tag(keyword)[0]
        if tag not in data:
            return None
        value = data[tag].value
    except MemoryError:
        raise
    except Exception as error:  # pydicom converts a value when it is asked for
        raise _broken(keyword) from error
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return None
    return value


def text(data: Any, keyword: str) -> str:
    """Return a text of a header, several joined by a backslash; empty where there is none.

    Parameters
    ----------
    data : pydicom.Dataset
    keyword : str

    Returns
    -------
    str
    """
    written = _written(data, keyword, _TEXTS)
    if written is not None:
        return written.decode("ascii").strip(_PADDING)[:_MOST_TEXT]
    try:
        value = _value(data, keyword)
    except CamSamError:
        return ""  # a broken description is no reason not to show the pixels
    if value is None:
        return ""
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        value = "\\".join(str(part) for part in value)
    return str(value).strip(_PADDING)[:_MOST_TEXT]


def numbers(data: Any, keyword: Any, count: int | None = None) -> tuple[float, ...] | None:
    """Return the numbers of an element.

    Parameters
    ----------
    data : pydicom.Dataset
    keyword : str or (int, int)
    count : int, optional
        How many there must be.

    Returns
    -------
    tuple of float or None
        None where the element is absent or empty.

    Raises
    ------
    CamSamError
        If they are no finite numbers, or not so many.
    """
    value: Any = _written(data, keyword, _NUMBERS)
    if value is None:
        value = _value(data, keyword)
    if value is None or (isinstance(value, bytes) and not value.strip(b"\x00 ")):
        return None
    if isinstance(value, bytes):  # of a private element whose type nobody knows
        value = value.decode("ascii", "replace").strip("\x00 ").split("\\")
    parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError) as error:
        raise _broken(keyword) from error
    if (count is not None and len(found) != count) or not all(map(math.isfinite, found)):
        raise _broken(keyword)
    return found


def number(data: Any, keyword: Any) -> float | None:
    """Return the first number of an element, None where it is absent or empty.

    Parameters
    ----------
    data : pydicom.Dataset
    keyword : str or (int, int)

    Returns
    -------
    float or None
    """
    found = numbers(data, keyword)
    return found[0] if found else None


def whole(data: Any, keyword: str) -> int | None:
    """Return a whole number, None where it is absent or empty.

    Parameters
    ----------
    data : pydicom.Dataset
    keyword : str

    Returns
    -------
    int or None
    """
    found = number(data, keyword)
    return None if found is None else int(found)


def item(data: Any, keyword: str) -> Any:
    """Return the first item of a sequence, None where there is none.

    Parameters
    ----------
    data : pydicom.Dataset or None
    keyword : str

    Returns
    -------
    pydicom.Dataset or None
    """
    value = None if data is None else _value(data, keyword)
    if value is None:
        return None
    if isinstance(value, str | bytes) or not hasattr(value, "__getitem__"):
        raise _broken(keyword)
    return value[0]


def _broken(keyword: Any) -> CamSamError:
    name = keyword if isinstance(keyword, str) else "({:04X},{:04X})".format(*keyword)
    return CamSamError(f"The header is broken: the value of {name} is none that there can be")
