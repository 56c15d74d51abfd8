"""Which pixels a heatmap of a segmentation network explains."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_cam_sam.cam.pixel_sets import PixelSet, find_pixels, nth_component, why_empty
from napari_cam_sam.errors import CamSamError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "predictd"}, "predicted"),
        ({"kind": "probability", "threshold": 1.5}, "0 to 1"),
        ({"component": -1}, "0 for all"),
        ({"component": True}, "0 for all"),
        ({"kind": "pixel"}, "row and its column"),
        ({"kind": "pixel", "pixel": (1,)}, "a row and a column"),
        ({"kind": "pixel", "pixel": (1.5, 2)}, "a row and a column"),
        ({"pixel": (1, 2)}, "not 'pixel'"),
    ],
)
def test_nonsense_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        PixelSet(**options)


def test_a_pixel_is_row_and_column() -> None:
    """S3's trap of (x, y): on a plane that is not square the other order is another pixel."""
    mask = find_pixels(PixelSet("pixel", pixel=(3, 7)), (5, 9), None)
    assert np.argwhere(mask).tolist() == [[3, 7]]
    with pytest.raises(CamSamError, match="row, column"):
        find_pixels(PixelSet("pixel", pixel=(7, 3)), (5, 9), None)
    with pytest.raises(CamSamError, match="row, column"):
        find_pixels(PixelSet("pixel", pixel=(-1, 3)), (5, 9), None)
    with pytest.raises(CamSamError, match="slice, row, column"):
        find_pixels(PixelSet("pixel", pixel=(1, 3)), (4, 5, 9), None)


def test_given_regions_are_taken_as_they_are_or_refused() -> None:
    mask = np.eye(4, dtype=bool)
    assert np.array_equal(find_pixels(PixelSet("region"), (4, 4), mask), mask)
    assert find_pixels(PixelSet("whole"), (4, 4), None).all()
    with pytest.raises(CamSamError, match="needs a truth"):
        find_pixels(PixelSet("truth"), (4, 4), None)
    with pytest.raises(CamSamError, match=r"shape \(4, 4\)"):
        find_pixels(PixelSet("region"), (4, 5), mask)


@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_components_are_the_whole_in_falling_size(mask: np.ndarray) -> None:
    parts = []
    while (part := nth_component(mask, len(parts) + 1)).any():
        parts.append(part)
    sizes = [int(part.sum()) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == mask.sum()
    assert np.array_equal(np.any(parts, axis=0) if parts else np.zeros_like(mask), mask)
    assert np.array_equal(nth_component(mask, 0), mask)


def test_diagonal_neighbours_are_one_component_in_three_dimensions_too() -> None:
    volume = np.zeros((3, 3, 3), dtype=bool)
    volume[0, 0, 0] = volume[1, 1, 1] = volume[2, 2, 2] = True
    assert nth_component(volume, 1).sum() == 3
    assert not nth_component(volume, 2).any()


def test_reasons_name_what_is_empty() -> None:
    assert "'cyst'" in why_empty(PixelSet(), "cyst")
    assert "0.9" in why_empty(PixelSet("probability", threshold=0.9), "cyst")
    assert why_empty(PixelSet("truth"), "cyst") == "The truth is empty here."
    assert "component 3 of the predicted region" in why_empty(PixelSet(component=3), "cyst")
