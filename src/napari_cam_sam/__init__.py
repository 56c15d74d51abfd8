"""Class activation maps become prompts for Segment Anything, with scores, slice by slice.

The names below are handed on lazily: importing the package imports neither torch nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "CacheParameters": "sam.cache.embeddings",
    "CamParameters": "cam.heatmaps",
    "CamSamError": "errors",
    "EmbeddingCache": "sam.cache.embeddings",
    "Heatmap": "cam.heatmaps",
    "Image": "images.image",
    "OcclusionParameters": "cam.parameters",
    "PixelSet": "cam.pixel_sets",
    "PromptParameters": "prompts.parameters",
    "PropagationParameters": "sam.volume.propagation",
    "RunParameters": "pipeline",
    "Session": "session",
    "TrainingParameters": "models.training.parameters",
    "TrustParameters": "cam.parameters",
    "VolumeParameters": "pipeline",
    "WindowParameters": "images.windows",
    "assess_trust": "cam.trust",
    "automatic_masks": "sam.everything.automatic",
    "choose_by_heatmap": "sam.everything.ranking",
    "compute_heatmaps": "cam.heatmaps",
    "compute_volume_heatmap": "cam.volume_heatmaps",
    "find_consensus": "sam.volume.consensus",
    "image_from_array": "images.image",
    "load_classifier": "models.classifiers",
    "load_model": "models.loading",
    "load_segmenter": "sam.loading",
    "open_cache": "sam.cache.embeddings",
    "prompts_from_heatmap": "prompts.strategies",
    "prompts_from_mask": "prompts.strategies",
    "propagate": "sam.volume.propagation",
    "read_image": "images.reading",
    "read_labels": "images.reading",
    "read_session": "session",
    "replay": "session",
    "run_image": "pipeline",
    "samples_from_folder": "models.training.samples",
    "score_heatmap": "metrics.scoring",
    "score_masks": "metrics.scoring",
    "smooth_along_axis": "sam.volume.smoothing",
    "train": "models.training.run",
    "trusted_planes": "sam.volume.seed_slices",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
