"""MetaImage in and out: `.mha`, and `.mhd` with its values in another file.

The header is lines of text, ``Key = value``. Readers of it in Python either read all values into
memory, without a bound on what is packed, or bring ITK with them; so it is read here.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.geometry import LPS, Geometry, default_geometry, geometry_from_affine
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.stored import StoredArray, detached_file, write_detached
from napari_cam_sam.images.units import mm_in

__all__ = ["metaimage_stored", "write_metaimage"]

_HEADER_BYTES = 2**20
_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4",
    # Four bytes to MetaIO, whatever a long is on a machine.
    "LONG": "i4", "ULONG": "u4",
    "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip
_TYPE_NAMES = {code: f"MET_{name}" for name, code in _TYPES.items() if name[-4:] != "LONG"} | {
    "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG",
}  # fmt: skip


def metaimage_stored(path: Path) -> StoredArray:
    """Read the header of a MetaImage file.

    Its space is the patient's, LPS, in mm unless it names another unit. Three or four channels
    of 8 or 16 bits are colour, other channels and a fourth axis are frames. Of two axes, and of
    a file without a position and directions, the spacing alone is known.

    Parameters
    ----------
    path : Path

    Returns
    -------
    StoredArray

    Raises
    ------
    CamSamError
        If it is no MetaImage file, broken, or stored in a way that is not read here.
    """
    fields, end = _fields_of(path)
    try:
        count = _numbers(fields, "ndims", 1, int)[0]
        if not 2 <= count <= 4:
            raise CamSamError(f"it states {count} dimensions, and an image has 2 to 4")
        sizes = _numbers(fields, "dimsize", count, int)
        dtype = _dtype(fields)
        channels = int(fields.get("elementnumberofchannels", "1"))
        geometry, notes = _geometry(fields, count, sizes)
        skip = int(fields.get("headersize", "0"))
        if skip < -1:
            raise CamSamError(f"it skips {skip} bytes before the values")
    except (CamSamError, ValueError) as error:
        raise refusal(f"The header is broken: {error}", path) from None
    name = fields["elementdatafile"]
    if name.upper().split()[0] == "LIST" or "%" in name:
        raise refusal("Its values lie in several files: save it as one .mha file", path)
    local = name.upper() == "LOCAL"
    values, start = (path, end) if local else (detached_file(path, name), 0)
    packed = _is_true(fields, "compresseddata")
    rgb = channels in (3, 4) and dtype.kind == "u" and dtype.itemsize <= 2
    shape = (*sizes[::-1], *((channels,) if channels != 1 else ()))
    frame_axes: tuple[int, ...] = (0,) if count == 4 else ()
    if channels != 1 and not rgb:
        frame_axes += (len(shape) - 1,)
    return StoredArray(
        path, values, dtype, shape, geometry, -1 if skip == -1 and not packed else start + skip,
        packing="zlib" if packed else "", frame_axes=frame_axes, rgb=rgb, notes=notes,
    )  # fmt: skip


def write_metaimage(path: Path, values: NDArray[Any], like: Image, *, rgb: bool = False) -> None:
    """Write an array on the grid of an image.

    Parameters
    ----------
    path : Path
        Ends in ``.mha``, and the values are packed; or in ``.mhd``, and they lie as they are in
        the file of the same name that ends in ``.raw``.
    values : ndarray, shape of ``like.spatial_shape``, with ``rgb`` and 3 or 4 channels last
        Integer, or floating of single or double precision.
    like : Image
    rgb : bool

    Raises
    ------
    CamSamError
        If the file with the values would replace one that belongs to something else.
    """
    geometry = like.geometry
    if geometry.affine is not None and values.ndim - rgb == 2:
        values = values[None]  # two axes have no place in space
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    sizes = values.shape[: values.ndim - rgb][::-1]
    lines = [
        "ObjectType = Image",
        f"NDims = {len(sizes)}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
    ]
    place = _place(geometry)
    grid = [f"DimSize = {' '.join(map(str, sizes))}"]
    if rgb:
        grid.append(f"ElementNumberOfChannels = {values.shape[-1]}")
    grid.append(f"ElementType = {_TYPE_NAMES[values.dtype.str[1:]]}")
    if path.suffix.lower() == ".mhd":
        write_detached(
            path,
            lambda raw: _text([*lines, *place, *grid, f"ElementDataFile = {raw}"]),
            values,
        )
        return

    def packed(hidden: Path) -> None:
        with hidden.open("wb") as file:
            size_at = file.write(_text([*lines, "CompressedData = True"])) + len(size_name)
            file.write(_text([f"{size_name}{'0':<20}", *place, *grid, "ElementDataFile = LOCAL"]))
            begin = file.tell()
            packer = zlib.compressobj()
            for part in values:
                file.write(packer.compress(part.tobytes()))
            file.write(packer.flush())
            size = file.tell() - begin
            file.seek(size_at)
            file.write(f"{size:<20}".encode())

    size_name = "CompressedDataSize = "
    write_atomically(path, packed)


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _place(geometry: Geometry) -> list[str]:
    """Return the lines that say where voxels lie; none for what is known in pixels."""
    if geometry.affine is None:
        spacing = geometry.spacing[::-1]
        return [f"ElementSpacing = {_words(spacing)}"] if geometry.unit == "mm" else []
    lps = LPS @ geometry.affine
    steps = lps[:3, [2, 1, 0]]
    lengths = np.sqrt((steps**2).sum(axis=0))
    return [
        f"TransformMatrix = {_words((steps / lengths).T.ravel())}",
        f"Offset = {_words(lps[:3, 3])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_words(lengths)}",
    ]


def _words(numbers: Any) -> str:
    return " ".join(repr(float(n) + 0.0) for n in numbers)


def _fields_of(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header by their names in lower case, and the byte after it."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    at = 0
    while "elementdatafile" not in fields:
        end = head.find(b"\n", at)
        line = head[at : end if end >= 0 else len(head)]
        name, equals, value = line.decode("utf-8", "replace").partition("=")
        if line.strip() and not equals:
            raise refusal("This is not a MetaImage file: its header is no lines of text", path)
        if equals:
            fields[name.strip().lower()] = value.strip()
        at = end + 1
        if end < 0:
            at = len(head)
            break
    for field in ("ndims", "dimsize", "elementtype", "elementdatafile"):
        if not fields.get(field):
            raise refusal(f"This is not a MetaImage file: its header states no {field}", path)
    if "binarydata" in fields and not _is_true(fields, "binarydata"):
        raise refusal("Its values are written as text: save it with binary values", path)
    return fields, at


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "").lower() in ("true", "t", "1")


def _numbers(fields: Mapping[str, str], name: str, count: int, kind: type) -> list[Any]:
    numbers = [kind(word) for word in fields[name].split()]
    if len(numbers) != count:
        raise CamSamError(f"its {name} has {len(numbers)} numbers instead of {count}")
    return numbers


def _dtype(fields: Mapping[str, str]) -> np.dtype[Any]:
    name = fields["elementtype"].upper().removeprefix("MET_").removesuffix("_ARRAY")
    if name not in _TYPES:
        raise CamSamError(f"its type is {name[:40]}, and an image holds integers or real numbers")
    big = any(_is_true(fields, f"{which}byteordermsb") for which in ("binarydata", "element"))
    return np.dtype((">" if big else "<") + _TYPES[name])


def _geometry(
    fields: Mapping[str, str], count: int, sizes: list[int]
) -> tuple[Geometry, tuple[str, ...]]:
    spatial = min(count, 3)
    unit = fields.get("distanceunits", "").strip()
    mm = mm_in(unit) if unit and unit != "?" else 1.0
    notes: tuple[str, ...] = ()
    if mm is None:
        mm, notes = 1.0, (f"Its unit {unit[:20]!r} is no known length: mm is taken.",)
    stated = next((one for one in ("elementspacing", "elementsize") if one in fields), None)
    spacing = np.array(_numbers(fields, stated, count, float) if stated else [1.0] * count)
    position = next((one for one in ("offset", "position", "origin") if one in fields), None)
    matrix = next(
        (one for one in ("transformmatrix", "rotation", "orientation") if one in fields), None
    )
    steps = np.abs(spacing[:spatial]) * mm
    if spatial == 2 or (position is None and matrix is None):
        if stated is None:
            return default_geometry(spatial), notes
        return Geometry(tuple(float(s) for s in steps[::-1]), None, "mm"), notes
    directions = np.eye(count)
    if matrix is not None:
        directions = np.array(_numbers(fields, matrix, count**2, float)).reshape(count, count)
    affine = np.eye(4)
    affine[:3, :3] = (directions[:3, :3] * spacing[:3, None] * mm).T
    if position is not None:
        affine[:3, 3] = np.array(_numbers(fields, position, count, float))[:3] * mm
    affine *= LPS.diagonal()[:, None]  # a product of matrices would warn of what is not finite
    geometry, remarks = geometry_from_affine(affine, sizes[:3])
    return geometry, (*notes, *remarks)
