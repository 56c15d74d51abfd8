"""Planes that lie the other way round before a module: columns first, as nibabel cuts them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from napari_cam_sam.models.cards import ClassifierCard
from napari_cam_sam.models.segmentation_cards import SegmentationCard

__all__ = ["follow_plane_order", "turned"]


def turned(card: ClassifierCard | SegmentationCard) -> bool:
    """Return whether a card's module sees planes as columns and rows.

    Parameters
    ----------
    card : ClassifierCard or SegmentationCard

    Returns
    -------
    bool
    """
    planes = not isinstance(card, SegmentationCard) or card.spatial_dims == 2
    return planes and card.plane_order == "columns-rows"


def follow_plane_order(module: nn.Module, card: ClassifierCard | SegmentationCard) -> nn.Module:
    """Make a module take and return planes as rows and columns, whatever it was trained on.

    What it gets is transposed before its first layer, and maps that it returns after its last
    one. Within, its layers have the order that they were trained with.

    Parameters
    ----------
    module : nn.Module
        Gets two hooks where its card says ``columns-rows``; its layers keep their names.
    card : ClassifierCard or SegmentationCard

    Returns
    -------
    nn.Module
        The module itself.
    """
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        # Of a factory that returns one module twice.
        for key in [key for key, hook in hooks.items() if hook in (_turn_input, _turn_output)]:
            del hooks[key]
    if turned(card):
        module.register_forward_pre_hook(_turn_input)
        module.register_forward_hook(_turn_output)
    return module


def _turn_input(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_turn(value) for value in inputs)


def _turn_output(_: nn.Module, __: Any, output: Any) -> Any:
    return _turn(output)


def _turn(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.transpose(-1, -2).contiguous() if value.ndim == 4 else value
    if isinstance(value, Mapping):
        turned_values = copy.copy(value)
        for key, one in value.items():
            turned_values[key] = _turn(one)  # type: ignore[index]
        return turned_values
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_turn(one) for one in value))
    if isinstance(value, list | tuple):
        return type(value)(_turn(one) for one in value)
    if hasattr(value, "__dict__"):
        turned_object = copy.copy(value)
        vars(turned_object).update({key: _turn(one) for key, one in vars(value).items()})
        return turned_object
    return value
