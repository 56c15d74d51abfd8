"""NIfTI files as layers, in the right place and lazily where they are large."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["LayerData", "get_reader", "read_nifti_layers"]

LayerData = tuple[Any, dict[str, Any], str]

# Larger files are read a plane at a time, as the viewer shows it.
_LAZY_BYTES = 256 * 2**20
_LABELS = re.compile(r"(?:^|[^a-z])(?:labels?|masks?|seg|segmentation|truth|gt)(?:[^a-z]|$)")


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of NIfTI files.

    Parameters
    ----------
    path : str or sequence of str

    Returns
    -------
    callable or None
        `read_nifti_layers`; None where a path is of another format.
    """
    paths = [path] if isinstance(path, str) else list(path)
    if not paths or not all(str(p).lower().endswith((".nii", ".nii.gz")) for p in paths):
        return None
    return read_nifti_layers


def read_nifti_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read NIfTI files as layers, one each.

    Files of whole numbers that say they hold labels, by the header's intent or by their name
    (label, mask, seg, truth, gt), become labels layers, all others image layers.

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
    return [_layer(Path(p)) for p in ([path] if isinstance(path, str) else path)]


def _layer(path: Path) -> LayerData:
    import nibabel
    import numpy as np
    from napari.utils.notifications import show_info

    from napari_cam_sam.errors import CamSamError
    from napari_cam_sam.images.reading import read_image
    from napari_cam_sam.images.windows import resolve_window
    from napari_cam_sam.plugin.layers.layer_axes import KEY
    from napari_cam_sam.plugin.layers.layer_geometry import placed
    from napari_cam_sam.plugin.qt.plain_text import escape_markup

    # The core's reader says what is wrong with a broken file; frame 0 is there in any other.
    image = read_image(path, frame=0)
    header: Any = nibabel.load(path).header
    shape = header.get_data_shape()
    frames = math.prod(int(n) for n in shape[3:])
    if frames > 1:
        data = _series(path, frames, image)
    else:
        data = _lazy(image.data) if _bytes(image.data) > _LAZY_BYTES else np.asarray(image.data)
    named = bool(_LABELS.search(image.name.lower())) or header.get_intent()[0] == "label"
    kind = np.dtype(data.dtype).kind
    # A large file of whole numbers is not read through as it is opened.
    through = kind == "f" or (kind in "iu" and _bytes(data) <= _LAZY_BYTES)
    if named and frames == 1 and not image.rgb and through:
        image, data = _as_labels(path, image, data)
    labels = named and np.dtype(data.dtype).kind in "iu" and not image.rgb
    if image.notes:
        show_info(f"{image.name}: {' '.join(image.notes)}")
    meta: dict[str, Any] = {
        "name": escape_markup(image.name),
        **placed(image.geometry, image.spatial_shape, frames=frames > 1),
        "metadata": {KEY: {"image": image, "read": weakref.ref(data)}},
    }
    if frames > 1:
        meta["axis_labels"] = ("t", "z", "y", "x")
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
