import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.voting import vote_masks

MASKS = [np.random.default_rng(seed).random((9, 7)) < 0.5 for seed in range(4)]


def test_votes_go_from_the_union_to_the_intersection() -> None:
    np.testing.assert_array_equal(vote_masks(MASKS, 1), np.logical_or.reduce(MASKS))
    np.testing.assert_array_equal(vote_masks(MASKS, 4), np.logical_and.reduce(MASKS))
    pairs = [a & b for i, a in enumerate(MASKS) for b in MASKS[:i]]
    np.testing.assert_array_equal(vote_masks(MASKS, 2), np.logical_or.reduce(pairs))


def test_what_cannot_vote_is_said() -> None:
    for masks, least, words in (
        ([], 1, "no masks"),
        (MASKS, 0, "not 0"),
        (MASKS, 5, "not 5"),
        ([*MASKS, MASKS[0][:3]], 1, "shapes"),
    ):
        with pytest.raises(CamSamError, match=words):
            vote_masks(masks, least)
