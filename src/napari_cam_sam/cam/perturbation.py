"""Score-CAM and Ablation-CAM: what happens to the score when channels mask, or go missing.

The formulas are those of pytorch-grad-cam's classes; the loops are ours, because theirs build
one input for every channel at once (5 GB for 16 planes of a ResNet-18), replace a layer of the
model and leave it there when something raises, print progress bars, and ablate by different
values depending on the place in the batch where activations can be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import AblationCAM, ScoreCAM
from torch import Tensor, nn

__all__ = ["HookedAblationCAM", "LoopedScoreCAM"]


class LoopedScoreCAM(ScoreCAM):  # type: ignore[misc]
    """Score-CAM (Wang et al. 2020), with the masked inputs made a batch at a time.

    Parameters
    ----------
    model : nn.Module
        Inputs → logits.
    batch_size : int
        Masked inputs in one pass.
    """

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        super().__init__(model, [])
        self.batch_size = batch_size

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: Sequence[Callable[[Tensor], Tensor]],
        activations: NDArray[np.float32],
        grads: object,
    ) -> NDArray[np.float32]:
        """Weigh each channel by the softmax of the score that the input has under it as mask.

        Parameters are those of ``BaseCAM``; ``activations`` has shape (B, C, h, w), the result
        (B, C).
        """
        weights = []
        with torch.no_grad():
            for plane, target, channels in zip(input_tensor, targets, activations, strict=True):
                scores = []
                for start in range(0, len(channels), self.batch_size):
                    part = torch.from_numpy(channels[start : start + self.batch_size])
                    masks = nn.functional.interpolate(
                        part[:, None].to(plane.device), plane.shape[-2:], mode="bilinear"
                    )
                    low = masks.amin(dim=(2, 3), keepdim=True)
                    high = masks.amax(dim=(2, 3), keepdim=True)
                    logits = self.model(plane[None] * (masks - low) / (high - low + 1e-8))
                    scores += [target(row) for row in logits]
                weights.append(torch.softmax(torch.stack(scores), dim=0).cpu().numpy())
        return np.stack(weights)


class HookedAblationCAM(AblationCAM):  # type: ignore[misc]
    """Ablation-CAM (Desai and Ramaswamy 2020), with channels set to zero by a hook.

    The model keeps its layers throughout. The drop of the score is taken relative to its
    magnitude, so that a negative logit does not turn the map over.

    Parameters
    ----------
    model : nn.Module
        Inputs → logits.
    batch_size : int
        Channels that are ablated in one pass.
    grid_of : callable
        The layer's output → a view of it, shape (B, C, h, w).
    """

    def __init__(
        self, model: nn.Module, batch_size: int, grid_of: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(model, [], batch_size=batch_size)
        self.grid_of = grid_of

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: Sequence[Callable[[Tensor], Tensor]],
        activations: NDArray[np.float32],
        grads: object,
    ) -> NDArray[np.float32]:
        """Weigh each channel by the relative drop of the score when it is zero.

        Parameters are those of ``BaseCAM``; ``activations`` has shape (B, C, h, w), the result
        (B, C).
        """
        weights = []
        with torch.no_grad():
            for plane, target in zip(input_tensor, targets, strict=True):
                whole = target(self.model(plane[None])[0])
                scores: list[Tensor] = []
                for start in range(0, activations.shape[1], self.batch_size):
                    stop = min(start + self.batch_size, activations.shape[1])
                    logits = self._without(target_layer, plane, range(start, stop))
                    scores += [target(row) for row in logits]
                drop = (whole - torch.stack(scores)) / whole.abs().clamp_min(1e-12)
                weights.append(drop.cpu().numpy())
        return np.stack(weights)

    def _without(self, layer: nn.Module, plane: Tensor, channels: range) -> Tensor:
        """Run one plane as often as there are channels, each time without one of them."""

        def ablate(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            # grid_of gives a view of (B, C, h, w): writing to it changes the copy itself.
            self.grid_of(changed)[range(len(channels)), list(channels)] = 0
            return changed

        handle = layer.register_forward_hook(ablate)
        try:
            logits: Tensor = self.model(plane.expand(len(channels), -1, -1, -1))
        finally:
            handle.remove()
        return logits
