"""What a classifier is, as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from napari_cam_sam.models.classifiers import Classifier, list_layers

__all__ = ["describe"]


def describe(classifier: Classifier) -> dict[str, Any]:
    """Say what a classifier is, as plain data for a table or JSON.

    Returns
    -------
    dict
        ``name``, ``architecture``, ``sha256``, ``device``, ``parameters`` (their number),
        ``default_layers``, ``card`` (its fields), ``layers`` (a list with ``name``, ``type``,
        ``shape``).
    """
    return {
        "name": classifier.name,
        "architecture": classifier.card.architecture,
        "sha256": classifier.sha256,
        "device": str(classifier.device),
        "parameters": sum(p.numel() for p in classifier.module.parameters()),
        "default_layers": list(classifier.default_layers),
        "card": asdict(classifier.card),
        "layers": [
            {"name": layer.name, "type": layer.type, "shape": list(layer.shape)}
            for layer in list_layers(classifier)
        ],
    }
