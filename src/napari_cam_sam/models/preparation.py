"""What a MONAI bundle does to an image before its network, and how windows slide: as data.

``models.preparation_fields`` reads and checks it, ``models.segment.bundle_frames`` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["INTENSITY", "RESAMPLING", "Inferer", "Preparation", "Step"]

INTENSITY = frozenset(
    {
        "ClipIntensityPercentilesd", "NormalizeIntensityd", "ScaleIntensityd",
        "ScaleIntensityRanged", "ScaleIntensityRangePercentilesd", "ShiftIntensityd",
        "ThresholdIntensityd",
    }
)  # fmt: skip
"""Transforms of the image's values."""
RESAMPLING = frozenset({"Spacingd", "Resized"})
"""Transforms that mix voxels."""


@dataclass(frozen=True)
class Step:
    """One transform of the image.

    Attributes
    ----------
    name : str
        Among MONAI's transforms of dictionaries, e.g. ``"Spacingd"``.
    arguments : mapping of str to object
        Plain values, by MONAI's names.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inferer:
    """How windows slide over the prepared image.

    Attributes
    ----------
    kind : {"SlidingWindowInferer", "SliceInferer", "SimpleInferer"}
        The last takes all of it at once.
    roi_size : tuple of int
        Of a window along the axes of what the network takes; what is below 1 stands for the
        image's own size. Empty for a simple one.
    overlap : tuple of float
        Part of a window that the next one covers too; one number, or one an axis.
    mode : {"constant", "gaussian"}
        Weights of the places of a window.
    sigma_scale : float
        Of the Gaussian, in sizes of the window.
    padding_mode : {"constant", "reflect", "replicate", "circular"}
        What lies around an image that is smaller than a window, as torch names it.
    cval : float
        That, where it is constant.
    slice_axis : int or None
        Of a slice inferer: the axis (of i, j, k) that the slices cut.
    """

    kind: Literal["SlidingWindowInferer", "SliceInferer", "SimpleInferer"]
    roi_size: tuple[int, ...] = ()
    overlap: tuple[float, ...] = (0.25,)
    mode: Literal["constant", "gaussian"] = "constant"
    sigma_scale: float = 0.125
    padding_mode: Literal["constant", "reflect", "replicate", "circular"] = "constant"
    cval: float = 0.0
    slice_axis: int | None = None


@dataclass(frozen=True)
class Preparation:
    """All that happens to an image before a bundle's network.

    Attributes
    ----------
    steps : tuple of Step
        In their order.
    inferer : Inferer
    """

    steps: tuple[Step, ...]
    inferer: Inferer

    @property
    def of_slices(self) -> bool:
        """Whether a 2D network sees the slices of a volume that was prepared as a whole."""
        return self.inferer.slice_axis is not None

    @property
    def window(self) -> str | None:
        """The window nearest to the intensity steps, for what is shown; None if there is none."""
        first = next((step for step in self.steps if step.name in INTENSITY), None)
        if first is None:
            return None
        if first.name == "ScaleIntensityRanged":
            return f"limits:{first.arguments['a_min']:g},{first.arguments['a_max']:g}"
        return "minmax"

    def unfollowed(self) -> str | None:
        """Return why windowed 8-bit values cannot become what the network gets, or None.

        They are the raw ones but for a factor, an offset and the window's ends. What depends on
        more, such as which values are 0, needs the image itself.
        """
        absolute = False
        n_intensity = 0
        for step in self.steps:
            why = None
            if step.name in INTENSITY:
                clips = step.name == "ScaleIntensityRanged" and step.arguments.get("clip", False)
                if n_intensity == 0 and clips:
                    absolute = True
                else:
                    why = _unfollowed_intensity(step, absolute)
                    absolute = absolute or step.name != "ClipIntensityPercentilesd"
                n_intensity += 1
            elif step.name in ("Orientationd", "Flipd"):
                continue
            elif step.name in RESAMPLING:
                fixed = self.window is not None and self.window.startswith("limits")
                if step.arguments.get("padding_mode") == "zeros":
                    why = "it fills with 0"
                elif n_intensity > 1 or (n_intensity == 1 and not fixed):
                    why = "it comes after statistics"
            elif step.name == "CenterSpatialCropd" and n_intensity == 0:
                continue
            else:
                why = "it depends on the image's own values"
            if why is not None:
                return f"{step.name} cannot follow a window, since {why}"
        if not absolute:
            return "no step brings the intensities to a range of their own"
        return None

    @property
    def clips_after_resampling(self) -> bool:
        """Whether the first intensity step clips what was resampled before, unlike a window."""
        resampled = False
        for step in self.steps:
            if step.name in RESAMPLING:
                resampled = True
            elif step.name in INTENSITY:
                return resampled and step.name == "ScaleIntensityRanged"
        return False

    @property
    def pointwise(self) -> bool:
        """Whether each windowed value becomes the network's by itself, without statistics."""
        own = [step for step in self.steps if step.name in INTENSITY]
        return bool(own) and all(
            step.name == "ScaleIntensityRanged" or (i == 0 and step.name == "ScaleIntensityd")
            for i, step in enumerate(own)
        )


def _unfollowed_intensity(step: Step, absolute: bool) -> str | None:
    """Return why an intensity step cannot be taken on windowed values.

    Parameters
    ----------
    step : Step
    absolute : bool
        Whether the values before it are known, and not only up to a factor and an offset.
    """
    given = step.arguments
    if step.name == "ThresholdIntensityd":
        return "it sets values at a threshold"
    if given.get("nonzero", False):
        return "it depends on which values are 0"
    if given.get("sharpness_factor") is not None or given.get("relative", False):
        return "it depends on the values themselves"
    if absolute or step.name == "ClipIntensityPercentilesd":
        return None
    if step.name == "ScaleIntensityRanged":
        return "it comes without clip, or after another one"
    if step.name == "ShiftIntensityd":
        return "it depends on the values themselves"
    if step.name == "ScaleIntensityd" and None in (given.get("minv", 0), given.get("maxv", 1)):
        return "it depends on the values themselves"
    if any(given.get(name) is not None for name in ("subtrahend", "divisor")):
        return "it depends on the values themselves"
    return None
