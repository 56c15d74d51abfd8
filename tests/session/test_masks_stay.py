"""What accepting a mask leaves as it is: work of the hand, and of slices that cross its own."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cam_sam.session import Written, accept_masks

SHAPE = (3, 4, 3)
Plane = tuple[int, int]


def plane_of(labels: Any, plane: Plane) -> Any:
    return labels[(slice(None),) * plane[0] + (plane[1],)]


def accept(
    labels: Any, plane: Plane, masks: dict[int, Any], overlap: Any, earlier: list[Written]
) -> None:
    one = accept_masks(labels, *plane, masks, overlap, earlier)
    plane_of(labels, plane).flat[one.where] = one.after
    earlier.append(one)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Give acceptances on slices of all axes, and strokes of the brush between them."""
    made: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            axis = draw(st.integers(0, 2))
            shape = [n for i, n in enumerate(SHAPE) if i != axis]
            masks = st.dictionaries(
                st.integers(1, 2), hnp.arrays(np.bool_, shape), min_size=1, max_size=2
            )
            index = draw(st.integers(0, SHAPE[axis] - 1))
            made.append(((axis, index), draw(masks), draw(st.sampled_from(["keep", "overwrite"]))))
        else:
            made.append((draw(hnp.arrays(np.bool_, SHAPE)), draw(st.integers(0, 2))))
    return made


@settings(max_examples=300, deadline=None)
@given(steps())
def test_only_what_was_accepted_on_the_very_slice_is_replaced(steps: list[Any]) -> None:
    labels, earlier = np.zeros(SHAPE, np.uint8), []
    # What each slice gave an object last. Painting a voxel as it was accepted makes no difference.
    given_by: dict[tuple[Plane, int], set[tuple[int, ...]]] = {}
    for step in steps:
        before = labels.copy()
        if len(step) == 2:
            labels[step[0]] = step[1]
            continue
        plane, masks, overlap = step
        accept(labels, plane, masks, overlap, earlier)
        claims: dict[int, set[tuple[int, ...]]] = {i: set() for i in masks}
        for at in np.ndindex(SHAPE):
            held, holds = before[at], labels[at]
            if at[plane[0]] != plane[1]:
                assert holds == held
                continue
            rest = tuple(n for i, n in enumerate(at) if i != plane[0])
            claimed = {i for i, mask in masks.items() if mask[rest]}
            givers = {
                where for (where, i), voxels in given_by.items() if i == held and at in voxels
            }
            if held and not (held in masks and givers == {plane}):
                assert holds == held or (overlap == "overwrite" and holds in claimed)
            else:
                # Free, or replaced: of the lowest of the objects that claim it, or of none.
                assert holds == min(claimed, default=0)
            if holds in claimed:
                claims[holds].add(at)
        given_by |= {(plane, i): voxels for i, voxels in claims.items()}


def test_a_slice_is_accepted_again_after_its_mask_was_corrected() -> None:
    labels, earlier = np.zeros(SHAPE, np.uint8), []
    large, small = np.ones((4, 3), bool), np.zeros((4, 3), bool)
    small[1, 1] = True
    accept(labels, (0, 1), {1: large}, "keep", earlier)
    accept(labels, (0, 1), {1: small}, "keep", earlier)
    assert np.argwhere(labels).tolist() == [[1, 1, 1]]


def test_a_picture_has_one_slice() -> None:
    labels, earlier = np.zeros((4, 3), np.uint8), []
    mask = np.zeros((4, 3), bool)
    mask[1] = True
    accepted = accept_masks(labels, 0, 0, {2: mask}, "keep", earlier)
    assert accepted.where.tolist() == [3, 4, 5]
    assert accepted.pixels_of(2).tolist() == [3, 4, 5]
