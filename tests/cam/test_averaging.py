from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cam_sam.cam.averaging import average_heatmaps
from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier


def test_each_heatmap_counts_alike_and_nothing_counts_as_nothing(
    deep: Classifier, planes: list[NDArray[np.uint8]]
) -> None:
    first, second = (
        next(compute_heatmaps(deep, planes[:1], CamParameters(target=k))) for k in (0, 1)
    )
    mean = (first.values + second.values) / 2
    np.testing.assert_allclose(average_heatmaps([first, second]), mean / mean.max(), atol=1e-6)
    empty = replace(first, values=np.zeros_like(first.values), evidence=False, reason="nothing")
    np.testing.assert_allclose(average_heatmaps([first, empty]), first.values, atol=1e-6)
    found = average_heatmaps([empty, empty])
    assert found.dtype == np.float32
    assert not found.any()


def test_heatmaps_of_different_planes_are_not_averaged(deep: Classifier) -> None:
    shapes = ((32, 32), (30, 32))
    planes = [np.full(shape, 90, np.uint8) for shape in shapes]
    heatmaps = list(compute_heatmaps(deep, planes, CamParameters(target=0)))
    with pytest.raises(CamSamError, match="one slice"):
        average_heatmaps(heatmaps)
    with pytest.raises(CamSamError, match="no heatmaps"):
        average_heatmaps([])
