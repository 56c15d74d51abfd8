"""Which axis of an array is what: one rule for files and for layers of the viewer.

Axes have letters: Y rows, X columns, Z slices, T time, C channels; S is colour, and every other
letter says nothing (tifffile writes Q and I). The slices of an image are its axis Z; without one
an axis that says nothing, as the pages of a plain TIFF; without both the points in time. Channels
are never slices: as of time, one is chosen by its index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import choose_frame

__all__ = ["AXIS_NAMES", "Axes", "ChosenAxes", "arrange", "choose_axes", "letters_of", "parse_axes"]

AXIS_NAMES = {"T": "time", "C": "channels", "Z": "slices", "Y": "rows", "X": "columns"}

_WORDS = {
    "t": "T", "time": "T", "times": "T", "frame": "T", "frames": "T", "timepoint": "T",
    "c": "C", "ch": "C", "channel": "C", "channels": "C",
    "z": "Z", "slice": "Z", "slices": "Z", "plane": "Z", "planes": "Z", "depth": "Z",
    "y": "Y", "row": "Y", "rows": "Y", "height": "Y",
    "x": "X", "column": "X", "columns": "X", "col": "X", "width": "X",
}  # fmt: skip


@dataclass(frozen=True)
class Axes:
    """What the axes of an array are, by their position.

    Attributes
    ----------
    letters : str
        One for each axis, without colour.
    time, channels, slices : int or None
        Position of the axis; None where there is none. Time and channels are chosen from.
    rows, columns : int
    """

    letters: str
    time: int | None
    channels: int | None
    slices: int | None
    rows: int
    columns: int

    @property
    def order(self) -> tuple[int, ...]:
        """Positions as the package has them: time, channels, slices, rows, columns."""
        parts = (self.time, self.channels, self.slices, self.rows, self.columns)
        return tuple(part for part in parts if part is not None)

    @property
    def words(self) -> str:
        """What each axis is, e.g. ``"slices, channels, rows, columns"``."""
        names = {
            self.time: "time", self.channels: "channels", self.slices: "slices",
            self.rows: "rows", self.columns: "columns",
        }  # fmt: skip
        return ", ".join(names[position] for position in range(len(self.letters)))


@dataclass(frozen=True)
class ChosenAxes:
    """How an image was chosen from a file that does not say it: as `Image.source`, for records.

    Attributes
    ----------
    axes : str
        Letters of the file's axes.
    channel : int or None
    """

    axes: str
    channel: int | None = None


def letters_of(labels: Sequence[str]) -> str | None:
    """Return letters of axes for the names that people and programs give them.

    Parameters
    ----------
    labels : sequence of str
        E.g. ``("time", "z", "Y", "X")``.

    Returns
    -------
    str or None
        None where any of them says nothing.
    """
    letters = [_WORDS.get(str(label).strip().lower(), "") for label in labels]
    return "".join(letters) if all(letters) else None


def parse_axes(text: str) -> str:
    """Check axes as a user types them, e.g. ``"zcyx"``.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        A capital letter an axis.

    Raises
    ------
    CamSamError
        If they are not X, Y and some of T, C and Z, each once.
    """
    letters = text.strip().upper()
    if (
        set(letters) - set(AXIS_NAMES)
        or len(set(letters)) != len(letters)
        or not {"X", "Y"} <= set(letters)
    ):
        raise CamSamError(
            f"The axes {text!r} are none: give each axis of the file a letter, T for time, C for "
            "channels, Z for slices, Y for rows and X for columns, e.g. TZYX."
        )
    return letters


def choose_axes(letters: str) -> Axes:
    """Choose which axis is time, channel, slice, row and column.

    Parameters
    ----------
    letters : str
        Of all axes longer than one, in their order, without colour (S).

    Returns
    -------
    Axes

    Raises
    ------
    CamSamError
        If the letters do not say it: its sentence fits after the name of what has these axes.
    """
    unknown = [i for i, letter in enumerate(letters) if letter not in AXIS_NAMES]
    known = [letter for letter in letters if letter in AXIS_NAMES]
    places = {letter: letters.index(letter) for letter in known}
    if "Y" not in places or "X" not in places or len(places) != len(known):
        raise CamSamError(f"the axes {letters} are no rows and columns of an image")
    time, channels, slices = (places.get(letter) for letter in "TCZ")
    if slices is None and unknown:
        slices = unknown.pop(0)
    elif slices is None and time is not None:
        slices, time = time, None
    if time is None and len(unknown) == 1 and "Z" in places:
        time = unknown.pop()
    if unknown:
        raise CamSamError(f"the axes {letters} do not say which are slices, time and channels")
    return Axes(letters, time, channels, slices, places["Y"], places["X"])


def arrange(
    data: Any, axes: Axes, frame: int | None = None, channel: int | None = None
) -> tuple[Any, tuple[str, ...]]:
    """Choose point in time and channel, and bring the other axes in order.

    Parameters
    ----------
    data : array-like
        Axes after those of ``axes`` (colour) stay last.
    axes : Axes
    frame : int or None
        Point in time. Where there are channels but no time to choose, it may choose the channel.
    channel : int or None

    Returns
    -------
    data : array-like, ([slice,] row, column, ...)
    notes : tuple of str

    Raises
    ------
    CamSamError
        If a choice is missing, out of range, or given twice.
    """
    times = 1 if axes.time is None else int(data.shape[axes.time])
    channels = 1 if axes.channels is None else int(data.shape[axes.channels])
    if axes.time is None and axes.channels is not None and channel is None:
        frame, channel = None, frame
    if times > 1 and channels > 1 and (frame is None or channel is None):
        raise CamSamError(
            f"This has {times} points in time and {channels} channels: choose one of each, a frame "
            f"from 0 to {times - 1} and a channel from 0 to {channels - 1}."
        )
    at = {
        axes.time: choose_frame(frame, times, "This"),
        axes.channels: _choose_channel(channel, channels),
    }
    keys = [at.get(position, slice(None)) for position in range(len(axes.letters))]
    rest = [position for position in range(len(axes.letters)) if position not in at]
    data = data[tuple(keys)]
    wanted = [p for p in (axes.slices, axes.rows, axes.columns) if p is not None]
    data = data.transpose([*map(rest.index, wanted), *range(len(rest), data.ndim)])
    if axes.slices is not None and axes.letters[axes.slices] == "T":
        return data, ("Its slices are points in time.",)
    return data, ()


def _choose_channel(channel: int | None, count: int) -> int:
    if channel is None and count > 1:
        raise CamSamError(f"This has {count} channels: choose one, from 0 to {count - 1}.")
    if channel is not None and not 0 <= channel < count:
        raise CamSamError(f"This has no channel {channel}: its channels are 0 to {count - 1}.")
    return channel or 0
