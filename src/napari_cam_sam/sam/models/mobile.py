"""MobileSAM: segment-anything's prompt encoder and mask decoder behind a TinyViT, from timm.

Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications" (2023).
Its encoder has a hundredth of ViT-H's parameters, and its last stage does not halve the grid, so
that 1024 × 1024 pixels become the 64 × 64 cells that the decoder expects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError

__all__ = ["TinyVitEncoder", "build_mobile_sam", "is_mobile_sam", "rename_mobile_sam"]

_INPUT_SIZE = 1024
_WIDTH = 256
_ENCODER = "image_encoder."

# The checkpoint's classifier head takes no part, and which pairs of a window share a bias is
# counted anew.
_UNUSED = re.compile(r"image_encoder\.(norm_head|head)\.|attention_bias_idxs$")


class TinyVitEncoder(nn.Module):
    """timm's ``tiny_vit_5m_224`` without its head, as MobileSAM's image encoder.

    It takes images of shape (B, 3, 1024, 1024), normalised, and returns (B, 256, 64, 64).
    `img_size` is what segment-anything reads to size its input.

    Raises
    ------
    CamSamError
        If timm is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise CamSamError(
                'MobileSAM\'s encoder comes from timm: pip install "napari-cam-sam[mobile]".'
            ) from error
        self.img_size = _INPUT_SIZE
        tiny: Any = timm.create_model("tiny_vit_5m_224", pretrained=False, num_classes=0)
        self.patch_embed, self.stages = tiny.patch_embed, tiny.stages
        self.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.neck = nn.Sequential(
            nn.Conv2d(tiny.num_features, _WIDTH, 1, bias=False),
            LayerNorm2d(_WIDTH),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False),
            LayerNorm2d(_WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode normalised images of shape (B, 3, 1024, 1024) to (B, 256, 64, 64)."""
        out: Tensor = self.neck(self.stages(self.patch_embed(x)))
        return out


def build_mobile_sam() -> Sam:
    """Build MobileSAM with random weights.

    Returns
    -------
    segment_anything.modeling.Sam
        Input 1024 × 1024, normalised and padded as for SAM; about 10 million parameters, 6
        million of them the encoder's.

    Raises
    ------
    CamSamError
        If timm is not installed.
    """
    grid = _INPUT_SIZE // 16
    return Sam(
        image_encoder=TinyVitEncoder(),
        prompt_encoder=PromptEncoder(_WIDTH, (grid, grid), (_INPUT_SIZE, _INPUT_SIZE), 16),
        mask_decoder=MaskDecoder(
            transformer_dim=_WIDTH,
            transformer=TwoWayTransformer(depth=2, embedding_dim=_WIDTH, num_heads=8, mlp_dim=2048),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=_WIDTH,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).eval()


def is_mobile_sam(state_dict: Mapping[str, Tensor]) -> bool:
    """Return whether weights are in the layout of MobileSAM's own checkpoint.

    Parameters
    ----------
    state_dict : mapping of str to Tensor

    Returns
    -------
    bool
    """
    return f"{_ENCODER}patch_embed.seq.0.c.weight" in state_dict


def rename_mobile_sam(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of MobileSAM's own checkpoint as :func:`build_mobile_sam` does.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        As ``mobile_sam.pt`` holds it.

    Returns
    -------
    dict of str to Tensor
        Without the classifier head, which MobileSAM keeps and does not use.
    """
    return {_renamed(key): value for key, value in state_dict.items() if not _UNUSED.search(key)}


def _renamed(key: str) -> str:
    if not key.startswith(_ENCODER):
        return key
    key = key.replace(".patch_embed.seq.0.", ".patch_embed.conv1.")
    key = key.replace(".patch_embed.seq.2.", ".patch_embed.conv2.")
    # A stage ends with the merging of patches in MobileSAM and begins with it in timm.
    key = re.sub(
        r"\.layers\.(\d+)\.downsample\.", lambda m: f".stages.{int(m[1]) + 1}.downsample.", key
    )
    return key.replace(".layers.", ".stages.").replace(".c.", ".conv.")
