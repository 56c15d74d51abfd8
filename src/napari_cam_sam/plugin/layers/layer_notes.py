"""What is to be said of a layer that napari's own reader read from a picture file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_cam_sam.images.orientation import Asked

__all__ = ["notes_of"]


def notes_of(layer: Any) -> tuple[str, ...]:
    """Return what a file asks for that napari's own reader does not do.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    tuple of str
        A sentence or two each.
    """
    path = None if layer.source is None else layer.source.path
    if path is None:
        return ()
    try:
        asked = _asked(str(path), Path(path).stat().st_mtime_ns)
    except OSError:
        return ()
    notes = []
    if asked.orientation in range(2, 9):
        notes.append(
            "Its file has an orientation tag, which napari passes over: the image lies here as it "
            "is stored, and so does what is saved of it; on the command line it is turned upright."
        )
    if asked.white:
        notes.append(
            "0 is white in its file, which napari passes over: models see it as it is stored; on "
            "the command line its values are inverted."
        )
    if asked.spacing and not any(unit.is_compatible_with("mm") for unit in layer.units):
        notes.append(
            "Its file states a spacing, which napari passes over: distances are in pixels here, "
            "and in mm on the command line."
        )
    return tuple(notes)


@lru_cache(maxsize=64)
def _asked(path: str, changed: int) -> Asked:
    from napari_cam_sam.images.reading import asked_of

    return asked_of(Path(path))
