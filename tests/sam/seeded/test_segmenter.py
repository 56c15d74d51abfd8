from __future__ import annotations

import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam.seeded.segmenter import SeededParameters, SeededSegmenter

SHAPE = (120, 160)
SEGMENTER = SeededSegmenter()


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1


def picture(mask: np.ndarray, inside: int = 70, outside: int = 150, noise: int = 12) -> np.ndarray:
    values = np.where(mask, inside, outside) + np.random.default_rng(0).normal(0, noise, SHAPE)
    return np.clip(values, 0, 255).astype(np.uint8)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def box_around(mask: np.ndarray, margin: int = 5) -> Box:
    found = np.argwhere(mask)
    (r0, c0), (r1, c1) = found.min(axis=0) - margin, found.max(axis=0) + 1 + margin
    return Box(float(r0), float(c0), float(r1), float(c1))


def decode(plane: np.ndarray, *points: Point, box: Box | None = None, **options):
    return SEGMENTER.decode(SEGMENTER.encode(plane), [ObjectPrompt(4, points, box)], **options)[0]


OBJECT = ellipse(60, 85, 22, 34)


@pytest.mark.parametrize("inside", [70, 230])
def test_box_finds_a_dark_and_a_bright_object(inside):
    found = decode(picture(OBJECT, inside), box=box_around(OBJECT))
    assert found.object_id == 4
    assert found.masks.shape == (3, *SHAPE)
    assert found.logits.shape == (3, 256, 256)
    assert iou(found.masks[0], OBJECT) > 0.93
    assert 0.7 < found.scores[0] <= 1


@pytest.mark.parametrize("inside", [70, 230])
@pytest.mark.parametrize("size", [(8, 10), (22, 34), (45, 50)])
def test_one_point_finds_its_scale(inside, size):
    mask = ellipse(60, 85, *size)
    found = decode(picture(mask, inside), Point(60 + size[0] * 0.4, 85 - size[1] * 0.4))
    assert iou(found.masks[0], mask) > 0.85


def test_inverting_the_plane_changes_nothing():
    plane = picture(OBJECT)
    for points, box in (((Point(58, 80),), None), ((), box_around(OBJECT))):
        once = decode(plane, *points, box=box)
        inverse = decode(255 - plane, *points, box=box)
        assert iou(once.masks[0], inverse.masks[0]) > 0.99


def test_finds_a_shape_that_is_no_ellipse():
    mask = np.zeros(SHAPE, bool)
    mask[30:90, 50:110] = True
    found = decode(picture(mask), box=box_around(mask, 4))
    inscribed = ellipse(59.5, 79.5, 34, 34)
    assert iou(found.masks[0], mask) > iou(inscribed, mask) + 0.1


def test_a_negative_point_is_out_and_a_positive_one_in():
    plane = picture(OBJECT)
    box = box_around(OBJECT)
    assert decode(plane, box=box).masks[0][60, 85]
    carved = decode(plane, Point(60, 85, positive=False), box=box).masks[0]
    assert not carved[60, 85]
    assert not decode(plane, Point(60, 85, positive=False), Point(60, 70)).masks[0][60, 85]
    corner = Point(box.row_min + 2, box.column_min + 2)
    assert not decode(plane, box=box).masks[0][int(corner.row), int(corner.column)]
    assert decode(plane, corner, box=box).masks[0][int(corner.row), int(corner.column)]


def test_a_negative_point_keeps_out_the_neighbour():
    left, right = ellipse(60, 60, 20, 22), ellipse(60, 105, 20, 24)
    plane = picture(left | right)
    found = decode(plane, Point(60, 60), Point(60, 105, positive=False)).masks[0]
    assert not found[60, 105]
    assert iou(found, left) > 0.8
    both = decode(plane, Point(60, 60), Point(60, 105)).masks[0]
    assert iou(both, left | right) > 0.8


def test_candidates_are_a_middle_a_generous_and_a_strict_mask():
    found = decode(picture(OBJECT), box=box_around(OBJECT))
    middle, generous, strict = found.masks
    assert strict.sum() < middle.sum() < generous.sum()
    assert not (strict & ~middle).any()
    single = decode(picture(OBJECT), box=box_around(OBJECT), multimask=False)
    assert single.masks.shape == (1, *SHAPE)
    np.testing.assert_array_equal(single.masks[0], middle)
    assert iou(found.logits[1] > 0, _shrink(generous)) > 0.95


def _shrink(mask: np.ndarray) -> np.ndarray:
    at = [((np.arange(256) + 0.5) / 256 * n).astype(int) for n in mask.shape]
    return mask[np.ix_(*at)]


def test_previous_logits_give_points_their_scale():
    inner, outer = ellipse(60, 85, 10, 12), ellipse(60, 85, 40, 50)
    plane = picture(outer, 110).astype(int)
    plane[inner] -= 60
    plane = np.clip(plane, 0, 255).astype(np.uint8)
    first = decode(plane, box=box_around(outer))
    again = decode(plane, Point(60, 85), previous_logits=[first.logits[0]])
    assert iou(again.masks[0], outer) > 0.8
    nothing = np.full((256, 256), -5, np.float32)
    fresh = decode(plane, Point(60, 85), previous_logits=[nothing])
    np.testing.assert_array_equal(fresh.masks[0], decode(plane, Point(60, 85)).masks[0])


def test_many_objects_are_as_each_alone():
    embedding = SEGMENTER.encode(picture(OBJECT))
    prompts = [ObjectPrompt(i, (Point(60, 60 + 8 * i),)) for i in range(1, 5)]
    together = SEGMENTER.decode(embedding, prompts)
    assert [c.object_id for c in together] == [1, 2, 3, 4]
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda p: SEGMENTER.decode(embedding, [p])[0], prompts))
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a.masks, b.masks)


def test_colour_of_equal_brightness_is_seen_and_gray_as_colour_is_gray():
    plane = np.where(OBJECT[..., None], [200, 60, 60], [60, 200, 60]).astype(np.uint8)
    assert iou(decode(plane, box=box_around(OBJECT)).masks[0], OBJECT) > 0.95
    gray = picture(OBJECT)
    repeated = decode(np.stack([gray] * 3, axis=2), box=box_around(OBJECT))
    assert iou(repeated.masks[0], decode(gray, box=box_around(OBJECT)).masks[0]) > 0.99


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_plane_gives_a_plain_shape_around_the_prompt(value):
    plane = np.full(SHAPE, value, np.uint8)
    found = decode(plane, box=Box(20, 30, 60, 90)).masks[0]
    assert found[40, 60]
    assert 0.4 < found.sum() / (40 * 60) <= 1
    assert not found[:20].any()
    disc = decode(plane, Point(50, 50)).masks[0]
    assert disc[50, 50]
    assert 0 < disc.sum() < plane.size / 4


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corner=st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
    size=st.tuples(st.floats(1, 90), st.floats(1, 90)),
    points=st.lists(st.tuples(st.floats(-10, 50), st.floats(-10, 50), st.booleans()), max_size=4),
    with_box=st.booleans(),
    seed=st.integers(0, 3),
)
def test_any_prompt_on_any_plane_gives_a_mask(shape, corner, size, points, with_box, seed):
    plane = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if seed == 3:
        plane[:] = 7
    box = Box(*corner, corner[0] + size[0], corner[1] + size[1]) if with_box else None
    given_points = [Point(*p) for p in points]
    if box is None and not any(p.positive for p in given_points):
        given_points.append(Point(0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode(plane, *given_points, box=box)
    assert found.masks.shape == (3, *shape)
    assert np.isfinite(found.logits).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    if box is not None and not points:
        rows, columns = np.nonzero(found.masks[0])
        assert all(box.contains(r + 0.5, c + 0.5) for r, c in zip(rows, columns, strict=True))


def test_a_box_of_one_pixel_and_one_outside():
    plane = picture(OBJECT)
    pixel = decode(plane, box=Box(60, 85, 61, 86)).masks[0]
    assert np.argwhere(pixel).tolist() == [[60, 85]]
    outside = decode(plane, box=Box(300, 300, 340, 350))
    assert not outside.masks.any()
    assert (outside.scores == 0).all()


def test_heatmap_regions_are_seeds_enough():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    blob = np.exp(-(((rows - 56) / 30) ** 2 + ((columns - 90) / 40) ** 2)).astype(np.float32)
    embedding = SEGMENTER.encode(picture(OBJECT))
    found = SEGMENTER.decode_heatmap(embedding, blob, object_id=9)
    assert found.object_id == 9
    assert iou(found.masks[0], OBJECT) > 0.85
    assert iou(found.masks[0], OBJECT) > iou(blob > 0.5, OBJECT)
    nothing = SEGMENTER.decode_heatmap(embedding, np.zeros(SHAPE, np.float32))
    assert not nothing.masks.any()
    assert (nothing.scores == 0).all()
    with pytest.raises(CamSamError, match="must be the same"):
        SEGMENTER.decode_heatmap(embedding, blob[:5])


def test_walks_from_pairs_of_seeds_are_averaged_those_without_seeds_left_out():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    blob = np.exp(-(((rows - 56) / 30) ** 2 + ((columns - 90) / 40) ** 2)).astype(np.float32)
    plane = picture(OBJECT, inside=130, noise=25)

    def walked(high: tuple[float, ...], low: tuple[float, ...]) -> np.ndarray:
        segmenter = SeededSegmenter(SeededParameters(heatmap_high=high, heatmap_low=low))
        return segmenter.heatmap_probability(segmenter.encode(plane), blob)

    first, second = walked((0.9,), (0.1,)), walked((0.6,), (0.2,))
    assert np.abs(first - second).max() > 0.05
    both = walked((0.9, 0.6, 1.5), (0.1, 0.2, 0.1))
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)
    assert not walked((1.5,), (0.1,)).any()


def test_hash_names_the_settings():
    other = SeededSegmenter(SeededParameters(margin=0.3))
    assert re.fullmatch("[0-9a-f]{64}", SEGMENTER.model_hash)
    assert SeededSegmenter().model_hash == SEGMENTER.model_hash != other.model_hash
    with pytest.raises(CamSamError, match="another model"):
        other.decode(SEGMENTER.encode(picture(OBJECT)), [ObjectPrompt(1, (Point(1, 1),))])


@pytest.mark.parametrize(
    "prompt",
    [
        ObjectPrompt(2),
        ObjectPrompt(2, (Point(3, 3, positive=False),)),
        ObjectPrompt(2, (), Box(5, 5, 5, 8)),
    ],
)
def test_refuses_prompts_that_say_nothing(prompt):
    with pytest.raises(CamSamError, match="bject 2"):
        SEGMENTER.decode(SEGMENTER.encode(picture(OBJECT)), [prompt])


@pytest.mark.real_data
def test_real_lesions_of_the_half_that_chose_nothing():
    from PIL import Image

    folder = Path(__file__).resolve().parents[3].parent / "shared/data/busi/images"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}")
    scores = []
    for path in sorted((folder / "benign").glob("*).png"))[:12]:
        if int(path.stem.split("(")[1][:-1]) % 2 == 0:
            continue
        plane = np.asarray(Image.open(path).convert("L"))
        truth = np.asarray(Image.open(path.with_name(f"{path.stem}_mask.png")).convert("L")) > 0
        found = decode(plane, box=box_around(truth), multimask=False)
        scores.append(iou(found.masks[0], truth))
    assert len(scores) >= 5
    assert np.mean(scores) > 0.84
