"""Bounds on what a file may ask for: its size, its depth, and what it expands to.

Every reader of text goes through `parsing`; every reader of arrays goes through `check_array`
before it makes room, and every reader of what is packed through `check_expansion`. So a file of
some hundred bytes cannot fill the memory or hold the program up, and what is refused is refused
with a sentence.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence

import numpy as np
import psutil
from numpy.typing import DTypeLike

from napari_cam_sam.errors import refusal

__all__ = [
    "CHANNELS",
    "CLASSES",
    "DEPTH",
    "EXPANSION",
    "KERNEL",
    "SESSION_BYTES",
    "SMALL_BYTES",
    "TEXT_BYTES",
    "check_array",
    "check_expansion",
    "check_regular",
    "memory_bound",
    "size_text",
]

TEXT_BYTES = 64 * 2**20
"""The largest text file that is read, but for sessions."""
SESSION_BYTES = 2**30
"""The largest session: its runs of masks have some 10 MiB after a long review, and no end."""
DEPTH = 64
"""How deep lists and mappings may lie in one another; ours lie ten deep."""
CLASSES = 100_000
"""The most classes of a model; the largest sets in use have 22,000."""
CHANNELS = 65_536
"""The most channels of a layer."""
KERNEL = 1_024
"""The widest kernel of a convolution, in pixels."""
EXPANSION = 2_000
"""How many bytes one stored byte may stand for: deflate ends at 1,032, LZW at some 1,400."""
SMALL_BYTES = 64 * 2**20
"""What any file may expand to, however small it is: a constant image packs without bound."""


def check_regular(path: str | os.PathLike[str], what: str) -> None:
    """Refuse a pipe, a socket or a device: whoever opens one may wait for ever.

    What is missing or a folder is left to the reader, which has words of its own for it.

    Parameters
    ----------
    path : path-like
    what : str
        What the file should be, for errors, e.g. ``"an image"``.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a name with NUL
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise refusal(f"This is a pipe, a socket or a device, but should be {what}", path)


def check_array(
    shape: Sequence[int],
    dtype: DTypeLike,
    stored_bytes: int | None,
    source: object,
    *,
    in_memory: bool = True,
    expansion: int = EXPANSION,
) -> int:
    """Check what a header declares against what is stored and what the memory holds.

    Parameters
    ----------
    shape : sequence of int
        As declared; giant and negative numbers are what this is for.
    dtype : dtype-like
    stored_bytes : int or None
        Bytes in the file from which the values come, packed or not; None where nobody knows.
    source : object
        What is read, for errors.
    in_memory : bool
        Whether the array will be held whole; False where it stays on disk.
    expansion : int
        How many bytes one stored byte may become; 1 where nothing is packed.

    Returns
    -------
    int
        Bytes of the array.

    Raises
    ------
    CamSamError
        If a size is below 1, or the array is larger than the file can hold or the memory has room.
    """
    sizes = [int(n) for n in shape]
    shown = " × ".join(_digits(n) for n in sizes)
    if not sizes or min(sizes) < 1:
        raise refusal(f"This declares {shown or 'no'} values; each size must be 1 or more", source)
    declared = math.prod(sizes) * np.dtype(dtype).itemsize
    if stored_bytes is not None:
        room = stored_bytes * expansion
        if declared > (max(room, SMALL_BYTES) if expansion > 1 else room):
            raise refusal(
                f"This declares {shown} values, {size_text(declared)}, but stores "
                f"{size_text(stored_bytes)}: it is truncated or damaged",
                source,
            )
    if in_memory and declared > memory_bound():
        raise refusal(
            f"This declares {shown} values, {size_text(declared)}, and half of the free memory is "
            f"{size_text(memory_bound())}: free some, or use a smaller part of it",
            source,
        )
    return declared


def check_expansion(
    compressed: int, expanded: int, source: object, *, most: int = EXPANSION
) -> None:
    """Check that what is packed does not unpack to more than is plausible.

    Parameters
    ----------
    compressed, expanded : int
        Bytes, as declared or as counted so far.
    source : object
        What is read, for errors.
    most : int
        How many bytes one packed byte may become.

    Raises
    ------
    CamSamError
        If it becomes more, and more than `SMALL_BYTES`.
    """
    if expanded > SMALL_BYTES and expanded > compressed * most:
        raise refusal(
            f"{size_text(compressed)} of this unpack to {size_text(expanded)} or more: "
            "it is damaged, or made to fill the memory",
            source,
        )


def memory_bound() -> int:
    """Return how large one array may be.

    Returns
    -------
    int
        Bytes: half of the memory that is free.
    """
    return int(psutil.virtual_memory().available) // 2


def size_text(n_bytes: int) -> str:
    """Return a number of bytes as people read it.

    Parameters
    ----------
    n_bytes : int

    Returns
    -------
    str
        E.g. ``"3 GiB"``.
    """
    n_bytes = min(n_bytes, 2**100)
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= size:
            return f"{round(n_bytes / size, 1):g} {unit}"
    return f"{n_bytes} bytes"


def _digits(number: int) -> str:
    if abs(number) < 10**18:
        return str(number)
    return f"{number:.0e}" if abs(number) < 10**300 else "1e300 or more"
