"""The demo model: segment-anything's prompt encoder and mask decoder behind a small encoder."""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["COMPACT_INPUT_SIZE", "build_compact_sam"]

COMPACT_INPUT_SIZE = 256
_GRID = 32
_WIDTH = 192


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(8, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.relu(x + self.body(x))
        return out


def _halve(inner: int, outer: int) -> list[nn.Module]:
    """Return layers that halve a grid."""
    convolution = nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False)
    return [convolution, nn.GroupNorm(8, outer), nn.ReLU()]


class _AttentionBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + self.project(attended)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _CompactEncoder(nn.Module):
    """A convolutional image encoder with attention on its coarsest grid.

    It takes images of shape (B, 3, 256, 256), normalised, and returns (B, 192, 32, 32).
    `img_size` is what segment-anything reads to size its input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.img_size = COMPACT_INPUT_SIZE
        self.stem = nn.Sequential(*_halve(3, 32))
        self.fine = nn.Sequential(*_halve(32, 64), *(_ResidualBlock(64) for _ in range(2)))
        self.middle = nn.Sequential(*_halve(64, 128), *(_ResidualBlock(128) for _ in range(3)))
        self.coarse = nn.Sequential(*_halve(128, 256)[:-1])
        self.position = nn.Parameter(torch.zeros(1, (_GRID // 2) ** 2, 256))
        self.attention = nn.ModuleList([_AttentionBlock(256, 8) for _ in range(2)])
        self.from_fine = nn.Conv2d(256, 128, 1)
        self.from_coarse = nn.Conv2d(256, 128, 1)
        self.merge = _ResidualBlock(128)
        self.neck = nn.Sequential(nn.Conv2d(128, _WIDTH, 1), nn.GroupNorm(1, _WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Encode normalised images of shape (B, 3, 256, 256) to (B, 192, 32, 32)."""
        fine = self.fine(self.stem(x))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        b, c, h, w = coarse.shape
        tokens = coarse.flatten(2).transpose(1, 2) + self.position
        for block in self.attention:
            tokens = block(tokens)
        coarse = tokens.transpose(1, 2).reshape(b, c, h, w)
        up = F.interpolate(
            self.from_coarse(coarse), scale_factor=2, mode="bilinear", align_corners=False
        )
        merged = middle + up + self.from_fine(F.pixel_unshuffle(fine, 2))
        out: Tensor = self.neck(self.merge(merged))
        return out


class _CompactPromptEncoder(PromptEncoder):  # type: ignore[misc]
    """segment-anything's prompt encoder that also draws its prompts on the grid.

    A small model trained for a short time does not learn from two corner tokens alone where a
    box is. So box and points are drawn as four maps (ellipse and rectangle of the box, spots of
    the positive and of the negative points), embedded by strided convolutions and added to the
    dense embedding. Inputs and outputs are those of the parent class.
    """

    def __init__(self) -> None:
        super().__init__(
            _WIDTH, (_GRID, _GRID), (COMPACT_INPUT_SIZE, COMPACT_INPUT_SIZE), mask_in_chans=16
        )
        self.drawing = nn.Sequential(
            nn.Conv2d(4, 32, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 96, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(96, _WIDTH, 1),
        )

    def _draw(self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> Tensor:
        """Draw the prompts: (B, 4, 128, 128), each map within [-1, 1]."""
        side = 4 * _GRID
        device = next(self.drawing.parameters()).device
        batch = len(boxes) if boxes is not None else len(points[0]) if points else 1
        maps = torch.zeros(batch, 4, side, side, device=device)
        step = COMPACT_INPUT_SIZE / side
        grid = (torch.arange(side, device=device) + 0.5) * step
        if boxes is not None:
            x0, y0, x1, y1 = (boxes.reshape(-1, 4).float() + 0.5).unbind(1)
            u = (grid[None] - ((x0 + x1) / 2)[:, None]) / ((x1 - x0) / 2).clamp(min=1)[:, None]
            v = (grid[None] - ((y0 + y1) / 2)[:, None]) / ((y1 - y0) / 2).clamp(min=1)[:, None]
            maps[:, 0] = (1 - u[:, None, :] ** 2 - v[:, :, None] ** 2).clamp(-1, 1)
            maps[:, 1] = (1 - torch.maximum(u[:, None, :].abs(), v[:, :, None].abs())).clamp(-1, 1)
        if points is not None:
            coordinates, labels = points
            x, y = (coordinates.float() + 0.5).unbind(2)
            sigma = 4.0
            across = torch.exp(-(((grid - x[..., None]) / sigma) ** 2) / 2)
            down = torch.exp(-(((grid - y[..., None]) / sigma) ** 2) / 2)
            for channel, label in ((2, 1), (3, 0)):
                chosen = (labels == label).float()[..., None]
                spots = torch.einsum("bny,bnx->byx", down * chosen, across)
                maps[:, channel] = spots.clamp(max=1)
        return maps

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the prompts embedded as by the parent; coordinates are in 256 × 256."""
        sparse, dense = super().forward(points, boxes, masks)
        if points is None and boxes is None:
            return sparse, dense
        return sparse, dense + self.drawing(self._draw(points, boxes))


def build_compact_sam() -> Sam:
    """Build the compact SAM with random weights.

    Returns
    -------
    segment_anything.modeling.Sam
        Input 256 × 256, grid 32 × 32, width 192, about 5 million parameters. It runs through
        the same code as ViT-B.
    """
    return Sam(
        image_encoder=_CompactEncoder(),
        prompt_encoder=_CompactPromptEncoder(),
        mask_decoder=MaskDecoder(
            transformer_dim=_WIDTH,
            transformer=TwoWayTransformer(depth=2, embedding_dim=_WIDTH, num_heads=8, mlp_dim=768),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=_WIDTH,
            # GELU at the mask's resolution would be a fifth of the training time on a CPU.
            activation=nn.ReLU,
        ),
        pixel_mean=[110.0, 110.0, 110.0],
        pixel_std=[55.0, 55.0, 55.0],
    ).eval()
