from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam.compact import build_compact_sam
from napari_cam_sam.sam.frames import Stretched
from napari_cam_sam.sam.promptable import SamSegmenter

CPU = torch.device("cpu")
MIXED = (
    ObjectPrompt(1, box=Box(3, 5, 40, 61)),
    ObjectPrompt(2, (Point(20, 30),)),
    ObjectPrompt(3, (Point(20.5, 30), Point(2, 70, positive=False)), Box(-4, 10, 55, 90)),
    ObjectPrompt(4, (Point(44, 12),)),
    ObjectPrompt(5, (Point(20, 30), Point(50, 80, positive=False), Point(10, 31))),
    ObjectPrompt(6, box=Box(0, 0, 10, 10)),
)


def tiny_sam() -> Sam:
    """segment-anything's own classes, small: input 64, grid 8."""
    torch.manual_seed(0)
    width = 32
    sam = Sam(
        ImageEncoderViT(
            img_size=64,
            patch_size=8,
            embed_dim=24,
            depth=2,
            num_heads=2,
            out_chans=width,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
        ),
        PromptEncoder(width, (8, 8), (64, 64), 16),
        MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(2, width, 4, 64),
            iou_head_hidden_dim=32,
        ),
        [123.675, 116.28, 103.53],
        [58.395, 57.12, 57.375],
    )
    # Without this the attention's positions are zero, and would hide an error in them.
    for parameter in sam.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return sam.eval()


@pytest.fixture(scope="module", params=["tiny", "compact"])
def sam(request: pytest.FixtureRequest) -> Sam:
    if request.param == "tiny":
        return tiny_sam()
    torch.manual_seed(1)
    return build_compact_sam()


@pytest.fixture(scope="module")
def segmenter(sam: Sam) -> SamSegmenter:
    return SamSegmenter(sam, "some-sam", "0" * 64, CPU)


@pytest.fixture(params=[(60, 92), (92, 60, 3)])
def plane(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, request.param, dtype=np.uint8)


def predictor_of(sam: Sam, plane: np.ndarray) -> SamPredictor:
    predictor = SamPredictor(sam)
    predictor.set_image(plane if plane.ndim == 3 else np.stack([plane] * 3, axis=2))
    return predictor


def ask(predictor: SamPredictor, prompt: ObjectPrompt, **options: object) -> tuple:
    box = prompt.box
    return predictor.predict(
        np.array([(p.column, p.row) for p in prompt.points], float) if prompt.points else None,
        np.array([p.positive for p in prompt.points], int) if prompt.points else None,
        np.array([box.column_min, box.row_min, box.column_max, box.row_max]) if box else None,
        **options,
    )


@pytest.mark.parametrize("multimask", [True, False])
def test_agrees_with_the_predictor(sam, segmenter, plane, multimask):
    predictor = predictor_of(sam, plane)
    embedding = segmenter.encode(plane)
    torch.testing.assert_close(embedding.features, predictor.features, atol=1e-4, rtol=0)

    decoded = segmenter.decode(embedding, MIXED, multimask=multimask)

    assert [c.object_id for c in decoded] == [1, 2, 3, 4, 5, 6]
    for candidates, prompt in zip(decoded, MIXED, strict=True):
        _, scores, logits = ask(predictor, prompt, multimask_output=multimask)
        full, _, _ = ask(predictor, prompt, multimask_output=multimask, return_logits=True)
        np.testing.assert_allclose(candidates.scores, scores, atol=1e-4)
        np.testing.assert_allclose(candidates.logits, logits, atol=1e-4)
        assert candidates.masks.shape == (3 if multimask else 1, *plane.shape[:2])
        clear = np.abs(full) > 1e-3
        np.testing.assert_array_equal(candidates.masks[clear], (full > 0)[clear])
        assert clear.mean() > 0.9


def test_refines_previous_logits_as_the_predictor_does(sam, segmenter, plane):
    predictor = predictor_of(sam, plane)
    embedding = segmenter.encode(plane)
    first = segmenter.decode(embedding, MIXED)
    previous = [c.logits[1] for c in first]
    previous[3] = None
    again = segmenter.decode(embedding, MIXED, multimask=False, previous_logits=previous)
    for candidates, prompt, before in zip(again, MIXED, previous, strict=True):
        mask_input = None if before is None else before[None]
        _, scores, logits = ask(predictor, prompt, multimask_output=False, mask_input=mask_input)
        np.testing.assert_allclose(candidates.logits, logits, atol=1e-4)
        np.testing.assert_allclose(candidates.scores, scores, atol=1e-4)


def test_more_objects_than_fit_into_one_batch_keep_their_order():
    segmenter = SamSegmenter(tiny_sam(), "tiny", "0" * 64, CPU)
    plane = np.random.default_rng(4).integers(0, 256, (40, 40), dtype=np.uint8)
    embedding = segmenter.encode(plane)
    prompts = [ObjectPrompt(i + 1, (Point(i % 40, (7 * i) % 40),)) for i in range(35)]
    together = segmenter.decode(embedding, prompts)
    for prompt, candidates in zip(prompts, together, strict=True):
        alone = segmenter.decode(embedding, [prompt])[0]
        assert candidates.object_id == prompt.object_id
        np.testing.assert_allclose(candidates.logits, alone.logits, atol=1e-4)
    assert segmenter.decode(embedding, []) == []


def test_threads_may_share_it():
    segmenter = SamSegmenter(tiny_sam(), "tiny", "0" * 64, CPU)
    planes = np.random.default_rng(5).integers(0, 256, (12, 30, 40), dtype=np.uint8)

    def both(plane: np.ndarray) -> np.ndarray:
        return segmenter.decode(segmenter.encode(plane), MIXED[:3])[2].logits

    expected = [both(plane) for plane in planes]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(both, planes))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_leaves_no_gradients_behind():
    sam = tiny_sam()
    segmenter = SamSegmenter(sam, "tiny", "0" * 64, CPU)
    embedding = segmenter.encode(np.zeros((20, 30), np.uint8))
    assert not embedding.features.requires_grad
    assert torch.is_grad_enabled()


def test_medsam_frame_follows_the_published_steps():
    """Square resize, min-max, direct scaling of the box, cut of the upscaled probability."""
    sam = tiny_sam()
    segmenter = SamSegmenter(sam, "medsam", "0" * 64, CPU, Stretched())
    plane = np.random.default_rng(6).integers(40, 200, (64, 64), dtype=np.uint8)
    scaled = (plane.astype(np.float32) - plane.min()) / (int(plane.max()) - int(plane.min()))
    image = torch.from_numpy(np.stack([scaled] * 3))[None]
    with torch.no_grad():
        expected = sam.image_encoder(image)
    embedding = segmenter.encode(plane)
    torch.testing.assert_close(embedding.features, expected, atol=1e-4, rtol=0)

    wide = segmenter.encode(np.repeat(plane, 2, axis=1))
    box = Box(10, 20, 40, 120)
    found = segmenter.decode(wide, [ObjectPrompt(box=box)], multimask=False)[0]
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder(None, torch.tensor([[10.0, 10, 60, 40]]), None)
        logits, _ = sam.mask_decoder(
            wide.features, sam.prompt_encoder.get_dense_pe(), sparse, dense, False
        )
        full = torch.nn.functional.interpolate(
            torch.sigmoid(logits), size=(64, 128), mode="bilinear", align_corners=False
        )
    np.testing.assert_allclose(found.logits, logits[0], atol=1e-4)
    np.testing.assert_array_equal(found.masks[0], full[0, 0].numpy() > 0.5)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (ObjectPrompt(7), "no box and no positive point"),
        (ObjectPrompt(7, (Point(1, 1, positive=False),)), "no box and no positive point"),
        (ObjectPrompt(7, box=Box(4, 4, 4, 9)), "no area"),
        (ObjectPrompt(7, (Point(float("nan"), 1),)), "not finite"),
    ],
)
def test_refuses_prompts_that_say_nothing(prompt, said):
    segmenter = SamSegmenter(tiny_sam(), "tiny", "0" * 64, CPU)
    embedding = segmenter.encode(np.zeros((9, 9), np.uint8))
    with pytest.raises(CamSamError, match=said) as caught:
        segmenter.decode(embedding, [prompt])
    assert "object 7" in str(caught.value).lower()


def test_refuses_what_does_not_belong():
    segmenter = SamSegmenter(tiny_sam(), "tiny", "0" * 64, CPU)
    other = SamSegmenter(tiny_sam(), "other", "1" * 64, CPU)
    embedding = segmenter.encode(np.zeros((9, 9), np.uint8))
    prompt = ObjectPrompt(1, (Point(1, 1),))
    with pytest.raises(CamSamError, match="another model"):
        other.decode(embedding, [prompt])
    with pytest.raises(CamSamError, match=r"have shape \(5, 5\)"):
        segmenter.decode(embedding, [prompt], previous_logits=[np.zeros((5, 5), np.float32)])
    with pytest.raises(CamSamError, match="1 prompts and 2 previous logits"):
        segmenter.decode(embedding, [prompt], previous_logits=[None, None])


@pytest.mark.parametrize(
    "plane",
    [
        np.zeros((4, 5), np.float32),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros(5, np.uint8),
    ],
)
def test_refuses_what_is_no_plane(plane):
    with pytest.raises(CamSamError, match="must be uint8"):
        SamSegmenter(tiny_sam(), "tiny", "0" * 64, CPU).encode(plane)
