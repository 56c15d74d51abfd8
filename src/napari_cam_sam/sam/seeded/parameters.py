"""The settings of the segmenter without weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.seeded.contour import ContourParameters
from napari_cam_sam.schemas import check_fields

__all__ = ["SeededParameters"]

# Fewer cells hold no seeds of both kinds; the walk over more is not to be waited for.
_LEAST_SIDE, _MOST_SIDE = 8, 1024


@dataclass(frozen=True)
class SeededParameters:
    """Settings of the walk.

    The defaults were chosen on the even-numbered half of the 51 breast ultrasound lesions that
    ``benchmarks/real_lesions.py`` reads; it prints both halves.

    Attributes
    ----------
    side : int
        Cells along each side of the crop in which the walk runs.
    margin : float
        What the crop adds on each side of the box, as a fraction of its size.
    inner : tuple of float
        Sizes of the ellipse of object seeds against the one inscribed in the box. The walk runs
        once for each and the probabilities are averaged.
    beta : tuple of float
        How much edges hinder the walker, one a value of ``inner``.
    outer : float
        Size of the ellipse beyond which all is background; so is all outside the box.
    blur : float
        Standard deviation of the blur before the walk, as a fraction of the box; at least 1 px.
    brightness : float
        How much the brightness inside against outside counts beside the walk, 0 to 1.
    thresholds : tuple of float
        Probabilities at which the candidates are cut; the first is the single mask.
    point_seed, point_reach : float
        Radius within which a point is a seed, and within which it takes back seeds of the other
        kind, as fractions of half the box.
    heatmap_high, heatmap_low : tuple of float
        Heatmap values above which are object seeds, and below which background seeds; the walk
        runs once for each pair and the probabilities are averaged.
    heatmap_side : int
        As ``side``, when the whole plane is walked from a heatmap.
    heatmap_beta : float
        As ``beta``, from a heatmap.
    contour : ContourParameters
        How points without a box find their scale.

    Raises
    ------
    CamSamError
        For a value of another type or out of its range, and for pairs of unequal length.
    """

    side: int = 64
    margin: float = 0.25
    inner: tuple[float, ...] = (0.6, 0.7, 0.8)
    beta: tuple[float, ...] = (2000.0, 1300.0, 800.0)
    outer: float = 1.2
    blur: float = 1 / 120
    brightness: float = 0.3
    thresholds: tuple[float, ...] = (0.5, 0.3, 0.7)
    point_seed: float = 0.08
    point_reach: float = 0.35
    heatmap_high: tuple[float, ...] = (0.8, 0.7, 0.6)
    heatmap_low: tuple[float, ...] = (0.15, 0.25, 0.15)
    heatmap_side: int = 96
    heatmap_beta: float = 1300.0
    contour: ContourParameters = field(default_factory=ContourParameters)

    def __post_init__(self) -> None:
        check_fields(self)
        for names, least, most in (
            (("side", "heatmap_side"), _LEAST_SIDE, _MOST_SIDE),
            (("margin", "inner", "beta", "outer", "blur", "point_seed"), 0, math.inf),
            (("point_reach", "heatmap_high", "heatmap_low", "heatmap_beta"), 0, math.inf),
            (("brightness", "thresholds"), 0, 1),
        ):
            for name in names:
                value = getattr(self, name)
                several = value if isinstance(value, tuple | list) else (value,)
                if not several or not all(
                    least <= one <= most and one < math.inf for one in several
                ):
                    right = f"from {least} to {most}" if most < math.inf else f"{least} or more"
                    raise CamSamError(f"SeededParameters.{name} must be {right}, not {value!r}.")
        for one, other in (("inner", "beta"), ("heatmap_high", "heatmap_low")):
            n, m = len(getattr(self, one)), len(getattr(self, other))
            if n != m:
                raise CamSamError(
                    f"SeededParameters.{one} has {n} values and {other} {m}: they go in pairs."
                )
