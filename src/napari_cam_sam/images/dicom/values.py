"""Single values of a DICOM header: absent ones are None, broken ones are refused."""

from __future__ import annotations

import math
from typing import Any

from napari_cam_sam.errors import CamSamError

__all__ = ["item", "number", "numbers", "text", "whole"]

_MOST_TEXT = 256


def _value(data: Any, keyword: Any) -> Any:
    try:
        if keyword not in data:
            return None
        value = data[keyword].value
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
    try:
        value = _value(data, keyword)
    except CamSamError:
        return ""  # a broken description is no reason not to show the pixels
    if value is None:
        return ""
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        value = "\\".join(str(part) for part in value)
    return str(value).strip("\x00 \n\r\t")[:_MOST_TEXT]


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
    value = _value(data, keyword)
    if value is None:
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
