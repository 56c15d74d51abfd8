"""NRRD in: `.nrrd`, `.nhdr` with its values in another file, and `.seg.nrrd`.

Axes of a file come fastest first, those of an array slowest first: nothing is reoriented.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reads, reason_of, refusal
from napari_cam_sam.images.geometry import (
    Geometry,
    default_geometry,
    geometry_from_affine,
)
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.nrrd_segments import labels_in_layers, slicer_segments
from napari_cam_sam.images.stored import StoredArray, detached_file, image_of
from napari_cam_sam.images.units import mm_in

__all__ = ["nrrd_header", "nrrd_stored", "read_nrrd_label_sets", "read_nrrd_labels"]

_HEADER_BYTES = 4 * 2**20
"""The longest header: of a segmentation with thousands of segments."""
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_TYPE_OF = {name: code for code, names in _TYPES.items() for name in names}
_PACKING = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
"""Signs that turn a space to RAS."""
_PLACED = ("domain", "space", "none", "???")
_COLOURS = ("rgb-color", "rgba-color", "3-color", "4-color")
_VECTORS = ("vector", "covariant-vector", "normal", "3-vector", "4-vector")


def read_nrrd_labels(
    path: Path, frame: int | None = None, segments: Sequence[str | int] | None = None
) -> Image:
    """Open a NRRD file as labels: the segments that it names, else its values.

    Parameters
    ----------
    path : Path
    frame : int or None
        Which of several frames, components and layers; not for a file with segments.
    segments : sequence of str or int, or None
        Names or numbers of those to read, the others are background; None for all.

    Returns
    -------
    Image

    Raises
    ------
    CamSamError
        If segments to read overlap, or there is none of a name.
    """
    known = slicer_segments(nrrd_header(path)[0], path)
    if known and frame in (None, 0):
        try:
            return labels_in_layers(nrrd_stored(path), known, segments)
        except CamSamError as error:
            raise error if str(path) in str(error) else refusal(str(error), path) from None
    if segments is not None:
        raise refusal("This names no segments, so that none of them can be chosen", path)
    return image_of(nrrd_stored(path), frame)


@reads("labels")
def read_nrrd_label_sets(path: Path) -> tuple[Image, ...]:
    """Read the segments that a NRRD file names, layer by layer: those that overlap apart.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of Image
        Labels, one for each layer; none of a file that names no segments.

    Raises
    ------
    CamSamError
        If it is broken.
    """
    known = slicer_segments(nrrd_header(path)[0], path)
    stored = nrrd_stored(path)
    layers = sorted({one.layer for one in known})
    if len(layers) == 1:
        return (labels_in_layers(stored, known),)
    return tuple(
        labels_in_layers(stored, known, [one.segment.number for one in known if one.layer == layer])
        for layer in layers
    )


def nrrd_stored(path: Path) -> StoredArray:
    """Read the header of a NRRD file.

    Axes that lie in space are slices, rows and columns, the slowest first; three or four colours
    are colour; all other axes (time, list, vector) are frames. The space's directions make the
    affine; without a space that names the patient's sides only the spacing is kept. A unit that
    is not stated is mm.

    Parameters
    ----------
    path : Path

    Returns
    -------
    StoredArray

    Raises
    ------
    CamSamError
        If it is no NRRD file, broken, or packed in a way that is not read here.
    """
    header, end = nrrd_header(path)
    sizes = [int(n) for n in header["sizes"]]
    dtype = _dtype(header, path)
    try:
        spatial = _spatial_axes(header, len(sizes))
        geometry, notes = _geometry(header, sizes, spatial)
        rgb = _is_colour(header, sizes, spatial, dtype)
    except (CamSamError, ValueError, IndexError) as error:
        raise refusal(f"The header is broken: {error}", path) from None
    last = len(sizes) - 1
    frames = [a for a in range(len(sizes)) if a not in spatial and not (rgb and a == 0)]
    stored = StoredArray(
        path, path, dtype, tuple(sizes[::-1]), geometry, end,
        frame_axes=tuple(sorted(last - a for a in frames)), rgb=rgb, notes=notes,
    )  # fmt: skip
    segments = slicer_segments(header, path) if stored.frames == 1 else ()
    return replace(_placed(stored, header), segments=tuple(one.segment for one in segments))


def nrrd_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the fields of a NRRD file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    header : dict
        As pynrrd gives it; fields in lower case, keys of key/value pairs as they are.
    end : int
        Byte after the header.

    Raises
    ------
    CamSamError
        If it is no NRRD file, or a field is missing or broken.
    """
    with path.open("rb") as file:
        text = file.read(_HEADER_BYTES)
    if not text.startswith(b"NRRD"):
        raise refusal("This is not a NRRD file: it does not begin with NRRD", path)
    found = re.search(rb"\r?\n\r?\n", text)
    if found is None and len(text) == _HEADER_BYTES:
        raise refusal("The header is broken: it does not end", path)
    end = found.end() if found else len(text)
    lines = [_plain(line) for line in text[:end].decode("utf-8", "replace").splitlines()]
    try:
        header: dict[str, Any] = import_module("nrrd").read_header(lines)
    except Exception as error:  # a broken header fails in pynrrd in a dozen ways
        raise refusal(f"The header is broken: {reason_of(error)}", path) from error
    for field in ("type", "dimension", "sizes", "encoding"):
        if field not in header:
            raise refusal(f"The header is broken: it states no {field}", path)
    if len(header["sizes"]) != header["dimension"]:
        raise refusal(
            f"The header is broken: it states {header['dimension']} dimensions and "
            f"{len(header['sizes'])} sizes",
            path,
        )
    return header, end


def _plain(line: str) -> str:
    """Return a line as pynrrd reads it: other writers use capitals, and blanks in vectors."""
    field, colon, value = line.partition(":")
    if not colon or line.startswith("#") or value.startswith("="):
        return line
    value = re.sub(r"\(\s+|\s*,\s*|\s+\)", lambda found: found[0].strip(), value)
    return f"{field.lower()}:{value}"


def _dtype(header: dict[str, Any], path: Path) -> np.dtype[Any]:
    name = " ".join(header["type"].lower().split())
    if name not in _TYPE_OF:
        raise refusal(
            f"This holds values of type {name[:40]}; an image holds integers or real numbers", path
        )
    code = _TYPE_OF[name]
    if code[1] == "1":
        return np.dtype(code)
    order = {"little": "<", "big": ">"}.get(str(header.get("endian", "")).lower())
    if order is None:
        raise refusal("The header is broken: it does not state the byte order, endian", path)
    return np.dtype(order + code)


def _kinds(header: dict[str, Any], count: int) -> list[str]:
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    if kinds and len(kinds) != count:
        raise CamSamError(f"it states {count} dimensions and {len(kinds)} kinds")
    return kinds or ["???"] * count


def _directions(header: dict[str, Any], count: int) -> NDArray[np.float64] | None:
    """Return a row for each axis, of nan where an axis does not lie in space."""
    if "space directions" not in header:
        return None
    directions = np.asarray(header["space directions"], float)
    if directions.ndim != 2 or len(directions) != count or directions.shape[1] < 1:
        raise CamSamError(f"it states {count} dimensions and other space directions")
    return directions


def _spatial_axes(header: dict[str, Any], count: int) -> list[int]:
    """Return the axes that lie in space, the fastest first."""
    directions, kinds = _directions(header, count), _kinds(header, count)
    if directions is None:
        axes = [axis for axis in range(count) if kinds[axis] in _PLACED]
        # Without a word on its kind the slowest of four axes are frames.
        axes = axes[:3]
    else:
        in_time = (directions[:, :3] == 0).all(axis=1) & (directions[:, 3:] != 0).any(axis=1)
        axes = [
            axis for axis in range(count)
            if not np.isnan(directions[axis]).any() and not in_time[axis]
        ]  # fmt: skip
    if not 2 <= len(axes) <= 3:
        raise CamSamError(f"{len(axes)} of its {count} axes lie in space, but an image has 2 or 3")
    return axes


def _geometry(
    header: dict[str, Any], sizes: list[int], spatial: list[int]
) -> tuple[Geometry, tuple[str, ...]]:
    shape = [sizes[axis] for axis in spatial]
    directions = _directions(header, len(sizes))
    if directions is None:
        return _spacing_alone(header, len(sizes), spatial)
    space = str(header.get("space", "")).lower().removesuffix("-time")
    signs = _SPACES.get(space, _SPACES.get(space.removesuffix("t")))
    steps = directions[spatial, :3]
    scale, notes = _scale(header.get("space units"), steps.shape[1])
    steps = steps * scale
    if signs is None or steps.shape[1] != 3:
        lengths = np.sqrt((steps**2).sum(axis=1))
        geometry = Geometry(tuple(float(n) for n in lengths[::-1]), None, "mm")
        if steps.shape[1] == 2:
            return geometry, notes  # a picture lies nowhere in the patient
        said = f"Its space, {space}, does not say" if space else "It does not say"
        return geometry, (*notes, f"{said} where the patient's sides are: spacing alone is kept.")
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    affine[:3, : len(spatial)] = (steps * signs).T
    if "space origin" in header:
        origin = np.asarray(header["space origin"], float)[:3]
        if len(origin) != 3:
            raise CamSamError("its space origin has not 3 numbers")
        affine[:3, 3] = origin * scale * signs
    geometry, remarks = geometry_from_affine(affine, shape)
    return geometry, (*notes, *remarks)


def _spacing_alone(
    header: dict[str, Any], count: int, spatial: list[int]
) -> tuple[Geometry, tuple[str, ...]]:
    """Return the geometry of a file with spacings, or with nothing."""
    if "spacings" not in header:
        return default_geometry(len(spatial)), ()
    spacings = np.asarray(header["spacings"], float)
    if len(spacings) != count:
        raise CamSamError(f"it states {count} dimensions and {len(spacings)} spacings")
    units = header.get("units")
    if units is not None and len(units) != count:
        raise CamSamError(f"it states {count} dimensions and {len(units)} units")
    scale, notes = _scale([units[a] for a in spatial] if units else None, len(spatial))
    lengths = np.abs(spacings[spatial]) * scale
    if np.isnan(lengths).all():
        return default_geometry(len(spatial)), notes
    return Geometry(tuple(float(n) for n in lengths[::-1]), None, "mm"), notes


def _scale(units: list[str] | None, count: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the millimetres in each unit, and a note where one is none that is known."""
    names = [str(unit).strip() for unit in units or ()]
    names = (names + [""] * count)[:count]
    known = [mm_in(name) if name else 1.0 for name in names]
    strange = [name for name, mm in zip(names, known, strict=True) if mm is None]
    notes = (f"Its unit {strange[0][:20]!r} is no known length: mm is taken.",) if strange else ()
    return np.array([1.0 if mm is None else mm for mm in known]), notes


def _is_colour(
    header: dict[str, Any], sizes: list[int], spatial: list[int], dtype: np.dtype[Any]
) -> bool:
    """Return whether the fastest axis is colour; ITK calls it a vector."""
    kind = _kinds(header, len(sizes))[0]
    if 0 in spatial or sizes[0] not in (3, 4):
        return False
    return kind in _COLOURS or (kind in _VECTORS and dtype.kind == "u" and dtype.itemsize <= 2)


def _placed(stored: StoredArray, header: dict[str, Any]) -> StoredArray:
    """Say in which file the values are, from which byte on, and how they are packed."""
    path = stored.path
    encoding = str(header["encoding"]).lower()
    if encoding not in _PACKING:
        raise refusal(
            f"Its values are written as {encoding[:20]}, which is not read here: save it as raw or "
            "gzip",
            path,
        )
    packing, start = _PACKING[encoding], stored.start
    values = path
    name = header.get("data file", header.get("datafile"))
    if name is not None:
        if name.split()[0] == "LIST" or re.search(r"%\d*d", name):
            raise refusal("Its values lie in several files: save it as one .nrrd file", path)
        values, start = detached_file(path, name), 0
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if lines < 0 or skip < -1 or (skip == -1 and packing):
        raise refusal(
            f"The header is broken: it skips {lines} lines and {skip} bytes before the values", path
        )
    if lines:
        start = _after_lines(values, start, lines, path)
    if skip == -1:
        return replace(stored, values=values, start=-1)
    if not packing:
        start, skip = start + skip, 0
    return replace(stored, values=values, start=start, packing=packing, skip=skip)


def _after_lines(values: Path, start: int, lines: int, path: Path) -> int:
    with values.open("rb") as file:
        file.seek(start)
        room = file.read(_HEADER_BYTES)
    at = 0
    for _ in range(lines):
        at = room.find(b"\n", at) + 1
        if at == 0:
            raise refusal(f"This is truncated or damaged: it has no {lines} lines to skip", path)
    return start + at
