"""Parameters of everything mode and of names from texts, to be had without PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.schemas import check_fields

__all__ = ["NAMING_CAUTION", "AutomaticParameters", "NamingParameters", "recommended_parameters"]

NAMING_CAUTION = (
    "Names from texts are a hint, not a finding: on blood smears everything mode with CLIP or a "
    "medical CLIP named and filtered masks inconsistently. Look at every mask that it keeps or "
    "drops."
)
"""What to say wherever names are shown."""

Background = Literal["blur", "keep", "black"]

# A file of settings must not ask for a grid that fills the memory: 1024² points, 32² crops.
_MOST_POINTS = 1024
_MOST_LAYERS = 5


@dataclass(frozen=True)
class AutomaticParameters:
    """Which masks everything mode looks for and keeps.

    The defaults are segment-anything's, chosen for ViT-H. A smaller model is less sure of its
    masks: where none survive, lower ``predicted_iou`` first, then ``stability``.

    Attributes
    ----------
    points_per_side : int
        The grid has as many points along each side of the plane, each asked for three masks; at
        most 1024.
    points_per_batch : int
        Points decoded at once: more need more memory.
    predicted_iou : float
        Masks are kept where the model's own estimate of their IoU is above this; 0 keeps all.
    stability : float
        Masks are kept that hardly depend on the cut-off: the IoU of the mask cut above and below
        it is at least this, from 0 to 1.
    stability_offset : float
        How far above and below, in units of the model's output.
    box_overlap : float
        Of two masks whose boxes have a greater IoU than this, the better one is kept, 0 to 1.
    crop_layers : int
        Runs over crops of the plane too, 2 × 2 in the first layer, 4 × 4 in the second. Each
        crop is encoded, which takes as long as encoding the plane. 0 is the plane alone, 5 is the
        most.
    crop_box_overlap : float
        Of two masks of different crops whose boxes have a greater IoU than this, that of the
        smaller crop is kept, 0 to 1.
    crop_overlap : float
        How much crops overlap, as a fraction of the plane's shorter side, in the first layer.
    crop_points_divisor : int
        In each further layer the points along a side are divided by this.
    min_area : int
        Holes and separate parts with fewer pixels are removed from the masks; 0 leaves them.

    Raises
    ------
    CamSamError
        For a value out of its range.

    Examples
    --------
    >>> parameters = ncs.AutomaticParameters(points_per_side=12, predicted_iou=0.5, stability=0.5)
    >>> parameters.points_per_side**2  # points that the model is asked for
    144
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    predicted_iou: float = 0.88
    stability: float = 0.95
    stability_offset: float = 1.0
    box_overlap: float = 0.7
    crop_layers: int = 0
    crop_box_overlap: float = 0.7
    crop_overlap: float = 512 / 1500
    crop_points_divisor: int = 1
    min_area: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("points_per_side", 1, _MOST_POINTS), ("points_per_batch", 1, math.inf),
            ("crop_layers", 0, _MOST_LAYERS), ("crop_points_divisor", 1, math.inf),
            ("min_area", 0, math.inf),
        ):  # fmt: skip
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            limit = f", at most {most}" if most < math.inf else ""
            right = f"a whole number of {least} or more{limit}"
            self._check(name, whole and least <= value <= most, right)
        check_fields(self)
        for name in (
            "predicted_iou", "stability", "box_overlap", "crop_box_overlap", "crop_overlap",
        ):  # fmt: skip
            self._check(name, 0 <= getattr(self, name) <= 1, "in 0 to 1")
        self._check("stability_offset", 0 <= self.stability_offset < math.inf, "0 or more")
        enough = self.points_per_side >= self.crop_points_divisor**self.crop_layers
        self._check("points_per_side", enough, "enough to leave a point in the last layer")

    def _check(self, name: str, holds: bool, right: str) -> None:
        if not holds:
            raise CamSamError(
                f"The parameter {name} of everything mode must be {right}, not "
                f"{getattr(self, name)!r}."
            )


def recommended_parameters(segmenter: str) -> AutomaticParameters:
    """Return the search that suits a segmenter.

    The defaults are for ViT-H. ``compact-sam`` is less sure of its masks, and its input is a
    quarter as wide: it gets the settings of ``benchmarks/automatic.py``. Fewer points at once
    change no mask, take less time on a CPU, and can be stopped sooner.

    Parameters
    ----------
    segmenter : str
        Its name.

    Returns
    -------
    AutomaticParameters
    """
    if segmenter == "compact-sam":
        return AutomaticParameters(
            points_per_side=12, points_per_batch=16, predicted_iou=0.5, stability=0.5
        )
    return AutomaticParameters()


@dataclass(frozen=True)
class NamingParameters:
    """What masks may be called, and what the model is shown of them.

    Attributes
    ----------
    classes : tuple of str
        Two texts or more, all different; one of them should stand for what is not meant, e.g.
        ``("a lesion", "normal tissue")``: the probabilities add up to 1 over these.
    templates : tuple of str
        Sentences with ``{}`` where the class goes. A medical CLIP wants its own, e.g.
        ``"this is an ultrasound image of {}"``.
    margin : float
        Added on each side of a mask's square, as a fraction of its side.
    background : {"blur", "keep", "black"}
        What becomes of the crop outside of the mask.
    blur : float
        Standard deviation of that blur, as a fraction of the square's side.
    batch_size : int
        Crops in one pass of the model.

    Raises
    ------
    CamSamError
        For classes or templates that cannot be used, or a value out of its range.
    """

    classes: tuple[str, ...]
    templates: tuple[str, ...] = ("a photo of {}.", "an image of {}.")
    margin: float = 0.2
    background: Background = "blur"
    blur: float = 0.05
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise CamSamError(
                f"Masks are named by two or more different texts, not {self.classes!r}: add one "
                "for what is not meant, e.g. 'background'."
            )
        if not all(text.strip() for text in self.classes):
            raise CamSamError("A text that names masks is empty: write what is to be seen.")
        if not self.templates or not all(text.count("{}") == 1 for text in self.templates):
            raise CamSamError(
                f"A template needs one {{}} where the class goes, e.g. 'a photo of {{}}', "
                f"not {self.templates!r}."
            )
        if self.background not in get_args(Background):
            raise unknown_name("background", str(self.background), get_args(Background))
        for name in ("margin", "blur"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise CamSamError(f"The naming parameter {name} must be 0 or more, not {value!r}.")
        if self.batch_size < 1:
            raise CamSamError(f"The batch size is {self.batch_size}; expected 1 or more.")
