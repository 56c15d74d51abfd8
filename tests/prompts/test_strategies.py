from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.bounds import check_on_plane
from napari_cam_sam.prompts.data import Box, PlanePrompts, Point
from napari_cam_sam.prompts.strategies import (
    PRESETS,
    TRUTH_PRESETS,
    PromptParameters,
    adaptive_negatives,
    prompts_from_heatmap,
    prompts_from_mask,
)


def blob(shape, row, column, width):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = (rows - row) ** 2 + (columns - column) ** 2
    return np.exp(-distance / (2 * width**2)).astype(np.float32)


@pytest.fixture
def heatmap():
    return blob((60, 80), 20, 50, 10)


def positions(points):
    return [(point.row, point.column) for point in points]


class TestHeatmaps:
    def test_s1(self, heatmap):
        (prompt,) = prompts_from_heatmap(heatmap, "s1", axis=2, index=7).objects
        rows, columns = np.nonzero(heatmap > 0.8)
        assert prompt.box is not None
        assert (prompt.box.row_min, prompt.box.row_max) == (rows.min() - 5, rows.max() + 6)
        assert (prompt.box.column_min, prompt.box.column_max) == (
            columns.min() - 5,
            columns.max() + 6,
        )
        assert positions(prompt.points) == [(20, 50)]
        assert prompt.points[0].score == pytest.approx(1.0)
        assert prompt.points[0].source == prompt.box.source == "cam"
        assert prompt.object_id == 1

    def test_s1_box_may_leave_the_plane(self):
        (prompt,) = prompts_from_heatmap(blob((30, 30), 1, 28, 4), "s1").objects
        assert prompt.box is not None
        assert prompt.box.row_min == -5
        assert prompt.box.column_max == 35

    def test_kinds(self, heatmap):
        for kind, has_points, has_box in (
            ("box", False, True), ("point", True, False), ("box-point", True, True),
        ):  # fmt: skip
            parameters = replace(PRESETS["s1"], kind=kind)
            (prompt,) = prompts_from_heatmap(heatmap, parameters).objects
            assert bool(prompt.points) is has_points
            assert (prompt.box is not None) is has_box

    def test_s2_foreground_is_a_grid_around_the_centre_of_mass(self, heatmap):
        (prompt,) = prompts_from_heatmap(heatmap, "s2-fg").objects
        assert prompt.box is None
        assert positions(prompt.points)[0] == (20, 50)
        expected = {(20 + dr, 50 + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)}
        assert set(positions(prompt.points)) == expected
        assert len(prompt.points) == 9
        assert all(point.positive for point in prompt.points)

    def test_s2_centre_of_mass_is_of_all_parts_together(self):
        values = np.zeros((20, 20))
        values[5, 2] = values[5, 12] = 1
        (prompt,) = prompts_from_heatmap(values, "s2-fg").objects
        assert positions(prompt.points)[0] == (5, 7)

    def test_grid_stays_on_the_plane(self):
        values = np.zeros((20, 20))
        values[0, 19] = 1
        (prompt,) = prompts_from_heatmap(values, "s2-fg").objects
        assert set(positions(prompt.points)) == {(0, 19), (0, 18), (1, 19), (1, 18)}

    def test_s2_background_takes_the_four_extremes_of_the_cold_region(self, heatmap):
        (prompt,) = prompts_from_heatmap(heatmap, "s2-fg-bg").objects
        negatives = [point for point in prompt.points if not point.positive]
        places = positions(negatives)
        assert len(set(places)) == 4
        assert [p[0] for p in places[:2]] == [0, 59]
        assert [p[1] for p in places[2:]] == [0, 79]
        assert all(heatmap[int(r), int(c)] < 0.1 for r, c in places)

    def test_s2_background_where_the_cold_region_is_small(self):
        values = np.ones((20, 20))
        values[3, 4], values[9, 1], values[12, 15] = 0, 0.05, 0.02
        (prompt,) = prompts_from_heatmap(values, "s2-fg-bg").objects
        negatives = positions(p for p in prompt.points if not p.positive)
        assert negatives == [(3, 4), (12, 15), (9, 1)]

    def test_s2_adaptive_starts_without_negatives(self, heatmap):
        assert prompts_from_heatmap(heatmap, "s2-adaptive") == prompts_from_heatmap(
            heatmap, "s2-fg"
        )

    def test_negatives_around_lie_straight_outside_the_box(self):
        heatmap = blob((60, 80), 20, 50, 6)
        parameters = PromptParameters(negatives="around")
        (prompt,) = prompts_from_heatmap(heatmap, parameters).objects
        negatives = positions(p for p in prompt.points if not p.positive)
        cold = heatmap < 0.1
        up = max(r for r in range(20) if cold[r, 50])
        right = min(c for c in range(50, 80) if cold[20, c])
        assert up > 0  # the nearest, not the border
        assert (up, 50) in negatives
        assert (20, right) in negatives
        assert all(cold[int(r), int(c)] for r, c in negatives)

    def test_no_negatives_around_where_nothing_is_cold(self):
        values = 0.5 + 0.5 * blob((30, 30), 15, 15, 5)
        parameters = PromptParameters(negatives="around", threshold=0.8)
        (prompt,) = prompts_from_heatmap(values, parameters).objects
        assert all(point.positive for point in prompt.points)

    def test_several_objects_have_their_own_ids(self):
        values = np.maximum(blob((60, 80), 20, 20, 5), 0.9 * blob((60, 80), 40, 60, 5))
        found = prompts_from_heatmap(values, PromptParameters(max_objects=5))
        assert [prompt.object_id for prompt in found.objects] == [1, 2]
        assert positions(found.objects[0].points) == [(20, 20)]
        assert positions(found.objects[1].points) == [(40, 60)]
        counted_on = prompts_from_heatmap(values, PromptParameters(max_objects=5), first_id=4)
        assert [prompt.object_id for prompt in counted_on.objects] == [4, 5]

    @pytest.mark.parametrize(
        ("values", "parameters", "reason"),
        [
            (np.zeros((5, 5)), "s1", "zero everywhere"),
            (np.full((5, 5), np.nan), "s1", "not finite"),
            (np.where(np.eye(5) > 0, np.inf, 0.5), "s2-fg", "not finite"),
            (np.full((5, 5), 0.7), "s1", "same everywhere"),
            (-np.eye(5), "s2-fg", "zero everywhere"),
            (np.eye(5) * 0.3, "s1", "no heatmap value above 0.8"),
            (np.eye(5), PromptParameters(min_area=6), "no region of 6 pixels or more above 0.3"),
        ],
    )
    def test_no_evidence_gives_a_reason(self, values, parameters, reason):
        found = prompts_from_heatmap(values, parameters, axis=1, index=3)
        assert (found.axis, found.index, found.objects) == (1, 3, ())
        assert found.reason is not None
        assert reason in found.reason

    def test_truth_strategy_is_refused(self, heatmap):
        with pytest.raises(CamSamError, match="from a truth mask"):
            prompts_from_heatmap(heatmap, "truth-box")

    @pytest.mark.parametrize("values", [np.zeros((2, 3, 4)), np.zeros((0, 4)), np.array("a")])
    def test_wrong_arrays_are_refused(self, values):
        with pytest.raises(CamSamError, match="2D array of numbers"):
            prompts_from_heatmap(values)

    @settings(max_examples=60, deadline=None)
    @given(
        hnp.arrays(
            np.float32,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
            elements=st.floats(0, 1, width=32) | st.just(float("nan")),
        ),
        st.sampled_from(sorted(PRESETS)),
        st.sampled_from(["fixed", "fraction-of-max", "otsu", "percentile", "k-means"]),
        st.sampled_from(["argmax", "mass-centre-snapped", "distance-centre", "box-centre"]),
        st.sampled_from(["none", "extremes", "around"]),
        st.integers(1, 4),
    )
    def test_any_map_gives_prompts_on_the_plane_or_a_reason(
        self, values, preset, rule, point, negatives, max_objects
    ):
        parameters = replace(
            PRESETS[preset], threshold_rule=rule, point=point, negatives=negatives,
            max_objects=max_objects,
        )  # fmt: skip
        found = prompts_from_heatmap(values, parameters)
        assert bool(found.objects) is (found.reason is None)
        check_on_plane(found, values.shape)
        for prompt in found.objects:
            assert prompt.box is not None or any(p.positive for p in prompt.points)
            if point != "box-centre" and parameters.grid == 1:
                threshold_inside = [p.score for p in prompt.points if p.positive]
                assert all(score is not None and score > 0 for score in threshold_inside)


class TestMasks:
    def test_truth_box_rule(self):
        mask = np.zeros((30, 40), bool)
        mask[10:17, 20:30] = True
        mask[0, 0] = True
        (prompt,) = prompts_from_mask(mask, "truth-box").objects
        assert prompt.box == Box(5, 15, 22, 35, source="truth")
        assert prompt.points == ()
        (prompt,) = prompts_from_mask(mask, "truth-box-point").objects
        assert prompt.points == (Point(13, 25, source="truth"),)
        (prompt,) = prompts_from_mask(mask, "truth-point").objects
        assert prompt.box is None

    def test_margin_and_point_rule_are_parameters(self):
        mask = np.zeros((30, 40), bool)
        mask[10:17, 20:30] = True
        mask[10, 20:39] = True
        parameters = replace(TRUTH_PRESETS["truth-box-point"], margin=2.5, point="distance-centre")
        (prompt,) = prompts_from_mask(mask, parameters).objects
        assert prompt.box == Box(7.5, 17.5, 19.5, 41.5, source="truth")
        assert positions(prompt.points) in [[(13, 24)], [(13, 25)]]

    def test_each_label_keeps_its_value_as_id(self):
        labels = np.zeros((30, 40), np.uint8)
        labels[2:5, 2:6] = 7
        labels[20:25, 30:33] = 3
        found = prompts_from_mask(labels, replace(TRUTH_PRESETS["truth-box"], margin=0))
        assert [prompt.object_id for prompt in found.objects] == [3, 7]
        assert found.objects[0].box == Box(20, 30, 25, 33, source="truth")

    def test_components_as_objects_count_from_one(self):
        labels = np.zeros((30, 40), np.uint8)
        labels[2:5, 2:6] = 7
        labels[20:25, 30:33] = 3
        labels[10:12, 30:33] = 3
        parameters = replace(TRUTH_PRESETS["truth-box"], margin=0, max_objects=4)
        found = prompts_from_mask(labels, parameters, axis=1, index=2)
        assert [(p.object_id, p.box.row_min) for p in found.objects if p.box] == [
            (1, 20),
            (2, 10),
            (3, 2),
        ]
        assert (found.axis, found.index) == (1, 2)

    @pytest.fixture
    def parts(self):
        """Four components of areas 25, 9, 4 and 1."""
        mask = np.zeros((40, 40), bool)
        mask[2:7, 2:7] = mask[2:5, 20:23] = mask[20:22, 2:4] = mask[30, 30] = True
        return mask

    def test_s4_mode1(self, parts):
        (prompt,) = prompts_from_mask(parts, "s4-mode1").objects
        assert prompt.points == (Point(4, 4, source="truth"),)
        assert prompt.box is None

    def test_s4_mode2(self, parts):
        (prompt,) = prompts_from_mask(parts, "s4-mode2").objects
        assert positions(prompt.points)[:2] == [(4, 4), (3, 21)]
        assert len(prompt.points) == 3

    def test_s4_mode3(self, parts):
        (prompt,) = prompts_from_mask(parts, "s4-mode3").objects
        assert prompt.box == Box(2, 2, 7, 7, source="truth")
        assert prompt.points == ()

    def test_s4_mode4_boxes_share_one_object(self, parts):
        found = prompts_from_mask(parts, "s4-mode4").objects
        assert [prompt.object_id for prompt in found] == [1, 1, 1]
        assert [prompt.box for prompt in found] == [
            Box(2, 2, 7, 7, source="truth"),
            Box(2, 20, 5, 23, source="truth"),
            Box(20, 2, 22, 4, source="truth"),
        ]

    def test_s4_mode5(self, parts):
        (prompt,) = prompts_from_mask(parts, "s4-mode5").objects
        assert prompt.box == Box(2, 2, 31, 31, source="truth")

    def test_s4_from_a_heatmap_is_from_its_upper_half(self, parts):
        values = np.where(parts, 1.0, 0.4)
        for mode in range(1, 6):
            of_map = prompts_from_heatmap(values, f"s4-mode{mode}").objects
            of_mask = prompts_from_mask(parts, f"s4-mode{mode}").objects
            assert [positions(p.points) for p in of_map] == [positions(p.points) for p in of_mask]
            assert [p.box and replace(p.box, source="truth", score=None) for p in of_map] == [
                p.box for p in of_mask
            ]

    def test_s2_negatives_lie_outside_a_mask(self, parts):
        (prompt,) = prompts_from_mask(parts, "s2-fg-bg").objects
        negatives = [point for point in prompt.points if not point.positive]
        assert len(negatives) == 4
        assert not any(parts[int(p.row), int(p.column)] for p in negatives)

    def test_empty_truth_gives_a_reason(self):
        found = prompts_from_mask(np.zeros((4, 4), bool), axis=1, index=9)
        assert found == PlanePrompts(1, 9, (), "the slice has no truth")

    def test_small_truth_gives_a_reason(self):
        parameters = replace(TRUTH_PRESETS["truth-box"], min_area=5)
        found = prompts_from_mask(np.eye(4, dtype=int), parameters)
        assert found.reason == "the truth has no component of 5 pixels or more"

    def test_what_is_no_mask_is_refused(self):
        with pytest.raises(CamSamError, match="boolean or integer type, not float64"):
            prompts_from_mask(np.zeros((4, 4)))
        with pytest.raises(CamSamError, match=r"\(2, 4, 4\)"):
            prompts_from_mask(np.zeros((2, 4, 4), int))
        with pytest.raises(CamSamError, match="Unknown strategy"):
            prompts_from_mask(np.ones((4, 4), int), "truth-boxes")
        with pytest.raises(CamSamError, match="needs a heatmap"):
            prompts_from_mask(np.ones((4, 4), int), PromptParameters(point="argmax"))


class TestAdaptiveNegatives:
    def test_nothing_leaks(self, heatmap):
        parameters = PRESETS["s2-adaptive"]
        assert adaptive_negatives(heatmap, heatmap > 0.2, parameters) == ()
        assert adaptive_negatives(heatmap, np.zeros(heatmap.shape, bool), parameters) == ()

    def test_points_lie_in_the_leaks_the_largest_first(self, heatmap):
        mask = heatmap > 0.2
        mask[50:57, 10:17] = True
        mask[50:55, 60:65] = True
        found = adaptive_negatives(heatmap, mask, PRESETS["s2-adaptive"])
        assert positions(found) == [(53, 13), (52, 62)]
        assert not any(point.positive for point in found)
        assert all(point.score is not None and point.score < 0.1 for point in found)
        only = adaptive_negatives(heatmap, mask, PRESETS["s2-adaptive"], max_points=1)
        assert only == found[:1]

    def test_a_speck_is_no_leak(self, heatmap):
        mask = heatmap > 0.2
        mask[59, 0] = True
        assert adaptive_negatives(heatmap, mask, PRESETS["s2-adaptive"]) == ()

    def test_shapes_must_agree(self, heatmap):
        with pytest.raises(CamSamError, match=r"shape \(2, 2\)"):
            adaptive_negatives(heatmap, np.ones((2, 2), bool), PRESETS["s2-adaptive"])
