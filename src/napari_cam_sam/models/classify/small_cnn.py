"""A compact residual classifier, small enough to ship trained and to run on a laptop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SmallCNN"]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and a skip connection.

    The skip is a 1×1 convolution, because the block always changes width or comes first in its
    stage. ReLU is not in place, so that a hook on any inner module sees what it computed.
    """

    def __init__(self, channels_in: int, channels_mid: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_mid, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_mid)
        self.conv2 = nn.Conv2d(channels_mid, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.skip = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, h, w) to (B, channels_out, h / stride, w / stride)."""
        y = self.relu1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y)) + self.skip(x)
        out: Tensor = self.relu2(y)
        return out


class GeneralisedMean(nn.Module):
    """Pool each channel to the generalised mean of its values, ``mean(x**p)**(1/p)``.

    At p = 1 it is the mean; larger exponents approach the maximum, so that an object of few
    cells still counts (Radenović et al., "Fine-tuning CNN image retrieval with no human
    annotation"). The exponent is stored with the weights.
    """

    p: Tensor

    def __init__(self, p: float) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w), not negative, to (B, channels)."""
        powers: Tensor = x.clamp(min=1e-6) ** self.p
        return powers.mean((2, 3)) ** (1 / self.p)


class SmallCNN(nn.Module):
    """A four-stage residual classifier with late, fine grids: 0.6 million parameters.

    A ResNet-like net whose last stage keeps the grid of the one before it, since heatmaps of
    fine, late layers make the better prompts. For an input of 128×128 the grids are 64×64
    (``stage1``, 32 channels), 32×32 (``stage2``, 64), 16×16 (``stage3``, 128) and 16×16
    (``stage4``, 192); then pooling by the generalised mean, dropout and a linear layer. Any input
    of at least 16×16 is taken.

    Parameters
    ----------
    num_classes : int
        Number of logits.
    in_channels : int
        1 for gray, 3 for RGB.
    dropout : float
        Probability that a pooled feature is dropped in training.
    exponent : float
        Of the generalised mean; 1 pools by the mean. Loaded weights bring their own.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        dropout: float = 0.2,
        exponent: float = 1.0,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.stage1 = ResidualBlock(32, 32, 32, stride=1)
        self.stage2 = ResidualBlock(32, 64, 64, stride=2)
        self.stage3 = ResidualBlock(64, 128, 128, stride=2)
        self.stage4 = ResidualBlock(128, 96, 192, stride=1)
        self.pool = GeneralisedMean(exponent)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(192, num_classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_channels, h, w) to logits (B, num_classes)."""
        x = self.stem(x)
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        logits: Tensor = self.head(self.dropout(self.pool(x)))
        return logits
