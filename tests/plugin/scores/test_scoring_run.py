"""What the dock says of a scoring."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_cam_sam.plugin.scores.scoring_run import ScoringRun


def row(kind: str, empty: int = 0) -> Any:
    scores = SimpleNamespace(values={"dice": 0.5})
    return SimpleNamespace(kind=kind, number=0, scores=scores, empty_planes=empty, truth_planes=3)


@pytest.mark.parametrize(("empty", "words"), [
    (0, "Dice 0.500, 1 of 4 slices are not empty."),
    (1, "1 of 3 slices with ground truth has no mask and counts as missed."),
    (2, "2 of 3 slices with ground truth have no mask and count as missed."),
])  # fmt: skip
def test_slices_without_a_mask_are_counted_in_words(empty: int, words: str) -> None:
    job: Any = SimpleNamespace(image=SimpleNamespace(n_planes=lambda axis: 4), axis=0)
    subject: Any = None
    run = ScoringRun((), subject, job, np.zeros((4, 2, 2)))
    run.rows = [row("volume", empty), row("plane")]
    run.summarise(complete=True)
    assert run.words.endswith(words)
