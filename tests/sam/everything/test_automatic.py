from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.utils.amg import remove_small_regions

from napari_cam_sam.demo import shipped_models
from napari_cam_sam.demo.phantoms import mixed, shapes
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.checkpoints import load_into, read_checkpoint
from napari_cam_sam.sam.everything.automatic import (
    AutomaticMask,
    AutomaticParameters,
    _without_small,
    automatic_masks,
    automatic_steps,
)
from napari_cam_sam.sam.frames import Stretched
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.models.compact import build_compact_sam
from napari_cam_sam.sam.models.promptable import SamSegmenter

CPU = torch.device("cpu")
LENIENT = AutomaticParameters(points_per_side=6, predicted_iou=0.0, stability=0.0)


@pytest.fixture(scope="module")
def compact() -> Sam:
    sam = build_compact_sam()
    load_into(sam, read_checkpoint(shipped_models()["compact-sam"]))
    return sam


def small_vit() -> Sam:
    """segment-anything's own classes, small: input 64, grid 8."""
    torch.manual_seed(0)
    sam = Sam(
        ImageEncoderViT(
            img_size=64, patch_size=8, embed_dim=24, depth=1, num_heads=2, out_chans=32,
            use_rel_pos=True, window_size=3,
        ),
        PromptEncoder(32, (8, 8), (64, 64), 16),
        MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(2, 32, 4, 64),
            iou_head_hidden_dim=32,
        ),
    )  # fmt: skip
    for parameter in sam.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return sam.eval()


def segmenter_of(sam: Sam) -> SamSegmenter:
    return SamSegmenter(sam, "some-sam", "0" * 64, CPU)


def theirs(sam: Sam, plane: np.ndarray, parameters: AutomaticParameters) -> list[dict]:
    """What segment-anything's own generator makes of the same plane."""
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=parameters.points_per_side,
        points_per_batch=parameters.points_per_batch,
        pred_iou_thresh=parameters.predicted_iou,
        stability_score_thresh=parameters.stability,
        stability_score_offset=parameters.stability_offset,
        box_nms_thresh=parameters.box_overlap,
        crop_n_layers=parameters.crop_layers,
        crop_nms_thresh=parameters.crop_box_overlap,
        crop_overlap_ratio=parameters.crop_overlap,
        crop_n_points_downscale_factor=parameters.crop_points_divisor,
        min_mask_region_area=parameters.min_area,
    )
    rgb = plane if plane.ndim == 3 else np.stack([plane] * 3, axis=2)
    return sorted(generator.generate(rgb), key=lambda found: -found["predicted_iou"])


def assert_same(ours: tuple[AutomaticMask, ...], expected: list[dict]) -> None:
    assert len(ours) == len(expected)
    for mine, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(mine.mask, other["segmentation"])
        x, y, width, height = other["bbox"]
        assert mine.box == (y, x, y + height + 1, x + width + 1)
        assert mine.area == other["area"]
        assert mine.predicted_iou == pytest.approx(other["predicted_iou"], abs=1e-5)
        assert mine.stability == pytest.approx(other["stability_score"], abs=1e-5)
        assert mine.point == pytest.approx(other["point_coords"][0][::-1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stability_offset": 0.5, "points_per_batch": 7},
        {"crop_layers": 1, "crop_points_divisor": 2},
        {"min_area": 60},
        {"predicted_iou": 0.3, "box_overlap": 0.95, "min_area": 200},
    ],
)
@pytest.mark.parametrize("size", [90, 140])
def test_finds_what_segment_anything_finds(compact, size, changes):
    if "min_area" in changes:
        pytest.importorskip("cv2", reason="segment-anything removes small regions with OpenCV")
    parameters = dataclasses.replace(
        AutomaticParameters(points_per_side=6, predicted_iou=0.35, stability=0.4), **changes
    )
    plane = mixed(5, size=size).image
    found = automatic_masks(segmenter_of(compact), plane, parameters)
    assert len(found) >= 2
    assert_same(found, theirs(compact, plane, parameters))


def test_finds_what_segment_anything_finds_with_its_vision_transformer():
    sam = small_vit()
    plane = np.random.default_rng(3).integers(0, 256, (60, 92, 3), dtype=np.uint8)
    parameters = AutomaticParameters(
        points_per_side=4, predicted_iou=0.0, stability=0.2, stability_offset=0.01, box_overlap=1.0
    )
    found = automatic_masks(segmenter_of(sam), plane, parameters)
    assert len(found) >= 2
    assert_same(found, theirs(sam, plane, parameters))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.2, 0.8))
def test_small_regions_go_as_with_opencv(seed, min_area, density):
    pytest.importorskip("cv2")
    mask = np.random.default_rng(seed).random((17, 23)) < density
    filled, _ = remove_small_regions(mask, min_area, "holes")
    expected, _ = remove_small_regions(filled, min_area, "islands")
    ours = ~_without_small(~mask, min_area)
    np.testing.assert_array_equal(ours, filled)
    kept = _without_small(ours, min_area, keep_one=True)
    assert kept.sum() == expected.sum()
    # Where all parts are small and several the largest, each library keeps its own first one.
    areas = np.bincount(ndimage.label(filled, np.ones((3, 3)))[0].ravel())[1:]
    if areas.size and (areas.max() >= min_area or (areas == areas.max()).sum() == 1):
        np.testing.assert_array_equal(kept, expected)


def test_the_shape_is_among_the_masks():
    phantom = shapes(3)
    found = automatic_masks(
        load_segmenter("compact-sam", "cpu"),
        phantom.image,
        AutomaticParameters(points_per_side=8, predicted_iou=0.7, stability=0.8),
    )
    truth = phantom.labels > 0
    ious = [(one.mask & truth).sum() / (one.mask | truth).sum() for one in found]
    assert max(ious) > 0.85
    for one in found:
        rows, columns = np.nonzero(one.mask)
        assert one.box == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert one.area == rows.size > 0
    estimates = [one.predicted_iou for one in found]
    assert estimates == sorted(estimates, reverse=True)
    assert min(estimates) > 0.7


class Counting(SamSegmenter):
    encoded = 0

    def encode(self, plane):
        self.encoded += 1
        return super().encode(plane)


def test_a_plane_that_is_encoded_is_not_encoded_again(compact):
    segmenter = Counting(compact, "counting", "0" * 64, CPU)
    plane = mixed(5, size=64).image
    parameters = AutomaticParameters(points_per_side=4, predicted_iou=0.3, stability=0.3)
    embedding = segmenter.encode(plane)
    given_one = automatic_masks(segmenter, plane, parameters, embedding)
    assert segmenter.encoded == 1
    alone = automatic_masks(segmenter, plane, parameters)
    assert segmenter.encoded == 2
    assert given_one
    for one, other in zip(given_one, alone, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
    automatic_masks(segmenter, plane, dataclasses.replace(parameters, crop_layers=1), embedding)
    assert segmenter.encoded == 6


def test_says_how_far_it_is_and_stops_where_it_is_told_to(compact):
    segmenter, plane = Counting(compact, "counting", "0" * 64, CPU), mixed(5, size=64).image
    parameters = dataclasses.replace(LENIENT, points_per_batch=10)
    seen: list[tuple[int, int]] = []
    automatic_masks(segmenter, plane, parameters, progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        automatic_masks(segmenter, plane, parameters, progress=stop)

    decoded = []
    original = segmenter.decode_points
    segmenter.decode_points = lambda *args: decoded.append(1) or original(*args)
    steps = automatic_steps(segmenter, plane, parameters)
    next(steps)
    next(steps)
    steps.close()
    assert len(decoded) == 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (40, 50, 3)])
@pytest.mark.parametrize(("value", "crop_layers"), [(0, 0), (None, 1)])
def test_any_plane_goes_through(compact, shape, value, crop_layers):
    plane = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    if value is not None:
        plane[:] = value
    parameters = dataclasses.replace(
        LENIENT, points_per_side=2, crop_layers=crop_layers, min_area=4
    )
    for one in automatic_masks(segmenter_of(compact), plane, parameters):
        assert one.mask.shape == shape[:2]
        assert one.mask.any()
        assert np.isfinite([one.predicted_iou, one.stability]).all()


def test_none_is_an_answer(compact):
    plane = mixed(5, size=64).image
    strict = AutomaticParameters(points_per_side=4, predicted_iou=1.0, min_area=10)
    assert automatic_masks(segmenter_of(compact), plane, strict) == ()
    steady = AutomaticParameters(points_per_side=4, predicted_iou=0.0, stability=1.0)
    steady = dataclasses.replace(steady, stability_offset=50.0, crop_layers=1)
    assert automatic_masks(segmenter_of(compact), plane, steady) == ()


def test_refuses_what_does_not_belong(compact):
    segmenter = segmenter_of(compact)
    plane = mixed(5, size=64).image
    embedding = segmenter.encode(plane)
    with pytest.raises(CamSamError, match=r"of shape \(64, 64\), not \(40, 64\)"):
        automatic_masks(segmenter, plane[:40], LENIENT, embedding)
    with pytest.raises(CamSamError, match="another model"):
        automatic_masks(SamSegmenter(compact, "other", "1" * 64, CPU), plane, LENIENT, embedding)
    with pytest.raises(CamSamError, match="must be uint8"):
        automatic_masks(segmenter, plane.astype(float), LENIENT)
    with pytest.raises(CamSamError, match="seeded cannot look for masks by itself"):
        automatic_masks(load_segmenter("seeded"), plane, LENIENT)
    boxes = SamSegmenter(compact, "medsam", "0" * 64, CPU, Stretched(), boxes_only=True)
    with pytest.raises(CamSamError, match="boxes only"):
        automatic_masks(boxes, plane, LENIENT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"points_per_side": 0}, "whole number of 1"),
        ({"points_per_batch": 1.5}, "whole number of 1"),
        ({"crop_layers": -1}, "whole number of 0"),
        ({"crop_layers": 60}, "at most 5"),
        ({"points_per_side": 10**9}, "at most 1024"),
        ({"min_area": True}, "whole number of 0"),
        ({"predicted_iou": 88}, "in 0 to 1, not 88"),
        ({"stability": float("nan")}, "in 0 to 1"),
        ({"stability_offset": float("inf")}, "0 or more"),
        ({"points_per_side": 3, "crop_layers": 2, "crop_points_divisor": 2}, "last layer"),
    ],
)
def test_refuses_parameters_out_of_range(changes, said):
    with pytest.raises(CamSamError, match=said):
        AutomaticParameters(**changes)
