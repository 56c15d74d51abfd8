"""The compact SAM: segment-anything's parts, run by segment-anything's own predictor too."""

from __future__ import annotations

import numpy as np
import torch
from segment_anything import SamPredictor

from napari_cam_sam.demo.phantoms import shapes
from napari_cam_sam.prompts.data import Box, ObjectPrompt
from napari_cam_sam.sam.models.compact import build_compact_sam
from napari_cam_sam.sam.models.promptable import SamSegmenter


def test_shapes_of_the_untrained_model() -> None:
    sam = build_compact_sam()
    with torch.inference_mode():
        grid = sam.image_encoder(torch.zeros(2, 3, 256, 256))
        assert grid.shape == (2, 192, 32, 32)
        boxes = torch.tensor([[10.0, 20, 60, 90], [0, 0, 255, 255], [5, 5, 6, 6]])
        sparse, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
    assert sparse.shape == (3, 2, 192)
    assert dense.shape == (3, 192, 32, 32)
    assert 2e6 < sum(p.numel() for p in sam.parameters()) < 6e6


def test_drawn_prompts_lie_where_the_prompts_are() -> None:
    encoder = build_compact_sam().prompt_encoder
    points = (torch.tensor([[[40.0, 200.0], [100.0, 20.0]]]), torch.tensor([[1, 0]]))
    maps = encoder._draw(points, torch.tensor([[64.0, 32.0, 128.0, 96.0]]))[0]
    ellipse, rectangle, positive, negative = (m.numpy() for m in maps)
    assert np.unravel_index(positive.argmax(), positive.shape) == (100, 20)
    assert np.unravel_index(negative.argmax(), negative.shape) == (10, 50)
    rows, columns = np.nonzero(rectangle > 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 47, 32, 63)
    assert (ellipse > 0).sum() / (rectangle > 0).sum() == np.float64((ellipse > 0).sum() / 1024)
    assert abs((ellipse > 0).sum() / 1024 - np.pi / 4) < 0.03


def test_our_adapter_agrees_with_segment_anythings_predictor() -> None:
    torch.manual_seed(0)
    sam = build_compact_sam()
    segmenter = SamSegmenter(sam, "compact", "0" * 64, torch.device("cpu"))
    plane = shapes(1).image[:, :100]
    predictor = SamPredictor(sam)
    predictor.set_image(plane)
    expected, scores, logits = predictor.predict(
        box=np.array([20, 30, 70, 90]), multimask_output=True
    )
    prompt = ObjectPrompt(box=Box(30, 20, 90, 70))
    found = segmenter.decode(segmenter.encode(plane), [prompt])[0]
    np.testing.assert_allclose(found.logits, logits, atol=1e-4)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    np.testing.assert_array_equal(found.masks, expected)


def test_one_step_of_training_lowers_the_loss_of_its_batch() -> None:
    """Every part is reached by gradients: the tool can train the model at all."""
    torch.manual_seed(0)
    sam = build_compact_sam().train()
    image = (torch.from_numpy(shapes(1, size=256).image).permute(2, 0, 1)[None] - 110.0) / 55
    truth = torch.from_numpy(shapes(1, size=256).labels > 0).float()[None, None]
    truth = torch.nn.functional.avg_pool2d(truth, 2)
    rows, columns = np.nonzero(shapes(1, size=256).labels)
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    box = torch.tensor([corners], dtype=torch.float32)
    optimiser = torch.optim.Adam(sam.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        sparse, dense = sam.prompt_encoder(points=None, boxes=box, masks=None)
        logits, _ = sam.mask_decoder(
            image_embeddings=sam.image_encoder(image),
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[0]
    assert sam.prompt_encoder.drawing[0].weight.grad is not None
