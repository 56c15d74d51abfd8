from __future__ import annotations

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.mask_choice import choose_mask, needs_multimask
from napari_cam_sam.sam.segmenter import MaskCandidates


def candidates(scores: list[float]) -> MaskCandidates:
    n = len(scores)
    masks = np.zeros((n, 4, 4), bool)
    for i in range(n):
        masks[i, : i + 1] = True
    logits = np.zeros((n, 2, 2), np.float32)
    return MaskCandidates(1, masks, np.array(scores, np.float32), logits)


def test_each_choice_takes_its_own():
    three = candidates([0.2, 0.3, 0.9])
    truth = np.zeros((4, 4), bool)
    truth[:2] = True  # IoU with the three is 1/2, 1, 2/3
    assert choose_mask(three, "first") == 0
    assert choose_mask(three, "best") == 2
    assert choose_mask(three, "oracle", truth) == 1
    assert choose_mask(candidates([0.4]), "single") == 0


def test_oracle_of_an_empty_truth_takes_the_empty_mask():
    three = candidates([0.1, 0.1, 0.1])
    three.masks[2] = False
    assert choose_mask(three, "oracle", np.zeros((4, 4), bool)) == 2


def test_only_single_is_decoded_alone():
    wanted = {choice: needs_multimask(choice) for choice in ("single", "first", "best", "oracle")}
    assert wanted == {"single": False, "first": True, "best": True, "oracle": True}


@pytest.mark.parametrize(
    ("choice", "truth", "said"),
    [
        ("bests", None, "Did you mean best"),
        ("single", None, "multimask=False"),
        ("oracle", None, "needs a truth"),
        ("oracle", np.zeros((3, 3), bool), "same slice"),
    ],
)
def test_refuses(choice, truth, said):
    with pytest.raises(CamSamError, match=said):
        choose_mask(candidates([0.2, 0.3, 0.9]), choice, truth)


def test_refuses_no_candidates():
    empty = MaskCandidates(
        3, np.zeros((0, 2, 2), bool), np.zeros(0, np.float32), np.zeros((0, 2, 2), np.float32)
    )
    with pytest.raises(CamSamError, match="Object 3 has no candidate"):
        choose_mask(empty, "best")
