"""What the docstring of a group of parameters says of each of its fields."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["field_help"]


def field_help(group: type[Any]) -> dict[str, str]:
    """Read what the docstring of a data class says on each of its fields.

    Parameters
    ----------
    group : type
        With a numpy-style section of attributes.

    Returns
    -------
    dict of str to str
        By field, on one line; fields that the docstring does not describe are left out.
    """
    text = group.__doc__ or ""
    match = re.search(r"Attributes\n\s*-+\n(.*?)(?:\n\s*\n\s*\w+\n\s*-+\n|\Z)", text, re.DOTALL)
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in (match.group(1) if match else "").splitlines():
        head = re.fullmatch(r"    (\w+(?:, \w+)*) : .*", line)
        if head:
            names = head.group(1).split(", ")
        elif line.strip():
            for name in names:
                found.setdefault(name, []).append(line.strip())
    return {name: " ".join(lines).replace("`", "") for name, lines in found.items()}
