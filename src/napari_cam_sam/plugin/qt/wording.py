"""Words that several docks use: counts, and where a model runs."""

from __future__ import annotations

__all__ = ["counted", "device_words"]

_WORDS = {"cpu": "CPU", "auto": "GPU if available, else the CPU"}


def device_words(device: str) -> str:
    """Return a device as it stands behind "on the", e.g. ``"CPU"``.

    Parameters
    ----------
    device : str
        As of PyTorch, or ``"auto"``.

    Returns
    -------
    str
    """
    return _WORDS.get(device, device)


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
