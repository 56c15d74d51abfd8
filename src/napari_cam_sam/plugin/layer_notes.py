"""What is to be said of a layer that napari's own reader read from a picture file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["notes_of"]


def notes_of(layer: Any) -> tuple[str, ...]:
    """Say that a file asks to be turned, which napari's own reader does not do."""
    path = None if layer.source is None else layer.source.path
    if path is None:
        return ()
    try:
        orientation = _orientation(str(path), Path(path).stat().st_mtime_ns)
    except OSError:
        return ()
    if orientation not in range(2, 9):
        return ()
    return (
        "Its file has an orientation tag, which napari passes over: the image lies here as it is "
        "stored, and so does what is saved of it; on the command line it is turned upright.",
    )


@lru_cache(maxsize=64)
def _orientation(path: str, changed: int) -> int:
    from napari_cam_sam.images.reading import orientation_in

    return orientation_in(Path(path))
