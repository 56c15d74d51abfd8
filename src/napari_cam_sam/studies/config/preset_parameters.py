"""What a preset leaves to the user, known before PyTorch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from napari_cam_sam.schemas import check_fields

__all__ = ["PRESET_NAMES", "PresetParameters"]

PRESET_NAMES = ("s0", "s1", "s1-published", "s2", "s3", "s4")


@dataclass(frozen=True)
class PresetParameters:
    """What a preset leaves to the user.

    Attributes
    ----------
    classifiers : tuple of str
        Models whose heatmaps are taken, by name or checkpoint; empty for the protocol's own.
    segmenters : tuple of str
        Segmenters; empty for the protocol's own. For ``s0`` the one that turns the boxes into
        masks; none by default.
    methods : tuple of str
        Methods of heatmaps; empty for those of the paper.
    layers : tuple of str
        Layers whose maps are averaged; empty for the model's own.
    images : int
        How many phantoms to draw.
    first_seed : int
        Seed of the first phantom.
    points : int
        Most points that the simulated annotator of ``s4`` gives.
    seed : int
        Seed of the simulated annotator.

    Raises
    ------
    CamSamError
        For a value of another type.
    """

    classifiers: tuple[str, ...] = ()
    segmenters: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    images: int = 500
    first_seed: int = 10_000
    points: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
