"""One forward and one backward pass that see into target layers and leave no trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["LogitsModel", "gradients", "run_traced"]

Target = Callable[[Tensor], Tensor]


class LogitsModel(nn.Module):
    """A model whose output is its logits, whatever the module gives and wraps them in.

    Parameters
    ----------
    loaded : Classifier or SegmentationNetwork
    module : nn.Module, optional
        Run in the place of the model's own.
    """

    def __init__(
        self, loaded: Classifier | SegmentationNetwork, module: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.module = loaded.module if module is None else module
        self.loaded = loaded

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, …) to logits: (B, num_classes), or of a network (B, num_classes, …)."""
        return self.loaded.logits(self.module(x))


def run_traced(
    model: nn.Module, tensor: Tensor, layers: Mapping[str, nn.Module]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a frozen model and keep the outputs of layers, ready to be differentiated by.

    The graph begins at the first target layer: its output becomes a leaf that requires a
    gradient, so neither a frozen model nor an input without gradient is in the way, and nothing
    below the layer costs memory or time. What runs on gets a copy, so an in-place activation
    after the layer does not change what was kept.

    Parameters
    ----------
    model : nn.Module
        Borrowed: frozen and in evaluation mode. Call it with gradients enabled.
    tensor : Tensor, shape (B, C, h, w)
    layers : mapping of str to nn.Module
        Layers by name. Of one that runs several times the last run counts.

    Returns
    -------
    logits : Tensor, shape (B, classes)
    outputs : dict of str to Tensor
        In the order of ``layers``, in each layer's own layout.

    Raises
    ------
    CamSamError
        If a layer does not run in a forward pass, or its output is not a tensor.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], Tensor]:
        def hook(_: nn.Module, __: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or not output.is_floating_point():
                raise CamSamError(
                    f"Layer {name!r} returns {type(output).__name__}, not a map of features; "
                    "choose a layer inside or after it."
                )
            kept[name] = output if output.requires_grad else output.detach().requires_grad_(True)
            return kept[name].clone()

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        logits = model(tensor)
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if name not in kept:
            raise CamSamError(f"Layer {name!r} does not run when the model classifies an image.")
    return logits, {name: kept[name] for name in layers}


def gradients(
    logits: Tensor, targets: Sequence[Target], outputs: Sequence[Tensor], *, again: bool = False
) -> list[Tensor]:
    """Differentiate the targets' scores, one a plane, by layer outputs or the input.

    Planes do not influence each other in evaluation mode, so the gradient of the sum over the
    batch holds every plane's own. Parameters are not touched.

    Parameters
    ----------
    logits : Tensor, shape (B, classes)
    targets : sequence of callable
        For each plane, its logits → a scalar.
    outputs : sequence of Tensor
    again : bool
        Whether the gradients will themselves be differentiated.

    Returns
    -------
    list of Tensor
        Shaped as ``outputs``; zeros where the scores do not depend on one.
    """
    score = torch.stack([target(row) for target, row in zip(targets, logits, strict=True)]).sum()
    if not score.requires_grad:
        return [torch.zeros_like(output) for output in outputs]
    found = torch.autograd.grad(score, list(outputs), create_graph=again, allow_unused=True)
    return [
        torch.zeros_like(output) if gradient is None else gradient
        for output, gradient in zip(outputs, found, strict=True)
    ]
