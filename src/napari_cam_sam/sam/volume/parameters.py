"""What a propagation may be told: how masks go from plane to plane, and where they end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.sam.volume.neighbours import RULES, NeighbourRule
from napari_cam_sam.schemas import check_fields

__all__ = ["PropagatedChoice", "PropagationParameters"]

PropagatedChoice = Literal["single", "first", "best"]


@dataclass(frozen=True)
class PropagationParameters:
    """How masks go from plane to plane, and where they end.

    The defaults were chosen with ``compact-sam`` on CT-like phantoms of which none is in
    ``benchmarks/propagation.py``. A rule that is None is off.

    Attributes
    ----------
    rule : {"box", "points", "mask", "mask+box"}
        What a mask gives its neighbour as a prompt: its box; points deep inside it; its shape and
        the deepest point; its shape and its box.
    margin : float
        Added to each side of the box, in pixels of the plane.
    points : int
        How many positive points the rule of that name gives, each as deep inside the mask as can
        be.
    negatives : bool
        Give the points negative ones too, outside each side of the box and its margin.
    follow_brightness : bool
        Fit the mask first to what is as bright as the object on the neighbour.
    mask_choice : {"single", "first", "best"}
        Which of the segmenter's candidates is taken.
    min_contrast : float or None
        Stop where the contrast of the mask falls below this part of the contrast on the prompted
        plane.
    min_score : float or None
        Stop where the segmenter's own estimate of the IoU falls below this.
    max_area_ratio : float or None
        Stop where the mask is this many times larger or smaller than its neighbour.
    min_iou : float or None
        Stop where the IoU with the neighbour's mask falls below this.
    min_evidence : float or None
        Stop where the heatmap is below this all over the mask.
    max_planes : int or None
        Stop this many planes from the prompted one; 0 leaves the prompted planes alone.
    max_distance_mm : float or None
        Stop this many millimetres from the prompted plane.
    fill_gaps : bool
        Interpolate planes between two prompted ones that neither way reaches.

    Raises
    ------
    CamSamError
        For an unknown choice or a value out of its range.

    Examples
    --------
    >>> near = ncs.PropagationParameters(max_planes=5, min_contrast=None)
    >>> near.rule, near.max_planes
    ('box', 5)
    """

    rule: NeighbourRule = "box"
    margin: float = 2.0
    points: int = 1
    negatives: bool = False
    follow_brightness: bool = True
    mask_choice: PropagatedChoice = "best"
    min_contrast: float | None = 0.5
    min_score: float | None = None
    max_area_ratio: float | None = None
    min_iou: float | None = None
    min_evidence: float | None = None
    max_planes: int | None = None
    max_distance_mm: float | None = None
    fill_gaps: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if self.rule not in RULES:
            raise unknown_name("rule of propagation", self.rule, RULES)
        if self.mask_choice not in get_args(PropagatedChoice):
            raise unknown_name("mask choice", self.mask_choice, get_args(PropagatedChoice))
        for name, least, most in (
            ("margin", 0, math.inf), ("points", 1, math.inf), ("min_contrast", 0, 1),
            ("min_score", 0, 1), ("max_area_ratio", 1, math.inf), ("min_iou", 0, 1),
            ("min_evidence", 0, 1), ("max_planes", 0, math.inf), ("max_distance_mm", 0, math.inf),
        ):  # fmt: skip
            value = getattr(self, name)
            whole = name not in ("points", "max_planes") or isinstance(value, int)
            if value is not None and not (least <= value <= most and value < math.inf and whole):
                right = f"from {least} to {most}" if most < math.inf else f"{least} or more"
                kind = "a whole number, " if name in ("points", "max_planes") else ""
                raise CamSamError(f"Propagation's {name} must be {kind}{right}, not {value!r}.")
