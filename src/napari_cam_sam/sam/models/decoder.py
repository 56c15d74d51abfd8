"""segment-anything's mask decoder, run with far less traffic of memory than its own forward pass.

Its modules keep the weights. Two things are done in another order, both exact: an image's tokens
are never projected where a few prompt tokens can be projected the other way instead,
q·(W k) = (Wᵀ q)·k; and the upscaling, transposed convolutions of stride and size 2, is the matrix
product that it amounts to, with the channels last throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import Attention, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["decode_logits", "image_tokens"]


def image_tokens(maps: Tensor) -> Tensor:
    """Return maps in the order in which they are decoded.

    Parameters
    ----------
    maps : Tensor, shape (1, C, h, w)

    Returns
    -------
    Tensor, shape (1, h·w, C)
        Contiguous.
    """
    return maps.flatten(2).transpose(1, 2).contiguous()


def decode_logits(
    decoder: MaskDecoder,
    image: Tensor,
    positions: Tensor,
    sparse: Tensor,
    dense: Tensor,
    *,
    multimask: bool,
) -> tuple[Tensor, Tensor]:
    """Decode prompts of one plane as the decoder's own ``forward`` does.

    Parameters
    ----------
    decoder : segment_anything.modeling.MaskDecoder
    image, positions : Tensor, shape (1, h·w, C)
        :func:`image_tokens` of the plane's features and of the positional encoding of its grid.
    sparse : Tensor, shape (B, n, C)
        The embedded points and boxes of B objects.
    dense : Tensor, shape (B, C, h, w)
        The embedded previous masks.
    multimask : bool
        The three candidates, or the single mask.

    Returns
    -------
    logits : Tensor, shape (B, 3 or 1, 4h, 4w)
    scores : Tensor, shape (B, 3 or 1)
    """
    b, _, h, w = dense.shape
    own = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight))
    tokens = torch.cat((own.expand(b, -1, -1), sparse), 1)
    image = image + dense.flatten(2).transpose(1, 2)
    queries, image = _transform(decoder.transformer, image, positions, tokens)
    scores = decoder.iou_prediction_head(queries[:, 0])
    chosen = range(1, decoder.num_mask_tokens) if multimask else range(1)
    kernels = [decoder.output_hypernetworks_mlps[i](queries[:, 1 + i]) for i in chosen]
    upscaled = _upscale(decoder.output_upscaling, image)
    logits = torch.stack(kernels, 1) @ upscaled.transpose(1, 2)
    # Pixels come as (row, column, 2, 2, 2, 2): the two steps of upscaling, rows before columns.
    logits = logits.view(b, -1, h, w, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
    return logits.reshape(b, -1, 4 * h, 4 * w), scores[:, chosen.start : chosen.stop]


def _transform(
    transformer: TwoWayTransformer, image: Tensor, positions: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer on an image (B, N, C) and tokens (B, T, C)."""
    queries = tokens
    placed = image + positions
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(queries, queries, queries)
        else:
            q = queries + tokens
            queries = queries + layer.self_attn(q, q, queries)
        queries = layer.norm1(queries)
        queries = queries + _to_image(
            layer.cross_attn_token_to_image, queries + tokens, placed, image
        )
        queries = layer.norm2(queries)
        queries = layer.norm3(queries + layer.mlp(queries))
        image = layer.norm4(
            _from_image(layer.cross_attn_image_to_token, image, placed, queries + tokens, queries)
        )
        placed = image + positions
    attended = _to_image(transformer.final_attn_token_to_image, queries + tokens, placed, image)
    return transformer.norm_final_attn(queries + attended), image


def _to_image(attention: Attention, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from tokens (B, T, C) to an image's keys and values (B, N, C)."""
    heads = attention.num_heads
    b, t, _ = tokens.shape
    q = _by_head(attention.q_proj(tokens), heads)
    # The bias of the keys shifts all logits of a query alike, and so changes no weight.
    asked = (q / math.sqrt(q.shape[-1])) @ _head_weights(attention.k_proj, heads)
    weights = (asked.flatten(1, 2) @ keys.transpose(1, 2)).softmax(-1)
    seen = (weights @ values).view(b, heads, t, -1)
    out = seen @ _head_weights(attention.v_proj, heads).transpose(1, 2)
    out = out.transpose(1, 2).flatten(2) + attention.v_proj.bias
    attended: Tensor = attention.out_proj(out)
    return attended


def _from_image(
    attention: Attention, image: Tensor, placed: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Add to an image (B, N, C) what it sees as it attends to keys and values (B, T, C)."""
    heads = attention.num_heads
    b, t, _ = keys.shape
    k = _by_head(attention.k_proj(keys), heads)
    k = k / math.sqrt(k.shape[-1])
    asking = (k @ _head_weights(attention.q_proj, heads)).flatten(1, 2)
    bias = k @ attention.q_proj.bias.view(heads, -1, 1)
    logits = (asking @ placed.transpose(1, 2)).view(b, heads, t, -1) + bias
    weights = logits.softmax(2).flatten(1, 2)
    v = _by_head(attention.v_proj(values), heads)
    into = attention.out_proj.weight.view(-1, heads, v.shape[-1]).permute(1, 2, 0)
    # A head's weights sum to 1, so that each head brings its share of the bias.
    seen = (v @ into + attention.out_proj.bias / heads).flatten(1, 2)
    return torch.baddbmm(image, weights.transpose(1, 2), seen)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """From (B, T, heads·d) to (B, heads, T, d)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _head_weights(layer: nn.Linear, heads: int) -> Tensor:
    """Weights of a projection as (heads, d, C)."""
    return layer.weight.view(heads, -1, layer.in_features)


def _upscale(layers: Sequence[Any], image: Tensor) -> Tensor:
    """Upscale an image (B, N, C) to (B, N·16, C / 8), each pixel's 2 × 2 × 2 × 2 together."""
    first, norm, activation, second, last = layers
    x = _doubled(first, image)
    x = F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    x = last(_doubled(second, activation(x)))
    out: Tensor = x.flatten(1, -2)
    return out


def _doubled(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Apply a transposed convolution of size and stride 2 to (…, C): (…, 4, C')."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    assert layer.bias is not None
    out: Tensor = F.linear(x, weight, layer.bias.repeat(4))
    return out.view(*x.shape[:-1], 4, -1)
