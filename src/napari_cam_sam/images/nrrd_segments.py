"""The names and colours of segments in a NRRD file, as 3D Slicer keeps them in `.seg.nrrd`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.naming import colour_for
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import (
    Segment,
    choose_segments,
    segments_in_words,
)
from napari_cam_sam.images.stored import StoredArray, image_of, open_frames
from napari_cam_sam.limits import check_array

__all__ = ["SlicerSegment", "labels_in_layers", "segment_fields", "slicer_segments"]

_ESCAPED = {"\\n": "\n", "\\\\": "\\"}
_TERMINOLOGY = "TerminologyEntry"
_ANATOMY_CONTEXT = "Anatomic codes - DICOM master list"
_CATEGORY_CONTEXT = "Segmentation category and type - DICOM master list"
_MOST_LABEL = np.iinfo(np.int32).max


@dataclass(frozen=True)
class SlicerSegment:
    """A segment, and which values of which layer are its own.

    Attributes
    ----------
    segment : Segment
        Its number is its value, but where several layers use one value: then its place in the
        file, from 1.
    layer, value : int
    """

    segment: Segment
    layer: int
    value: int


def slicer_segments(header: Mapping[str, Any], path: Path) -> tuple[SlicerSegment, ...]:
    """Return the segments that a NRRD header names.

    Parameters
    ----------
    header : mapping
        As `nrrd_header` gives it.
    path : Path
        For errors.

    Returns
    -------
    tuple of SlicerSegment
        In the order of the file; none of a file that names none.

    Raises
    ------
    CamSamError
        If a label value or a layer is no number of one.
    """
    found = []
    count = 0
    while f"Segment{count}_ID" in header:
        prefix = f"Segment{count}_"
        # Files of old versions have a layer of 0 and 1 for each segment.
        old = f"{prefix}LabelValue" not in header
        layer = _number(header.get(f"{prefix}Layer", count if old else 0), "layer", path)
        value = _number(header.get(f"{prefix}LabelValue", 1), "label value", path)
        name = " ".join(_unescaped(header.get(f"{prefix}Name", "")).split())
        category, kind = _codes(_unescaped(header.get(f"{prefix}Tags", "")))
        colour = _colour(header.get(f"{prefix}Color", header.get(f"{prefix}DefaultColor", "")))
        found.append(
            SlicerSegment(
                Segment(value, name or f"Segment {count + 1}", colour, category, kind), layer, value
            )
        )
        count += 1
    if len({one.value for one in found}) < len(found):
        found = [
            replace(one, segment=replace(one.segment, number=number))
            for number, one in enumerate(found, 1)
        ]
    return tuple(found)


def labels_in_layers(
    stored: StoredArray,
    known: Sequence[SlicerSegment],
    wanted: Sequence[str | int] | None = None,
) -> Image:
    """Read segments as labels that do not overlap.

    Parameters
    ----------
    stored : StoredArray
        Its frames are the layers.
    known : sequence of SlicerSegment
        Those of its header.
    wanted : sequence of str or int, or None
        Names and numbers of those to read; None for all.

    Returns
    -------
    Image
        Labels with the numbers of the segments: opened, not loaded, where one layer holds all.

    Raises
    ------
    CamSamError
        If there is no such segment, no such layer, or two of those to read overlap.
    """
    path = stored.path
    chosen = choose_segments([one.segment for one in known], wanted)
    numbers = {one.number for one in chosen}
    used = [one for one in known if one.segment.number in numbers]
    layers = sorted({one.layer for one in used})
    if layers and not 0 <= layers[-1] < stored.frames:
        raise refusal(
            f"The header is broken: it names layer {layers[-1]}, and there are {stored.frames}",
            path,
        )
    renumbered = any(one.segment.number != one.value for one in known)
    if stored.frames == 1 and wanted is None and not renumbered:
        image = image_of(stored, 0)
        return replace(image, notes=(*image.notes, f"Its labels are {segments_in_words(chosen)}."))
    highest = max((one.segment.number for one in known), default=1)
    dtype = np.uint8 if highest < 256 else np.int32
    layer_of = open_frames(stored)
    first = layer_of(0)
    check_array(first.spatial_shape, dtype, None, path)
    labels = np.zeros(first.spatial_shape, dtype)
    for layer in layers:
        here = [one for one in used if one.layer == layer]
        _draw(labels, layer_of(layer), here, used, path)
    notes = (*first.notes, f"Its labels are {segments_in_words(chosen)}.")
    if renumbered:
        notes += ("Several of its layers use one value: segments are numbered as they come.",)
    return replace(first, data=labels, source=None, notes=notes, segments=chosen)


def segment_fields(segments: Sequence[Segment], sizes: Sequence[int]) -> dict[str, str]:
    """Return the key/value pairs that name segments.

    Parameters
    ----------
    segments : sequence of Segment
    sizes : sequence of int
        Of the grid, the fastest axis first.

    Returns
    -------
    dict of str to str
        In the order of the file.
    """
    extent = " ".join(f"0 {n - 1}" for n in sizes)
    fields: dict[str, str] = {}
    for index, one in enumerate(segments):
        prefix = f"Segment{index}_"
        red, green, blue = (f"{part / 255:.6g}" for part in colour_for(one))
        fields |= {
            f"{prefix}Color": f"{red} {green} {blue}",
            f"{prefix}ColorAutoGenerated": "0" if one.colour else "1",
            f"{prefix}Extent": extent,
            f"{prefix}ID": f"Segment_{one.number}",
            f"{prefix}LabelValue": str(one.number),
            f"{prefix}Layer": "0",
            f"{prefix}Name": _escaped(one.name),
            f"{prefix}NameAutoGenerated": "0",
            f"{prefix}Tags": _escaped(_tags(one)),
        }
    fields["Segmentation_ContainedRepresentationNames"] = "Binary labelmap|"
    fields["Segmentation_MasterRepresentation"] = "Binary labelmap"
    fields["Segmentation_ReferenceImageExtentOffset"] = "0 0 0"
    return fields


def _draw(
    labels: NDArray[Any],
    layer: Image,
    here: Sequence[SlicerSegment],
    used: Sequence[SlicerSegment],
    path: Path,
) -> None:
    """Draw segments of one layer into labels, and refuse what another layer has drawn on."""
    target = [labels] if labels.ndim == 2 else list(labels)
    # All segments at once: a file may name tens of thousands.
    by_value = {one.value: one.segment.number for one in here}
    values = np.array(sorted(by_value))
    numbers = np.array([by_value[value] for value in values], labels.dtype)
    for part, plane in zip(target, layer.planes(0), strict=True):
        place = np.minimum(np.searchsorted(values, plane), len(values) - 1)
        drawn = np.where(values[place] == plane, numbers[place], 0)
        both = (part != 0) & (drawn != 0)
        if both.any():
            pair = {int(part[both][0]), int(drawn[both][0])}
            named = [one.segment for one in used if one.segment.number in pair]
            raise refusal(
                f"Segments {segments_in_words(named)} overlap, and one image of labels has one "
                "label a voxel: choose some by name or number (--truth-segment or --segment; "
                "segments= in Python)",
                path,
            )
        np.copyto(part, drawn, where=drawn != 0)


def _number(value: Any, what: str, path: Path) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"\d{1,10}", text) or int(text) > _MOST_LABEL:
        raise refusal(f"The header is broken: a {what} of a segment is {text[:20]!r}", path)
    return int(text)


def _colour(value: Any) -> tuple[int, int, int] | None:
    try:
        parts = [float(part) for part in str(value).split()]
    except ValueError:
        return None
    if len(parts) != 3 or not all(0 <= part <= 1 for part in parts):
        return None
    red, green, blue = (round(part * 255) for part in parts)
    return red, green, blue


def _codes(
    tags: str,
) -> tuple[tuple[str, str, str] | None, tuple[str, str, str] | None]:
    """Return what the terminology of a segment says: category and type."""
    for tag in tags.split("|"):
        name, _, entry = tag.partition(":")
        parts = entry.split("~")
        if name == _TERMINOLOGY and len(parts) >= 3:
            return _code(parts[1]), _code(parts[2])
    return None, None


def _code(text: str) -> tuple[str, str, str] | None:
    scheme, _, rest = text.partition("^")
    value, _, meaning = rest.partition("^")
    return (value, scheme, meaning) if value and scheme else None


def _tags(segment: Segment) -> str:
    if segment.category is None or segment.kind is None:
        return ""
    codes = []
    for code in (segment.category, segment.kind):
        value, scheme, meaning = (re.sub(r"[~^|]", " ", part) for part in code)
        codes.append(f"{scheme}^{value}^{meaning}")
    entry = [_CATEGORY_CONTEXT, *codes, "^^", _ANATOMY_CONTEXT, "^^", "^^"]
    return f"{_TERMINOLOGY}:{'~'.join(entry)}|"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", " ")


def _unescaped(text: Any) -> str:
    return re.sub(r"\\[n\\]", lambda found: _ESCAPED[found[0]], str(text))
