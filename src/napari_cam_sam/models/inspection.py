"""What a classifier or a segmentation network is, as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.model import LoadedModel, list_layers

__all__ = ["describe"]


def describe(model: LoadedModel) -> dict[str, Any]:
    """Return what a model is, as plain data for a table or JSON.

    Parameters
    ----------
    model : LoadedModel

    Returns
    -------
    dict
        ``kind`` (classifier or segmentation network), ``name``, ``architecture``, ``sha256``,
        ``device``, ``parameters`` (their number),
        ``default_layers``, ``card`` (its fields), ``layers`` (a list with ``name``, ``type``,
        ``shape``), ``training`` (what a classifier's file says of it, or None).
    """
    return {
        "kind": "classifier" if isinstance(model, Classifier) else "segmentation network",
        "name": model.name,
        "architecture": model.card.architecture,
        "sha256": model.sha256,
        "device": str(model.device),
        "parameters": sum(p.numel() for p in model.module.parameters()),
        "default_layers": list(model.default_layers),
        "card": asdict(model.card),
        "training": model.training if isinstance(model, Classifier) else None,
        "layers": [
            {"name": layer.name, "type": layer.type, "shape": list(layer.shape)}
            for layer in list_layers(model)
        ],
    }
