"""Class scores, whatever a model wraps them in."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from napari_cam_sam.errors import CamSamError

__all__ = ["logits_of"]


def logits_of(output: object, num_classes: int) -> Tensor:
    """Take the class scores out of whatever a model returns.

    Parameters
    ----------
    output : object
        A tensor (n, classes), or a mapping, a named tuple or an object that has it as ``out``
        or ``logits``, or a tuple or list that has it first.
    num_classes : int
        What the second axis must measure.

    Raises
    ------
    CamSamError
        If there is no tensor of that shape.
    """
    for key in ("out", "logits"):
        if isinstance(output, Mapping) and key in output:
            output = output[key]
        elif not isinstance(output, Tensor) and hasattr(output, key):
            output = getattr(output, key)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise CamSamError(
            f"The model returns {type(output).__name__}; expected logits of shape "
            f"(planes, {num_classes}), alone or under 'out' or 'logits'."
        )
    if output.ndim != 2 or output.shape[1] != num_classes:
        raise CamSamError(
            f"The model returns scores of shape {tuple(output.shape)}; expected "
            f"(planes, {num_classes}) from a classifier with {num_classes} class(es)."
        )
    return output
