"""Numbers of things in words."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["counted", "listed", "these_planes"]


def counted(number: int, noun: str) -> str:
    """Return a number of things, e.g. ``"1 slice"``, ``"3 slices"``.

    Parameters
    ----------
    number : int
    noun : str
        In the singular; its plural ends in s.

    Returns
    -------
    str
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(noun: str, numbers: Collection[int]) -> str:
    """Return things with their numbers.

    Parameters
    ----------
    noun : str
        Of one of them.
    numbers : collection of int
        At least one.

    Returns
    -------
    str
        E.g. ``"slice 3"``, ``"slices 3, 4 and 9"``.
    """
    *first, last = (str(n) for n in sorted(numbers))
    return f"{noun}s {', '.join(first)} and {last}" if first else f"{noun} {last}"


def these_planes(indices: Collection[int]) -> str:
    """Return planes in words.

    Parameters
    ----------
    indices : collection of int

    Returns
    -------
    str
        Their numbers, or how many they are where there are five or more.
    """
    return listed("slice", indices) if len(indices) < 5 else f"{len(indices)} slices"
