"""What a training will do, in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_cam_sam.models.names import OWN_NAMES
from napari_cam_sam.plugin.qt.wording import counted, device_words

if TYPE_CHECKING:
    from napari_cam_sam.models.training.parameters import TrainingParameters

__all__ = ["NEIGHBOURS", "count_parts", "network_words"]

NEIGHBOURS = (
    "Too few images to hold whole ones out: the held-out slices lie between training "
    "slices, so expect lower accuracy on other images."
)
"""What to know of figures where planes of one image were shared out."""


def count_parts(parameters: TrainingParameters) -> int:
    """Count the parts into which images are split."""
    return 1 + (parameters.validation_part > 0) + (parameters.test_part > 0)


def network_words(parameters: TrainingParameters) -> str:
    """Return in words what will be trained, and where."""
    rows, columns = parameters.input_size
    epochs = counted(parameters.epochs, "epoch")
    return (
        f"{parameters.architecture} {_start_words(parameters)} at {rows} × {columns}, {epochs} on "
        f"the {_device_words(parameters.device)}."
    )


def _start_words(parameters: TrainingParameters) -> str:
    if parameters.start == "imagenet":
        return "from ImageNet weights"
    if parameters.start == "scratch" or parameters.architecture in OWN_NAMES:
        return "from scratch"
    if "torchvision" in sys.modules:
        from napari_cam_sam.models.classify.torchvision_weights import weights_on_disk

        there = weights_on_disk(parameters.architecture)
        return "from ImageNet weights" if there else "from scratch"
    return "from ImageNet weights if they are on this machine, else from scratch"


def _device_words(device: str) -> str:
    if device == "auto" and "torch" in sys.modules:
        from napari_cam_sam.models.devices import choose_device

        device = str(choose_device(device))
    return device_words(device)
