from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import ImageEncoderViT

from napari_cam_sam.sam.loading import build_sam
from napari_cam_sam.sam.models import encoder as encoding
from napari_cam_sam.sam.models.encoder import cast_blocks, encode_images
from napari_cam_sam.sam.segmenter import Cancelled


def vit(
    *, grid: int = 8, heads: int = 2, channels: int = 12, window: int = 3, positions: bool = True
) -> ImageEncoderViT:
    """segment-anything's encoder with every parameter random, positions and biases too."""
    torch.manual_seed(0)
    made = ImageEncoderViT(
        img_size=grid * 4,
        patch_size=4,
        embed_dim=heads * channels,
        depth=3,
        num_heads=heads,
        out_chans=16,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=positions,
        window_size=window,
        global_attn_indexes=(1,),
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval().requires_grad_(False)


def images(encoder: ImageEncoderViT, count: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, encoder.img_size, encoder.img_size, generator=generator)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@settings(max_examples=40, deadline=None)
@given(
    grid=st.integers(2, 12),
    heads=st.integers(1, 4),
    channels=st.integers(1, 20),
    window=st.integers(1, 14),
    count=st.integers(1, 3),
    positions=st.booleans(),
    at_once=st.sampled_from([1, 50, 1 << 20]),
    fused=st.booleans(),
)
def test_equals_the_encoders_own_forward(
    grid, heads, channels, window, count, positions, at_once, fused
):
    """Windows that fit or not, larger than the grid; weights in parts of any size; both ways."""
    made = vit(grid=grid, heads=heads, channels=channels, window=window, positions=positions)
    x = images(made, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_WEIGHTS_AT_ONCE", at_once)
        if fused:
            patch.setattr(encoding, "_attend_in_parts", encoding._attend_fused)
        found = encode_images(made, x)
    assert found.dtype == torch.float32
    assert relative_error(found, made(x)) < 2e-5


def test_vit_b_equals_the_untouched_module():
    torch.manual_seed(0)
    made = build_sam("vit-b").image_encoder.eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        if "pos" in name:  # zero at the start, which would hide an error in them
            parameter.normal_(std=0.1)
    # Four of the twelve blocks, a global one among them, take a third of the time.
    made.blocks = made.blocks[:4]
    x = images(made)
    before = x.clone()
    expected = made(x)
    assert relative_error(encode_images(made, x), expected) < 1e-5
    assert torch.equal(x, before)

    cast_blocks(made, torch.bfloat16)
    found = encode_images(made, x)
    assert found.dtype == torch.float32
    # bfloat16 keeps 8 bits, an error of 0.2 % a number; four blocks may not add up to ten times it.
    assert 1e-5 < float((found - expected).norm() / expected.norm()) < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_touches_the_linear_layers_of_the_blocks_alone(dtype):
    made = vit()
    expected = made(images(made))
    cast_blocks(made, dtype)
    kept = {name for name, p in made.named_parameters() if p.dtype == torch.float32}
    lowered = {name for name, p in made.named_parameters() if p.dtype == dtype}
    assert lowered == {
        f"blocks.{i}.{layer}.{kind}"
        for i in range(3)
        for layer in ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")
        for kind in ("weight", "bias")
    }
    assert "pos_embed" in kept
    found = encode_images(made, images(made))
    assert found.dtype == torch.float32
    error = float((found - expected).norm() / expected.norm())
    assert error < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_leaves_no_n_by_n_weights_in_memory(monkeypatch):
    """No tensor of the attention is larger than what is held at once."""
    made = vit(grid=12, window=0)
    n, held = 144, 144 * 5
    monkeypatch.setattr(encoding, "_WEIGHTS_AT_ONCE", held)
    sizes: list[int] = []
    softmax = torch.Tensor.softmax

    def measured(self: torch.Tensor, *args: int) -> torch.Tensor:
        sizes.append(self.numel())
        return softmax(self, *args)

    monkeypatch.setattr(torch.Tensor, "softmax", measured)
    encode_images(made, images(made))
    assert sum(sizes) == 3 * 2 * n * n
    assert max(sizes) == held


def test_stops_between_two_blocks():
    made = vit()
    answers = iter([False, False, True])
    with pytest.raises(Cancelled):
        encode_images(made, images(made), lambda: next(answers))
    assert next(answers, None) is None
    asked: list[int] = []
    encode_images(made, images(made), lambda: bool(asked.append(1)))
    assert len(asked) == 3


def test_a_plane_is_not_thought_smaller_than_it_is():
    """The estimate exceeds what a block of ViT-B holds: its own tensors, counted by hand."""
    made = build_sam("vit-b").image_encoder
    tokens, padded, width = 64**2, 70**2, 768
    stream_and_normed = 2 * tokens * width
    windows = 2 * 3 * padded * width
    positions = 2 * 12 * tokens * 128
    least = 4 * (stream_and_normed + max(windows, 2 * 3 * tokens * width + positions))
    assert least < encoding.bytes_of_a_plane(made) < 3 * least
