"""What the docstring of a group of parameters says of each of its fields."""

from __future__ import annotations

from typing import Any

from docstring_parser import DocstringStyle, parse

__all__ = ["field_help"]


def field_help(group: type[Any]) -> dict[str, str]:
    """Return what the docstring of a data class says on each of its fields.

    Parameters
    ----------
    group : type
        With a numpy-style section of attributes.

    Returns
    -------
    dict of str to str
        By field, on one line; fields that the docstring does not describe are left out.
    """
    return {
        name: " ".join(one.description.split()).replace("`", "")
        for one in parse(group.__doc__ or "", DocstringStyle.NUMPYDOC).params
        for name in one.arg_name.split(", ")
        if one.description
    }
