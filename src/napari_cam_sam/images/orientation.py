"""The orientation that a camera or scanner notes in a file, applied as annotation tools do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TAG", "Asked", "orientation_note", "swaps_axes", "turn_upright"]

TAG = 274
"""Number of the tag, in EXIF as in TIFF."""


@dataclass(frozen=True)
class Asked:
    """What a picture file asks of its readers, which not all of them do.

    Attributes
    ----------
    orientation : int
        See `turn_upright`.
    white : bool
        Whether 0 is white.
    spacing : bool
        Whether it states the distances of its pixels.
    """

    orientation: int = 1
    white: bool = False
    spacing: bool = False


_WORDS = {
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored along its diagonal",
    6: "turned by 90° clockwise",
    7: "mirrored along its other diagonal",
    8: "turned by 90° anticlockwise",
}


def turn_upright(data: NDArray[Any], orientation: int, row: int = 0) -> NDArray[Any]:
    """Turn an array so that it lies as it is to be seen.

    Parameters
    ----------
    data : ndarray
    orientation : int
        1 to 8 as EXIF counts them; anything else, which means nothing, changes nothing.
    row : int
        Axis of the rows; that of the columns follows.

    Returns
    -------
    ndarray
        A view.
    """
    column = row + 1
    if swaps_axes(orientation):
        data = np.swapaxes(data, row, column)
    if orientation in (3, 4, 7, 8):
        data = np.flip(data, row)
    if orientation in (2, 3, 6, 7):
        data = np.flip(data, column)
    return data


def swaps_axes(orientation: int) -> bool:
    """Return whether rows become columns.

    Parameters
    ----------
    orientation : int

    Returns
    -------
    bool
    """
    return orientation in (5, 6, 7, 8)


def orientation_note(orientation: int) -> tuple[str, ...]:
    """Return what was done to an image of an orientation.

    Parameters
    ----------
    orientation : int

    Returns
    -------
    tuple of str
        A sentence for the image's notes; empty where nothing was done.
    """
    if orientation not in _WORDS:
        return ()
    return (
        f"It is {_WORDS[orientation]}, as the orientation tag of its file asks; "
        "what is written for it lies on this upright grid.",
    )
