"""How a plane is brought into a SAM's input frame, and its masks back.

segment-anything and MedSAM share an architecture but not this step: weights run with the other
one's give poor masks without any error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import resize, to_pil_image

__all__ = ["InputFrame", "LongestSide", "Stretched"]

# Share of a plane from which on it is quicker to resample all of it.
_MOST = 0.4


class LongestSide:
    """segment-anything's own frame: longest side to the input size, padded right and below.

    The methods of the two frames are the same: ``prepare`` makes the encoder's input, of shape
    (1, 3, side, side), of a plane of shape (H, W, 3); ``scale`` gives the factors from the plane's
    pixel indices to the frame; ``masks`` and ``upscale`` bring logits of shape (B, C, h, w) to the
    plane's resolution, as bool on the CPU and as logits that exceed 0 in the masks.

    Attributes
    ----------
    name : str
        One of :data:`napari_cam_sam.sam.registry.FRAMES`.
    """

    name = "sam"

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
        """Upscale the logits, crop the padding, and cut at 0.

        As ``Sam.postprocess_masks``, but only where a mask can be: a pixel is the mean of its
        neighbours, so there is none where no low-resolution logit near is positive.
        """
        # In memory, where pages of zeros that nothing is written to cost nothing.
        full = torch.from_numpy(np.zeros((*logits.shape[:2], *plane_shape), bool))
        resized = self._resized(sam, plane_shape)
        for own, mask in zip(logits, full, strict=True):
            positive = (own > 0).any(0)
            rows = _Stretch.of(positive.any(1), sam, resized[0], plane_shape[0])
            columns = _Stretch.of(positive.any(0), sam, resized[1], plane_shape[1])
            if rows is None or columns is None:
                continue
            if resized != plane_shape and rows.share * columns.share > _MOST:
                mask[:] = sam.postprocess_masks(own[None], resized, plane_shape)[0] > 0
                continue
            part = own[:, rows.coarse, columns.coarse][None]
            size = (part.shape[2] * rows.factor, part.shape[3] * columns.factor)
            part = functional.interpolate(part, size, mode="bilinear", align_corners=False)[0]
            part = columns.resample(rows.resample(part, 1), 2)
            mask[:, rows.fine, columns.fine] = part > 0
        return full

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


@dataclass(frozen=True)
class _Stretch:
    """The part of one axis in which a mask can be, in all frames that it passes through.

    Attributes
    ----------
    coarse : slice
        Of the logits.
    fine : slice
        Of the plane.
    factor : int
        Pixels of the input frame a logit.
    resized, size : int
        The axis in the input frame, without padding, and in the plane.
    """

    coarse: slice
    fine: slice
    factor: int
    resized: int
    size: int

    @property
    def share(self) -> float:
        """Share of the plane's axis."""
        return float(self.fine.stop - self.fine.start) / self.size

    @classmethod
    def of(cls, positive: Tensor, sam: Sam, resized: int, size: int) -> _Stretch | None:
        """Find the part, with a margin, around an axis' positive logits; None without any."""
        found = positive.nonzero()[:, 0]
        if not len(found):
            return None
        count = len(positive)
        factor = int(sam.image_encoder.img_size) // count
        first, last = int(found[0]), int(found[-1])
        # What a positive logit reaches: a logit to either side, and then a pixel.
        ends = (first - 1) * factor - 1, (last + 2) * factor + 1
        ratio = size / resized
        fine = slice(
            max(math.floor(ends[0] * ratio) - 1, 0), min(math.ceil(ends[1] * ratio) + 1, size)
        )
        if fine.start >= fine.stop:
            return None  # the padding alone
        # A logit more at either end, for the pixels that those ends are made of.
        reach = math.ceil(2 / (factor * ratio)) + 3
        coarse = slice(max(first - reach, 0), min(last + 1 + reach, count))
        return cls(coarse, fine, factor, resized, size)

    def resample(self, part: Tensor, axis: int) -> Tensor:
        """Resample an axis from the input frame to the plane, as bilinear ``interpolate`` does."""
        start = self.coarse.start * self.factor
        if self.resized == self.size:
            return part.narrow(axis, self.fine.start - start, self.fine.stop - self.fine.start)
        pixels = torch.arange(self.fine.start, self.fine.stop, device=part.device)
        at = ((pixels + 0.5) * (self.resized / self.size) - 0.5).clamp(min=0)
        before = at.long().clamp(max=self.resized - 1)
        after = (before + 1).clamp(max=self.resized - 1)
        share = (at - before).view(-1, *[1] * (2 - axis))
        low = part.index_select(axis, before - start)
        return low.mul_(1 - share).add_(part.index_select(axis, after - start).mul_(share))


class Stretched:
    """MedSAM's frame: the plane stretched to a square, its range scaled to [0, 1].

    As in the authors' inference script: cubic resizing with anti-aliasing, and masks cut at
    probability 0.5 after upscaling the probabilities. Its methods are those of `LongestSide`.

    Attributes
    ----------
    name : str
        One of :data:`napari_cam_sam.sam.registry.FRAMES`.
    """

    name = "medsam"

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
        return (self._probabilities(logits, plane_shape) > 0.5).cpu()

    def upscale(self, sam: Sam, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Logits of the upscaled probabilities."""
        return torch.logit(self._probabilities(logits, plane_shape))

    def _probabilities(self, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        return functional.interpolate(
            torch.sigmoid(logits), size=plane_shape, mode="bilinear", align_corners=False
        )


InputFrame = LongestSide | Stretched
"""The way into a model's input frame and back."""
