"""What a run does, but for its image and its models."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.preprocessing import PreprocessingParameters
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.prompts.parameters import PromptParameters, strategy_parameters
from napari_cam_sam.sam.everything.parameters import AutomaticParameters
from napari_cam_sam.sam.everything.ranking import RankingParameters
from napari_cam_sam.sam.mask_choice import MaskChoice, needs_multimask
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.schemas import check_fields

__all__ = ["MaskFrom", "RunParameters", "VolumeParameters"]

MaskFrom = Literal["prompts", "heatmap", "automatic"]


@dataclass(frozen=True)
class VolumeParameters:
    """How prompts on some planes become objects of the volume.

    Attributes
    ----------
    propagation : PropagationParameters
    min_trust : float
        Of prompts from heatmaps: planes on which the target's probability is below this are not
        propagated from; of each run of neighbours that are left the most probable is, see
        :func:`~napari_cam_sam.sam.volume.seed_slices.trusted_planes`.
    smooth : float
        Standard deviation in mm of the smoothing along the axis; 0 for none.
    consensus : bool
        Whether the objects are also propagated along the two other axes, from the boxes that the
        first way gives them there, and what two of the three say is taken.

    Raises
    ------
    CamSamError
        For a value out of its range.

    Examples
    --------
    >>> volume = ncs.VolumeParameters(ncs.PropagationParameters(max_distance_mm=30), smooth=2.0)
    >>> ncs.RunParameters(cam=ncs.CamParameters(target="lesion"), volume=volume).volume.smooth
    2.0
    """

    propagation: PropagationParameters = field(default_factory=PropagationParameters)
    min_trust: float = 0.5
    smooth: float = 0.0
    consensus: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.min_trust <= 1:
            raise CamSamError(f"The least trust must be in 0 to 1, not {self.min_trust!r}.")
        if not (math.isfinite(self.smooth) and self.smooth >= 0):
            raise CamSamError(f"Smoothing must be 0 mm or more, not {self.smooth!r}.")


@dataclass(frozen=True)
class RunParameters:
    """What a run does, but for its image and its models.

    Attributes
    ----------
    axis : int
        Array axis that the planes cut.
    planes : range or None
        Indices along it; None for all. With `volume`, those that may be prompted.
    window : WindowParameters
        One window for all planes.
    preprocessing : PreprocessingParameters
        What the segmenter's planes go through; the classifier's do not.
    cam : CamParameters
    strategy : str
        Name of a rule that makes prompts; ``truth-…`` takes them from the truth.
    prompts : PromptParameters or None
        Parameters instead of those that the strategy's name stands for.
    mask_choice : {"single", "first", "best", "oracle"}
        Which of the segmenter's masks is taken; with `volume` its own choice holds.
    mask_from : {"prompts", "heatmap", "automatic"}
        What the segmenter starts from. ``"heatmap"``: the heatmap's own high and low regions,
        for segmenters that can (``seeded``). ``"automatic"``: everything mode, among whose masks
        the heatmap chooses. With both, the prompts are recorded, not used, but for planes
        without prompts, which get no mask.
    automatic : AutomaticParameters or None
        Of everything mode; None for what suits the segmenter.
    ranking : RankingParameters
        How the heatmap chooses among the masks of everything mode.
    truth_label : int or None
        The label of the truth that is meant; None for all that is not 0.
    volume : VolumeParameters or None
        How the prompts are propagated through the volume; None for each plane by itself.

    Raises
    ------
    CamSamError
        For an unknown `mask_choice` or `mask_from`.

    Examples
    --------
    >>> parameters = ncs.RunParameters(
    ...     window=ncs.WindowParameters("ct-liver"), cam=ncs.CamParameters(target="lesion")
    ... )
    >>> parameters.strategy, parameters.from_truth, parameters.prompt_parameters.kind
    ('ours', False, 'box-point')
    """

    axis: int = 0
    planes: range | None = None
    window: WindowParameters = field(default_factory=WindowParameters)
    preprocessing: PreprocessingParameters = field(default_factory=PreprocessingParameters)
    cam: CamParameters = field(default_factory=CamParameters)
    strategy: str = "ours"
    prompts: PromptParameters | None = None
    mask_choice: MaskChoice = "best"
    mask_from: MaskFrom = "prompts"
    automatic: AutomaticParameters | None = None
    ranking: RankingParameters = field(default_factory=RankingParameters)
    truth_label: int | None = None
    volume: VolumeParameters | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        needs_multimask(self.mask_choice)
        if self.mask_from not in get_args(MaskFrom):
            raise unknown_name("source of masks", self.mask_from, get_args(MaskFrom))

    @property
    def prompt_parameters(self) -> PromptParameters:
        """The parameters that hold: given ones, else those of the strategy's name."""
        return self.prompts or strategy_parameters(self.strategy)

    @property
    def from_truth(self) -> bool:
        """Whether the prompts are taken from the truth."""
        return self.strategy.startswith("truth-")

    @property
    def by_label(self) -> bool:
        """Whether masks carry the truth's labels and are compared with them one by one."""
        return self.from_truth and self.truth_label is None
