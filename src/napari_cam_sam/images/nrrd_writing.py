"""NRRD out: `.nrrd`, `.nhdr` with its values in another file, and `.seg.nrrd`."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.geometry import LPS, Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.nrrd_segments import segment_fields
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.stored import write_detached

__all__ = ["write_nrrd"]


def write_nrrd(
    path: Path,
    values: NDArray[Any],
    like: Image,
    *,
    rgb: bool = False,
    segments: Sequence[Segment] = (),
) -> None:
    """Write an array on the grid of an image.

    Parameters
    ----------
    path : Path
        Ends in ``.nrrd``, and the values are packed; or in ``.nhdr``, and they lie as they are in
        the file of the same name that ends in ``.raw``.
    values : ndarray, shape of ``like.spatial_shape``, with ``rgb`` and 3 or 4 channels last
        Integer, or floating of single or double precision.
    like : Image
    rgb : bool
    segments : sequence of Segment
        Names and colours of labels, written as 3D Slicer does.

    Raises
    ------
    CamSamError
        If the file with the values would replace one that belongs to something else.
    """
    geometry = like.geometry
    if geometry.affine is not None and values.ndim - rgb == 2:
        values = values[None]  # readers of NRRD have no picture that lies in space
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    fields = _fields_of(values, geometry, rgb, packed=path.suffix.lower() == ".nrrd")
    names = segment_fields(segments, values.shape[::-1][rgb:]) if segments else {}

    def packed(hidden: Path) -> None:
        with hidden.open("wb") as file:
            file.write(_text(fields, names) + b"\n")
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as inside:
                for part in values:
                    inside.write(part.tobytes())

    if path.suffix.lower() == ".nrrd":
        write_atomically(path, packed)
    else:
        write_detached(path, lambda raw: _text(fields | {"data file": raw}, names), values)


def _text(fields: dict[str, str], names: dict[str, str]) -> bytes:
    lines = ["NRRD0005", *(f"{field}: {value}" for field, value in fields.items())]
    lines += [f"{key}:={value}" for key, value in names.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def _fields_of(
    values: NDArray[Any], geometry: Geometry, rgb: bool, *, packed: bool
) -> dict[str, str]:
    count = values.ndim - rgb
    colour = ["none"] if rgb else []
    name = {"f4": "float", "f8": "double"}.get(values.dtype.str[1:], values.dtype.name)
    fields = {"type": name, "dimension": str(values.ndim)}
    if geometry.affine is not None:
        fields["space"] = "left-posterior-superior"
    fields["sizes"] = " ".join(str(n) for n in values.shape[::-1])
    if geometry.affine is not None:
        lps = LPS @ geometry.affine
        steps = [_vector(lps[:3, axis]) for axis in (2, 1, 0)]
        fields["space directions"] = " ".join([*colour, *steps])
        fields["space origin"] = _vector(lps[:3, 3])
    elif geometry.unit == "mm":
        # Without units, which are mm: ITK carries them on and then cannot write what it read.
        spacings = [repr(float(s)) for s in geometry.spacing[::-1]]
        fields["spacings"] = " ".join([*(["nan"] if rgb else []), *spacings])
    colours = [] if not rgb else ["RGB-color" if values.shape[-1] == 3 else "RGBA-color"]
    fields["kinds"] = " ".join([*colours, *["domain"] * count])
    if values.dtype.itemsize > 1:
        fields["endian"] = "little"
    fields["encoding"] = "gzip" if packed else "raw"
    return fields


def _vector(numbers: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(n) + 0.0) for n in numbers) + ")"
