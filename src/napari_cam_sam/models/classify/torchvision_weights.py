"""torchvision's own weights: fetched on demand, checked, read as plain tensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.models.checkpoints import Checkpoint, read_checkpoint

__all__ = ["read_torchvision_weights", "weights_on_disk"]


def weights_on_disk(name: str) -> bool:
    """Return whether the default weights of one of torchvision's classifiers are in the cache.

    Parameters
    ----------
    name : str
        torchvision's.

    Returns
    -------
    bool
    """
    return _place(torchvision.models.get_model_weights(name).DEFAULT.url).is_file()


def read_torchvision_weights(name: str) -> tuple[Checkpoint, tuple[int, int]]:
    """Read the default weights that torchvision has for one of its classifiers.

    They lie in torch.hub's cache (``$TORCH_HOME/hub/checkpoints``), and are downloaded into it
    where they are not. The name of each file ends in the first digits of its SHA-256, which
    must agree, in a file that was already there too.

    Parameters
    ----------
    name : str
        torchvision's name of the model, e.g. ``"resnet18"``.

    Returns
    -------
    checkpoint : Checkpoint
        Its metadata has the card.
    input_size : tuple of int
        Rows and columns that the weights were made for.

    Raises
    ------
    CamSamError
        If the file cannot be downloaded (says where to place it by hand), or is not the one
        that torchvision published.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    path = _fetched(name, weights.url)
    checkpoint = read_checkpoint(path)
    prefix = path.stem.rpartition("-")[2]
    if not checkpoint.sha256.startswith(prefix):
        raise refusal(
            "This is not the file that torchvision published: its SHA-256 starts with "
            f"{checkpoint.sha256[: len(prefix)]}, not {prefix}; delete it and try again",
            path,
        )
    preset = weights.transforms()
    card: dict[str, Any] = {
        "architecture": name,
        "num_classes": len(weights.meta["categories"]),
        "class_names": _different(weights.meta["categories"]),
        "mean": list(preset.mean),
        "std": list(preset.std),
        "channels": 3,
    }
    # DenseNet's file is from before dots were forbidden in names: norm.1 is norm1 since.
    state = checkpoint.state_dict
    if name.startswith("densenet"):
        state = {re.sub(r"(norm|conv)\.([12])\.", r"\1\2.", k): v for k, v in state.items()}
    size = int(preset.crop_size[0])
    return Checkpoint(path, state, {"card": card}, checkpoint.sha256), (size, size)


def _fetched(name: str, url: str) -> Path:
    path = _place(url)
    if path.is_file():
        return path
    prefix = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:  # no network, a full disk; another hash
        raise CamSamError(
            f"The weights of {name} could not be downloaded ({error}). Download {url} by hand "
            f"and place it at {path}."
        ) from error
    return path


def _place(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def _different(names: list[str]) -> list[str]:
    """Add a number to the later ones of equal names: ImageNet has two cranes, two maillots."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out
