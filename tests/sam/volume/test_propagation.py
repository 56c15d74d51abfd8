from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.sam.volume.propagation import PropagatedPlane, propagate

# Follows nothing but the masks, so that every stop is the one under test.
BARE = PropagationParameters(follow_brightness=False, min_contrast=None)


class Threshold:
    """A segmenter that finds what is bright in a box, or the bright part that a point is on."""

    name, model_hash, precision, device = "threshold", "0" * 64, "uint8", "cpu"

    def __init__(self) -> None:
        self.encoded: Counter[bytes] = Counter()
        self.decoded: list[tuple[int, ...]] = []
        self.logits: list[object] = []

    def encode(self, plane: np.ndarray) -> Embedding:
        self.encoded[plane.tobytes()] += 1
        return Embedding(plane, plane.shape[:2], self.model_hash)

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[ObjectPrompt],
        *,
        multimask: bool = True,
        previous_logits: Sequence[np.ndarray | None] | None = None,
    ) -> list[MaskCandidates]:
        self.decoded.append(tuple(p.object_id for p in prompts))
        self.logits.append(previous_logits)
        bright = embedding.features > 60
        found = []
        for prompt in prompts:
            mask = np.zeros(bright.shape, bool)
            if prompt.box is not None:
                b = prompt.box
                part = np.s_[
                    max(int(b.row_min), 0) : max(int(b.row_max), 0),
                    max(int(b.column_min), 0) : max(int(b.column_max), 0),
                ]
                mask[part] = bright[part]
            else:
                parts, _ = ndimage.label(bright)
                for p in prompt.points:
                    at = parts[int(p.row), int(p.column)]
                    mask |= (parts == at) & (at > 0) & p.positive
            score = np.float32(embedding.features.max() / 255)
            logits = np.full((1, 4, 4), embedding.features.mean(), np.float32)
            found.append(MaskCandidates(prompt.object_id, mask[None], np.array([score]), logits))
        return found


def numbered(volume: np.ndarray) -> np.ndarray:
    """Planes that differ in a dark corner, so that each is encoded under its own name."""
    volume = volume.astype(np.uint8)
    if min(volume.shape[1:]) > 1:
        volume[:, 0, 0] = np.arange(len(volume)) % 50
    return volume


def ball(shape: tuple[int, int, int] = (21, 32, 32), radius: float = 7.3) -> np.ndarray:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    middle = [n // 2 for n in shape]
    return (z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < radius**2


def at(index: int, *prompts: ObjectPrompt, axis: int = 0) -> PlanePrompts:
    return PlanePrompts(axis, index, prompts)


def whole(object_id: int = 1, rows: float = 32, columns: float = 32) -> ObjectPrompt:
    return ObjectPrompt(object_id, box=Box(0, 0, rows, columns))


def run(
    volume: np.ndarray,
    prompts: Sequence[PlanePrompts],
    parameters: PropagationParameters | None = None,
    segmenter: Threshold | None = None,
    **options: object,
) -> dict[int, PropagatedPlane]:
    image = image_from_array(volume)
    axis = prompts[0].axis
    planes = list(
        propagate(
            image, segmenter or Threshold(), prompts, partial(image.plane, axis), parameters,
            **options,
        )
    )  # fmt: skip
    assert len({p.index for p in planes}) == len(planes), "a plane came twice"
    return {p.index: p for p in planes}


def assembled(planes: dict[int, PropagatedPlane], volume: np.ndarray, axis: int = 0) -> np.ndarray:
    labels = np.zeros(volume.shape, np.uint8)
    for index, plane in planes.items():
        labels[(slice(None),) * axis + (index,)] = plane.labels
    return labels


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("rule", ["box", "points", "mask", "mask+box"])
@pytest.mark.parametrize("bare", [True, False])
def test_a_ball_is_found_to_the_voxel_from_its_middle(axis, rule, bare):
    truth = ball()
    volume = numbered(truth * 200)
    middle = volume.shape[axis] // 2
    flags = {"follow_brightness": False, "min_contrast": None} if bare else {}
    parameters = PropagationParameters(rule=rule, **flags)
    found = run(volume, [at(middle, whole(), axis=axis)], parameters)

    labels = assembled(found, volume, axis)
    others = tuple(a for a in range(3) if a != axis)
    used = np.flatnonzero(truth.any(axis=others))
    # The last plane is smaller than what a way looks for once it follows the brightness.
    inner = truth.copy()
    if not bare:
        areas = truth.sum(axis=others)
        inner[(slice(None),) * axis + (areas < 5,)] = False
        used = np.flatnonzero(inner.any(axis=others))
    np.testing.assert_array_equal(labels, inner)
    assert sorted(found) == list(range(used[0] - 1, used[-1] + 2))
    for index, plane in found.items():
        (one,) = plane.objects
        assert (one.object_id, one.from_plane) == (1, middle)
        ends = index in (used[0] - 1, used[-1] + 1)
        assert one.source == ("none" if ends else "prompted" if index == middle else "propagated")
        assert (one.stopped is not None) == ends
        assert (one.score is None) == ends


def test_previous_logits_are_handed_on_by_the_rules_of_masks_alone():
    volume = numbered(np.repeat(ball()[10:11], 4, axis=0) * 200)
    for rule, handed in (("box", False), ("points", False), ("mask", True), ("mask+box", True)):
        segmenter = Threshold()
        run(volume, [at(1, whole())], PropagationParameters(rule=rule), segmenter)
        assert segmenter.logits[0] is None
        for logits in segmenter.logits[1:]:
            assert (logits is not None) == handed
        if handed:
            before = segmenter.logits[1][0]
            np.testing.assert_array_equal(before, np.full((4, 4), volume[1].mean(), np.float32))


def test_between_two_prompts_the_ways_meet_in_the_middle():
    volume = numbered(np.repeat(ball()[10:11], 11, axis=0) * 200)
    segmenter = Threshold()
    found = run(volume, [at(2, whole()), at(8, whole())], BARE, segmenter)
    assert sorted(found) == list(range(11))
    origins = [found[i].objects[0].from_plane for i in range(11)]
    assert origins == [2, 2, 2, 2, 2, 2, 8, 8, 8, 8, 8]
    assert len(segmenter.decoded) == 11, "each plane is decoded once"
    np.testing.assert_array_equal(assembled(found, volume), (volume > 60).astype(int))


def test_where_one_way_stops_the_other_goes_on():
    disc = ball()[10]
    volume = numbered(np.stack([disc * (110 if i < 8 else 255) for i in range(12)]))
    # From the bright end the dim planes have too little contrast, not the other way round.
    parameters = PropagationParameters(follow_brightness=False)
    found = run(volume, [at(2, whole()), at(10, whole())], parameters)
    origins = {i: p.objects[0].from_plane for i, p in found.items()}
    assert [origins[i] for i in range(12)] == [2] * 8 + [10] * 4
    assert "contrast" in str(found[7].objects[0].stopped)
    assert found[7].objects[0].source == "propagated"
    np.testing.assert_array_equal(assembled(found, volume) > 0, volume > 60)


def test_a_gap_that_neither_way_crosses_is_interpolated():
    disc = ball()[10]
    lit = np.array([1, 1, 1, 0, 0, 0, 1, 1], bool)
    volume = numbered(np.stack([disc * 200 * on for on in lit]))
    prompts = [at(1, whole()), at(7, whole())]
    found = run(volume, prompts)
    np.testing.assert_array_equal(assembled(found, volume), np.repeat(disc[None], 8, axis=0))
    sources = [found[i].objects[0].source for i in range(8)]
    assert sources == ["propagated", "prompted", "propagated", *["interpolated"] * 3,
                       "propagated", "prompted"]  # fmt: skip
    assert found[3].objects[0].stopped is not None
    assert found[4].objects[0].stopped is None

    empty = assembled(run(volume, prompts, PropagationParameters(fill_gaps=False)), volume)
    np.testing.assert_array_equal(empty.any(axis=(1, 2)), lit)


def test_objects_pass_a_plane_together_and_it_is_encoded_once():
    volume = np.zeros((9, 32, 40))
    volume[:, 4:14, 4:14] = 200
    volume[:, 18:28, 20:34] = 200
    volume = numbered(volume)
    one = ObjectPrompt(1, box=Box(2, 2, 16, 16))
    two = ObjectPrompt(2, box=Box(16, 18, 30, 36))
    together = Threshold()
    found = run(volume, [at(4, one, two)], BARE, together)
    assert together.decoded == [(1, 2)] * 9
    expected = (volume > 60).astype(int)
    expected[:, 16:] *= 2
    np.testing.assert_array_equal(assembled(found, volume), expected)

    apart = Threshold()
    found = run(volume, [at(1, one), at(7, two)], BARE, apart)
    np.testing.assert_array_equal(assembled(found, volume), expected)
    assert set(apart.encoded.values()) == {1}
    assert len(apart.encoded) == 9
    # Above and below both prompted planes they go side by side.
    assert apart.decoded.count((1, 2)) + apart.decoded.count((2, 1)) == 2
    assert all([o.object_id for o in plane.objects] == [1, 2] for plane in found.values())


def test_the_object_with_the_lower_id_keeps_what_both_claim():
    volume = numbered(ball() * 200)
    found = run(volume, [at(10, whole(300), whole(2))], BARE)
    assert found[10].labels.dtype == np.uint16
    assert set(np.unique(found[10].labels)) == {0, 2}
    assert [o.object_id for o in found[10].objects] == [2, 300]


def test_entries_of_one_id_on_a_plane_are_one_object():
    volume = np.zeros((3, 32, 32))
    volume[:, 4:12, 4:12] = volume[:, 20:28, 20:28] = 200
    volume = numbered(volume)
    parts = [ObjectPrompt(5, box=Box(2, 2, 14, 14)), ObjectPrompt(5, box=Box(18, 18, 30, 30))]
    found = run(volume, [at(1, *parts)], BARE)
    assert [len(p.objects) for p in found.values()] == [1, 1, 1]
    np.testing.assert_array_equal(assembled(found, volume), (volume > 60) * 5)


@pytest.mark.parametrize(
    ("changes", "last", "said"),
    [
        ({"min_score": 0.7}, 11, "score"),
        ({"max_area_ratio": 1.7}, 14, "area"),
        ({"min_iou": 0.6}, 14, "IoU"),
        ({"min_contrast": 0.8}, 11, "contrast"),
        ({"min_evidence": 0.5}, 12, "evidence"),
        ({"max_planes": 3}, 13, "range"),
        ({}, 17, "empty"),
    ],
)
def test_each_rule_stops_where_it_says(changes, last, said):
    """Dimmer from plane 12, without evidence from 13, twice the area from 15, empty from 18."""
    volume = np.zeros((21, 32, 32))
    volume[:18, 10:20, 10:20] = 200
    volume[12:18] *= 0.7
    volume[15:18, 8:22, 8:22] = 140
    heatmap = np.ones(volume.shape, np.float32)
    heatmap[13:, 10:20, 10:20] = 0.1
    values = {"follow_brightness": False, "min_contrast": None, **changes}
    found = run(
        numbered(volume), [at(10, whole())], PropagationParameters(**values), heatmap=heatmap
    )
    assert max(i for i, p in found.items() if p.labels.any()) == last
    assert said in str(found[last + 1].objects[0].stopped)
    assert max(found) == last + 1


def test_a_heatmap_that_is_not_a_number_is_no_evidence():
    volume = numbered(np.repeat(ball()[10:11], 4, axis=0) * 200)
    heatmap = np.full(volume.shape, np.nan, np.float32)
    found = run(volume, [at(1, whole())], PropagationParameters(min_evidence=0.0), heatmap=heatmap)
    assert [i for i, p in found.items() if p.labels.any()] == [1]


@pytest.mark.parametrize(("millimetres", "planes"), [(0, 0), (4.9, 0), (5, 1), (15, 3), (17, 3)])
def test_a_range_in_mm_counts_by_the_spacing_of_the_axis(millimetres, planes):
    volume = numbered(np.repeat(ball()[10:11], 15, axis=0) * 200)
    image = image_from_array(volume, geometry=Geometry((5.0, 0.7, 0.7), unit="mm"))
    parameters = PropagationParameters(max_distance_mm=millimetres, max_planes=9)
    found = propagate(image, Threshold(), [at(7, whole())], partial(image.plane, 0), parameters)
    given = sorted(p.index for p in found if p.labels.any())
    assert given == list(range(7 - planes, 8 + planes))


def test_a_range_of_0_leaves_the_prompted_planes_alone_and_encodes_no_other():
    volume = numbered(np.repeat(ball()[10:11], 8, axis=0) * 200)
    segmenter = Threshold()
    parameters = PropagationParameters(max_planes=0, fill_gaps=False)
    found = run(volume, [at(2, whole()), at(5, whole())], parameters, segmenter)
    assert [i for i in sorted(found) if found[i].labels.any()] == [2, 5]
    assert sum(segmenter.encoded.values()) == 2


def test_prompts_at_the_ends_do_not_leave_the_volume():
    volume = numbered(np.repeat(ball()[10:11], 5, axis=0) * 200)
    for index in (0, 4):
        found = run(volume, [at(index, whole())], BARE)
        assert sorted(found) == list(range(5))
        assert all(o.stopped is None for p in found.values() for o in p.objects)
    single = run(volume[:1], [at(0, whole())], BARE)
    assert single[0].labels.any()


def test_an_empty_prompted_plane_counts_as_not_prompted():
    volume = np.repeat(ball()[10:11], 9, axis=0) * 200
    volume[6] = 0
    volume = numbered(volume)
    found = run(volume, [at(2, whole()), at(6, whole())], BARE)
    assert "empty" in str(found[6].objects[0].stopped)
    assert found[6].objects[0].source == "none"
    assert sorted(i for i, p in found.items() if p.labels.any()) == [0, 1, 2, 3, 4, 5]
    nothing = run(np.zeros((4, 8, 8), np.uint8), [at(1, whole())])
    assert list(nothing) == [1]
    assert not nothing[1].labels.any()


def test_closing_it_in_the_middle_leaves_whole_planes_and_stops_the_work():
    volume = np.zeros((12, 32, 40))
    volume[:, 4:14, 4:14] = volume[:, 18:28, 20:34] = 200
    image = image_from_array(numbered(volume))
    prompts = [
        at(2, ObjectPrompt(1, box=Box(2, 2, 16, 16))),
        at(9, ObjectPrompt(2, box=Box(16, 18, 30, 36))),
    ]
    full = {
        p.index: p for p in propagate(image, Threshold(), prompts, partial(image.plane, 0), BARE)
    }
    for count in range(1, 12):
        segmenter = Threshold()
        planes = propagate(image, segmenter, prompts, partial(image.plane, 0), BARE)
        taken = [next(planes) for _ in range(count)]
        before = sum(segmenter.encoded.values())
        planes.close()
        assert sum(segmenter.encoded.values()) == before
        for plane in taken:
            np.testing.assert_array_equal(plane.labels, full[plane.index].labels)
            assert plane.objects == full[plane.index].objects


def test_planes_of_one_pixel_and_of_colour():
    volume = np.full((5, 1, 1), 200, np.uint8)
    found = run(volume, [at(2, whole(1, 1, 1))])
    np.testing.assert_array_equal(assembled(found, volume), np.ones((5, 1, 1)))
    seeded = load_segmenter("seeded")
    image = image_from_array(volume)
    for prompt in (whole(1, 1, 1), ObjectPrompt(1, (Point(0, 0),))):
        planes = list(propagate(image, seeded, [at(2, prompt)], partial(image.plane, 0)))
        assert 1 <= len(planes) <= 5

    colour = np.repeat(numbered(ball() * 200)[..., None], 3, axis=-1)
    image = image_from_array(colour, rgb=True)
    planes = propagate(image, seeded, [at(10, whole())], partial(image.plane, 0))
    assert {p.labels.shape for p in planes} == {(32, 32)}


def test_an_embedding_cache_from_outside_is_used():
    volume = numbered(np.repeat(ball()[10:11], 5, axis=0) * 200)
    segmenter, cache = Threshold(), EmbeddingCache()
    encode = partial(cache.encode, segmenter)
    for _ in range(2):
        found = run(volume, [at(2, whole())], BARE, segmenter, encode=encode)
        assert len(found) == 5
    assert set(segmenter.encoded.values()) == {1}


VOLUME = image_from_array(np.zeros((4, 6, 8), np.uint8), name="scan")


@pytest.mark.parametrize(
    ("image", "prompts", "values", "said"),
    [
        (image_from_array(np.zeros((6, 8), np.uint8)), [at(0, whole())], {}, "needs a volume"),
        (VOLUME, [], {}, "No slice has a prompt"),
        (VOLUME, [PlanePrompts(0, 1, (), "no evidence")], {}, "No slice has a prompt"),
        (VOLUME, [at(4, whole())], {}, "no slice 4 along axis 0"),
        (VOLUME, [at(-1, whole())], {}, "no slice -1 along axis 0"),
        (VOLUME, [at(1, whole()), at(1, whole())], {}, "Slice 1 is given twice"),
        (VOLUME, [at(1, whole()), PlanePrompts(1, 2, (whole(),))], {}, "one axis at a time"),
        (VOLUME, [at(1, whole(), axis=3)], {}, "not axis 3"),
        (VOLUME, [at(1, whole(0))], {}, "ids count from 1"),
        (VOLUME, [at(1, whole())], {"max_distance_mm": 10}, "no spacing in mm"),
        (VOLUME, [at(1, whole())], {"min_evidence": 0.1}, "give one"),
    ],
)
def test_refuses_before_the_first_plane(image: Image, prompts, values, said):
    with pytest.raises(CamSamError, match=said):
        propagate(
            image, Threshold(), prompts, partial(image.plane, 0), PropagationParameters(**values)
        )


def test_refuses_arrays_of_another_grid():
    with pytest.raises(CamSamError, match="must be the same"):
        propagate(
            VOLUME, Threshold(), [at(1, whole())], partial(VOLUME.plane, 0),
            heatmap=np.zeros((4, 6, 7), np.float32),
        )  # fmt: skip
    planes = propagate(VOLUME, Threshold(), [at(1, whole())], partial(VOLUME.plane, 1))
    with pytest.raises(CamSamError, match="read them along axis 0"):
        next(planes)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rule": "boxes"}, "Did you mean box"),
        ({"mask_choice": "oracle"}, "mask choice 'oracle'"),
        ({"margin": -1}, "margin must be 0 or more"),
        ({"margin": float("nan")}, "margin"),
        ({"points": 0}, "points must be a whole number, 1 or more"),
        ({"max_planes": 1.5}, "max_planes must be a whole number"),
        ({"max_planes": -1}, "max_planes"),
        ({"min_iou": 1.1}, "min_iou must be from 0 to 1"),
        ({"max_area_ratio": 0.5}, "max_area_ratio must be 1 or more"),
        ({"max_distance_mm": float("inf")}, "max_distance_mm"),
    ],
)
def test_refuses_parameters_out_of_range(values, said):
    with pytest.raises(CamSamError, match=said):
        PropagationParameters(**values)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_prompted_each_plane_comes_once_and_says_where_it_is_from(data):
    n = data.draw(st.integers(1, 9))
    seed = data.draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    volume = numbered(ndimage.uniform_filter(rng.integers(0, 255, (n, 9, 11)), 3) * 1.0)
    indices = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=4))
    prompts = [
        at(i, *(
            ObjectPrompt(k, box=Box(*(float(v) for v in rng.integers(0, 4, 2)), 9.0, 11.0))
            for k in data.draw(st.sets(st.integers(1, 3), min_size=1))
        ))
        for i in indices
    ]  # fmt: skip
    parameters = PropagationParameters(
        rule=data.draw(st.sampled_from(["box", "points", "mask", "mask+box"])),
        negatives=data.draw(st.booleans()),
        points=data.draw(st.integers(1, 3)),
        follow_brightness=data.draw(st.booleans()),
        min_contrast=data.draw(st.none() | st.floats(0, 1)),
        min_iou=data.draw(st.none() | st.floats(0, 1)),
        max_area_ratio=data.draw(st.none() | st.floats(1, 3)),
        max_planes=data.draw(st.none() | st.integers(0, 4)),
        fill_gaps=data.draw(st.booleans()),
    )
    segmenter = Threshold()
    found = run(volume, prompts, parameters, segmenter)
    assert set(found) >= indices
    assert all(count == 1 for count in segmenter.encoded.values())
    for index, plane in found.items():
        given_ids = {o.object_id for o in plane.objects if o.source != "none"}
        assert set(np.unique(plane.labels)) - {0} <= given_ids
        for one in plane.objects:
            assert one.from_plane in indices
            assert (one.source == "prompted") <= (one.from_plane == index)
            assert (one.source == "none") <= (one.stopped is not None)
            if parameters.max_planes is not None and one.source == "propagated":
                assert abs(one.from_plane - index) <= parameters.max_planes
            if one.source == "interpolated":
                assert min(indices) < index < max(indices)
                assert parameters.fill_gaps


def test_on_a_phantom_it_beats_repeating_the_first_mask():
    """A seed of its own, neither of the benchmark nor of those that chose the defaults."""
    sample = make_sample("ct", 11)
    window = resolve_window(sample.image, parse_window(sample.window))
    truth = np.asarray(sample.truth.data) > 0
    used = np.flatnonzero(truth.any(axis=(1, 2)))
    middle = int(used[len(used) // 2])
    rows, columns = np.nonzero(truth[middle])
    box = Box(rows.min() - 2.0, columns.min() - 2.0, rows.max() + 3.0, columns.max() + 3.0)
    labels, repeated = np.zeros(truth.shape, np.uint8), np.zeros(truth.shape, np.uint8)
    for plane in propagate(
        sample.image,
        load_segmenter("compact-sam", "cpu"),
        [at(middle, ObjectPrompt(1, box=box))],
        lambda index: apply_window(sample.image.plane(0, index), window),
    ):
        labels[plane.index] = plane.labels
    repeated[used] = labels[middle]
    assert overlap(labels, truth).dice > overlap(repeated, truth).dice
    assert overlap(labels, truth).dice > 0.8


def flipped(prompts: Sequence[PlanePrompts], count: int) -> list[PlanePrompts]:
    return [PlanePrompts(p.axis, count - 1 - p.index, p.objects) for p in prompts]


@pytest.mark.parametrize("parameters", [None, BARE, PropagationParameters(rule="mask+box")])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([5, 7, 9]), data=st.data())
def test_a_volume_turned_end_for_end_gives_the_same_masks(parameters, seed, size, data):
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=(size, 16, 16)), (1.5, 2, 2))
    volume = (np.clip(blobs / blobs.std() + 1, 0, 3) * 80).astype(np.uint8)
    last = data.draw(st.sampled_from([size - 1, size - 3]))  # an even number of slices apart
    prompts = [at(i, whole(1, 16, 16), whole(2, 9, 7)) for i in (0, last)]
    forwards = run(volume, prompts, parameters)
    backwards = run(volume[::-1].copy(), flipped(prompts, size), parameters)
    assert sorted(forwards) == sorted(size - 1 - i for i in backwards)
    for index, plane in forwards.items():
        other = backwards[size - 1 - index]
        np.testing.assert_array_equal(plane.labels, other.labels)
        for one, two in zip(plane.objects, other.objects, strict=True):
            assert (one.source, one.score, one.stopped) == (two.source, two.score, two.stopped)
            if two.from_plane is not None:
                assert one.from_plane == size - 1 - two.from_plane


@pytest.mark.parametrize("brighter", [2, 8])
def test_the_middle_belongs_to_the_stronger_prompt(brighter):
    volume = numbered(np.repeat(ball()[10:11], 11, axis=0) * 200)
    volume[brighter][volume[brighter] == 200] = 220
    found = run(volume, [at(2, whole()), at(8, whole())], BARE)
    assert found[5].objects[0].from_plane == brighter
