"""What a preset leaves to the user, known before PyTorch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRESET_NAMES", "PresetParameters"]

PRESET_NAMES = ("s0", "s1", "s1-published", "s2", "s3", "s4")


@dataclass(frozen=True)
class PresetParameters:
    """What a preset leaves to the user.

    Attributes
    ----------
    classifiers : tuple of str
        Names or checkpoints of the models whose heatmaps are taken; empty for the preset's own.
    segmenters : tuple of str
        Empty for the preset's own. Of ``s0`` the one that makes masks of the boxes, none by itself.
    methods : tuple of str
        Heatmap methods; empty for those of the paper.
    layers : tuple of str
        Layers whose maps are averaged; empty for the model's own.
    images : int
        How many phantoms are drawn, where the data are phantoms.
    first_seed : int
        Of the first phantom.
    points : int
        Up to how many points the simulated annotator of ``s4`` gives.
    seed : int
        Of the simulated annotator.
    """

    classifiers: tuple[str, ...] = ()
    segmenters: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    images: int = 500
    first_seed: int = 10_000
    points: int = 9
    seed: int = 0
