"""The fields of a card, as a schema: what each may hold, whoever wrote the card."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from napari_cam_sam.limits import CHANNELS, CLASSES, KERNEL
from napari_cam_sam.models.preparation_fields import read_preparation
from napari_cam_sam.schemas import check_schema, shorten

__all__ = ["check_card"]

_LARGEST_SIDE = 4096
_MOST_PIXELS = 2**28
_LONGEST_NAME = 200
# Direction marks, which make a name look like another one.
_TURNING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
# Places in "LRPAIS" of one letter from each pair, sorted.
_ORIENTATIONS = [sorted(places) for places in product((0, 1), (2, 3), (4, 5))]

_MOST_ARGUMENTS = 1_000
_LONGEST_LIST = 64
_DEEPEST = 6
_MOST_BLOCKS = 64
_MOST_OF_ANYTHING = 512
"""The largest whole number in arguments that are neither channels nor sizes nor blocks."""


def _one_of(known: dict[int, str], value: int) -> int:
    # A literal would take True for 1.
    if value not in known:
        raise ValueError(" or ".join(known.values()))
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _as_size(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return (value, value) if whole else _as_tuple(value)


def _one_line(name: str) -> str:
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNING for c in name):
        raise ValueError("a name in one line")
    return name


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("a list of different names")
    return names


def _not_too_many(size: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(size) > _MOST_PIXELS:
        raise ValueError(f"no more than {_MOST_PIXELS} pixels")
    return size


def _axes(letters: str) -> str:
    if sorted(map("LRPAIS".find, letters)) not in _ORIENTATIONS:
        raise ValueError("three letters, one each of L or R, P or A, I or S, e.g. RAS")
    return letters


def _arguments(value: Any) -> Any:
    """Copy the arguments of a builder as plain values within bounds, so that it comes to an end."""
    count = 0

    def wrong(reason: str) -> ValueError:
        return ValueError(f"a mapping of plain values ({reason})")

    def copied(one: Any, name: str, depth: int) -> Any:
        nonlocal count
        count += 1
        if count > _MOST_ARGUMENTS or depth > _DEEPEST:
            raise wrong("there are too many, or they lie too deep in one another")
        if isinstance(one, Mapping):
            return {str(key): copied(inner, str(key), depth + 1) for key, inner in one.items()}
        if isinstance(one, list | tuple):
            if len(one) > _LONGEST_LIST:
                raise wrong(f"{name} has {len(one)} values, at most {_LONGEST_LIST}")
            inside = [copied(inner, name, depth + 1) for inner in one]
            return inside if isinstance(one, list) else tuple(inside)
        if isinstance(one, bool) or one is None:
            return one
        if isinstance(one, int):
            if not -_LARGEST_SIDE <= one <= _most(name):
                raise wrong(f"{name} is {shorten(one)}, at most {_most(name)}")
            return one
        if isinstance(one, float) and math.isfinite(one):
            return one
        if isinstance(one, str) and len(one) <= _LONGEST_NAME:
            return _one_line(one)
        raise wrong(f"{name} is no plain value")

    if not isinstance(value, Mapping):
        return value
    return copied(value, "", 0)


def _most(name: str) -> int:
    """Return the largest whole number that an argument of a name may be."""
    if any(word in name for word in ("kernel", "stride", "size", "shape")):
        return KERNEL if "size" not in name and "shape" not in name else _LARGEST_SIDE
    if any(word in name for word in ("channel", "filter", "feature", "group", "dim")):
        return CHANNELS
    if any(word in name for word in ("block", "unit", "layer", "depth")):
        return _MOST_BLOCKS
    return _MOST_OF_ANYTHING


_Listed = BeforeValidator(_as_tuple)
_Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME), AfterValidator(_one_line)]
_Names = Annotated[tuple[_Name, ...], _Listed, AfterValidator(_different)]
_Positive = Annotated[float, Field(gt=0)]
_Side = Annotated[int, Field(ge=8, le=_LARGEST_SIDE)]
_Size = Annotated[
    tuple[_Side, ...],
    BeforeValidator(_as_size),
    Field(min_length=2, max_length=3),
    AfterValidator(_not_too_many),
]
_EachChannel = Field(max_length=CHANNELS)
_Channels = Annotated[int, AfterValidator(partial(_one_of, {1: "1 (gray)", 3: "3 (RGB)"}))]
_Dimensions = Annotated[int, AfterValidator(partial(_one_of, {2: "2", 3: "3"}))]


class _CardFields(BaseModel):
    """What a card may say; None for what it does not."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    architecture: _Name | None = None
    num_classes: Annotated[int, Field(ge=1, le=CLASSES)] | None = None
    class_names: Annotated[_Names, Field(min_length=1, max_length=CLASSES)] | None = None
    input_size: _Size | None = None
    mean: Annotated[tuple[float, ...], _Listed, _EachChannel] | None = None
    std: Annotated[tuple[_Positive, ...], _Listed, _EachChannel] | None = None
    channels: _Channels | None = None
    layers: Annotated[_Names, Field(max_length=1_000)] | None = None
    fine_grid: bool | None = None
    head: Literal["linear", "extra"] | None = None
    plane_order: Literal["rows-columns", "columns-rows"] | None = None
    output: Literal["logits", "probabilities", "log-probabilities"] | None = None
    spatial_dims: _Dimensions | None = None
    activation: Literal["softmax", "sigmoid"] | None = None
    standardise: Literal["no", "image", "nonzero"] | None = None
    spacing: Annotated[tuple[_Positive, _Positive, _Positive], _Listed] | None = None
    orientation: Annotated[str, Field(max_length=3), AfterValidator(_axes)] | None = None
    window: _Name | None = None
    arguments: Annotated[dict[str, Any], BeforeValidator(_arguments)] | None = None
    preparation: Any = None


def check_card(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check fields of a card and convert them to their types.

    Parameters
    ----------
    values : mapping of str to object
        By the names of the fields of :class:`~models.cards.ClassifierCard` and
        :class:`~models.segmentation_cards.SegmentationCard`, as JSON, a pickle or a program gives
        them. None counts as not given.
    source : str
        What says so, for errors.

    Returns
    -------
    dict
        Those that were given.

    Raises
    ------
    CamSamError
        Names the field, what it should be and its value; for an unknown field the nearest one.
    """
    known = dict(check_schema(_CardFields, dict(values), source))
    if known["preparation"] is not None:
        known["preparation"] = read_preparation(known["preparation"], source)
    return {key: value for key, value in known.items() if value is not None}
