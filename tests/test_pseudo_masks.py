import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.pipeline.pseudo_masks import PseudoMaskParameters, pseudo_masks
from napari_cam_sam.sam.seeded.segmenter import SeededParameters, SeededSegmenter

WALKER = SeededSegmenter(SeededParameters(heatmap_side=48))
ROWS, COLUMNS = np.indices((60, 80))
LESION = np.hypot((ROWS - 30) / 12, (COLUMNS - 30) / 18) < 1


def plane_of(lesion: NDArray[np.bool_]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).normal(0, 8, lesion.shape)
    return (np.where(lesion, 60, 140) + noise).clip(0, 255).astype(np.uint8)


def bump(row: float, column: float, width: float) -> NDArray[np.float32]:
    """A heatmap that knows where, not how far."""
    distance = (ROWS - row) ** 2 + (COLUMNS - column) ** 2
    return np.exp(-distance / (2 * width**2)).astype(np.float32)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_mask_is_the_lesion_that_the_heatmap_only_points_at(scale: float) -> None:
    heatmap = bump(33, 27, 14)
    (mask,) = pseudo_masks([plane_of(LESION)], [heatmap * np.float32(scale)], WALKER)
    assert mask is not None
    assert mask.dtype == np.float32
    assert (mask.min(), mask.max()) == (0, 1)
    assert dice(heatmap > 0.5, LESION) < 0.8 < 0.9 < dice(mask > 0.5, LESION)


def test_one_part_without_holes_is_surely_in() -> None:
    hole = np.hypot(ROWS - 30, COLUMNS - 30) < 4
    (mask,) = pseudo_masks([plane_of(LESION & ~hole)], [bump(30, 30, 14)], WALKER)
    assert mask is not None
    assert ndimage.label(mask > 0.5)[1] == 1
    assert not ndimage.binary_fill_holes(mask > 0.5)[mask < 0.5].any()


def test_masks_that_cannot_be_believed_are_none() -> None:
    plane, heatmap = plane_of(LESION), bump(30, 30, 14)
    area = LESION.mean()
    for settings in (
        PseudoMaskParameters(min_area=1.5 * area, max_area=1.0),
        PseudoMaskParameters(max_area=0.5 * area),
    ):
        assert list(pseudo_masks([plane], [heatmap], WALKER, settings)) == [None]
    assert list(pseudo_masks([plane], [np.zeros_like(heatmap)], WALKER)) == [None]


def test_what_does_not_fit_is_said() -> None:
    plane = plane_of(LESION)
    with pytest.raises(CamSamError, match="same"):
        list(pseudo_masks([plane], [bump(30, 30, 9)[:5]], WALKER))
    for settings in ({"middle": 0.0}, {"slope": 0.5}, {"min_area": 0.7}):
        with pytest.raises(CamSamError):
            PseudoMaskParameters(**settings)
