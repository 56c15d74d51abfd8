from types import SimpleNamespace

import pytest
import torch

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.outputs import unwrap_logits

SCORES = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        {"out": SCORES, "aux": None},
        {"logits": SCORES},
        SimpleNamespace(logits=SCORES),
        (SCORES, None),
        [SCORES],
    ],
)
def test_scores_are_found(output: object) -> None:
    assert torch.equal(unwrap_logits(output, 3), SCORES)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "NoneType"),
        ({"masks": SCORES}, "dict"),
        ((), "tuple"),
        (SCORES[0], r"shape \(3,\)"),
        (torch.zeros(2, 3, 8, 8), r"\(2, 3, 8, 8\)"),
        (torch.zeros(2, 4), r"\(2, 4\)"),
    ],
)
def test_what_is_no_classifier_output_is_refused(output: object, words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        unwrap_logits(output, 3)
