"""One heatmap from several models: where one is misled by a shadow, others as a rule are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import Heatmap
from napari_cam_sam.errors import CamSamError

__all__ = ["average_heatmaps"]


def average_heatmaps(heatmaps: Sequence[Heatmap]) -> NDArray[np.float32]:
    """Average heatmaps of one plane, by several models, methods or layers.

    Each counts as much as the others, since each is scaled to a maximum of 1; one without
    evidence counts as 0 everywhere.

    Parameters
    ----------
    heatmaps : sequence of Heatmap
        Of the same plane.

    Returns
    -------
    ndarray of float32, shape (row, column)
        In [0, 1], divided by its maximum; all 0 where none has evidence.

    Raises
    ------
    CamSamError
        If there are none, or they are of planes of different shapes.
    """
    if not heatmaps:
        raise CamSamError("There are no heatmaps to average.")
    shapes = {heatmap.values.shape for heatmap in heatmaps}
    if len(shapes) > 1:
        raise CamSamError(
            f"Heatmaps of shapes {', '.join(map(str, sorted(shapes)))} are not of one slice."
        )
    mean = np.mean([heatmap.values for heatmap in heatmaps], axis=0, dtype=np.float64)
    highest = mean.max(initial=0.0)
    return np.asarray(mean / highest if highest > 0 else mean, dtype=np.float32)
