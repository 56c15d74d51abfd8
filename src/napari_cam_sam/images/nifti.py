"""NIfTI in and out: the only place that knows (i, j, k) order.

A NIfTI array is (i, j, k). Here it is read transposed, (k, j, i) = (plane, row, column), which is
its order in the file, and transposed back when written. Nothing is reoriented: a LAS or oblique
file keeps its own axes, and `Geometry.affine` maps the transposed index to RAS+ mm.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.formats import stem_of
from napari_cam_sam.images.geometry import Geometry, spacing_from_affine
from napari_cam_sam.images.image import Image, choose_frame
from napari_cam_sam.images.volume import VolumeOnDisk

__all__ = ["NiftiSource", "read_nifti", "write_nifti"]

_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
_COPY_BYTES = 4 * 2**20


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
        Shape of the grid to write, (i, j[, k[, 1]]): the source's own, without further frames.
    """

    image_class: Any
    header: Any
    affine: NDArray[np.float64]
    shape: tuple[int, ...]


def read_nifti(path: Path, frame: int | None = None) -> Image:
    """Open a NIfTI file, 2D to 4D, without loading it.

    An uncompressed file is read in place. A compressed one is unpacked once, as it is opened,
    to an unnamed temporary file (``TMPDIR`` moves it) that the system removes with the process,
    however that ends; of a series only the chosen frame. So every plane costs one short read.
    Spacing and affine are in mm, whatever the header's unit; a unit that is not stated is mm.

    Parameters
    ----------
    path : Path
    frame : int or None
        Which frame of a 4D series; may be None where there is one. A 4D file of one frame is a
        3D image.

    Returns
    -------
    Image
        Scaled files (``scl_slope``, ``scl_inter``) read as float64, RGB and RGBA ones as colour.

    Raises
    ------
    CamSamError
        If the file is no NIfTI, broken, truncated, empty, of another dimension, or complex.
    """
    image, mm = _load(path)
    shape = tuple(int(n) for n in image.shape)
    if not 2 <= len(shape) <= 4:
        raise CamSamError(
            f"{path} has {len(shape)} dimensions {shape}; "
            "an image has 2 or 3, or 4 with frames last."
        )
    if min(shape) < 1:
        raise CamSamError(f"{path} holds no voxels: its shape is {shape}.")
    stored = np.dtype(image.dataobj.dtype)
    channels = len(stored.fields) if stored.fields else 0
    if channels not in (0, 3, 4) or (not channels and stored.kind not in "iuf"):
        raise CamSamError(
            f"{path} holds values of type {stored}; an image holds integers, real numbers or RGB."
        )

    spatial = shape[:3]
    n_bytes = int(np.prod(spatial, dtype=np.int64)) * stored.itemsize
    chosen = choose_frame(frame, shape[3] if len(shape) == 4 else 1, str(path))
    offset = int(image.dataobj.offset) + chosen * n_bytes
    file: Path | IO[bytes] = path
    if path.name.lower().endswith(".gz"):
        last = len(shape) < 4 or chosen == shape[3] - 1
        file, offset = _unpack(path, offset, n_bytes, to_the_end=last), 0
    elif path.stat().st_size < offset + n_bytes:
        raise CamSamError(
            f"{path} is truncated: it holds {path.stat().st_size} bytes, "
            f"and its header asks for {offset + n_bytes}."
        )
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
        shape=spatial + ((1,) if len(shape) == 4 and shape[3] == 1 else ()),
    )
    try:
        geometry = _geometry(source.affine, mm, len(spatial))
    except CamSamError as error:
        raise CamSamError(f"{path}: {error}") from None
    return Image(data, bool(channels), geometry, stem_of(path), path, source)


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
        result = nibabel.Nifti1Image(values.T, affine)
        result.header.set_xyzt_units("mm")
    else:
        raise CamSamError(
            f"{path} cannot be written: {like.name} has no affine, so save it as .tif or .png."
        )
    nibabel.save(result, path)


def _load(path: Path) -> tuple[Any, float]:
    """Read the header; return the nibabel image and the mm in one of its units."""
    nibabel: Any = import_module("nibabel")  # untyped in part
    try:
        with nibabel.imageglobals.LoggingOutputSuppressor():  # what it finds is raised below
            image = nibabel.load(path)
        known = isinstance(image, nibabel.Nifti1Image)  # Nifti2Image is one, CIFTI is not
        mm = _MM_PER_UNIT[image.header.get_xyzt_units()[0]] if known else 1.0
    except Exception as error:  # a broken header fails in nibabel in a dozen ways
        reason = str(error).strip().rstrip(".").splitlines()
        raise CamSamError(
            f"{path} is not a NIfTI file or its header is broken"
            + (f": {reason[0]}." if reason else ".")
        ) from error
    if not known:
        raise CamSamError(f"{path} is a {type(image).__name__}, not a NIfTI volume.")
    return image, mm


def _unpack(path: Path, offset: int, n_bytes: int, *, to_the_end: bool) -> IO[bytes]:
    """Copy a part of a gzip file's content to a temporary file."""
    try:
        # Unnamed where the system can, so that even a kill leaves nothing behind.
        target = tempfile.TemporaryFile(prefix="napari-cam-sam-")  # noqa: SIM115
    except OSError as error:
        raise CamSamError(f"{path} cannot be unpacked, no temporary file: {error}.") from error
    try:
        with gzip.open(path, "rb") as packed:
            skip, wanted = offset, n_bytes
            while wanted > 0:
                chunk = packed.read(min(_COPY_BYTES, skip or wanted))
                if not chunk:
                    raise EOFError("the data end early")
                if skip:
                    skip -= len(chunk)
                    continue
                wanted -= len(chunk)
                _write(target, chunk, path)
            # The check sum stands at the end, and is compared only when the end is read.
            while to_the_end and packed.read(_COPY_BYTES):
                pass
    except (OSError, EOFError, zlib.error) as error:
        target.close()
        raise CamSamError(f"{path} is truncated or damaged: {error}.") from error
    except BaseException:
        target.close()
        raise
    target.flush()
    return target


def _write(target: IO[bytes], chunk: bytes, path: Path) -> None:
    try:
        target.write(chunk)
        target.flush()
    except OSError as error:
        raise CamSamError(
            f"{path} cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}; "
            "set TMPDIR to a folder with room."
        ) from error


def _geometry(affine: NDArray[np.float64], mm: float, ndim: int) -> Geometry:
    """Geometry in mm for an array in (k, j, i) order."""
    world = np.diag([mm, mm, mm, 1.0]) @ affine[:, [2, 1, 0, 3]]
    if not np.isfinite(world).all():
        raise CamSamError("the affine in the header is not finite, so the header is broken.")
    steps = spacing_from_affine(world)
    return Geometry(spacing=tuple(float(s) for s in steps[-ndim:]), affine=world, unit="mm")
