"""A labels layer whose outlines have a dark rim, and stand out from any image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils import DirectLabelColormap
from numpy.typing import DTypeLike, NDArray

from napari_cam_sam.colours import RIM

__all__ = ["OutlinedLabels", "with_rim"]

# So many labels go through the colours; those beyond have the first.
_COLOURED = 250


def with_rim(colours: Sequence[str], dtype: DTypeLike) -> DirectLabelColormap:
    """Return colours of labels for `OutlinedLabels`, with one for the rim.

    Parameters
    ----------
    colours : sequence of str
        Of labels 1, 2, ...
    dtype : dtype
        Of the labels; its largest value stands for the rim, and for no label.

    Returns
    -------
    DirectLabelColormap
    """
    rim = int(np.iinfo(dtype).max)
    by_label = {i + 1: colours[i % len(colours)] for i in range(min(_COLOURED, rim - 1))}
    others: dict[int | None, str] = {None: colours[0], 0: "transparent", rim: RIM}
    return DirectLabelColormap(color_dict=others | by_label)


class OutlinedLabels(Labels):
    """napari's labels, whose outlines have a dark rim where the colours are those of `with_rim`.

    One colour cannot stand out from both the bright and the dark parts of an image: of a bright
    line and a dark one side by side, one always does. The rim is on the outside, so that what is
    outlined is covered no more than by napari's own outlines.

    Attributes
    ----------
    rim_axes : tuple of bool
        Along which of the two axes shown there is a rim.
    """

    rim_axes = (True, True)

    def _calculate_contour(
        self, labels: NDArray[Any], data_slice: tuple[slice, ...]
    ) -> NDArray[Any] | None:
        """Return the outlines within a part of a plane; napari asks for them as it draws."""
        rim = int(np.iinfo(labels.dtype).max)
        if self.contour < 1 or rim not in getattr(self.colormap, "color_dict", ()):
            outlines: NDArray[Any] | None = super()._calculate_contour(labels, data_slice)
            return outlines
        if labels.ndim != 2:  # napari draws no outlines in three dimensions
            return None
        from scipy.ndimage import binary_dilation

        drawn = np.zeros_like(labels)
        found = [np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0)]
        if len(found[0]):
            # Masks are small, and this comes with every move of a box: not of the whole plane.
            margin = self.contour + 1
            here = tuple(slice(max(0, f[0] - margin), f[-1] + margin + 1) for f in found)
            part = labels[here]
            whole = tuple(slice(0, size) for size in part.shape)
            drawn[here] = super()._calculate_contour(part, whole)
            rows, columns = self.rim_axes
            beside = np.array([[0, rows, 0], [columns, 1, columns], [0, rows, 0]], bool)
            wide = binary_dilation(part != 0, beside, iterations=-(-self.contour // 2))
            drawn[here][wide & (part == 0)] = rim
        return drawn[data_slice]


# napari tells kinds of layers, also in files, by the name of their class.
OutlinedLabels.__name__ = "Labels"
