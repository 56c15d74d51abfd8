from __future__ import annotations

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.volume.consensus import find_consensus


def ball(radius: float) -> np.ndarray:
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    return np.sqrt(z**2 + y**2 + x**2) <= radius


def test_majority_takes_what_two_of_three_say():
    volumes = [np.zeros((1, 1, 4), np.uint8) for _ in range(3)]
    volumes[0][0, 0] = [1, 1, 2, 0]
    volumes[1][0, 0] = [1, 0, 2, 1]
    volumes[2][0, 0] = [1, 1, 1, 0]
    found = find_consensus(volumes)
    np.testing.assert_array_equal(found.labels[0, 0], [1, 1, 2, 0])
    np.testing.assert_allclose(found.disagreement[0, 0], [0, 1 / 3, 1 / 3, 1 / 3])
    assert found.dice == {
        1: (1.0, pytest.approx(2 / 4), pytest.approx(4 / 5)),
        2: (1.0, 1.0, 0.0),
    }


def test_half_of_the_volumes_is_no_majority():
    one = np.ones((2, 2, 2), bool)
    found = find_consensus([one, ~one])
    assert not found.labels.any()
    np.testing.assert_allclose(found.disagreement, 0.5)


def test_the_mean_distance_of_balls_is_a_ball_of_the_mean_radius():
    found = find_consensus([ball(6), ball(9), ball(15)], "mean-distance")
    radius = (found.labels.sum() * 3 / 4 / np.pi) ** (1 / 3)
    assert radius == pytest.approx(10, abs=0.3)
    majority = find_consensus([ball(6), ball(9), ball(15)])
    np.testing.assert_array_equal(majority.labels, ball(9))


def test_a_volume_without_the_object_votes_against_it():
    empty = np.zeros((41, 41, 41), bool)
    for rule in ("majority", "mean-distance"):
        assert not find_consensus([ball(6), empty, empty], rule).labels.any()
    assert find_consensus([ball(6), ball(6), empty]).labels.any()
    nothing = find_consensus([empty, empty])
    assert nothing.dice == {}
    assert not nothing.disagreement.any()


@pytest.mark.parametrize(
    ("volumes", "rule", "said"),
    [
        ([np.zeros((2, 2, 2), int)], "majority", "two volumes or more, not 1"),
        ([np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int)], "majority", "one shape"),
        ([np.zeros((2, 2), int)] * 2, "majority", "one shape"),
        ([np.full((2, 2, 2), -1)] * 2, "majority", "labels count from 1"),
        ([np.zeros((2, 2, 2), int)] * 2, "mean", "Known: majority, mean-distance"),
    ],
)
def test_refuses(volumes, rule, said):
    with pytest.raises(CamSamError, match=said):
        find_consensus(volumes, rule)
