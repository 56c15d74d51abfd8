"""A compact U-Net, small enough to ship trained and to run on a laptop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SmallUNet"]

_CHANNELS = (24, 48, 96, 128)


class DoubleConvolution(nn.Module):
    """Two 3×3 convolutions, each with batch norm and ReLU.

    ReLU is not in place, so that a hook on any inner module sees what it computed.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, h, w) to (B, channels_out, h, w)."""
        x = self.relu1(self.norm1(self.conv1(x)))
        out: Tensor = self.relu2(self.norm2(self.conv2(x)))
        return out


class SmallUNet(nn.Module):
    """A U-Net of four levels (Ronneberger et al. 2015) on half the resolution of its input.

    For an input of 128×128 the grids are 64×64 (``encoder1``, ``decoder1``), 32×32
    (``encoder2``, ``decoder2``), 16×16 (``encoder3``, ``decoder3``) and 8×8 (``bottleneck``).
    The logits are brought to the input's grid linearly. Sides of the input are multiples of 16.

    Parameters
    ----------
    num_classes : int
        Number of maps of logits.
    in_channels : int
        1 for gray, 3 for RGB.
    channels : sequence of int
        Of the four levels, the finest first.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        channels: Sequence[int] = _CHANNELS,
    ) -> None:
        super().__init__()
        a, b, c, d = channels
        self.stem = nn.Conv2d(in_channels, a, 3, stride=2, padding=1)
        self.encoder1 = DoubleConvolution(a, a)
        self.encoder2 = DoubleConvolution(a, b)
        self.encoder3 = DoubleConvolution(b, c)
        self.bottleneck = DoubleConvolution(c, d)
        self.up3 = nn.ConvTranspose2d(d, c, 2, stride=2)
        self.decoder3 = DoubleConvolution(2 * c, c)
        self.up2 = nn.ConvTranspose2d(c, b, 2, stride=2)
        self.decoder2 = DoubleConvolution(2 * b, b)
        self.up1 = nn.ConvTranspose2d(b, a, 2, stride=2)
        self.decoder1 = DoubleConvolution(2 * a, a)
        self.head = nn.Conv2d(a, num_classes, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, h, w) to logits (B, num_classes, h, w)."""
        first = self.encoder1(self.stem(x))
        second = self.encoder2(self.pool(first))
        third = self.encoder3(self.pool(second))
        deep = self.bottleneck(self.pool(third))
        up = self.decoder3(torch.cat([third, self.up3(deep)], 1))
        up = self.decoder2(torch.cat([second, self.up2(up)], 1))
        up = self.decoder1(torch.cat([first, self.up1(up)], 1))
        return F.interpolate(self.head(up), x.shape[2:], mode="bilinear", align_corners=False)
