"""What the axes of a layer are, by the core's rule, and the order in which the docks need them.

The viewer lays layers over each other by their last axes. So what the docks add, three axes of
space, lies over an image whose own three axes of space come last; time or channels come first.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from scipy.linalg import block_diag

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.axes import Axes, ChosenAxes, choose_axes, letters_of

__all__ = [
    "KEY",
    "LayerAxes",
    "axes_of",
    "check_order",
    "choose_letters",
    "chosen_axes",
    "mark_of",
    "needs_a_channel",
    "one_channel",
    "put_in_order",
]

KEY = "napari_cam_sam"
"""Our entry in a layer's metadata: layers are found by it, whatever they are renamed to."""

_TIFF = (".tif", ".tiff")
_SPACE = "ZYX"
_BY_DEFAULT = {2: "YX", 3: "ZYX", 4: "TZYX"}


def mark_of(layer: Any) -> dict[str, Any]:
    """Return our entry in a layer's metadata, or an empty one that is not kept where there is none.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    dict
    """
    mark: dict[str, Any] = layer.metadata.get(KEY, {})
    return mark


@dataclass(frozen=True)
class LayerAxes:
    """What the axes of a layer are, and who says so.

    Attributes
    ----------
    letters : str or None
        One for each axis; None where nothing says them.
    source : {"chosen", "labels", "file", "convention", ""}
        The dock, the layer's axis labels, its file, or, for an array without any, that time comes
        first.
    """

    letters: str | None
    source: str

    @property
    def roles(self) -> Axes | None:
        """What each axis is; None where the letters do not say it."""
        try:
            return None if self.letters is None else choose_axes(self.letters)
        except CamSamError:
            return None

    @property
    def usable(self) -> bool:
        """Whether the docks can work on a layer as it lies."""
        roles = self.roles
        if roles is None:
            return False
        if roles.slices is None and roles.channels is not None:
            return False  # channels are no slices
        first = [p for p in (roles.time, roles.channels) if p is not None]
        return len(self.letters or "") <= 4 and first == list(range(len(first)))


def axes_of(layer: Any) -> LayerAxes:
    """Find out what the axes of an image layer are, without reading its data.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    LayerAxes
    """
    chosen = mark_of(layer).get("axes")
    if chosen is not None and len(chosen) == layer.ndim:
        return LayerAxes(chosen, "chosen")
    letters = letters_of(layer.axis_labels)
    if letters is not None and layer.ndim > 2:
        return LayerAxes(letters, "labels")
    path = None if layer.source is None else layer.source.path
    if path is not None and layer.ndim > 2 and str(path).lower().endswith(_TIFF):
        letters = _of_file(str(path), tuple(int(n) for n in _data(layer).shape))
        if letters is not None:
            return LayerAxes(letters, "file")
    if layer.ndim > 3 and path is not None:
        return LayerAxes(None, "")
    return LayerAxes(_BY_DEFAULT.get(layer.ndim), "convention")


def needs_a_channel(roles: Axes) -> bool:
    """Check whether one channel becomes a layer of its own, as no slider is left to choose it.

    Parameters
    ----------
    roles : Axes

    Returns
    -------
    bool
    """
    return roles.channels is not None and (roles.time is not None or roles.slices is None)


def check_order(layer: Any) -> None:
    """Check that the axes of an image layer are known, and in the order that docks need.

    Parameters
    ----------
    layer : napari layer
        Others than images of three axes or more pass.

    Raises
    ------
    CamSamError
        If they are not; it names the choice in the dock.
    """
    if not isinstance(layer, ImageLayer) or layer.ndim < 3:
        return
    known = axes_of(layer)
    if known.usable:
        return
    if known.roles is None:
        raise CamSamError(
            f"{layer.name} does not say which of its {layer.ndim} axes are slices, time and "
            "channels: choose under Image in step 1 (Heatmap)."
        )
    if needs_a_channel(known.roles):
        raise CamSamError(
            f"The axes of {layer.name} are {known.roles.words}: choose a channel under Image in "
            "step 1 (Heatmap), and press “Reorder axes”."
        )
    raise CamSamError(
        f"The axes of {layer.name} are {known.roles.words}, and time and channels must come "
        "first: press “Reorder axes” under Image in step 1 (Heatmap)."
    )


def chosen_axes(layer: Any) -> ChosenAxes | None:
    """Return what was chosen of a layer's axes, in the words of its file, for records.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    ChosenAxes or None
        None where nothing was.
    """
    mark = mark_of(layer)
    letters = mark.get("file_axes", mark.get("axes"))
    return None if letters is None else ChosenAxes(letters, mark.get("channel"))


def choose_letters(layer: Any, letters: str) -> None:
    """Set what the user says that the axes of a layer are.

    Parameters
    ----------
    layer : napari layer
    letters : str
        One for each axis, e.g. ``"TZYX"``.

    Raises
    ------
    CamSamError
        If there are not as many, or they do not say it.
    """
    if len(letters) != layer.ndim:
        raise CamSamError(f"The axes {letters} are {len(letters)}, {layer.name} has {layer.ndim}.")
    choose_axes(letters)
    layer.metadata.setdefault(KEY, {})["axes"] = letters


def put_in_order(layer: Any) -> None:
    """Lay a layer's data out so that time or channels come first, then slices, rows, columns.

    The pixels are the same, seen in another order; nothing is copied.

    Parameters
    ----------
    layer : napari layer

    Raises
    ------
    CamSamError
        If its axes are not known, or it is sheared.
    """
    roles = axes_of(layer).roles
    if roles is None:
        check_order(layer)
        return
    order = _order(roles)
    if np.any(layer.shear):
        raise CamSamError(f"{layer.name} is sheared: put its axes in order before it is opened.")
    turn = np.eye(layer.ndim)[list(order)]
    whole = block_diag(turn, 1.0)
    where = {
        "scale": np.asarray(layer.scale)[list(order)],
        "translate": np.asarray(layer.translate)[list(order)],
        "rotate": turn @ np.asarray(layer.rotate) @ turn.T,
        "affine": whole @ np.asarray(layer.affine.affine_matrix) @ whole.T,
        "units": [layer.units[p] for p in order],
    }
    letters = "".join(roles.letters[p] for p in order)
    mark = layer.metadata.setdefault(KEY, {})
    mark.setdefault("file_axes", roles.letters)
    mark["axes"] = letters
    for name, value in where.items():
        setattr(layer, name, value)
    layer.axis_labels = [letter.lower() for letter in letters]
    layer.data = _each(layer, lambda data: _transposed(data, order))


def one_channel(layer: Any, channel: int) -> tuple[Any, dict[str, Any]]:
    """Return one channel of a layer as a layer of its own, its other axes in order.

    Parameters
    ----------
    layer : napari layer
    channel : int

    Returns
    -------
    data : array-like, or a list of them for a multiscale layer
        A view; ([time, [slice,]] row, column).
    keywords : dict
        For an image layer that shows it.

    Raises
    ------
    CamSamError
        If there is no such channel.
    """
    roles = axes_of(layer).roles
    if roles is None or roles.channels is None:
        raise CamSamError(f"Nothing says which axis of {layer.name} are its channels.")
    count = int(_data(layer).shape[roles.channels])
    if not 0 <= channel < count:
        raise CamSamError(f"{layer.name} has no channel {channel}: they are 0 to {count - 1}.")
    order = [p for p in _order(roles) if p != roles.channels]
    front = (roles.channels, *order)
    letters = "".join(roles.letters[p] for p in order)
    return _each(layer, lambda data: _transposed(data, front)[channel]), {
        "name": f"{layer.name} channel {channel}",
        "scale": np.asarray(layer.scale)[order],
        "translate": np.asarray(layer.translate)[order],
        "units": [layer.units[p] for p in order],
        "axis_labels": [letter.lower() for letter in letters],
        "rgb": bool(layer.rgb),
        "metadata": {KEY: {"axes": letters, "file_axes": roles.letters, "channel": channel}},
    }


def _order(roles: Axes) -> tuple[int, ...]:
    """Positions in the order that docks need; axes of space alone keep theirs."""
    space = (roles.slices, roles.rows, roles.columns)
    first = [p for p in (roles.time, roles.channels) if p is not None]
    letters = roles.letters
    if all(letters[p] in _SPACE for p in space if p is not None):
        return (*first, *(p for p in range(len(letters)) if p not in first))
    return roles.order


def _transposed(data: Any, order: tuple[int, ...]) -> Any:
    return data.transpose((*order, *range(len(order), data.ndim)))


def _each(layer: Any, change: Any) -> Any:
    if getattr(layer, "multiscale", False):
        return [change(level) for level in layer.data]
    return change(layer.data)


def _data(layer: Any) -> Any:
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def _of_file(path: str, shape: tuple[int, ...]) -> str | None:
    """Return the letters of a TIFF file's axes, where its array is the layer's and they say it."""
    with suppress(OSError, CamSamError):
        letters, found = _read(path, Path(path).stat().st_mtime_ns) or ("", ())
        letters = letters.removesuffix("S")
        choose_axes(letters)
        return letters if found == shape else None
    return None


@lru_cache(maxsize=64)
def _read(path: str, changed: int) -> tuple[str, tuple[int, ...]] | None:
    from napari_cam_sam.images.tiff import tiff_axes

    return tiff_axes(Path(path))
