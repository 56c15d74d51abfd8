"""The one exception that bad input raises, and the help that its sentence gives."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["CamSamError", "Cancelled", "unknown_name"]


class CamSamError(Exception):
    """Something that the user asked for cannot be done.

    The message is one sentence or two that say what was wrong and what would be right. It is
    shown as it stands: as a notification in the viewer, as one line on the command line.
    It is deliberately not a ``RuntimeError``, which napari's generator workers swallow.
    """


class Cancelled(Exception):  # noqa: N818 - no error: the caller wanted it
    """What was asked for was cancelled before it was done."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> CamSamError:
    """Build the error for a name that is not among the known ones.

    Parameters
    ----------
    kind : str
        What the name should have named, e.g. ``"method"``.
    name : str
        What was given.
    known : iterable of str
        Every name that would have been accepted.

    Returns
    -------
    CamSamError
        Its message names the nearest matches, or all known names where none is near.
    """
    choices = list(known)
    near = get_close_matches(name.lower(), choices, n=3, cutoff=0.5)
    if near:
        return CamSamError(f"Unknown {kind} {name!r}. Did you mean {' or '.join(near)}?")
    return CamSamError(f"Unknown {kind} {name!r}. Known: {', '.join(choices) or 'none'}.")
