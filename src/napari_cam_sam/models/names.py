"""The classifiers and segmentation networks that load by name, known before PyTorch is loaded."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open

from napari_cam_sam.demo import shipped_models
from napari_cam_sam.models.cards import card_in_metadata

__all__ = [
    "CHECKPOINTS",
    "OWN_NAMES",
    "SEGMENTATION_ARCHITECTURES",
    "TORCHVISION_NAMES",
    "classifier_names",
    "is_checkpoint",
    "is_factory",
    "shipped_classifiers",
    "shipped_networks",
]

TORCHVISION_NAMES = (
    "resnet18", "resnet34", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "densenet121",
    "efficientnet_b0", "convnext_tiny", "swin_t", "vit_b_16",
)  # fmt: skip

SEGMENTATION_ARCHITECTURES = (
    "small-unet", "fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "monai-unet", "monai-segresnet",
    "monai-dynunet",
)  # fmt: skip

OWN_NAMES = ("small-cnn", "resnet18-narrow")
"""Architectures of ours: no weights load by their names."""


CHECKPOINTS = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar", ".pt.tar", ".ckpt.tar", ".safetensors")
"""How the names of files with weights end."""


def is_checkpoint(path: Path) -> bool:
    """Return whether a file holds weights, by its name.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
    """
    return path.name.lower().endswith(CHECKPOINTS)


_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_factory(name: str) -> bool:
    """Return whether a name is written as ``package.module:function``: code, to be imported.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool
    """
    return _FACTORY.fullmatch(name) is not None


def classifier_names() -> list[str]:
    """List the classifiers that load by name.

    Returns
    -------
    list of str
        The shipped ones, then torchvision's.
    """
    return [*shipped_classifiers(), *TORCHVISION_NAMES]


def shipped_classifiers() -> dict[str, Path]:
    """Return the shipped models that are classifiers, by the architecture on their card.

    Returns
    -------
    dict of str to Path
        Files by name.
    """
    return _shipped((*TORCHVISION_NAMES, *OWN_NAMES))


def shipped_networks() -> dict[str, Path]:
    """Return the shipped models that are segmentation networks.

    Returns
    -------
    dict of str to Path
        Files by name.
    """
    return _shipped(SEGMENTATION_ARCHITECTURES)


def _shipped(architectures: Collection[str]) -> dict[str, Path]:
    out = {}
    for name, path in shipped_models().items():
        try:
            with safe_open(path, framework="np") as file:
                metadata = dict(file.metadata() or {})
        except (SafetensorError, OSError):
            continue  # loading it by name says what is wrong with it
        if card_in_metadata(metadata, path.name).get("architecture") in architectures:
            out[name] = path
    return out
