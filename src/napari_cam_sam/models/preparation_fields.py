"""Preparations from plain data: what is not known or not followed is refused by its name.

Nothing here imports MONAI, and nothing that a file says becomes code: a transform is a name from
a list and arguments that are plain values of the kinds named beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.preparation import Inferer, Preparation, Step
from napari_cam_sam.schemas import check_schema

__all__ = ["read_preparation"]

_LARGEST_SIDE = 4096
_MOST_VOXELS = 1 << 27
_MOST_STEPS = 50


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else [value]


def _size_in_mm(value: float) -> float:
    # What is 0 or below stands for the image's own.
    if value > 0 and not 0.01 <= value <= 1000:
        raise ValueError("0.01 to 1000 mm")
    return value


def _orientation(letters: str) -> str:
    if not re.fullmatch("[LRAPSI]{2,3}", letters):
        raise ValueError("letters of L or R, P or A, I or S, e.g. RAS")
    return letters


def _floating(kind: Any) -> Any:
    known = r"\$?(torch|np|numpy)?\.?(float|float32|float64|double)"
    if kind is not None and not (isinstance(kind, str) and re.fullmatch(known, kind)):
        raise ValueError("a floating type")
    return kind


def _not_too_many(sizes: list[int]) -> list[int]:
    if math.prod(max(1, n) for n in sizes) > _MOST_VOXELS:
        raise ValueError(f"of at most {_MOST_VOXELS} voxels in all")
    return sizes


_Number = Annotated[float, Field(ge=-1e9, le=1e9)]
_Few = Field(min_length=1, max_length=3)
_Sizes = Annotated[
    list[Annotated[int, Field(ge=-1, le=_LARGEST_SIDE)]], BeforeValidator(_listed), _Few
]
_Fractions = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], BeforeValidator(_listed), _Few]
_Mode = Literal[
    "bilinear", "trilinear", "bicubic", "linear", "nearest", "nearest-exact", "area", "constant",
    "edge", "border", "zeros", "reflection", "reflect", "symmetric", "replicate", "end", "all",
    "longest", "minimum", "maximum", "mean", "median", "gaussian",
]  # fmt: skip
_KINDS: dict[str, Any] = {
    "flag": bool,
    "number": _Number,
    "percent": Annotated[float, Field(ge=0, le=100)],
    "numbers": Annotated[list[_Number], BeforeValidator(_listed), _Few],
    "spacing": Annotated[
        list[Annotated[_Number, AfterValidator(_size_in_mm)]], BeforeValidator(_listed), _Few
    ],
    "sizes": _Sizes,
    "mode": Annotated[list[_Mode], BeforeValidator(_listed), _Few],
    "axes": Annotated[str, AfterValidator(_orientation)],
    # Of another key of the data, or where a transform notes something: the image alone is here.
    "word": Annotated[str, Field(max_length=100)],
}

_BLENDING = {"mode": "mode", "padding_mode": "mode"}
_TRANSFORMS: dict[str, dict[str, str]] = {
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
# Options of all transforms.
_COMMON = ("keys", "allow_missing_keys", "dtype", "device", "lazy")
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
_IGNORED = (
    "sw_batch_size", "sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh",
    "buffer_steps", "buffer_dim",
)  # fmt: skip


class _Options(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    dtype: Annotated[Any, AfterValidator(_floating)] = None
    lazy: Literal[False] | None = None


class _InfererFields(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    roi_size: Annotated[_Sizes, AfterValidator(_not_too_many)]
    overlap: _Fractions = Field(default=[0.25])
    mode: Literal["constant", "gaussian"] = "constant"
    sigma_scale: Annotated[float, Field(ge=0.01, le=10)] = 0.125
    padding_mode: Literal["constant", "reflect", "replicate", "circular"] = "constant"
    cval: _Number = 0.0
    with_coord: Literal[False] = False
    # SliceInferer's own default is 0.
    spatial_dim: Annotated[int, Field(ge=0, le=2)] = 0
    slice_axis: Annotated[int, Field(ge=0, le=2)] | None = None


def read_preparation(data: Any, what: str) -> Preparation:
    """Read a preparation from plain data.

    Parameters
    ----------
    data : mapping
        ``steps``, a list of mappings with ``name`` and ``arguments``, and ``inferer``, a mapping
        with its ``kind`` and arguments; as a card holds them. A preparation stays what it is.
    what : str
        Where they come from, for errors.

    Returns
    -------
    Preparation
        Without transforms that only read the image.

    Raises
    ------
    CamSamError
        Names the transform and the argument.
    """
    if isinstance(data, Preparation):
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("steps"), list | tuple):
        raise CamSamError(f"A preparation is a mapping with steps and an inferer: correct {what}.")
    given = data["steps"]
    if len(given) > _MOST_STEPS:
        raise CamSamError(
            f"There are {len(given)} transforms, at most {_MOST_STEPS} are followed: {what}."
        )
    steps = []
    for one in given:
        if not isinstance(one, Mapping) or not isinstance(one.get("arguments", {}), Mapping):
            raise CamSamError(f"A step has a name and arguments: correct {what}.")
        name, arguments = str(one.get("name")), one.get("arguments", {})
        if name in _READING:
            _check_reading(name, arguments, what)
        else:
            steps.append(_step(name, arguments, what))
    return Preparation(tuple(steps), _inferer(data.get("inferer"), what))


def _step(name: str, arguments: Mapping[str, Any], what: str) -> Step:
    """Check one transform."""
    if name not in _TRANSFORMS:
        raise CamSamError(
            f"The transform {name} is not followed; load the network from its checkpoint with a "
            f"card of its own, on images that it was done to ({what})."
        )
    known = _TRANSFORMS[name]
    _check_known(name, arguments, (*known, *_COMMON), what)
    needed = _NEEDED.get(name, ())
    kinds: dict[str, Any] = {
        argument: (_KINDS[kind], ...) if argument in needed else (_KINDS[kind] | None, None)
        for argument, kind in known.items()
    }
    schema = create_model(name, __base__=_Options, **kinds)
    check_schema(schema, dict(arguments), f"{name} in {what}")
    # As they were given: numbers that are whole stay so.
    kept = {
        argument: list(value) if isinstance(value, tuple) else value
        for argument, value in arguments.items()
        if known.get(argument, "word") != "word"
    }
    for low, high in (("a_min", "a_max"), ("b_min", "b_max"), ("lower", "upper"), ("minv", "maxv")):
        first, last = kept.get(low), kept.get(high)
        if name == "ScaleIntensityd" and low == "minv":
            first, last = kept.get(low, 0.0), kept.get(high, 1.0)
        if first is not None and last is not None and not first < last:
            raise CamSamError(
                f"{name} has {low} {first} and {high} {last}; expected two numbers, the first the "
                f"lower ({what})."
            )
    if 0 in _listed(kept.get("divisor")):
        raise CamSamError(f"{name} divides by 0: correct its divisor ({what}).")
    return Step(name, kept)


def _check_known(
    name: str, arguments: Mapping[str, Any], known: tuple[str, ...], what: str
) -> None:
    for argument in arguments:
        if argument not in known:
            raise CamSamError(
                f"{name} has the argument {argument!r}, which is not followed ({what})."
            )


def _check_reading(name: str, arguments: Mapping[str, Any], what: str) -> None:
    for argument, value in arguments.items():
        code = isinstance(value, str) and value[:1] in ("$", "@", "%")
        if code and argument not in ("dtype", "device", "keys"):
            raise CamSamError(
                f"{name} has {argument} {value!r}, which is code and never run ({what})."
            )
    if arguments.get("converter") is not None:
        raise CamSamError(f"{name} has the argument 'converter', which is not followed ({what}).")
    check_schema(_Options, {"dtype": arguments.get("dtype")}, f"{name} in {what}")


def _inferer(data: Any, what: str) -> Inferer:
    """Check how windows slide."""
    if not isinstance(data, Mapping):
        raise CamSamError(f"The inferer is a mapping with its kind: correct {what}.")
    kind = str(data.get("kind"))
    if kind == "SimpleInferer":
        return Inferer("SimpleInferer")
    if kind not in ("SlidingWindowInferer", "SliceInferer"):
        raise CamSamError(
            f"The inferer {kind} is not followed; followed are SlidingWindowInferer, "
            f"SliceInferer, SimpleInferer ({what})."
        )
    given = {key: value for key, value in data.items() if value is not None and key != "kind"}
    _check_known(kind, given, (*_InfererFields.model_fields, *_IGNORED), what)
    given = {key: value for key, value in given.items() if key not in _IGNORED}
    found = check_schema(_InfererFields, given, f"{kind} in {what}")
    axis = None
    if kind == "SliceInferer":
        axis = found.spatial_dim if found.slice_axis is None else found.slice_axis
        if len(found.roi_size) != 2:
            raise CamSamError(
                f"SliceInferer has a roi_size of {len(found.roi_size)} sizes; expected 2 ({what})."
            )
    return Inferer(
        kind="SliceInferer" if axis is not None else "SlidingWindowInferer",
        roi_size=tuple(found.roi_size),
        overlap=tuple(found.overlap),
        mode=found.mode,
        sigma_scale=found.sigma_scale,
        padding_mode=found.padding_mode,
        cval=found.cval,
        slice_axis=axis,
    )
