"""TIFF in and out: every compression by one decoder, what is declared held against what is there.

tifffile fills pages, strips and tiles that are missing with zeros, and reads a stack that broke
off as what is left of it. Here both are refused: what a header declares must be in the file.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reason_of, refusal
from napari_cam_sam.images.axes import ChosenAxes, arrange, choose_axes, parse_axes
from napari_cam_sam.images.formats import stem_of
from napari_cam_sam.images.geometry import Geometry, default_geometry
from napari_cam_sam.images.image import Image, more_images_note
from napari_cam_sam.images.orientation import TAG, Asked, orientation_note, swaps_axes, turn_upright
from napari_cam_sam.images.tiff_colours import bits_of, colours_of
from napari_cam_sam.images.units import mm_in
from napari_cam_sam.limits import EXPANSION, check_array

__all__ = ["holds_spacing", "read_tiff", "tiff_asks", "tiff_axes", "write_tiff"]

# Of what tifffile logs and goes on: these mean that pixels are missing or made up.
_BROKEN = re.compile(
    r"corrupted|invalid (page )?offset|invalid value offset|circular reference|zeroed"
    r"|is missing|failed to (read|reshape)|out of range|not match|discontiguous|OME series raised"
)
# Tags that say how pixels are stored: without one of them others would come out.
_NEEDED = re.compile(
    r"TiffTag (25[6-9]|262|266|273|27[789]|284|317|320|32[2-5]|338|339) @.*(invalid|not a valid)"
)
# How many bytes a stored one may stand for in compressions that pack constant areas, as most of a
# mask is, more densely than deflate: fax, JPEG 2000, LZMA, Zstandard, WebP and JPEG XL. A fax may
# need one bit a row.
_DENSE = {
    2: 500_000, 3: 500_000, 4: 500_000, 33003: 500_000, 33004: 500_000, 33005: 500_000,
    34712: 500_000, 34925: 10_000, 34926: 40_000, 34927: 40_000, 50000: 40_000, 50001: 40_000,
    50002: 500_000, 52546: 500_000,
}  # fmt: skip
# Of slices, rows and columns in mm, where it is stated, and notes.
_Spacing = tuple[tuple[float | None, float, float] | None, tuple[str, ...]]
_WITHOUT_NAMES = re.compile(r"<tifffile\.[^>]*>\s*|<asarray>\s*")


def read_tiff(
    path: Path,
    frame: int | None = None,
    *,
    channel: int | None = None,
    axes: str | None = None,
    labels: bool = False,
) -> Image:
    """Read a TIFF file: an image, a stack, or a frame of a series.

    What its axes are is said by OME's, ImageJ's or tifffile's metadata, or by ``axes``, and
    which of them are slices by `napari_cam_sam.images.axes`. Spacing is read where OME or ImageJ
    states it with a unit of length; resolution tags, which seldom mean anything, are not believed.
    An orientation tag is applied. Of an image, 0 is black: the values of one in which 0 is white
    are inverted.

    Parameters
    ----------
    path : Path
    frame, channel : int or None
        Index along time and along channels, see `arrange`; may be None where there is none, or
        one.
    axes : str or None
        Letters of the file's axes that are longer than one, without colour, e.g. ``"TZYX"``,
        where the file does not say them, or wrong.
    labels : bool
        Whether a palette's indices are the values (True) or its colours (False). Labels in which
        0 is white are refused, unless ImageJ wrote them, which means its display alone by that.

    Returns
    -------
    Image

    Raises
    ------
    CamSamError
        If the file is no TIFF, is truncated, damaged, or stored in a way that is not read here,
        or its axes are none of an image.
    """
    with _opened(path) as (file, heard):
        series, notes = _series(file)
        _check_whole(file, series, path)
        page = series.keyframe
        stored = None if series.is_multifile else path.stat().st_size
        check_array(series.shape, series.dtype, stored, path, expansion=_expansion(page))
        data = np.asarray(series.asarray(maxworkers=1))
        heard.check(path)
        found = str(series.axes)
        if data.ndim != len(found) or 0 in data.shape:
            raise refusal(f"This holds no image: its shape is {data.shape}, axes {found!r}", path)
        spacing, remarks = _spacing(file, page)
        orientation = int(page.tags.valueof(TAG, 1) or 1)
        try:
            data, found = _without_ones(data, found, "YXS")
            data, found, more = colours_of(
                data, found, page, labels=labels, imagej=bool(file.is_imagej)
            )
            letters = found.removesuffix("S")
            if axes is not None:
                letters = _given(axes, letters)
            rgb = "S" in found
            roles = choose_axes(letters)
            data, said = arrange(data, roles, frame, channel)
        except CamSamError as error:
            raise refusal(str(error).rstrip("."), path) from None
    ndim = data.ndim - rgb
    data = turn_upright(data, orientation, ndim - 2)
    notes = (*notes, *more, *said, *orientation_note(orientation))
    geometry = default_geometry(ndim)
    if spacing is not None:
        depth, row, column = spacing
        if ndim == 3 and depth is None:
            remarks = ("The distance of its slices is not stated: no spacing is taken.",)
        else:
            if swaps_axes(orientation):
                row, column = column, row
            sizes = (depth or 1.0, row, column)[-ndim:]
            geometry = Geometry(spacing=sizes, unit="mm")
    notes = (*notes, *remarks)
    source = None if axes is None and channel is None else ChosenAxes(letters, channel)
    return Image(np.ascontiguousarray(data), rgb, geometry, stem_of(path), path, source, notes)


def tiff_axes(path: Path) -> tuple[str, tuple[int, ...]] | None:
    """Read what a TIFF file says of its axes, without its pixels.

    Parameters
    ----------
    path : Path

    Returns
    -------
    axes : str
        A letter for each, as `choose_axes` takes them; colour is S.
    shape : tuple of int
        None instead of both where the file cannot be read.
    """
    try:
        with _opened(path) as (file, _):
            series = _series(file)[0]
            return str(series.axes), tuple(int(n) for n in series.shape)
    except CamSamError:
        return None


def tiff_asks(path: Path) -> Asked:
    """Read what a TIFF file asks of its readers, without its pixels.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Asked

    Raises
    ------
    CamSamError
        If the file cannot be read.
    """
    with _opened(path) as (file, _):
        page = _series(file)[0].keyframe
        orientation = int(page.tags.valueof(TAG, 1) or 1)
        spacing = _spacing(file, page)[0]
        return Asked(orientation, int(page.photometric) == 0, spacing is not None)


class _Heard(logging.Handler):
    """Keeps what tifffile logs in this thread: it goes on where pixels are missing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self._broken: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line that says that something is broken."""
        text = record.getMessage()
        if "shaped series" in text:  # see `_check_whole`
            return
        if record.thread == self._thread and (_BROKEN.search(text) or _NEEDED.search(text)):
            self._broken.append(_WITHOUT_NAMES.sub("", text).strip())

    def check(self, path: Path) -> None:
        """Refuse the file if there was any."""
        if self._broken:
            raise refusal(f"This TIFF is truncated or damaged: {self._broken[0]}", path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, _Heard]]:
    """Open a file; whatever is raised meanwhile becomes one sentence."""
    import tifffile

    heard, log = _Heard(), logging.getLogger("tifffile")
    log.addHandler(heard)
    try:
        with tifffile.TiffFile(path) as file:
            len(file.pages)  # walks to the last page
            yield file, heard
    except CamSamError:
        raise
    except MemoryError as error:
        raise refusal("This TIFF asks for more memory than there is", path) from error
    except Exception as error:  # damaged files fail in tifffile in many ways
        heard.check(path)
        reason = _WITHOUT_NAMES.sub("", reason_of(error))
        raise refusal(f"This is not a TIFF image, or is damaged: {reason}", path) from error
    finally:
        log.removeHandler(heard)


def _series(file: Any) -> tuple[Any, tuple[str, ...]]:
    """Choose the first picture that is no preview; say how many others are left."""
    every = list(file.series)
    pictures = [s for s in every if not (s.keyframe.is_reduced or s.keyframe.is_mask)] or every
    return pictures[0], more_images_note(len(pictures) - 1)


def _expansion(page: Any) -> int:
    """Return how many bytes a stored one may become; of fewer bits than a byte each becomes one."""
    each = max(1, 8 // (bits_of(page) or 8))
    return _DENSE.get(int(page.compression), EXPANSION * each)


def _check_whole(file: Any, series: Any, path: Path) -> None:
    """Check what is declared against what is there: pages, strips and tiles."""
    page = series.keyframe
    declared = prod(series.shape) // max(1, prod(page.shape))
    if declared * prod(page.shape) != prod(series.shape):
        raise refusal("This TIFF declares another shape than its pages have", path)
    told = (file.imagej_metadata or {}).get("images", 1)
    if isinstance(told, int) and told > declared * max(1, page.samplesperpixel):
        raise _broke_off(told, declared, path)
    if file.shaped_metadata and page.index == 0:
        # A program that resized a picture may have kept a description of what it was.
        shape = tuple(file.shaped_metadata[0].get("shape", ()))
        if shape[-len(page.shape) :] == page.shape and prod(shape) > prod(series.shape):
            raise _broke_off(prod(shape) // prod(page.shape), declared, path)
    if series.dataoffset is not None:  # one block of values for all pages
        end = series.dataoffset + prod(series.shape) * np.dtype(series.dtype).itemsize
        if end > file.filehandle.size:
            raise _truncated(end, file.filehandle.size, path)
        return
    pages: list[Any] = []
    with suppress(IndexError):  # of a page that is declared alone
        pages.extend(series[index] for index in range(len(series)))
    there = [one for one in pages if one is not None]
    if len(there) < declared:
        raise _broke_off(declared, len(there), path)
    for one in there:
        _check_segments(one, page, path)


def _broke_off(declared: int, there: int, path: Path) -> CamSamError:
    return refusal(
        f"This TIFF declares {declared} pages, of which {there} are there: it broke off", path
    )


def _check_segments(page: Any, keyframe: Any, path: Path) -> None:
    count = prod(keyframe.chunked)
    offsets, sizes = page.dataoffsets[:count], page.databytecounts[:count]
    kind = "tiles" if keyframe.is_tiled else "strips"
    # Where a tag of the layout makes no sense, tifffile leaves what no strip covers as it comes.
    if count * prod(keyframe.chunks) < prod(keyframe.shape):
        raise refusal(f"The {kind} of this TIFF do not cover its pages: it is damaged", path)
    there = sum(offset > 0 and size > 0 for offset, size in zip(offsets, sizes, strict=False))
    if there < count:
        raise refusal(
            f"This TIFF stores {there} of {count} {kind} of a page: it broke off, or is sparse, "
            "which is not read here: save it with all its pixels",
            path,
        )
    end = max(offset + size for offset, size in zip(offsets, sizes, strict=True))
    if end > page.parent.filehandle.size:
        raise _truncated(end, page.parent.filehandle.size, path)


def _truncated(end: int, size: int, path: Path) -> CamSamError:
    return refusal(
        f"This TIFF is truncated: it holds {size} bytes, and its header asks for {end}", path
    )


def _without_ones(data: NDArray[Any], axes: str, keep: str) -> tuple[NDArray[Any], str]:
    """Drop axes of length one: they are none."""
    for position in reversed(range(data.ndim)):
        if data.shape[position] == 1 and axes[position] not in keep:
            data, axes = data.squeeze(position), axes[:position] + axes[position + 1 :]
    if "S" in axes and data.shape[axes.index("S")] == 1:
        data, axes = data.squeeze(axes.index("S")), axes.replace("S", "")
    return data, axes


def _given(axes: str, found: str) -> str:
    """Apply the axes that the user gives in place of the file's."""
    letters = parse_axes(axes)
    if len(letters) != len(found):
        raise CamSamError(
            f"The axes {letters} are {len(letters)}, but the file has {len(found)}, by its own "
            f"account {found}"
        )
    return letters


def _spacing(file: Any, page: Any) -> _Spacing:
    """Return the spacing that OME's or ImageJ's metadata state."""
    try:
        if file.is_ome:
            return _ome_spacing(file.ome_metadata)
        if file.imagej_metadata:
            return _imagej_spacing(file.imagej_metadata, page)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, SyntaxError):
        return None, ("Its file states a spacing that makes no sense: none is taken.",)
    return None, ()


def _imagej_spacing(metadata: dict[str, Any], page: Any) -> _Spacing:
    unit = str(metadata.get("unit", "")).strip()
    mm = mm_in(unit)
    if mm is None:
        return None, _no_length(unit)
    per_column, per_row = page.get_resolution()[:2]
    # ImageJ writes no spacing where it is one unit.
    return _checked(
        (mm * float(metadata.get("spacing", 1.0)), mm / float(per_row), mm / float(per_column))
    )


def _ome_spacing(xml: str) -> _Spacing:
    import tifffile

    image = tifffile.xml2dict(xml)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    if "PhysicalSizeX" not in pixels or "PhysicalSizeY" not in pixels:
        return None, ()
    sizes: list[float | None] = []
    for axis in "ZYX":
        unit = str(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        mm = mm_in(unit)
        if f"PhysicalSize{axis}" not in pixels:
            sizes.append(None)
        elif mm is None:
            return None, _no_length(unit)
        else:
            sizes.append(mm * float(pixels[f"PhysicalSize{axis}"]))
    depth, row, column = sizes
    assert row is not None
    assert column is not None
    return _checked((depth, row, column))


def _checked(sizes: tuple[float | None, float, float]) -> _Spacing:
    if not all(size is None or (isfinite(size) and size > 0) for size in sizes):
        raise ValueError
    return sizes, ()


def _no_length(unit: str) -> tuple[str, ...]:
    if unit.lower() in ("", "pixel", "pixels", "px", "none", "reference frame"):
        return ()
    return (
        f"Its file states a spacing in {unit[:40]!r}, which is no unit of length: none is taken.",
    )


def holds_spacing(values: NDArray[Any], *, rgb: bool) -> bool:
    """Return whether `write_tiff` can write a spacing with values: ImageJ knows three types.

    Parameters
    ----------
    values : ndarray
    rgb : bool
        Whether their last axis is colour.

    Returns
    -------
    bool
    """
    known = values.dtype in (np.uint8, np.uint16, np.float32) and (not rgb or values.itemsize == 1)
    # tifffile cannot read back an ImageJ stack that is one pixel wide.
    return bool(known) and values.shape[-1] > 1


def write_tiff(path: Path, values: NDArray[Any], geometry: Geometry, *, rgb: bool = False) -> None:
    """Write an array as TIFF, with its spacing as ImageJ and `read_tiff` understand it.

    Parameters
    ----------
    path : Path
    values : ndarray, (row, column) or (plane, row, column), with ``rgb`` channels last
        ImageJ knows uint8, uint16 and float32; other types are written without the spacing.
    geometry : Geometry
    rgb : bool
    """
    import tifffile

    options: dict[str, Any] = {
        "photometric": "rgb" if rgb else "minisblack",
        "metadata": {"axes": "ZYX"[-(values.ndim - rgb) :] + ("S" if rgb else "")},
    }
    if values.dtype.kind in "biu":
        options["compression"] = "zlib"
    if geometry.unit == "mm" and holds_spacing(values, rgb=rgb):
        *depth, row, column = geometry.spacing
        options["imagej"] = True
        options["resolution"] = (1 / column, 1 / row)
        options["metadata"]["unit"] = "mm"
        if depth:
            options["metadata"]["spacing"] = depth[0]
    tifffile.imwrite(path, values, **options)
