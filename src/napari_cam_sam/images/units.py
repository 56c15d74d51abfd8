"""Units of length, however they are spelled: the one place that reads them."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["mm_in"]

_NAME = re.compile(r"[A-Za-z\u00b5\u03bc\u00c5\u212b\u00e5\u00f6 _-]{1,40}|\"|'")
_MARKS = {'"': "inch", "'": "foot"}
# To pint those of CSS and of print, 0.26 and 0.35 mm.
_NO_LENGTHS = ("px", "css_pixel", "point", "points")
_MOST_MM = 1e6  # Mm is a spelling of mm: nobody images by the megametre


def mm_in(unit: str) -> float | None:
    r"""Return the millimetres in a unit.

    Parameters
    ----------
    unit : str
        A name or sign, singular or plural, e.g. ``"microns"``, ``"µm"``, ``"Millimeter"``,
        ``"inch"``; also as ImageJ escapes it, ``"\u00B5m"``.

    Returns
    -------
    float or None
        None where it is no length: a pixel, another quantity, or no unit that is known.
    """
    text = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), unit).strip()
    if not _NAME.fullmatch(text) or text.lower() in _NO_LENGTHS:
        return None
    text = _MARKS.get(text, text.replace(" ", "_"))
    # As it is first: mm is no Mm, and nobody writes the name of a unit both ways.
    for spelling in dict.fromkeys((text, text.lower())):
        found = _length(spelling)
        if found is not None:
            return found
    return None


@cache
def _registry() -> Any:
    pint: Any = import_module("pint")  # untyped in part
    return pint.get_application_registry()


def _length(name: str) -> float | None:
    try:
        one = _registry().Quantity(1.0, _registry().parse_units(name))
        mm = float(f"{one.to('mm').magnitude:.12g}") if one.check("[length]") else 0.0
    except Exception:  # pint raises what its parser does, of a dozen types
        return None
    return mm if 0 < mm <= _MOST_MM else None
