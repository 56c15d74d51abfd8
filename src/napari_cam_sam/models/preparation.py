"""What a MONAI bundle does to an image before its network, and how windows slide: as data.

Nothing here imports MONAI, and nothing that a file says becomes code: a transform is a name from
a list and arguments that are plain values of the kinds named beside it.
``models.segment.bundle_frames`` runs them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_cam_sam.errors import CamSamError

__all__ = ["INTENSITY", "RESAMPLING", "Inferer", "Preparation", "Step", "read_preparation"]

_LARGEST_SIDE = 4096
_MOST_VOXELS = 1 << 27
_LARGEST_NUMBER = 1e9
_MODES = (
    "bilinear", "trilinear", "bicubic", "linear", "nearest", "nearest-exact", "area", "constant",
    "edge", "border", "zeros", "reflection", "reflect", "symmetric", "replicate", "end", "all",
    "longest", "minimum", "maximum", "mean", "median", "gaussian",
)  # fmt: skip


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) <= _LARGEST_NUMBER
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= _LARGEST_SIDE


def _one_or_three(one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return 1 <= len(value) <= 3 and all(one(v) for v in value)
        return one(value)

    return fits


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "flag": (lambda v: isinstance(v, bool), "true or false"),
    "number": (_is_number, "a finite number"),
    "fraction": (
        _one_or_three(lambda v: _is_number(v) and 0 <= v < 1), "numbers from 0 to below 1"
    ),
    "percent": (lambda v: _is_number(v) and 0 <= v <= 100, "a number from 0 to 100"),
    "numbers": (_one_or_three(_is_number), "one to three finite numbers"),
    # Of voxels: what is 0 or below stands for the image's own.
    "spacing": (
        _one_or_three(lambda v: _is_number(v) and (v <= 0 or 0.01 <= v <= 1000)),
        "one to three sizes of 0.01 to 1000 mm",
    ),
    "sizes": (
        _one_or_three(_is_size), f"one to three whole numbers of at most {_LARGEST_SIDE}"
    ),
    "mode": (_one_or_three(lambda v: isinstance(v, str) and v in _MODES), "a mode of MONAI's"),
    "axes": (
        lambda v: isinstance(v, str) and re.fullmatch("[LRAPSI]{2,3}", v) is not None,
        "letters of L or R, P or A, I or S, e.g. RAS",
    ),
    # Of another key of the data, or where a transform notes something: the image alone is here.
    "word": (lambda v: isinstance(v, str) and len(v) <= 100, "a word"),
}  # fmt: skip

_BLENDING = {"mode": "mode", "padding_mode": "mode"}
_SPATIAL: dict[str, dict[str, str]] = {
    "Orientationd": {"axcodes": "axes", "as_closest_canonical": "flag"},
    "Spacingd": {
        "pixdim": "spacing", "diagonal": "flag", "align_corners": "flag", "scale_extent": "flag",
        "recompute_affine": "flag", "min_pixdim": "spacing", "max_pixdim": "spacing",
        "ensure_same_shape": "flag", **_BLENDING,
    },
    "Resized": {
        "spatial_size": "sizes", "size_mode": "mode", "mode": "mode", "align_corners": "flag",
        "anti_aliasing": "flag", "anti_aliasing_sigma": "numbers",
    },
    "Flipd": {"spatial_axis": "sizes"},
    "CropForegroundd": {
        "source_key": "word", "margin": "sizes", "allow_smaller": "flag", "k_divisible": "sizes",
        "mode": "mode", "start_coord_key": "word", "end_coord_key": "word",
    },
    "CenterSpatialCropd": {"roi_size": "sizes"},
    "SpatialPadd": {"spatial_size": "sizes", "method": "mode", "mode": "mode"},
    "DivisiblePadd": {"k": "sizes", "method": "mode", "mode": "mode"},
    "ResizeWithPadOrCropd": {"spatial_size": "sizes", "method": "mode", "mode": "mode"},
}  # fmt: skip
_INTENSITY: dict[str, dict[str, str]] = {
    "ScaleIntensityd": {
        "minv": "number", "maxv": "number", "factor": "number", "channel_wise": "flag"
    },
    "ScaleIntensityRanged": {
        "a_min": "number", "a_max": "number", "b_min": "number", "b_max": "number", "clip": "flag"
    },
    "ScaleIntensityRangePercentilesd": {
        "lower": "percent", "upper": "percent", "b_min": "number", "b_max": "number",
        "clip": "flag", "relative": "flag", "channel_wise": "flag",
    },
    "NormalizeIntensityd": {
        "subtrahend": "numbers", "divisor": "numbers", "nonzero": "flag", "channel_wise": "flag"
    },
    "ThresholdIntensityd": {"threshold": "number", "above": "flag", "cval": "number"},
    "ClipIntensityPercentilesd": {
        "lower": "percent", "upper": "percent", "sharpness_factor": "number",
        "channel_wise": "flag",
    },
    "ShiftIntensityd": {"offset": "number"},
}  # fmt: skip
# Reading and types: the image is there as numbers with its channels first.
_READING = (
    "LoadImaged", "EnsureChannelFirstd", "AddChanneld", "EnsureTyped", "CastToTyped", "ToTensord",
    "ToDeviced", "Identityd",
)  # fmt: skip
_NEEDED = {
    "Orientationd": ("axcodes",),
    "Spacingd": ("pixdim",),
    "Resized": ("spatial_size",),
    "CenterSpatialCropd": ("roi_size",),
    "SpatialPadd": ("spatial_size",),
    "DivisiblePadd": ("k",),
    "ResizeWithPadOrCropd": ("spatial_size",),
    "ScaleIntensityRanged": ("a_min", "a_max", "b_min", "b_max"),
    "ScaleIntensityRangePercentilesd": ("lower", "upper", "b_min", "b_max"),
    "ThresholdIntensityd": ("threshold",),
    "ClipIntensityPercentilesd": ("lower", "upper"),
    "ShiftIntensityd": ("offset",),
}
INTENSITY = frozenset(_INTENSITY)
RESAMPLING = frozenset({"Spacingd", "Resized"})

_PADDINGS = ("constant", "reflect", "replicate", "circular")
_INFERERS = ("SlidingWindowInferer", "SliceInferer", "SimpleInferer")


@dataclass(frozen=True)
class Step:
    """One transform of the image: its name among MONAI's, and its arguments."""

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


def read_preparation(data: Any, what: str) -> Preparation:
    """Read a preparation from plain data, and refuse by name what is not known.

    Parameters
    ----------
    data : mapping
        ``steps``, a list of mappings with ``name`` and ``arguments``, and ``inferer``, a mapping
        with its ``kind`` and arguments; as a card holds them.
    what : str
        Where they come from, for errors.

    Raises
    ------
    CamSamError
        Names the transform and the argument.
    """
    if isinstance(data, Preparation):
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("steps"), list | tuple):
        raise CamSamError(f"A preparation is a mapping with steps and an inferer: correct {what}.")
    steps = []
    for one in data["steps"]:
        if not isinstance(one, Mapping) or not isinstance(one.get("arguments", {}), Mapping):
            raise CamSamError(f"A step has a name and arguments: correct {what}.")
        steps.append(_step(str(one.get("name")), one.get("arguments", {}), what))
    if len(steps) > 50:
        raise CamSamError(f"There are {len(steps)} transforms, at most 50 are followed: {what}.")
    return Preparation(
        tuple(s for s in steps if s is not None), _inferer(data.get("inferer"), what)
    )


def _step(name: str, arguments: Mapping[str, Any], what: str) -> Step | None:
    """Check one transform; None for one that only reads."""
    if name in _READING:
        _check_reading(name, arguments, what)
        return None
    known = _SPATIAL.get(name) or _INTENSITY.get(name)
    if known is None:
        raise CamSamError(
            f"The transform {name} is not followed; load the network from its checkpoint with a "
            f"card of its own, on images that it was done to ({what})."
        )
    kept: dict[str, Any] = {}
    for argument, value in arguments.items():
        if argument in ("keys", "allow_missing_keys", "dtype", "device", "lazy"):
            _check_common(name, argument, value, what)
            continue
        if argument not in known:
            raise CamSamError(
                f"{name} has the argument {argument!r}, which is not followed ({what})."
            )
        if value is None:
            kept[argument] = None
            continue
        fits, wanted = _KINDS[known[argument]]
        if not fits(value):
            raise CamSamError(f"{name} has {argument} {value!r}; expected {wanted} ({what}).")
        kept[argument] = list(value) if isinstance(value, tuple) else value
    for argument in _NEEDED.get(name, ()):
        if kept.get(argument) is None:
            raise CamSamError(f"{name} has no {argument}: add it ({what}).")
    for low, high in (("a_min", "a_max"), ("b_min", "b_max"), ("lower", "upper"), ("minv", "maxv")):
        if name == "ScaleIntensityd" and low == "minv":
            first, last = kept.get(low, 0.0), kept.get(high, 1.0)
        else:
            first, last = kept.get(low), kept.get(high)
        if first is not None and last is not None and not first < last:
            raise CamSamError(
                f"{name} has {low} {first} and {high} {last}; expected two numbers, the first the "
                f"lower ({what})."
            )
    if any(s == 0 for s in _listed(kept.get("divisor"))):
        raise CamSamError(f"{name} divides by 0: correct its divisor ({what}).")
    for argument in ("source_key", "start_coord_key", "end_coord_key"):
        kept.pop(argument, None)
    return Step(name, kept)


def _check_reading(name: str, arguments: Mapping[str, Any], what: str) -> None:
    for argument, value in arguments.items():
        if argument == "dtype":
            _check_common(name, argument, value, what)
        elif argument not in ("device", "keys") and isinstance(value, str) and value[:1] in "$@%":
            raise CamSamError(
                f"{name} has {argument} {value!r}, which is code and never run ({what})."
            )
        elif argument == "converter" and value is not None:
            raise CamSamError(
                f"{name} has the argument 'converter', which is not followed ({what})."
            )


def _check_common(name: str, argument: str, value: Any, what: str) -> None:
    """Refuse other types than floating ones, and what would run in another order."""
    if argument == "dtype":
        kind = r"\$?(torch|np|numpy)?\.?(float|float32|float64|double)"
        if value is not None and not (isinstance(value, str) and re.fullmatch(kind, value)):
            raise CamSamError(
                f"{name} has dtype {value!r}; only floating types are followed ({what})."
            )
    elif argument == "lazy" and value not in (None, False):
        raise CamSamError(f"{name} is lazy, which is not followed: set it to false ({what}).")


def _inferer(data: Any, what: str) -> Inferer:
    """Check how windows slide."""
    if not isinstance(data, Mapping):
        raise CamSamError(f"The inferer is a mapping with its kind: correct {what}.")
    kind = str(data.get("kind"))
    if kind not in _INFERERS:
        raise CamSamError(
            f"The inferer {kind} is not followed; followed are {', '.join(_INFERERS)} ({what})."
        )
    if kind == "SimpleInferer":
        return Inferer("SimpleInferer")
    given = {key: value for key, value in data.items() if value is not None}
    roi = _listed(given.get("roi_size"))
    mode = given.get("mode", "constant")
    ignored = (
        "kind", "sw_batch_size", "sw_device", "device", "progress", "cache_roi_weight_map",
        "cpu_thresh", "buffer_steps", "buffer_dim",
    )  # fmt: skip
    checks: dict[str, tuple[bool, str]] = {
        "roi_size": (
            1 <= len(roi) <= 3
            and all(_is_size(n) for n in roi)
            and math.prod(max(1, n) for n in roi) <= _MOST_VOXELS,
            f"one to three sizes of at most {_LARGEST_SIDE}, and {_MOST_VOXELS} voxels in all",
        ),
        "overlap": (_KINDS["fraction"][0](given.get("overlap", 0.25)), _KINDS["fraction"][1]),
        "mode": (mode in ("constant", "gaussian"), "constant or gaussian"),
        "sigma_scale": (
            _is_number(given.get("sigma_scale", 0.125))
            and 0.01 <= given.get("sigma_scale", 0.125) <= 10,
            "a number from 0.01 to 10",
        ),
        "padding_mode": (
            given.get("padding_mode", "constant") in _PADDINGS,
            " or ".join(_PADDINGS),
        ),
        "cval": (_is_number(given.get("cval", 0)), "a finite number"),
        "with_coord": (given.get("with_coord", False) is False, "false"),
        # SliceInferer's own default is 0.
        "spatial_dim": (given.get("spatial_dim", 0) in (0, 1, 2), "0, 1 or 2"),
        "slice_axis": (given.get("slice_axis", 0) in (0, 1, 2), "0, 1 or 2"),
    }
    for argument in given:
        if argument not in checks and argument not in ignored:
            raise CamSamError(
                f"{kind} has the argument {argument!r}, which is not followed ({what})."
            )
    for argument, (fits, wanted) in checks.items():
        if not fits:
            raise CamSamError(
                f"{kind} has {argument} {given.get(argument)!r}; expected {wanted} ({what})."
            )
    axis = None
    if kind == "SliceInferer":
        axis = int(given.get("slice_axis", given.get("spatial_dim", 0)))
        if len(roi) != 2:
            raise CamSamError(
                f"SliceInferer has a roi_size of {len(roi)} sizes; expected 2 ({what})."
            )
    return Inferer(
        kind="SliceInferer" if axis is not None else "SlidingWindowInferer",
        roi_size=tuple(int(n) for n in roi),
        overlap=tuple(float(o) for o in _listed(given.get("overlap", 0.25))),
        mode="gaussian" if mode == "gaussian" else "constant",
        sigma_scale=float(given.get("sigma_scale", 0.125)),
        padding_mode=given.get("padding_mode", "constant"),
        cval=float(given.get("cval", 0.0)),
        slice_axis=axis,
    )


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)
