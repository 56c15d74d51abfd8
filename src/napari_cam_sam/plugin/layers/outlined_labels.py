"""A labels layer whose outlines have a dark rim, and stand out from any image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils import DirectLabelColormap
from numpy.typing import DTypeLike, NDArray

from napari_cam_sam.colours import RIM

__all__ = ["FINEST", "OutlinedLabels", "rim_label", "with_rim"]

FINEST = 1024
"""Up to how many steps along an axis outlines are drawn in finer ones than pixels."""


# So many labels go through the colours; those beyond have the first.
_COLOURED = 250


def rim_label(dtype: DTypeLike) -> int:
    """Return the label that stands for the rim in colours for labels of a type.

    Masks hold 255, and without numba napari has no colours for labels above 65536.

    Parameters
    ----------
    dtype : dtype
        Of integers.

    Returns
    -------
    int
        One below the largest of the type, or below 65535.
    """
    return min(int(np.iinfo(dtype).max), 65535) - 1


def with_rim(colours: Sequence[str], dtype: DTypeLike) -> DirectLabelColormap:
    """Return colours of labels for `OutlinedLabels`, with one for the rim.

    Parameters
    ----------
    colours : sequence of str
        Of labels 1, 2, ...
    dtype : dtype
        Of the labels.

    Returns
    -------
    DirectLabelColormap
    """
    rim = rim_label(dtype)
    by_label = {i + 1: colours[i % len(colours)] for i in range(min(_COLOURED, rim - 1))}
    others: dict[int | None, str] = {None: colours[0], 0: "transparent", rim: RIM}
    return DirectLabelColormap(color_dict=others | by_label)


class OutlinedLabels(Labels):
    """napari's labels, whose outlines have a dark rim where the colours are those of `with_rim`.

    One colour cannot stand out from both the bright and the dark parts of an image: of a bright
    line and a dark one side by side, one always does. The rim is on the outside, so that what is
    outlined is covered no more than by napari's own outlines.

    napari's outlines are as wide as pixels of the data are, bars where slices are thick. These
    can be drawn in finer steps.

    Attributes
    ----------
    contour : int
        Width of outlines, in steps; 0 for labels that are filled.
    parts : tuple of int
        Into how many steps a pixel is cut along the two axes shown.
    """

    contour: int
    parts: tuple[int, ...] = (1, 1)
    _updated_slice: Any

    def finest(self) -> list[int]:
        """Return the most steps that a pixel is cut into along the two axes shown."""
        return self._finest([self.data.shape[d] for d in self._slice_input.displayed])

    def _finest(self, shape: Sequence[int]) -> list[int]:
        return [1 if self.multiscale else max(1, FINEST // max(1, size)) for size in shape]

    def outline(self, width: int, parts: tuple[int, ...]) -> None:
        """Set the width of outlines and the steps that it counts."""
        if (width, parts) != (self.contour, self.parts):
            self.parts = parts
            self.contour = width

    def _calculate_contour(
        self, labels: NDArray[Any], data_slice: tuple[slice, ...]
    ) -> NDArray[Any] | None:
        """Return the outlines within a part of a plane; napari asks for them as it draws."""
        if self.contour < 1 or labels.ndim != 2:  # napari draws none in three dimensions
            return None
        from scipy.ndimage import binary_dilation

        # Until the view is looked at again, they are those of the axes shown before.
        steps = np.minimum(self.parts, self._finest(labels.shape))
        drawn = np.zeros(np.multiply(labels.shape, steps), labels.dtype)
        found = [np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0)]
        if len(found[0]):
            # Masks are small, and this comes with every move of a box: not of the whole plane.
            margin = self.contour + 1
            here = tuple(slice(max(0, f[0] - margin), f[-1] + margin + 1) for f in found)
            part = labels[here].repeat(steps[0], axis=0).repeat(steps[1], axis=1)
            there = tuple(slice(h.start * s, h.stop * s) for h, s in zip(here, steps, strict=True))
            rim = rim_label(labels.dtype)
            rimmed = rim in getattr(self.colormap, "color_dict", ())
            if rimmed:
                part[part == rim] = 1  # a label of the user's, which is not to look as a rim
            whole = tuple(slice(0, size) for size in part.shape)
            drawn[there] = super()._calculate_contour(part, whole)
            if rimmed:
                wide = binary_dilation(part != 0, iterations=-(-self.contour // 2))
                drawn[there][wide & (part == 0)] = rim
        # Of parts of a plane only where a pixel is one step, see below.
        return drawn[data_slice] if max(steps) == 1 else drawn

    @property
    def _data_view(self) -> NDArray[Any]:
        """What is drawn; napari asks for it, and then where it lies."""
        shown = self._slice.image
        if shown.view.shape != shown.raw.shape:
            scale = np.ones(self.ndim)
            scale[list(self._slice_input.displayed)] = np.divide(shown.raw.shape, shown.view.shape)
            self._transforms["tile2data"].scale = scale
        return shown.view

    def _partial_labels_refresh(self) -> None:
        """Show what a brush changed."""
        if self.contour and max(self.parts) > 1:
            self._updated_slice = None
            self.refresh(extent=False)
        else:
            super()._partial_labels_refresh()


# napari tells kinds of layers, also in files, by the name of their class.
OutlinedLabels.__name__ = "Labels"
