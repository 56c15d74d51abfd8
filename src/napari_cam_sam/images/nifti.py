"""NIfTI in and out: the only place that knows (i, j, k) order.

A NIfTI array is (i, j, k). Here it is read transposed, (k, j, i) = (plane, row, column), which is
its order in the file, and transposed back when written. Nothing is reoriented: a LAS or oblique
file keeps its own axes, and `Geometry.affine` maps the transposed index to RAS+ mm.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reason_of, refusal
from napari_cam_sam.images.formats import stem_of
from napari_cam_sam.images.geometry import geometry_from_affine
from napari_cam_sam.images.image import Image, choose_frame
from napari_cam_sam.images.unpacking import extra_bytes_note, unpack
from napari_cam_sam.images.volume import VolumeOnDisk
from napari_cam_sam.limits import EXPANSION, SMALL_BYTES, check_array

__all__ = ["NiftiSource", "nifti_frames", "read_nifti", "write_nifti"]

_MM_PER_UNIT = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # not stated, m, mm, µm: codes of NIfTI


@dataclass(frozen=True, eq=False)
class NiftiSource:
    """What a file on the same grid needs of the file that was read.

    Attributes
    ----------
    image_class : type
        ``nibabel.Nifti1Image`` or ``Nifti2Image``.
    header : nibabel header
        A copy; never changed.
    affine : ndarray, shape (4, 4)
        As the file states it, for (i, j, k) and in the file's unit.
    shape : tuple of int
        Shape of the grid to write, (i, j[, k[, 1…]]): the source's own, without further frames.
    """

    image_class: Any
    header: Any
    affine: NDArray[np.float64]
    shape: tuple[int, ...]


def read_nifti(path: Path, frame: int | None = None) -> Image:
    """Open a NIfTI file without loading it: 2D, 3D, or more with frames last.

    An uncompressed file is read in place. A compressed one is unpacked once, as it is opened,
    to an unnamed temporary file (``TMPDIR`` moves it) that the system removes with the process,
    however that ends; of a series only the chosen frame. So every plane costs one short read.
    Spacing and affine are in mm, whatever the header's unit; a unit that is not stated is mm.

    Parameters
    ----------
    path : Path
    frame : int or None
        Which frame of a series, components of vectors and further axes counted through in the
        order of the file; may be None where there is one, and the file is then a 3D image.

    Returns
    -------
    Image
        Scaled files (``scl_slope``, ``scl_inter``) read as float64, RGB and RGBA ones as colour.
        Its notes say what was taken for what the header does not state soundly.

    Raises
    ------
    CamSamError
        If the file is no NIfTI, broken, truncated, empty, of one dimension, or complex.
    """
    image, notes = _load(path)
    shape, stored = _shape(path, image), np.dtype(image.dataobj.dtype)
    channels = _channels(path, stored)
    spatial, frames = shape[:3], math.prod(shape[3:])
    packed = path.name.lower().endswith(".gz")
    size, start = path.stat().st_size, int(image.dataobj.offset)
    check_array(
        shape, stored, size if packed else max(0, size - start), path,
        in_memory=False, expansion=EXPANSION if packed else 1,
    )  # fmt: skip
    try:
        chosen = choose_frame(frame, frames, "This")
    except CamSamError as error:
        raise refusal(str(error), path) from None
    n_bytes = math.prod(spatial) * stored.itemsize
    offset = start + chosen * n_bytes
    file: Path | IO[bytes] = path
    if packed:
        file, more = unpack(path, "gzip", offset, n_bytes, to_the_end=chosen == frames - 1)
        offset = 0
    else:
        more = extra_bytes_note(size - start - frames * n_bytes)
    data = VolumeOnDisk(
        file,
        dtype=np.dtype(np.uint8) if channels else stored,
        shape=spatial[::-1] + ((channels,) if channels else ()),
        offset=offset,
        slope=1.0 if channels else float(image.dataobj.slope),
        inter=0.0 if channels else float(image.dataobj.inter),
    )
    source = NiftiSource(
        image_class=type(image),
        header=image.header.copy(),
        affine=np.array(image.affine, dtype=np.float64),
        shape=spatial + ((1,) * len(shape[3:]) if frames == 1 else ()),
    )
    try:
        mm, said = _unit(image.header)
        geometry, remarks = geometry_from_affine(source.affine, spatial, mm)
    except CamSamError as error:
        raise refusal(str(error), path) from None
    notes = (*notes, *more, *said, *remarks)
    return Image(data, bool(channels), geometry, stem_of(path), path, source, notes)


def nifti_frames(path: Path) -> int:
    """Count the frames of a NIfTI file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    int

    Raises
    ------
    CamSamError
        If the header is broken.
    """
    return math.prod(_shape(path, _load(path)[0])[3:])


def _shape(path: Path, image: Any) -> tuple[int, ...]:
    """Return the sizes that a header declares, checked."""
    shape = tuple(int(n) for n in image.shape)
    if len(shape) < 2:
        raise refusal(
            f"This has {len(shape)} dimensions {shape}; an image has 2 or 3, or more with frames "
            "last",
            path,
        )
    if min(shape) < 1:
        raise refusal(f"This holds no voxels: its shape is {shape}", path)
    return shape


def _channels(path: Path, stored: np.dtype[Any]) -> int:
    """Return the colour channels of a type, 0 for gray; refuse what is no image."""
    channels = len(stored.fields) if stored.fields else 0
    sound = stored.kind in "iu" or (stored.kind == "f" and stored.itemsize <= 8)
    if channels not in (0, 3, 4) or not (channels or sound):
        raise refusal(
            f"This holds values of type {stored}; an image holds integers, real numbers of up to "
            "64 bits, or RGB",
            path,
        )
    return channels


def write_nifti(path: Path, values: NDArray[Any], like: Image) -> None:
    """Write an array on the grid of an image: same affine, codes, units and orientation.

    Of the source's header everything is kept that says where and how large voxels are; what
    belongs to its values (scaling, display range, intent) or names its origin (description,
    extensions) is not. A source of 4D with one frame is written as 4D with one frame; for a
    chosen frame of several the file is 3D.

    Parameters
    ----------
    path : Path
        Ends in ``.nii`` or ``.nii.gz``.
    values : ndarray, shape of ``like.spatial_shape``
        Integer or floating; its type is the file's.
    like : Image
        Read from NIfTI, or with an affine.

    Raises
    ------
    CamSamError
        If ``like`` has no place in the world.
    """
    nibabel: Any = import_module("nibabel")  # untyped in part
    if isinstance(like.source, NiftiSource):
        header = like.source.header.copy()
        header.extensions.clear()
        header.set_data_dtype(values.dtype)
        header.set_intent("none")
        header["cal_min"] = header["cal_max"] = 0
        header["descrip"] = header["aux_file"] = b""
        array = values.T.reshape(like.source.shape, order="F")
        result = like.source.image_class(array, like.source.affine, header)
    elif like.geometry.affine is not None:
        affine = like.geometry.affine[:, [2, 1, 0, 3]]
        result = nibabel.Nifti1Image(values.T, affine, dtype=values.dtype)
        result.header.set_xyzt_units("mm" if like.geometry.unit == "mm" else "unknown")
    else:
        raise refusal(f"{like.name} has no affine, so save it as .tif or .png", path)
    nibabel.save(result, path)


def _load(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Read the header; return the nibabel image, and notes on what was put right."""
    nibabel: Any = import_module("nibabel")  # untyped in part
    notes = _check_header(path, nibabel)
    try:
        with nibabel.imageglobals.LoggingOutputSuppressor():  # what it finds is raised below
            image = nibabel.load(path)
        known = isinstance(image, nibabel.Nifti1Image)  # Nifti2Image is one, CIFTI is not
    except Exception as error:  # a broken header fails in nibabel in a dozen ways
        raise refusal(
            f"This is not a NIfTI file or its header is broken: {reason_of(error)}", path
        ) from error
    if not known:
        raise refusal(f"This is a {type(image).__name__}, not a NIfTI volume", path)
    return image, notes


def _check_header(path: Path, nibabel: Any) -> tuple[str, ...]:
    """Refuse what nibabel would read without a word, and note what it puts right."""
    try:
        with gzip.GzipFile(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            raw = file.read(540)
            header = _parsed(raw, nibabel)
            if header is None:
                return ()  # nibabel says what it is
            start, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4
            if bytes(header["magic"])[:2] == b"ni":
                raise refusal("Its voxels lie in another file, .img: convert both to one", path)
            packed, there = path.suffix.lower() == ".gz", path.stat().st_size
            most = SMALL_BYTES if packed else there
            if not packed and there < start < 2**63:
                raise refusal(
                    f"This is truncated or damaged: its voxels would begin at byte {start:.15g}, "
                    f"and {there} bytes are there",
                    path,
                )
            # Of 0 nibabel reads the header as voxels, and ITK what follows it.
            if not least <= start <= most or start % 1:
                raise refusal(
                    f"The header is broken: its voxels would begin at byte {start:g}, and the "
                    f"first that can be is {least}",
                    path,
                )
            _check_extensions(file, least, int(start), header.endianness, path)
    except (OSError, EOFError, zlib.error) as error:
        raise refusal(f"This is truncated or damaged: {error}", path) from error
    if int(header["sform_code"]) == 0 and (header["pixdim"][1:4] == 0).any():
        n = min(3, int(header["dim"][0]))
        if (header["pixdim"][1 : n + 1] == 0).any():
            return ("A size of its voxels is stated as 0: 1 is taken.",)
    return ()


def _parsed(raw: bytes, nibabel: Any) -> Any:
    """Return a header as it stands, None where it is none of NIfTI's."""
    for order in "<>":
        for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
            size = kind.template_dtype.itemsize
            if len(raw) >= size and int(np.frombuffer(raw[:4], f"{order}i4")[0]) == size:
                return kind(raw[:size], endianness=order, check=False)
    return None


def _check_extensions(file: Any, at: int, end: int, order: str, path: Path) -> None:
    """Walk over what lies between header and voxels: nibabel reads as much as it is told to."""
    file.seek(at - 4)
    flag = file.read(4)
    while at < end and flag[:1] not in (b"", b"\x00"):
        file.seek(at)
        size = file.read(4)
        length = int(np.frombuffer(size, f"{order}i4")[0]) if len(size) == 4 else 0
        if length == 0:
            return
        if not 8 <= length <= end - at:
            raise refusal(
                f"The header is broken: an extension of {length} bytes does not fit before the "
                "voxels",
                path,
            )
        at += length


def _unit(header: Any) -> tuple[float, tuple[str, ...]]:
    """Return the mm in the header's unit of space, and a note where it names none that exists."""
    code = int(header["xyzt_units"]) & 7
    if code in _MM_PER_UNIT:
        return _MM_PER_UNIT[code], ()
    return 1.0, (f"Its unit of length has the code {code}, which is not defined: mm is taken.",)
