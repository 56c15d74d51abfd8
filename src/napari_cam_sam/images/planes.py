"""Which planes of an axis: the text that people type, as a range."""

from __future__ import annotations

import re

from napari_cam_sam.errors import CamSamError

__all__ = ["parse_planes"]


def parse_planes(text: str | None, n: int) -> range:
    """Read a choice of planes as Python reads a slice.

    Parameters
    ----------
    text : str or None
        ``"A:B"`` for planes A to B - 1, where A or B may be left out; ``"7"`` for plane 7 alone;
        None for all.
    n : int
        Number of planes along the axis.

    Returns
    -------
    range
        Never empty, within 0 to ``n`` - 1.

    Raises
    ------
    CamSamError
        If the text is no such choice, is negative, chooses no plane or one that does not exist.
    """
    if text is None:
        return range(n)
    match = re.fullmatch(r"\s*(?:(\d{1,18})|(\d{0,18})\s*:\s*(\d{0,18}))\s*", text, flags=re.ASCII)
    if match is None:
        raise CamSamError(
            f"{text!r} is no choice of slices: write A:B (B not included) or one index, "
            "counted from 0."
        )
    one, first, last = match.groups()
    start = int(one or first or 0)
    stop = start + 1 if one else int(last or n)
    if stop > n or start >= n:
        raise CamSamError(f"Slices {text} are out of range: there are slices 0 to {n - 1}.")
    if start >= stop:
        raise CamSamError(f"Slices {text} are none: in A:B, B must be above A.")
    return range(start, stop)
