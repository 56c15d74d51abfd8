"""What is copied of labels at each save: the part that holds some, and all of it comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_cam_sam.plugin.session.capture import LabelledPart


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=7),
        elements=st.sampled_from([0, 0, 0, 0, 1, 7]),
    )
)
def test_labels_come_back_as_they_were(labels: np.ndarray) -> None:
    whole = LabelledPart.copied(labels).whole()
    assert whole.dtype == labels.dtype
    np.testing.assert_array_equal(whole, labels)


@pytest.mark.parametrize("place", [(0, 0, 0), (3, 5, 2), (7, 15, 15)])
def test_only_what_is_labelled_is_copied(place: tuple[int, int, int]) -> None:
    labels = np.zeros((8, 16, 16), np.uint16)
    labels[place] = 3
    part = LabelledPart.copied(labels)
    assert (part.start, part.values.shape) == (place, (1, 1, 1))
    assert LabelledPart.copied(np.zeros_like(labels)).values.size == 0


def test_what_is_painted_later_is_not_in_the_copy() -> None:
    labels = np.ones((4, 4), np.uint8)
    part = LabelledPart.copied(labels)
    labels[:] = 0
    assert (part.whole() == 1).all()
