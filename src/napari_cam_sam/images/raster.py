"""PNG, JPEG and TIFF in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.formats import stem_of
from napari_cam_sam.images.geometry import Geometry, default_geometry
from napari_cam_sam.images.image import Image, choose_frame

__all__ = ["read_pillow", "read_tiff", "write_pillow", "write_tiff"]

_MM_PER_UNIT = {
    "nm": 1e-6,
    "micron": 1e-3,
    "um": 1e-3,
    "µm": 1e-3,
    "\\u00B5m": 1e-3,  # as ImageJ spells it, six characters
    "mm": 1.0,
    "cm": 10.0,
}


def read_pillow(path: Path, *, labels: bool = False) -> Image:
    """Read a PNG or JPEG file.

    Pixels are taken as stored: an orientation tag is not applied, and resolution tags, which
    seldom mean anything, are not believed. Gray stays gray and its alpha is dropped.

    Parameters
    ----------
    path : Path
    labels : bool
        Whether a palette's indices are the values (True) or its colours (False), and whether one
        bit reads as 0 and 1 (True) or as 0 and 255 (False).

    Raises
    ------
    CamSamError
        If the file is no such image, or damaged.
    """
    try:
        with PillowImage.open(path, formats=("PNG", "JPEG")) as file:
            data = _pixels(file, labels)
    except Exception as error:  # damaged files fail in Pillow in many ways
        raise CamSamError(
            f"{path} is not a PNG or JPEG image, or is damaged: {_first_line(error)}."
        ) from error
    return Image(data, data.ndim == 3, default_geometry(2), stem_of(path), path)


def _pixels(file: PillowImage.Image, labels: bool) -> NDArray[Any]:
    mode = file.mode
    if mode == "1":
        return np.asarray(file).astype(np.uint8) * (1 if labels else 255)
    if mode in ("LA", "La"):
        return np.array(file.convert("LA"))[..., 0]
    if mode == "P" and not labels:
        return np.array(file.convert("RGB"))
    if mode in ("L", "P", "RGB", "RGBA", "I", "F") or mode.startswith("I;16"):
        pixels = np.array(file)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return np.array(file.convert("RGB"))


def read_tiff(path: Path, frame: int | None = None, *, labels: bool = False) -> Image:
    """Read a TIFF file: an image, a stack, or a frame of a series.

    Pages that are neither colour nor channels are the planes. Of two such axes, and for
    channels, ``frame`` chooses from one: time, else channel, else the first. Spacing is read
    where ImageJ wrote a unit of length; else it is one pixel.

    Parameters
    ----------
    path : Path
    frame : int or None
        Index along the axis of frames; may be None where there is none, or one frame.
    labels : bool
        Whether a palette's indices are the values (True) or its colours (False).

    Raises
    ------
    CamSamError
        If the file is no TIFF, is damaged, or has more axes.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            data, axes = _decode(path, series), str(series.axes)
            page = file.pages.first
            colormap = None if labels else page.colormap
            spacing = _imagej_spacing(file.imagej_metadata, page)
    except Exception as error:  # damaged files fail in tifffile in many ways
        raise CamSamError(
            f"{path} is not a TIFF image, or is damaged: {_first_line(error)}."
        ) from error
    if data.ndim != len(axes) or "X" not in axes or "Y" not in axes or 0 in data.shape:
        raise CamSamError(f"{path} holds no image: its shape is {data.shape}, axes {axes!r}.")

    for position in reversed(range(data.ndim)):  # axes of length one are none
        if data.shape[position] == 1 and axes[position] not in "YXS":
            data, axes = data.squeeze(position), axes[:position] + axes[position + 1 :]
    others = axes.replace("Y", "").replace("X", "").replace("S", "")
    if len(others) > 2 or (len(others) == 2 and others[0] == others[1]):
        raise CamSamError(
            f"{path} has the axes {axes}: an image has rows and columns, and at most planes, "
            "frames and colour."
        )
    frame_axis = _frame_axis(others)
    if frame_axis:
        position = axes.index(frame_axis)
        data = data.take(choose_frame(frame, data.shape[position], str(path)), axis=position)
        axes, others = axes.replace(frame_axis, ""), others.replace(frame_axis, "")
    else:
        choose_frame(frame, 1, str(path))
    data = data.transpose(
        [axes.index(axis) for axis in others + "YX" if axis in axes]
        + ([axes.index("S")] if "S" in axes else [])
    )
    if "S" in axes and data.shape[-1] < 3:  # gray with alpha
        data = data[..., 0]
    rgb = "S" in axes and data.ndim == len(others) + 3
    if colormap is not None and not rgb and data.dtype.kind == "u":
        data, rgb = (np.asarray(colormap).T >> 8).astype(np.uint8)[data], True
    geometry = default_geometry(len(others) + 2)
    if spacing is not None:
        geometry = Geometry(spacing=spacing[-len(others) - 2 :], unit="mm")
    return Image(np.ascontiguousarray(data), rgb, geometry, stem_of(path), path)


def _decode(path: Path, series: Any) -> NDArray[Any]:
    try:
        return np.asarray(series.asarray())
    except ValueError as error:
        # tifffile leaves LZW and JPEG to a package of its own; Pillow can do both.
        if "imagecodecs" not in str(error) or "S" in series.axes[:-1]:
            raise
    with PillowImage.open(path, formats=("TIFF",)) as file:
        pages = []
        for index in range(getattr(file, "n_frames", 1)):
            file.seek(index)
            pages.append(np.array(file))
    return np.stack(pages).astype(series.dtype, copy=False).reshape(series.shape)


def _frame_axis(others: str) -> str:
    if "C" in others and len(others) == 1:
        return "C"
    if len(others) == 2:
        return next((axis for axis in "TC" if axis in others), others[0])
    return ""


def _imagej_spacing(metadata: dict[str, Any] | None, page: Any) -> tuple[float, ...] | None:
    """Spacing of planes, rows and columns in mm, where ImageJ's metadata state it."""
    if not metadata:
        return None
    mm = _MM_PER_UNIT.get(str(metadata.get("unit", "")).strip(), np.nan)
    try:
        per_column, per_row = page.get_resolution()[:2]
        depth = float(metadata.get("spacing", 1.0))
        spacing = (mm * depth, mm / float(per_row), mm / float(per_column))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return spacing if all(np.isfinite(s) and s > 0 for s in spacing) else None


def write_pillow(path: Path, values: NDArray[Any]) -> None:
    """Write a 2D array, (row, column) or (row, column, 3 or 4), as PNG or JPEG.

    Parameters
    ----------
    path : Path
        The suffix is the format.
    values : ndarray of uint8, or uint16 for gray PNG
    """
    pixels = PillowImage.fromarray(np.ascontiguousarray(values))
    if path.suffix.lower() == ".png":
        pixels.save(path)
    else:
        pixels.save(path, quality=95)


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
    known = values.dtype in (np.uint8, np.uint16, np.float32) and (not rgb or values.itemsize == 1)
    # tifffile cannot read back an ImageJ stack that is one pixel wide.
    known = known and values.shape[-1] > 1
    if known and geometry.unit == "mm":
        *depth, row, column = geometry.spacing
        options["imagej"] = True
        options["resolution"] = (1 / column, 1 / row)
        options["metadata"]["unit"] = "mm"
        if depth:
            options["metadata"]["spacing"] = depth[0]
    tifffile.imwrite(path, values, **options)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().rstrip(".").splitlines()
    return lines[0] if lines else type(error).__name__
