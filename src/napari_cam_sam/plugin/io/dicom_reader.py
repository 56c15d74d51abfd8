"""DICOM as layers: a series in its place and slice by slice, and what was drawn on it."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_cam_sam.images.dicom.series import DicomSeries
    from napari_cam_sam.images.dicom.stacking import Spacing
    from napari_cam_sam.images.image import Image

__all__ = ["get_reader", "read_dicom_layers"]

LayerData = tuple[Any, ...]

# So many files of a folder are looked at before it is left to other readers.
_LOOKED_AT = 200
# Smaller series are read at once; of larger ones the slice that is shown.
_LAZY_BYTES = 16 * 2**20
_NOTHING: list[LayerData] = [(None,)]
"""What napari takes for a file that was opened and gave no layer."""


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of DICOM: files, folders, a DICOMDIR or a zip.

    Parameters
    ----------
    path : str or sequence of str

    Returns
    -------
    callable or None
        `read_dicom_layers`; None where a path is something else, or a folder among whose first
        files is no DICOM.
    """
    paths = [path] if isinstance(path, str) else list(path)
    if not paths or not all(_is_ours(Path(one)) for one in paths):
        return None
    return read_dicom_layers


def _is_ours(path: Path) -> bool:
    from napari_cam_sam.images.dicom.files import is_dicom_path

    try:
        return _holds_dicom(path) if path.is_dir() else is_dicom_path(path)
    except OSError:
        return False


def _holds_dicom(folder: Path) -> bool:
    from napari_cam_sam.errors import CamSamError
    from napari_cam_sam.images.dicom.opening import looks_like_dicom

    looked_at = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            looked_at += 1
            try:
                if looks_like_dicom(Path(place, name)):
                    return True
            except CamSamError:
                return True  # encrypted, of which the reader says so
            except (OSError, ValueError):
                pass
            if looked_at >= _LOOKED_AT:
                return False
    return False


def read_dicom_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read DICOM as layers; where there are several series the user is asked for one.

    Whatever cannot be opened is said as a notification, and gives no layer.

    Parameters
    ----------
    path : str or sequence of str

    Returns
    -------
    list of tuple
        Data, keywords and kind of each layer; ``[(None,)]`` where none was opened.

    Raises
    ------
    CamSamError
        If a path cannot be opened, and no window is there to say so.
    """
    from napari_cam_sam.errors import Cancelled

    layers: list[LayerData] = []
    for one in [path] if isinstance(path, str) else path:
        try:
            layers += _layers(Path(one))
        except Cancelled:
            _say(f"Nothing was opened of {Path(one).name}.")
        except Exception as error:
            _refuse(error)
    return layers or _NOTHING


def _layers(path: Path) -> list[LayerData]:
    from napari_cam_sam.images.dicom.drawn import is_drawn

    if path.is_file() and is_drawn(path):
        return _drawn_layers(path)
    series = _chosen(path)
    image, spacing = _opened(series)
    return [_series_layer(series, image, spacing)]


def _chosen(path: Path) -> DicomSeries:
    """Find the series at a path, and ask for one where there are several."""
    from napari_cam_sam.errors import Cancelled
    from napari_cam_sam.images.dicom.series import choose_series, find_series

    if not _has_window():
        return choose_series(find_series(path), None, path)
    from napari_cam_sam.plugin.io import series_dialog

    with series_dialog.searching(path.name) as update:
        found = find_series(path, update)
    if len(found) == 1:
        return found[0]
    chosen = series_dialog.ask_series(found)
    if chosen is None:
        raise Cancelled
    return chosen


def _opened(series: DicomSeries) -> tuple[Image, Spacing]:
    """Open a series; where its slices are not evenly spaced, as the user says."""
    from napari_cam_sam.errors import CamSamError, Cancelled
    from napari_cam_sam.images.dicom.reading import read_series

    first = 0 if series.frames > 1 else None
    try:
        return read_series(series, first), "refuse"
    except CamSamError:
        if not _has_window():
            raise
        try:
            read_series(series, first, "as-is")
        except CamSamError:
            pass
        else:
            from napari_cam_sam.plugin.io import series_dialog

            spacing = series_dialog.ask_spacing(series.trouble)
            if spacing is None:
                raise Cancelled from None
            return read_series(series, first, spacing), spacing
        raise


def _series_layer(series: DicomSeries, image: Image, spacing: Spacing) -> LayerData:
    import numpy as np

    from napari_cam_sam.plugin.layers.layer_axes import KEY
    from napari_cam_sam.plugin.layers.layer_geometry import placed
    from napari_cam_sam.plugin.qt.plain_text import escape_markup

    if spacing == "even":
        image = replace(image, name=f"{image.name} (resampled)")
    over_time = series.frames > 1
    if over_time:  # its last note names the frame that was read, and all are shown
        image = replace(image, notes=image.notes[:-1])
    small = _bytes(image.data) * series.frames <= _LAZY_BYTES
    mark: dict[str, Any] = {"image": image}
    if over_time:
        data, mark["sources"] = _over_time(series, image, spacing)
        data = data.compute() if small else data
    elif image.spatial_ndim == 2 or small:
        data = np.asarray(image.data)
    else:
        data = _lazy(image.data)
    mark["read"] = weakref.ref(data)
    meta: dict[str, Any] = {
        "name": escape_markup(image.name),
        "rgb": image.rgb,
        **placed(image.geometry, image.spatial_shape, frames=over_time),
        "metadata": {KEY: mark},
    }
    if over_time:
        meta["axis_labels"] = ("t", "z", "y", "x") if image.spatial_ndim == 3 else ("t", "y", "x")
    limits = _limits(image)
    if limits is not None:
        meta["contrast_limits"] = limits
    notes = list(image.notes)
    if over_time and image.spatial_shape[0] == 1 and image.spatial_ndim == 3:
        notes.append(f"Its {series.frames} slices lie at one position: they are frames.")
    if notes:
        _say(f"{image.name}: {' '.join(notes)}")
    return data, meta, "image"


def _over_time(series: DicomSeries, first: Image, spacing: Spacing) -> tuple[Any, tuple[Any, ...]]:
    """Return the frames as one array, each opened when it is first shown, and their sources."""
    import dask.array as da
    import numpy as np
    from dask.delayed import delayed

    from napari_cam_sam.images.dicom.reading import frame_sources, read_series

    known = frame_sources(series, spacing)
    dtype = np.result_type(*(kind for _, kind in known))
    shape = tuple(first.data.shape)
    opened: dict[int, Any] = {0: first.data}

    def part(frame: int, index: int | None) -> Any:
        if frame not in opened:
            opened[frame] = read_series(series, frame, spacing).data
        values = opened[frame] if index is None else opened[frame][index : index + 1]
        return np.asarray(values).astype(dtype, copy=False)

    def one(frame: int) -> Any:
        if first.spatial_ndim == 2:
            return da.from_delayed(delayed(part)(frame, None), shape, dtype)
        slices = [
            da.from_delayed(delayed(part)(frame, index), (1, *shape[1:]), dtype)
            for index in range(shape[0])
        ]
        return da.concatenate(slices)

    return da.stack([one(t) for t in range(series.frames)]), tuple(source for source, _ in known)


def _limits(image: Image) -> tuple[float, float] | None:
    """Return the values that are black and white: the file's first, else of the middle slice."""
    from napari_cam_sam.errors import CamSamError
    from napari_cam_sam.images.image import image_from_array
    from napari_cam_sam.images.windows import resolve_window

    if image.rgb:
        return None
    if image.windows and image.windows[0][1] < image.windows[0][2]:
        return image.windows[0][1:]
    with suppress(CamSamError):  # nothing but NaN has no limits, and a damaged slice says so later
        window = resolve_window(image_from_array(image.plane(0, image.n_planes() // 2)))
        return window.low, window.high
    return None


def _drawn_layers(path: Path) -> list[LayerData]:
    """Read a segmentation or contours on the series that is open and that they were drawn on."""
    from napari_cam_sam.errors import refusal
    from napari_cam_sam.images.dicom.drawn import read_label_sets, series_drawn_on
    from napari_cam_sam.plugin.layers.layer_axes import KEY
    from napari_cam_sam.plugin.layers.layer_geometry import spatial_transform
    from napari_cam_sam.plugin.layers.segment_look import segment_look
    from napari_cam_sam.plugin.qt.plain_text import escape_markup

    wanted = series_drawn_on(path)
    there = _open_series()
    fitting = [pair for pair in there if pair[1].source.series_uid in wanted]
    if not fitting and wanted:
        raise refusal(
            f"This was drawn on the series {wanted[0]}, which is not open: open its folder first",
            path,
        )
    if not (fitting or there):
        raise refusal("Open the series first that this was drawn on", path)
    layer, image = (fitting or there)[0]
    found = read_label_sets(path, image)
    layers: list[LayerData] = []
    for labels in found:
        meta = {
            "name": escape_markup(labels.name),
            **spatial_transform(layer, image.spatial_ndim),
            **segment_look(labels),
            "metadata": {KEY: {"image": labels}},
        }
        layers.append((labels.data, meta, "labels"))
    notes = " ".join(dict.fromkeys(note for labels in found for note in labels.notes))
    if len(found) > 1:
        notes += f" Segments overlap: they are {len(found)} layers."
    _say(f"{path.name}: {notes}")
    return layers


def _open_series() -> list[tuple[Any, Any]]:
    """List the image layers of the viewer that show a series, each with it as an image."""
    import napari

    from napari_cam_sam.errors import CamSamError
    from napari_cam_sam.images.dicom.source import DicomSource
    from napari_cam_sam.plugin.layers.conversion import frame_shown, image_of
    from napari_cam_sam.plugin.layers.layer_geometry import file_of

    viewer = napari.current_viewer()
    found: list[tuple[Any, Any]] = []
    for layer in () if viewer is None else viewer.layers:
        file = file_of(layer)
        if file is not None and isinstance(file.source, DicomSource):
            with suppress(CamSamError):
                found.append((layer, image_of(layer, frame_shown(viewer, layer))))
    return found


def _has_window() -> bool:
    """Return whether there is anybody to ask."""
    from qtpy.QtWidgets import QApplication

    return QApplication.instance() is not None


def _say(words: str) -> None:
    from napari_cam_sam.plugin.qt.plain_text import show_info

    show_info(words)


def _refuse(error: Exception) -> None:
    """Say why something was not opened; without a window it is raised."""
    from napari_cam_sam.errors import CamSamError
    from napari_cam_sam.plugin.qt.plain_text import show_error

    if not isinstance(error, CamSamError) or not _has_window():
        raise error
    show_error(str(error))


def _lazy(volume: Any) -> Any:
    import dask.array as da

    return da.from_array(volume, chunks=(1, *volume.shape[1:]), asarray=True, fancy=False)


def _bytes(data: Any) -> int:
    return math.prod(data.shape) * int(data.dtype.itemsize)
