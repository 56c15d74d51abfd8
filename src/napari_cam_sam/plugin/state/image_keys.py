"""What tells apart the images that are worked on, their frames and their pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["FrameKey", "PixelsKey"]


class FrameKey(NamedTuple):
    """Tells apart images, and of a series its frames.

    Attributes
    ----------
    layer : object
        The image layer's id; None without an image.
    frame : int or None
    """

    layer: Any
    frame: int | None


class PixelsKey(NamedTuple):
    """A `FrameKey`, and how often the pixels were replaced by others."""

    layer: Any
    frame: int | None
    replaced: int
