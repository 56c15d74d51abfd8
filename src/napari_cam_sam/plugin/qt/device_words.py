"""Where a model runs, in words."""

from __future__ import annotations

__all__ = ["device_words"]

_WORDS = {"cpu": "CPU", "auto": "GPU if available, else the CPU"}


def device_words(device: str) -> str:
    """Return a device as it stands behind "on the", e.g. ``"CPU"``."""
    return _WORDS.get(device, device)
