"""How a plane is brought into a SAM's input frame, and its masks back.

segment-anything and MedSAM share an architecture but not this step: weights run with the other
one's give poor masks without any error.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torchvision.transforms.functional import resize, to_pil_image

__all__ = ["InputFrame", "LongestSide", "Stretched"]


class InputFrame(Protocol):
    """The way into a model's input frame and back."""

    def prepare(self, sam: Sam, rgb: NDArray[np.uint8]) -> Tensor:
        """Make the encoder's input, (1, 3, side, side), of a plane of shape (H, W, 3)."""
        ...

    def scale(self, sam: Sam, plane_shape: tuple[int, int]) -> tuple[float, float]:
        """Factors from the plane's pixel indices to the input frame, as (x, y)."""
        ...

    def masks(self, sam: Sam, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Masks at the plane's resolution, bool (B, C, H, W), of logits (B, C, h, w)."""
        ...

    def upscale(self, sam: Sam, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Logits at the plane's resolution, (B, C, H, W); the masks are where they exceed 0."""
        ...


class LongestSide:
    """segment-anything's own frame: longest side to the input size, padded right and below."""

    def prepare(self, sam: Sam, rgb: NDArray[np.uint8]) -> Tensor:
        """Resize with Pillow, normalise by the model's mean and deviation, pad with zeros."""
        # As ResizeLongestSide.apply_image, but for its rounding of thin planes to nothing.
        size = self._resized(sam, (rgb.shape[0], rgb.shape[1]))
        resized = np.array(resize(to_pil_image(rgb), list(size)))
        image = torch.as_tensor(resized, device=sam.device).permute(2, 0, 1).contiguous()[None]
        prepared: Tensor = sam.preprocess(image)
        return prepared

    def scale(self, sam: Sam, plane_shape: tuple[int, int]) -> tuple[float, float]:
        """Ratio of resized to original size, along x and y (they differ by rounding)."""
        height, width = self._resized(sam, plane_shape)
        return width / plane_shape[1], height / plane_shape[0]

    def masks(self, sam: Sam, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Upscale the logits, crop the padding, and cut at 0."""
        return self.upscale(sam, logits, plane_shape) > 0

    def upscale(self, sam: Sam, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Upscale the logits and crop the padding."""
        full: Tensor = sam.postprocess_masks(logits, self._resized(sam, plane_shape), plane_shape)
        return full

    def _resized(self, sam: Sam, plane_shape: tuple[int, int]) -> tuple[int, int]:
        height, width = ResizeLongestSide.get_preprocess_shape(
            *plane_shape, sam.image_encoder.img_size
        )
        # A plane of one row and many columns would be rounded to no row at all.
        return max(int(height), 1), max(int(width), 1)


class Stretched:
    """MedSAM's frame: the plane stretched to a square, its range scaled to [0, 1].

    As in the authors' inference script: cubic resizing with anti-aliasing, and masks cut at
    probability 0.5 after upscaling the probabilities.
    """

    def prepare(self, sam: Sam, rgb: NDArray[np.uint8]) -> Tensor:
        """Resize to a square and scale the range of the values to [0, 1]."""
        from skimage import transform

        side = sam.image_encoder.img_size
        resized = transform.resize(  # type: ignore[no-untyped-call]
            rgb, (side, side), order=3, preserve_range=True, anti_aliasing=True
        )
        # Cut to whole numbers as the authors do, but 99.9999999 is 100.
        resized = (resized + 1e-6).astype(np.uint8)
        low, high = float(resized.min()), float(resized.max())
        scaled = (resized.astype(np.float32) - low) / max(high - low, 1e-8)
        return torch.as_tensor(scaled, device=sam.device).permute(2, 0, 1).contiguous()[None]

    def scale(self, sam: Sam, plane_shape: tuple[int, int]) -> tuple[float, float]:
        """Ratio of the square's side to the plane's size, along x and y."""
        side = sam.image_encoder.img_size
        return side / plane_shape[1], side / plane_shape[0]

    def masks(self, sam: Sam, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Upscale the probabilities and cut at 0.5."""
        return self._probabilities(logits, plane_shape) > 0.5

    def upscale(self, sam: Sam, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Logits of the upscaled probabilities."""
        return torch.logit(self._probabilities(logits, plane_shape))

    def _probabilities(self, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        return torch.nn.functional.interpolate(
            torch.sigmoid(logits), size=plane_shape, mode="bilinear", align_corners=False
        )
