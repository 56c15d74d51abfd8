"""Words that several docks use: where a model runs, and why something cannot be done."""

from __future__ import annotations

from collections.abc import Callable

from napari_cam_sam.errors import CamSamError

__all__ = ["device_words", "why_not"]

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


def why_not(check: Callable[[], object]) -> str:
    """Return why something cannot be done; empty where it can.

    Parameters
    ----------
    check : callable
        Raises a `CamSamError` that says so.

    Returns
    -------
    str
    """
    try:
        check()
    except CamSamError as error:
        return str(error)
    return ""
