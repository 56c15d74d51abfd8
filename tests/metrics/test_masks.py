import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.masks import bounding_box, check_spacing, mask_pair


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, max_side=8)), st.booleans())
def test_bounding_box_holds_all_and_no_more(mask, fortran):
    window = bounding_box(np.asfortranarray(mask) if fortran else mask)
    if not mask.any():
        assert window is None
        return
    positions = np.argwhere(mask)
    assert [part.start for part in window] == positions.min(axis=0).tolist()
    assert [part.stop for part in window] == (positions.max(axis=0) + 1).tolist()


def test_labels_count_as_a_mask():
    first, second = mask_pair([[0, 3]], np.array([[True, False]]))
    assert first.tolist() == [[False, True]]
    assert second.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((3, 4), bool), np.zeros((4, 3), bool), r"shape \(3, 4\) but the truth \(4, 3\)"),
        (np.zeros((3, 4)), np.zeros((3, 4), bool), "prediction must be a mask .* not float64"),
        (np.zeros((3, 4), bool), np.zeros((3, 4), complex), "truth must be a mask"),
        (np.zeros((0, 4), bool), np.zeros((0, 4), bool), "no pixels"),
        (True, True, "no pixels"),
    ],
)
def test_what_does_not_fit_is_refused(prediction, truth, message):
    with pytest.raises(CamSamError, match=message):
        mask_pair(prediction, truth)


@pytest.mark.parametrize("spacing", [(1,), (1, 0), (1, -1), (1, float("nan")), (1, 1, 1)])
def test_wrong_spacing_is_refused(spacing):
    with pytest.raises(CamSamError, match="spacing must be 2 positive numbers"):
        check_spacing(spacing, 2)
