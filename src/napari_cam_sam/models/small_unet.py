"""A compact U-Net, small enough to ship trained and to run on a laptop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["SmallUNet", "small_unet"]


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
    """A U-Net of four levels (Ronneberger et al. 2015) with padded convolutions.

    For an input of 128×128 the grids are 128×128 (``encoder1``, ``decoder1``), 64×64
    (``encoder2``, ``decoder2``), 32×32 (``encoder3``, ``decoder3``) and 16×16 (``bottleneck``).
    Sides of the input are multiples of 8.

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
        channels: Sequence[int] = (16, 32, 64, 128),
    ) -> None:
        super().__init__()
        a, b, c, d = channels
        self.encoder1 = DoubleConvolution(in_channels, a)
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
        first = self.encoder1(x)
        second = self.encoder2(self.pool(first))
        third = self.encoder3(self.pool(second))
        x = self.bottleneck(self.pool(third))
        x = self.decoder3(torch.cat([third, self.up3(x)], 1))
        x = self.decoder2(torch.cat([second, self.up2(x)], 1))
        x = self.decoder1(torch.cat([first, self.up1(x)], 1))
        logits: Tensor = self.head(x)
        return logits


def small_unet(
    num_classes: int, in_channels: int = 1, channels: Sequence[int] = (16, 32, 64, 128)
) -> SmallUNet:
    """Build an untrained :class:`SmallUNet`."""
    return SmallUNet(num_classes, in_channels, channels)
