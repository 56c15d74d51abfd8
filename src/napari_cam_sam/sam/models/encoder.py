"""segment-anything's image encoder, run in less time and memory than its own forward pass.

Its modules stay what they are and keep the weights; only the order of the arithmetic differs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block, get_rel_pos
from torch import Tensor
from torch.nn import functional as F

from napari_cam_sam.sam.segmenter import Cancelled

__all__ = ["bytes_of_a_plane", "cast_blocks", "encode_images"]

# Attention weights held at once on a CPU: 4 MB, which stay in its caches.
_WEIGHTS_AT_ONCE = 1 << 20

# Tokens that pass through the wide middle of a block's MLP together.
_TOKENS_AT_ONCE = 1024


def cast_blocks(encoder: ImageEncoderViT, dtype: torch.dtype) -> None:
    """Convert the linear layers of an encoder's blocks, nearly all of its weights, to a type.

    What is small or sums up (normalisation, positions, patches, the neck) stays as it is.

    Parameters
    ----------
    encoder : segment_anything.modeling.ImageEncoderViT
        Changed in place.
    dtype : torch.dtype
    """
    for block in encoder.blocks:
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.lin1, block.mlp.lin2):
            layer.to(dtype)


def bytes_of_a_plane(encoder: ImageEncoderViT) -> int:
    """Compute the memory that a plane takes on a GPU while it is encoded, beside the weights.

    At its widest a block holds the stream, the normalised input, queries, keys and values twice
    (once with the windows' margins), and queries and keys with the positions' channels.

    Parameters
    ----------
    encoder : segment_anything.modeling.ImageEncoderViT

    Returns
    -------
    int
        Bytes, rather too many than too few.
    """
    patches = encoder.patch_embed.proj
    side = encoder.img_size // patches.stride[0]
    positions = 2 * encoder.blocks[0].attn.num_heads * 2 * side
    return int(4 * side**2 * (14 * patches.out_channels + positions))


def encode_images(
    encoder: ImageEncoderViT, images: Tensor, cancelled: Callable[[], bool] | None = None
) -> Tensor:
    """Encode normalised images as the encoder's own ``forward`` does.

    The residual stream, normalisation, and the logits of the attention are float32, whatever the
    type of the linear layers.

    Parameters
    ----------
    encoder : segment_anything.modeling.ImageEncoderViT
    images : Tensor of float32, shape (B, 3, side, side)
    cancelled : callable, optional
        Asked before each block.

    Returns
    -------
    Tensor of float32, shape (B, C, h, w)

    Raises
    ------
    Cancelled
        As soon as ``cancelled`` says so.
    """
    x = encoder.patch_embed(images).contiguous()
    if encoder.pos_embed is not None:
        x += encoder.pos_embed
    for block in encoder.blocks:
        if cancelled is not None and cancelled():
            raise Cancelled
        _add_block(block, x)
    features: Tensor = encoder.neck(x.permute(0, 3, 1, 2))
    return features


def _add_block(block: Block, x: Tensor) -> None:
    """Add a transformer block's two residuals to its input (B, H, W, C), in place."""
    dtype = block.attn.qkv.weight.dtype
    normed = block.norm1(x).to(dtype)
    x += _attention(block.attn, normed, block.window_size)
    del normed
    tokens = x.view(-1, x.shape[-1])
    for start in range(0, len(tokens), _TOKENS_AT_ONCE):
        some = tokens[start : start + _TOKENS_AT_ONCE]
        some += block.mlp(block.norm2(some).to(dtype))


def _attention(layer: Attention, x: Tensor, window: int) -> Tensor:
    """Attend over (B, H, W, C), within square windows where ``window`` is not 0."""
    b, rows, columns, _ = x.shape
    qkv = layer.qkv(x)
    # A window that sticks out of the grid is filled with zeros in front of this layer, which are
    # the layer's bias behind it: it is not computed for them, but they are attended to.
    height, width = (window, window) if window else (rows, columns)
    down, across = -(-rows // height), -(-columns // width)
    if (down * height, across * width) != (rows, columns):
        filled = qkv.new_zeros(b, down * height, across * width, qkv.shape[-1])
        if layer.qkv.bias is not None:
            filled += layer.qkv.bias
        filled[:, :rows, :columns] = qkv
        qkv = filled
    # (3, B·windows·heads, tokens, channels of a head)
    parts = qkv.view(b, down, height, across, width, 3, layer.num_heads, -1)
    del qkv
    parts = parts.permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = parts.reshape(3, -1, height * width, parts.shape[-1]).unbind(0)
    shape = parts.shape[1:]
    del parts
    terms = _position_terms(layer, q, (height, width)) if layer.use_rel_pos else None
    attend = _attend_in_parts if x.device.type == "cpu" else _attend_fused
    out = attend(q, k, v, layer.scale, terms)
    out = out.view(shape).permute(0, 1, 4, 2, 5, 3, 6)
    out = out.reshape(b, down * height, across * width, -1)[:, :rows, :columns]
    attended: Tensor = layer.proj(out)
    return attended


def _position_terms(layer: Attention, q: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Relative positions' share of the logits of (G, H·W, d), by row (G, H·W, H) and column."""
    height, width = size
    by_row = get_rel_pos(height, height, layer.rel_pos_h).to(q.dtype)
    by_column = get_rel_pos(width, width, layer.rel_pos_w).to(q.dtype)
    grid = q.view(-1, height, width, q.shape[-1])
    of_rows = torch.einsum("ghwc,hkc->ghwk", grid, by_row)
    of_columns = torch.einsum("ghwc,wkc->ghwk", grid, by_column)
    return of_rows.flatten(1, 2), of_columns.flatten(1, 2)


def _attend_in_parts(
    q: Tensor, k: Tensor, v: Tensor, scale: float, terms: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Attend on a CPU, where this takes half the time of PyTorch's fused attention.

    The N × N weights of (G, N, d) exist for some groups, or some queries of one, at a time.
    """
    groups, n, _ = q.shape
    out = torch.empty_like(v)
    some = max(1, _WEIGHTS_AT_ONCE // (n * n))
    queries = min(n, max(1, _WEIGHTS_AT_ONCE // n))
    for g in range(0, groups, some):
        keys = k[g : g + some].float().transpose(1, 2)
        # Small products of matrices are no faster in bfloat16.
        values = v[g : g + some] if some == 1 else v[g : g + some].float()
        for start in range(0, n, queries):
            part = (slice(g, g + some), slice(start, start + queries))
            logits = (q[part].float() * scale) @ keys
            if terms is not None:
                of_rows, of_columns = terms[0][part], terms[1][part]
                grid = logits.view(*of_rows.shape, -1)
                grid += of_rows[..., None]
                grid += of_columns[..., None, :]
            out[part] = logits.softmax(-1).to(values.dtype) @ values
    return out


def _attend_fused(
    q: Tensor, k: Tensor, v: Tensor, scale: float, terms: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Attend by PyTorch's fused attention, with the positions' terms as more channels.

    The term of a query for row i is its product with a key that is one hot at i, so queries
    [q·s, by row, by column] and keys [k, row one hot, column one hot] have exactly the logits
    wanted, and no N × N bias has to exist.
    """
    q = q * scale
    if terms is not None:
        of_rows, of_columns = terms
        height, width = of_rows.shape[-1], of_columns.shape[-1]
        row = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, 0)
        column = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
        where = torch.cat((row, column), 1)
        # Fused attention takes multiples of eight channels only.
        spare = -(q.shape[-1] + height + width) % 8
        q = F.pad(torch.cat((q, of_rows, of_columns), -1), (0, spare))
        k = F.pad(torch.cat((k, where.expand(len(k), -1, -1)), -1), (0, spare))
    out: Tensor = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=1.0)
    return out[:, 0]
