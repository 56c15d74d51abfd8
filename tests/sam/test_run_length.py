"""Masks as run lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.run_length import RunLengthMask, encode_mask


def test_runs_begin_outside_and_go_row_by_row() -> None:
    mask = np.array([[0, 0, 1], [1, 1, 0]], bool)
    assert encode_mask(4, mask) == RunLengthMask(4, (2, 3), (2, 3, 1))
    assert encode_mask(1, ~mask).runs == (0, 2, 3, 1)
    assert encode_mask(1, np.zeros((2, 2), bool)).runs == (4,)
    assert encode_mask(1, np.ones((2, 2), bool)).runs == (0, 4)


@given(arrays(bool, st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_a_mask_comes_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(encode_mask(2, mask).mask(), mask)


@pytest.mark.parametrize("runs", [(3,), (2, 3), (5, -1)])
def test_runs_that_do_not_fill_the_plane_are_refused(runs: tuple[int, ...]) -> None:
    with pytest.raises(CamSamError, match=r"hold .* pixels"):
        RunLengthMask(1, (2, 2), runs)
