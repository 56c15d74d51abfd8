"""What a training will do, in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_cam_sam.models.names import OWN_NAMES
from napari_cam_sam.plugin.qt.wording import device_words
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.models.training.parameters import TrainingParameters

__all__ = ["NEIGHBOURS", "count_parts", "network_words"]

NEIGHBOURS = (
    "Too few images to hold whole ones out: the held-out slices lie between training "
    "slices, so expect lower accuracy on other images."
)
"""What to know of figures where planes of one image were shared out."""


def count_parts(parameters: TrainingParameters) -> int:
    """Return into how many parts images are split.

    Parameters
    ----------
    parameters : TrainingParameters

    Returns
    -------
    int
        1 to 3: for training, and for validation and testing where these have a share.
    """
    return 1 + (parameters.validation_part > 0) + (parameters.test_part > 0)


def network_words(parameters: TrainingParameters) -> str:
    """Return in words what will be trained, and where.

    Parameters
    ----------
    parameters : TrainingParameters

    Returns
    -------
    str
        A sentence.
    """
    rows, columns = parameters.input_size
    epochs = counted(parameters.epochs, "epoch")
    return (
        f"{parameters.architecture} {_start_words(parameters)} at {rows} × {columns}, {epochs} on "
        f"the {_device_words(parameters.device)}."
    )


def _start_words(parameters: TrainingParameters) -> str:
    scratch, imagenet = "from scratch", "from ImageNet weights"
    if parameters.start == "imagenet":
        return imagenet
    if parameters.start == "scratch" or parameters.architecture in OWN_NAMES:
        return scratch
    if "torchvision" in sys.modules:
        from napari_cam_sam.models.classify.torchvision_weights import weights_on_disk

        return imagenet if weights_on_disk(parameters.architecture) else scratch
    return f"{imagenet} if they are on this machine, else {scratch}"


def _device_words(device: str) -> str:
    if device == "auto" and "torch" in sys.modules:
        from napari_cam_sam.models.devices import choose_device

        device = str(choose_device(device))
    return device_words(device)
