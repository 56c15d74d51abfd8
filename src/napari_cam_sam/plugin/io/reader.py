"""Volumes as layers, in the right place and lazily where they are large."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["LayerData", "get_reader", "read_nifti_layers", "read_volume_layers"]

LayerData = tuple[Any, dict[str, Any], str]

# Larger files are read a plane at a time, as the viewer shows it.
_LAZY_BYTES = 256 * 2**20
_LABELS = re.compile(r"(?:^|[^a-z])(?:labels?|masks?|seg|segmentation|truth|gt)(?:[^a-z]|$)")


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of volumes: NIfTI, NRRD, MetaImage and MGH.

    Parameters
    ----------
    path : str or sequence of str

    Returns
    -------
    callable or None
        `read_volume_layers`; None where a path is of another format.
    """
    from napari_cam_sam.images.formats import VOLUMES

    paths = [path] if isinstance(path, str) else list(path)
    if not paths or not all(str(p).lower().endswith(VOLUMES) for p in paths):
        return None
    return read_volume_layers


def read_volume_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read volumes as layers, one each; of segments that overlap one for each layer of the file.

    Files of whole numbers that say they hold labels, by names of segments, by the header's intent
    or by their own name (label, mask, seg, truth, gt), become labels layers, all others image
    layers.

    Parameters
    ----------
    path : str or sequence of str

    Returns
    -------
    list of tuple
        Data, keywords and kind of each layer.

    Raises
    ------
    CamSamError
        If a file cannot be read.
    """
    paths = [path] if isinstance(path, str) else path
    return [layer for one in paths for layer in _segments(Path(one)) or [_layer(Path(one))]]


read_nifti_layers = read_volume_layers
"""Its first name, which scripts have."""


def _segments(path: Path) -> list[LayerData]:
    """Return labels layers of the segments that a file names, none where it names none."""
    import numpy as np

    from napari_cam_sam.images.formats import NRRD
    from napari_cam_sam.images.nrrd import read_nrrd_label_sets
    from napari_cam_sam.plugin.layers.layer_geometry import placed
    from napari_cam_sam.plugin.layers.segment_look import segment_look

    if not path.name.lower().endswith(NRRD):
        return []
    found = read_nrrd_label_sets(path)
    layers: list[LayerData] = []
    for labels in found:
        names = ", ".join(one.name for one in labels.segments)
        name = labels.name if len(found) == 1 else f"{labels.name}: {names[:60]}"
        data = np.asarray(labels.data)
        meta = {
            **_shown(labels, name, data),
            **placed(labels.geometry, labels.spatial_shape),
            **segment_look(labels),
        }
        layers.append((data, meta, "labels"))
    return layers


def _shown(image: Any, name: str, data: Any) -> dict[str, Any]:
    """Say what reading decided, and return a layer's name and where it came from."""
    from napari.utils.notifications import show_info

    from napari_cam_sam.plugin.layers.layer_axes import KEY
    from napari_cam_sam.plugin.qt.plain_text import escape_markup

    if image.notes:
        show_info(f"{image.name}: {' '.join(image.notes)}")
    return {
        "name": escape_markup(name),
        "metadata": {KEY: {"image": image, "read": weakref.ref(data)}},
    }


def _layer(path: Path) -> LayerData:
    import numpy as np

    from napari_cam_sam.errors import CamSamError
    from napari_cam_sam.images.nifti import NiftiSource
    from napari_cam_sam.images.reading import count_frames, read_image
    from napari_cam_sam.images.windows import resolve_window
    from napari_cam_sam.plugin.layers.layer_geometry import placed

    # The core's reader says what is wrong with a broken file; frame 0 is there in any other.
    image = read_image(path, frame=0)
    frames = count_frames(path)
    if frames > 1:
        data = _series(path, frames, image)
    else:
        data = _lazy(image.data) if _bytes(image.data) > _LAZY_BYTES else np.asarray(image.data)
    named = bool(_LABELS.search(image.name.lower()))
    if isinstance(image.source, NiftiSource):
        named |= image.source.header.get_intent()[0] == "label"
    kind = np.dtype(data.dtype).kind
    # A large file of whole numbers is not read through as it is opened.
    through = kind == "f" or (kind in "iu" and _bytes(data) <= _LAZY_BYTES)
    if named and frames == 1 and not image.rgb and through:
        image, data = _as_labels(path, image, data)
    labels = named and np.dtype(data.dtype).kind in "iu" and not image.rgb
    meta: dict[str, Any] = {
        **_shown(image, image.name, data),
        **placed(image.geometry, image.spatial_shape, frames=frames > 1),
    }
    if frames > 1:
        meta["axis_labels"] = ("t", *("z", "y", "x")[-image.spatial_ndim :])
    if not labels:
        meta["rgb"] = image.rgb
        if not image.rgb and _bytes(image.data) <= _LAZY_BYTES:
            # A few very bright voxels would leave all others of an MR dark.
            with suppress(CamSamError):  # nothing but NaN has no limits
                window = resolve_window(image)
                meta["contrast_limits"] = (window.low, window.high)
    return data, meta, "labels" if labels else "image"


def _as_labels(path: Path, image: Any, data: Any) -> tuple[Any, Any]:
    """Return the labels that a file holds where they are not its values as they stand.

    Whole numbers may be stored as floating ones, or with a slope, and masks have gray rims. What
    holds no labels stays an image.
    """
    import numpy as np

    from napari_cam_sam.errors import CamSamError
    from napari_cam_sam.images.reading import read_labels

    try:
        labels = read_labels(path, frame=0)
    except CamSamError:
        return image, data
    if isinstance(labels.data, np.ndarray):
        return labels, labels.data
    return replace(image, notes=labels.notes), data


def _series(path: Path, frames: int, first: Any) -> Any:
    """Stack the frames of a 4D file, each read when it is first shown."""
    import dask.array as da
    import numpy as np
    from dask.delayed import delayed

    from napari_cam_sam.images.reading import read_image

    def frame(index: int) -> Any:
        return np.asarray(read_image(path, index).data)

    shape, dtype = first.data.shape, first.data.dtype
    return da.stack([da.from_delayed(delayed(frame)(t), shape, dtype) for t in range(frames)])


def _lazy(volume: Any) -> Any:
    import dask.array as da

    return da.from_array(volume, chunks=(1, *volume.shape[1:]), asarray=True, fancy=False)


def _bytes(data: Any) -> int:
    return math.prod(data.shape) * int(data.dtype.itemsize)
