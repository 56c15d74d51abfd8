"""The order in which planes are encoded: only where there is evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.prompts.strategies import prompts_from_heatmap
from napari_cam_sam.sam.cache.encoding_order import encoding_order, evidence_of


def fired(index: int, peak: float) -> PlanePrompts:
    """Prompts of a heatmap with one spot of the given height; of none where it is 0."""
    rows, columns = np.mgrid[:40, :40]
    spot = peak * np.exp(-((rows - 20) ** 2 + (columns - 18) ** 2) / 50)
    return prompts_from_heatmap(spot.astype(np.float32), PromptParameters(), axis=0, index=index)


def test_of_512_planes_the_20_where_the_cam_fires_are_encoded_and_no_other() -> None:
    random = np.random.default_rng(4)
    firing = random.choice(512, 20, replace=False).tolist()
    peaks = dict(zip(firing, random.permutation(np.linspace(0.3, 1, 20)).tolist(), strict=True))
    evidence = evidence_of(fired(index, peaks.get(index, 0.0)) for index in range(512))
    assert set(evidence) == set(firing)
    shown = next(i for i in range(100, 400) if not {i, i + 1, i + 2, i + 3} & set(firing))
    order = list(encoding_order(512, shown, evidence, direction=1, ahead=3))
    assert order[0] == shown
    assert order[1:21] == sorted(firing, key=lambda index: -peaks[index])
    assert order[21:] == [shown + 1, shown + 2, shown + 3]
    assert len(list(encoding_order(512, shown, evidence, ahead=0))) == 21


def test_a_prompt_of_a_person_is_certain_and_a_plane_without_prompts_no_evidence() -> None:
    cam = ObjectPrompt(1, (Point(1, 1, score=0.4),), Box(0, 0, 3, 3, score=0.7))
    person = ObjectPrompt(2, (Point(5, 5),))
    planes = [
        PlanePrompts(0, 3, (cam,)),
        PlanePrompts(0, 5, (cam, person)),
        PlanePrompts(0, 6, (), "no evidence"),
    ]
    assert evidence_of(planes) == {3: 0.7, 5: 1.0}


def test_the_neighbours_follow_the_scroll_and_end_with_the_volume() -> None:
    assert list(encoding_order(10, 5, {}, direction=-1, ahead=3)) == [5, 4, 3, 2]
    assert list(encoding_order(10, 8, {}, direction=7, ahead=3)) == [8, 9]
    assert list(encoding_order(10, 5, {}, ahead=5)) == [5, 6, 4, 7, 3, 8]
    assert list(encoding_order(1, 0, {0: 1.0}, direction=1)) == [0]


def test_of_equal_scores_the_nearest_plane_comes_first() -> None:
    assert list(encoding_order(50, 20, {0: 1.0, 25: 1.0, 18: 1.0, 40: 0.5}, ahead=0)) == [
        20, 18, 25, 0, 40,
    ]  # fmt: skip


@pytest.mark.parametrize(("shown", "evidence"), [(-1, {}), (9, {}), (0, {9: 1.0})])
def test_planes_that_do_not_exist_are_refused(shown: int, evidence: dict[int, float]) -> None:
    with pytest.raises(CamSamError, match="0 to 8"):
        list(encoding_order(9, shown, evidence))


@given(data=st.data(), n=st.integers(1, 60))
def test_each_plane_comes_once_and_evidence_before_neighbours(data: st.DataObject, n: int) -> None:
    index = st.integers(0, n - 1)
    shown = data.draw(index)
    evidence = data.draw(st.dictionaries(index, st.floats(0, 1)))
    order = list(
        encoding_order(
            n, shown, evidence, direction=data.draw(st.integers(-1, 1)),
            ahead=data.draw(st.integers(0, 70)),
        )
    )  # fmt: skip
    assert len(set(order)) == len(order)
    assert set(order) >= {shown, *evidence}
    scores = [2.0 if i == shown else evidence.get(i, -1.0) for i in order]
    assert scores == sorted(scores, reverse=True)
