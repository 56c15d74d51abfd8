"""A bundle's network answers whatever size it gets, by the windows of the bundle's inferer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor, nn

from napari_cam_sam.models.preparation import Inferer

__all__ = ["follow_inferer"]


def follow_inferer(module: nn.Module, inferer: Inferer) -> nn.Module:
    """Make a module slide its window over inputs of other sizes, as MONAI does around it.

    An input of the window's own size goes straight through, so that layers run once. Layers keep
    their names, as they would not within another module.

    Parameters
    ----------
    module : nn.Module
        Its class becomes one that is derived from its own.
    inferer : Inferer

    Returns
    -------
    nn.Module
        The module itself.
    """
    if inferer.roi_size:
        kind = type(module)
        module.__class__ = type(kind.__name__, (_Sliding, kind), {"inferer": inferer})
    return module


class _Sliding(nn.Module):
    inferer: Inferer

    def forward(self, x: Tensor) -> Any:
        inferer, size = self.inferer, tuple(x.shape[2:])
        roi = inferer.roi_size * (len(size) if len(inferer.roi_size) == 1 else 1)
        if all(n in (side, 0, -1) for n, side in zip(roi, size, strict=True)):
            return super().forward(x)
        slide = import_module("monai.inferers").sliding_window_inference
        overlap = inferer.overlap
        return slide(
            x,
            roi,
            sw_batch_size=4,
            predictor=super().forward,
            overlap=overlap[0] if len(overlap) == 1 else overlap[-len(size) :],
            mode=inferer.mode,
            sigma_scale=inferer.sigma_scale,
            padding_mode=inferer.padding_mode,
            cval=inferer.cval,
        )
