"""Class scores, or maps of them, whatever a model wraps them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from torch import Tensor

from napari_cam_sam.errors import CamSamError

__all__ = ["maps_of", "unwrap_logits"]


def unwrap_logits(output: object, num_classes: int) -> Tensor:
    """Return the class scores in whatever a model returns.

    Parameters
    ----------
    output : object
        A tensor (n, classes), or a mapping, a named tuple or an object that has it as ``out``
        or ``logits``, or a tuple or list that has it first.
    num_classes : int
        What the second axis must measure.

    Returns
    -------
    Tensor, shape (n, num_classes)

    Raises
    ------
    CamSamError
        If there is no tensor of that shape.
    """
    output = _unwrapped(output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise CamSamError(
            f"The model returns {type(output).__name__}; expected logits of shape "
            f"(slices, {num_classes}), alone or under 'out' or 'logits'."
        )
    if output.ndim != 2 or output.shape[1] != num_classes:
        raise CamSamError(
            f"The model returns scores of shape {tuple(output.shape)}; expected "
            f"(slices, {num_classes}) from a classifier with {num_classes} class(es)."
        )
    return output


def maps_of(output: object, num_classes: int, spatial_dims: int) -> Tensor:
    """Return the maps of logits in whatever a segmentation network returns.

    Parameters
    ----------
    output : object
        A tensor (n, classes, rows, columns) or (n, classes, planes, rows, columns); a mapping,
        a named tuple or an object that has it as ``out`` or ``logits``; or a tuple or list of
        such, as deep supervision returns them, of which the one with the finest grid counts.
    num_classes : int
        What the second axis must measure.
    spatial_dims : int
        2 or 3.

    Returns
    -------
    Tensor, shape (n, num_classes, …)

    Raises
    ------
    CamSamError
        If there is no tensor of that shape.
    """
    axes = "slices, rows, columns" if spatial_dims == 3 else "rows, columns"
    wanted = f"maps of logits of shape (images, {num_classes}, {axes})"
    tensors = list(_tensors(output))
    if not tensors:
        raise CamSamError(
            f"The network returns {type(output).__name__}; expected {wanted}, alone or under "
            "'out' or 'logits'."
        )
    fitting = [t for t in tensors if t.ndim == spatial_dims + 2 and t.shape[1] == num_classes]
    if not fitting:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise CamSamError(f"The network returns {shapes}; expected {wanted}.")
    return max(fitting, key=lambda t: prod(t.shape[2:]))


def _tensors(output: object) -> Iterator[Tensor]:
    """Return the tensors of an output, through lists that lie in lists."""
    output = _unwrapped(output)
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)


def _unwrapped(output: object) -> object:
    """Return what lies under ``out`` or ``logits``."""
    for key in ("out", "logits"):
        if isinstance(output, Mapping) and key in output:
            output = output[key]
        elif not isinstance(output, Tensor) and hasattr(output, key):
            output = getattr(output, key)
    return output
