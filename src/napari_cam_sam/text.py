r"""Names of files as text: one rule for what is shown, recorded, drawn and put into tables.

The name of a file is any bytes. Python holds those that are not UTF-8 as lone surrogates, which
no UTF-8 file, table or console takes; and a name may hold line breaks, or marks that turn the
direction of all text after it. Wherever a name leaves the program it is written with escapes:

==================  =============================================================
``\xe4``            a byte that is not UTF-8 (80 to ff), or a control character (00 to 7f)
``\u202e``          another character that is not shown: a mark of direction, half a pair
``\x5c``            in records, a backslash that would else begin such an escape
==================  =============================================================

All other characters stay, in every script. `recorded` can be undone by `restored`, so the file is
found again by what a record says; `shown` is for people and leaves backslashes alone.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = [
    "PRINTED",
    "cell_text",
    "cells",
    "drawn",
    "find_file",
    "plain_cell",
    "recorded",
    "restored",
    "shown",
    "utf8_path",
]

# Controls, lone surrogates, line and paragraph separators, marks of direction, the byte order mark.
_UNSHOWN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_LIKE_ESCAPE = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})")
# What a spreadsheet takes for a formula, behind any number of the marks that say that it is text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def shown(text: str | os.PathLike[str], keep: str = "") -> str:
    """Return a name as people see it: one line that every console and file can hold.

    Parameters
    ----------
    text : str or path-like
    keep : str
        Control characters that stay, e.g. the line breaks of a message.

    Returns
    -------
    str
    """

    def escape(found: re.Match[str]) -> str:
        return found[0] if found[0] in keep else _escaped(found[0])

    return _UNSHOWN.sub(escape, os.fspath(text))


def recorded(text: str | os.PathLike[str]) -> str:
    """Return a name or path as records and tables hold it.

    Parameters
    ----------
    text : str or path-like

    Returns
    -------
    str
        One line, from which `restored` makes the name again.
    """
    return shown(_LIKE_ESCAPE.sub(r"\\x5c", os.fspath(text)))


def restored(text: str) -> str:
    """Return the name or path that `recorded` wrote.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """

    def character(found: re.Match[str]) -> str:
        code = int(found[1] or found[2], 16)
        return chr(code if found[2] or code < 0x80 else 0xDC00 + code)

    return _ESCAPE.sub(character, text)


def find_file(folder: Path, text: str) -> Path:
    """Return the file that a table names.

    Parameters
    ----------
    folder : Path
        That the name is relative to.
    text : str

    Returns
    -------
    Path
        The name as it stands, if there is such a file, else as `restored`.
    """
    path = folder / text
    named = folder / restored(text)
    if named == path:
        return path
    try:
        return path if path.exists() else named
    except (OSError, ValueError):
        return path


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """Lend a path in UTF-8 to libraries that take no other.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Path
        The one given, or a link to it where that is no UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with TemporaryDirectory() as folder:
            link = Path(folder, "link")
            link.symlink_to(path.absolute())
            yield link
    else:
        yield path


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def cell_text(value: str) -> str:
    """Return a text for a cell of a CSV file, which no spreadsheet then takes for a formula.

    A text that begins with ``=``, ``+``, ``-`` or ``@`` gets an apostrophe before it, as people
    write it in a spreadsheet; numbers stay. `plain_cell` takes it off again.

    Parameters
    ----------
    value : str

    Returns
    -------
    str
    """
    if _FORMULA.match(value) is None:
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def cells(row: Iterable[object]) -> list[object]:
    """Return a row for a CSV file.

    Parameters
    ----------
    row : iterable of object

    Returns
    -------
    list of object
        Texts as `cell_text`, all else as it is.
    """
    return [cell_text(value) if isinstance(value, str) else value for value in row]


def plain_cell(text: str) -> str:
    """Return the text that `cell_text` put into a cell.

    Parameters
    ----------
    text : str
        Of the cell.

    Returns
    -------
    str
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def drawn(text: str) -> str:
    """Return a text as Matplotlib draws it: no formulas, a box for what its font lacks.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    found = "".join(one if _has_glyph(one) else "\N{WHITE SQUARE}" for one in shown(text, "\n"))
    return found.replace("$", r"\$")


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return character == "\n" or get_font(findfont(FontProperties())).get_char_index(
        ord(character)
    ) != 0  # fmt: skip


def _printed(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" else "?" for c in part), error.end


PRINTED = "napari-cam-sam"
"""How a console writes what it cannot encode: bytes as they are shown, others as ``?``."""
codecs.register_error(PRINTED, _printed)
