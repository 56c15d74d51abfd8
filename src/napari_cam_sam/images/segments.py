"""What labels are called: the segments that a file names, and how some of them are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from napari_cam_sam.errors import CamSamError, unknown_name

__all__ = ["Segment", "choose_segments", "segments_in_words", "segments_of"]

_LISTED = 8


@dataclass(frozen=True)
class Segment:
    """One segment of a segmentation, or one region of interest of a structure set.

    Attributes
    ----------
    number : int
        Its number, which is its label.
    name : str
        Free text, e.g. ``"Liver"``.
    colour : tuple of int or None
        Red, green and blue, 0 to 255; None where the file says none, or to choose one.
    category, kind : tuple of str or None
        Code value, coding scheme and meaning of what it is, as read; None where nothing is known.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> image = ncs.read_image(get_testdata_file("CT_small.dcm"))
    >>> labels = np.zeros(image.spatial_shape, np.uint8)
    >>> labels[..., 40:60, 40:60] = 1
    >>> ncs.write_labels("seg.dcm", labels, image, segments=[ncs.Segment(1, "Liver")])
    >>> segment = ncs.read_labels("seg.dcm", like=image).segments[0]
    >>> segment.number, segment.name, segment.kind
    (1, 'Liver', ('10200004', 'SCT', 'Liver'))
    """

    number: int
    name: str
    colour: tuple[int, int, int] | None = None
    category: tuple[str, str, str] | None = None
    kind: tuple[str, str, str] | None = None


def choose_segments(
    known: Sequence[Segment], wanted: Sequence[str | int] | None, what: str = "segment"
) -> tuple[Segment, ...]:
    """Return the segments that were asked for.

    Parameters
    ----------
    known : sequence of Segment
        All of the file.
    wanted : sequence of str or int, or None
        Names and numbers; case counts only where names differ in nothing else. None for all.
    what : str
        What they are, for errors.

    Returns
    -------
    tuple of Segment
        In the order of the file.

    Raises
    ------
    CamSamError
        If there is none of a name or number, or several of a name.
    """
    if wanted is None:
        return tuple(known)
    numbers = {_number(known, one, what) for one in wanted}
    return tuple(one for one in known if one.number in numbers)


def segments_of(numbers: Iterable[int], segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return a segment for each label, those without a name called by their number.

    Parameters
    ----------
    numbers : iterable of int
        Labels that there are, without the background.
    segments : sequence of Segment
        What is known of them; those without a pixel are kept, too.

    Returns
    -------
    tuple of Segment
        By their number.
    """
    known = {number: Segment(number, f"Label {number}") for number in numbers}
    known |= {one.number: one for one in segments}
    return tuple(known[number] for number in sorted(known))


def segments_in_words(segments: Iterable[Segment]) -> str:
    """Return segments in words, e.g. ``1 (Liver) and 2 (Lesion)``.

    Parameters
    ----------
    segments : iterable of Segment

    Returns
    -------
    str
    """
    each = [f"{one.number} ({one.name})" for one in segments]
    if len(each) > _LISTED:
        each = [*each[:_LISTED], f"{len(each) - _LISTED} more"]
    return " and ".join(filter(None, (", ".join(each[:-1]), *each[-1:])))


def _number(known: Sequence[Segment], wanted: str | int, what: str) -> int:
    text = str(wanted).strip()
    same = [one for one in known if one.name == text]
    found = same or [one for one in known if one.name.casefold() == text.casefold()]
    if isinstance(wanted, int) or not found:
        found = [one for one in known if str(one.number) == text]
    if len(found) > 1:
        numbers = " and ".join(str(one.number) for one in found)
        raise CamSamError(f"More than one {what} is called {text!r}: choose by number, {numbers}.")
    if not found:
        raise unknown_name(what, text, [f"{one.number} ({one.name})" for one in known])
    return found[0].number
