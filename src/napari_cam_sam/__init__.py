"""Class activation maps become prompts for Segment Anything, with scores, slice by slice.

The names below are handed on lazily: importing the package imports neither torch nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "CamParameters": "cam.heatmaps",
    "CamSamError": "errors",
    "Heatmap": "cam.heatmaps",
    "Image": "images.image",
    "PromptParameters": "prompts.parameters",
    "RunParameters": "pipeline",
    "Session": "session",
    "WindowParameters": "images.windows",
    "compute_heatmaps": "cam.heatmaps",
    "image_from_array": "images.image",
    "load_classifier": "models.classifiers",
    "load_segmenter": "sam.loading",
    "prompts_from_heatmap": "prompts.strategies",
    "prompts_from_mask": "prompts.strategies",
    "read_image": "images.reading",
    "read_labels": "images.reading",
    "read_session": "session",
    "replay": "session",
    "run_image": "pipeline",
    "score_heatmap": "metrics.scoring",
    "score_masks": "metrics.scoring",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
