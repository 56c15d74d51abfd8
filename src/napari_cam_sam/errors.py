"""The one exception that bad input raises, and the help that its sentence gives."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

from napari_cam_sam.text import shown

__all__ = [
    "DEBUG_VARIABLE",
    "CamSamError",
    "Cancelled",
    "reading",
    "reads",
    "reason_of",
    "refusal",
    "show_traceback",
    "unknown_name",
]

P = ParamSpec("P")
T = TypeVar("T")

DEBUG_VARIABLE = "NAPARI_CAM_SAM_DEBUG"
"""Environment variable that shows the traceback of what no reader foresaw."""


class CamSamError(Exception):
    """Something that the user asked for cannot be done.

    The message is one sentence or two that say what was wrong and what would be right. It is
    shown as it stands: as a notification in the viewer, as one line on the command line.
    It is deliberately not a ``RuntimeError``, which napari's generator workers swallow.
    Names of files in it are shown as `napari_cam_sam.text` says, whatever bytes they are of.

    Examples
    --------
    >>> try:
    ...     ncs.read_image("scan.nii.gz")
    ... except ncs.CamSamError as error:
    ...     print(error)
    This file does not exist (scan.nii.gz).
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(shown(a, keep="\n") if isinstance(a, str) else a for a in args))


class Cancelled(Exception):  # noqa: N818 - no error: the caller wanted it
    """What was asked for was cancelled before it was done."""


def refusal(reason: str, source: object, line: int | None = None) -> CamSamError:
    """Build the error for a file: the reason first, the file last, where a toast may cut it.

    Parameters
    ----------
    reason : str
        A sentence, with or without its full stop.
    source : object
        What was read, often a path.
    line : int or None
        Counted from 1.

    Returns
    -------
    CamSamError
    """
    where = source if line is None else f"{source}:{line}"
    reason = reason if reason.endswith("...") else reason.rstrip(".")
    return CamSamError(f"{reason} ({where}).")


@contextmanager
def reading(source: object, what: str) -> Iterator[None]:
    """Turn whatever a reader raises into one sentence that names the file.

    Libraries fail in many ways on a damaged file. With `DEBUG_VARIABLE` set, as in the tests, what
    is no `CamSamError` stays what it is, so that a fault of ours is not taken for one of the file.

    Parameters
    ----------
    source : object
        What is read, often a path.
    what : str
        What it should be, e.g. ``"an image"``.

    Yields
    ------
    None
        While it is read.

    Raises
    ------
    CamSamError
        For any error inside.
    """
    try:
        yield
    except (CamSamError, Cancelled):
        raise
    except OSError as error:
        if error.errno is None and os.environ.get(DEBUG_VARIABLE):
            raise
        reason = error.strerror or str(error) or type(error).__name__
        raise refusal(f"{reason}: {what} could not be read", error.filename or source) from error
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        text = " ".join(str(error).split())[:200]
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise refusal(f"This could not be read as {what}: {reason}", source) from error


def reads(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator for readers whose first argument is what they read.

    Parameters
    ----------
    what : str
        As for `reading`.

    Returns
    -------
    callable
        The reader then raises as `reading` says.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def read(*args: P.args, **kwargs: P.kwargs) -> T:
            with reading(next(iter((*args, *kwargs.values())), ""), what):
                return function(*args, **kwargs)

        return read

    return decorate


def reason_of(error: BaseException) -> str:
    """Return in one line why something failed.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    str
        The first line of what it says, without a full stop; its type where it says nothing.
    """
    text = str(getattr(error, "strerror", None) or error).strip().rstrip(".")
    return text.splitlines()[0] if text else type(error).__name__


def show_traceback(error: BaseException) -> None:
    """Print how an error came about to standard error, where `DEBUG_VARIABLE` is set.

    Parameters
    ----------
    error : BaseException
    """
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)


def unknown_name(kind: str, name: object, known: Iterable[str]) -> CamSamError:
    """Build the error for a name that is not among the known ones.

    Parameters
    ----------
    kind : str
        What the name should have named, e.g. ``"method"``.
    name : object
        What was given: text, or what a file holds where a name belongs, such as the key ``1.5``.
    known : iterable of str
        Every name that would have been accepted.

    Returns
    -------
    CamSamError
        Its message names the nearest matches, or all known names where none is near.
    """
    choices = list(known)
    near = get_close_matches(str(name).lower(), choices, n=3, cutoff=0.5)
    if near:
        return CamSamError(f"Unknown {kind} {name!r}. Did you mean {' or '.join(near)}?")
    return CamSamError(f"Unknown {kind} {name!r}. Known: {', '.join(choices) or 'none'}.")
