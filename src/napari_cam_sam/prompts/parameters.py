"""The rule that turns a heatmap or a mask into prompts, as one set of parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.schemas import check_fields

__all__ = [
    "PRESETS",
    "TRUTH_PRESETS",
    "Components",
    "Kind",
    "Negatives",
    "PointRule",
    "PromptParameters",
    "ThresholdRule",
    "strategy_parameters",
    "truth_parameters",
]

Kind = Literal["box", "point", "box-point"]
ThresholdRule = Literal["fixed", "fraction-of-max", "otsu", "percentile", "k-means"]
Components = Literal["largest", "most-energy", "with-maximum", "all"]
PointRule = Literal["argmax", "mass-centre", "mass-centre-snapped", "distance-centre", "box-centre"]
Negatives = Literal["none", "extremes", "around", "adaptive"]

_CHOICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "kind": ("kind of prompt", get_args(Kind)),
    "threshold_rule": ("threshold rule", get_args(ThresholdRule)),
    "components": ("choice of components", get_args(Components)),
    "point": ("point rule", get_args(PointRule)),
    "negatives": ("rule for negatives", get_args(Negatives)),
}


@dataclass(frozen=True)
class PromptParameters:
    """How a heatmap or a mask becomes prompts. Lengths are pixels of the original plane.

    The defaults are the strategy ``ours``. Its threshold and margin were chosen on phantoms of
    three kinds, none of them in training or in the benchmarks: a lower threshold suits large
    objects and a higher one small ones, and a margin harms the small ones.

    Attributes
    ----------
    kind : {"box", "point", "box-point"}
        What each object gets.
    threshold_rule : {"fixed", "fraction-of-max", "otsu", "percentile", "k-means"}
        Which values of a heatmap count: those above the threshold, above that part of the maximum,
        above Otsu's threshold, above that percentile, or in the highest of several clusters
        (k-means). Masks are not thresholded.
    threshold : float
        From 0 to 1; a percentile as a fraction, 0.9 for the 90th. Otsu and k-means do without it.
    clusters : int
        How many clusters k-means makes, 2 or more.
    components : {"largest", "most-energy", "with-maximum", "all"}
        Which regions come first: the largest, those with the largest sum of the heatmap, or those
        with its highest value. All takes them together as one region. Pixels that touch at a
        corner are of one region.
    max_objects : int
        How many regions are taken at most, each as one object.
    one_object : bool
        Take the regions as parts of one object: their points go into one prompt; several boxes
        become prompts with the same object number, whose masks are to be united.
    min_area : int
        Regions with fewer pixels are left out.
    point : {"argmax", "mass-centre", "mass-centre-snapped", "distance-centre", "box-centre"}
        The positive point of a region: its first highest value; its centre of mass, which may
        lie outside; the pixel of the region nearest to that; the pixel farthest from the
        region's edge; or the centre of the box before its margin, rounded down.
    grid : int
        How many positive points lie along each side of a square around that point; an odd number.
    grid_step : int
        Distance between them, in pixels.
    negatives : {"none", "extremes", "around", "adaptive"}
        Negative points: none; the top-, bottom-, left- and right-most pixel where the heatmap is
        low; the nearest such pixel outwards from each side of the object's box; or none at first,
        and later where the first mask leaks.
    negative_threshold : float
        The heatmap is low below this value, from 0 to 1.
    margin : float
        Added to each side of a box, in pixels; the box may then leave the plane.

    Raises
    ------
    CamSamError
        For an unknown choice or a value out of its range.

    Examples
    --------
    >>> from dataclasses import replace
    >>> tight = replace(ncs.PromptParameters(), kind="box", threshold=0.6)
    >>> tight.kind, tight.threshold, tight.components
    ('box', 0.6, 'with-maximum')
    """

    kind: Kind = "box-point"
    threshold_rule: ThresholdRule = "fraction-of-max"
    threshold: float = 0.3
    clusters: int = 3
    components: Components = "with-maximum"
    max_objects: int = 1
    one_object: bool = False
    min_area: int = 0
    point: PointRule = "distance-centre"
    grid: int = 1
    grid_step: int = 1
    negatives: Negatives = "none"
    negative_threshold: float = 0.1
    margin: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name, (kind, choices) in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(kind, str(getattr(self, name)), choices)
        for name in ("threshold", "negative_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise _out_of_range(name, "in 0 to 1", getattr(self, name))
        for name, least in (
            ("clusters", 2), ("max_objects", 1), ("min_area", 0), ("grid", 1), ("grid_step", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise _out_of_range(name, f"a whole number of {least} or more", value)
        if self.grid % 2 == 0:
            raise _out_of_range("grid", "odd, so that it has a centre", self.grid)
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise _out_of_range("margin", "0 pixels or more", self.margin)


def _out_of_range(name: str, right: str, value: object) -> CamSamError:
    return CamSamError(f"The prompt parameter {name} must be {right}, not {value!r}.")


_S1 = PromptParameters(
    threshold_rule="fixed", threshold=0.8, components="largest", point="box-centre", margin=5
)
_S2 = PromptParameters(
    kind="point", threshold_rule="fraction-of-max", threshold=0.8, components="all",
    point="mass-centre", grid=3, negative_threshold=0.1,
)  # fmt: skip
_S4 = PromptParameters(
    components="largest", point="distance-centre", margin=0, one_object=True, threshold=0.5
)


PRESETS: dict[str, PromptParameters] = {
    "ours": PromptParameters(),
    "s1": _S1,
    "s2-fg": _S2,
    "s2-fg-bg": replace(_S2, negatives="extremes"),
    "s2-adaptive": replace(_S2, negatives="adaptive"),
    "s4-mode1": replace(_S4, kind="point"),
    "s4-mode2": replace(_S4, kind="point", max_objects=3),
    "s4-mode3": replace(_S4, kind="box"),
    "s4-mode4": replace(_S4, kind="box", max_objects=3),
    "s4-mode5": replace(_S4, kind="box", components="all"),
}
"""Strategies by name, for heatmaps and masks.

``s1``: Dhamale and Pawar, "Weakly supervised automated extraction of optimal visual prompts"
(threshold .8 for ResNet-18 and -34; they use .5 for ResNet-50). ``s2-…``: Paradowski, "Grad-CAM
and automated SAM segmentation". ``s4-…``: Mazurowski et al., "Segment Anything Model for medical
image analysis", whose prompts come from masks; from a heatmap they take {> .5·max}.
"""

TRUTH_PRESETS: dict[str, PromptParameters] = {
    "truth-box": replace(_S1, kind="box"),
    "truth-point": replace(_S1, kind="point"),
    "truth-box-point": replace(_S1, kind="box-point"),
}
"""Prompts from a truth mask, the upper bound that Dhamale and Pawar compare with."""


# Specks by the thousand are no objects, and as many boxes would stop the window.
_MOST_PARTS = 1000


def truth_parameters(name: str, *, margin: float, min_area: int = 0) -> PromptParameters:
    """Return a rule that prompts every part of an object of a truth, not the largest alone.

    Parameters
    ----------
    name : str
        A key of `TRUTH_PRESETS`.
    margin : float
        Of the boxes.
    min_area : int
        Parts with fewer pixels are left out.

    Returns
    -------
    PromptParameters
        The parts of a label stay one object; beyond a thousand the smallest are left out.

    Raises
    ------
    CamSamError
        As `strategy_parameters`.
    """
    return replace(
        strategy_parameters(name), margin=margin, min_area=min_area,
        one_object=True, max_objects=_MOST_PARTS,
    )  # fmt: skip


def strategy_parameters(name: str) -> PromptParameters:
    """Return the parameters of a strategy by its name.

    Parameters
    ----------
    name : str
        A key of `PRESETS` or of `TRUTH_PRESETS`.

    Returns
    -------
    PromptParameters
        To be changed with `dataclasses.replace`.

    Raises
    ------
    CamSamError
        For an unknown name; near names are given.
    """
    known = PRESETS | TRUTH_PRESETS
    if name not in known:
        raise unknown_name("strategy", name, known)
    return known[name]
