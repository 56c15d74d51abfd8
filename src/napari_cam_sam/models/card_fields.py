"""The fields of a card, as a schema: what each may hold, whoever wrote the card."""

from __future__ import annotations

import math
import reprlib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.limits import CHANNELS, CLASSES, KERNEL
from napari_cam_sam.models.preparation import read_preparation

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["check_field"]

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

_WANTED = {
    "architecture": f"a name of up to {_LONGEST_NAME} characters in one line",
    "num_classes": f"a whole number of 1 or more, up to {CLASSES}",
    "channels": "1 (gray) or 3 (RGB)",
    "fine_grid": "true or false",
    "output": "logits or probabilities or log-probabilities",
    "head": "linear or extra",
    "plane_order": "rows-columns or columns-rows",
    "class_names": f"a list of different names of up to {_LONGEST_NAME} characters, each in one "
    "line",
    "layers": "a list of different names of layers",
    "input_size": "rows and columns (of a 3D network three sizes), each from 8 to "
    f"{_LARGEST_SIDE}, and no more than {_MOST_PIXELS} pixels",
    "spatial_dims": "2 or 3",
    "activation": "softmax or sigmoid",
    "standardise": "no, image or nonzero",
    "spacing": "three numbers above 0, in mm",
    "orientation": "three letters, one each of L or R, P or A, I or S, e.g. RAS",
    "window": "a window, e.g. limits:-57,164",
    "mean": "a finite number a channel",
    "std": "a finite number a channel, each above 0",
    "arguments": "a mapping of the network's arguments",
}


def check_field(key: str, value: Any, source: str) -> Any:
    """Check one field of a card and convert it to its type.

    Parameters
    ----------
    key : str
        Of the fields of :class:`~models.cards.ClassifierCard` or
        :class:`~models.segmentation_cards.SegmentationCard`.
    value : object
        As JSON, a pickle or a program gives it.
    source : str
        What says so, for errors.

    Raises
    ------
    CamSamError
        Names the field, its value and what it should be.
    """
    if key == "preparation":
        return read_preparation(value, source)
    from pydantic import ValidationError

    try:
        return _schema()[key].validate_python(value, strict=True)
    except (ValidationError, OverflowError, RecursionError) as error:
        why = ""
        if key == "arguments" and isinstance(error, ValidationError):
            why = f" ({error.errors()[0]['msg'].removeprefix('Value error, ')})"
        raise CamSamError(
            f"{key} = {_shown(value)}; expected {_WANTED[key]}{why} ({source})."
        ) from None


def _shown(value: Any) -> str:
    """Write a value in short, however deep it is."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 60, 60
    if isinstance(value, int) and abs(value) > 2**63:
        return "a number of more than 64 bits"
    return short.repr(value)


@cache
def _schema() -> dict[str, TypeAdapter[Any]]:
    # Here, since pydantic takes a while to import and most programs ask for --help alone.
    from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

    name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME), AfterValidator(_one_line)]
    listed = BeforeValidator(_as_tuple)
    number = Annotated[float, Field(allow_inf_nan=False)]
    positive = Annotated[float, Field(allow_inf_nan=False, gt=0)]
    side = Annotated[int, Field(ge=8, le=_LARGEST_SIDE)]
    kinds: dict[str, Any] = {
        "architecture": name,
        "num_classes": Annotated[int, Field(ge=1, le=CLASSES)],
        "channels": Annotated[int, AfterValidator(partial(_one_of, (1, 3)))],
        "fine_grid": bool,
        "output": Literal["logits", "probabilities", "log-probabilities"],
        "head": Literal["linear", "extra"],
        "plane_order": Literal["rows-columns", "columns-rows"],
        "class_names": Annotated[
            tuple[name, ...],
            listed,
            Field(min_length=1, max_length=CLASSES),
            AfterValidator(_different),
        ],
        "layers": Annotated[
            tuple[name, ...], listed, Field(max_length=1_000), AfterValidator(_different)
        ],
        "input_size": Annotated[
            tuple[side, ...],
            BeforeValidator(_as_size),
            Field(min_length=2, max_length=3),
            AfterValidator(_not_too_many),
        ],
        "spatial_dims": Annotated[int, AfterValidator(partial(_one_of, (2, 3)))],
        "activation": Literal["softmax", "sigmoid"],
        "standardise": Literal["no", "image", "nonzero"],
        "spacing": Annotated[tuple[positive, positive, positive], listed],
        "orientation": Annotated[str, Field(max_length=3), AfterValidator(_axes)],
        "window": name,
        "mean": Annotated[tuple[number, ...], listed, Field(max_length=CHANNELS)],
        "std": Annotated[tuple[positive, ...], listed, Field(max_length=CHANNELS)],
        "arguments": Annotated[dict[str, Any], BeforeValidator(_arguments)],
    }
    adapters: dict[str, TypeAdapter[Any]] = {}
    for key, kind in kinds.items():
        adapters[key] = TypeAdapter(kind)
    return adapters


def _one_of(known: tuple[int, ...], value: int) -> int:
    # A literal would take True for 1.
    if value not in known:
        raise ValueError("none of these")
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _as_size(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return (value, value) if whole else _as_tuple(value)


def _one_line(name: str) -> str:
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNING for c in name):
        raise ValueError("it holds control characters")
    return name


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("a name is there twice")
    return names


def _not_too_many(size: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(size) > _MOST_PIXELS:
        raise ValueError("too many pixels")
    return size


def _axes(letters: str) -> str:
    if sorted(map("LRPAIS".find, letters)) not in _ORIENTATIONS:
        raise ValueError("no orientation")
    return letters


def _arguments(value: Any) -> Any:
    """Copy the arguments of a builder as plain values within bounds, so that it comes to an end."""
    count = 0

    def copied(one: Any, name: str, depth: int) -> Any:
        nonlocal count
        count += 1
        if count > _MOST_ARGUMENTS or depth > _DEEPEST:
            raise ValueError("there are too many of them, or they lie too deep in one another")
        if isinstance(one, Mapping):
            return {str(key): copied(inner, str(key), depth + 1) for key, inner in one.items()}
        if isinstance(one, list | tuple):
            if len(one) > _LONGEST_LIST:
                raise ValueError(f"{name} has {len(one)} values, at most {_LONGEST_LIST}")
            inside = [copied(inner, name, depth + 1) for inner in one]
            return inside if isinstance(one, list) else tuple(inside)
        if isinstance(one, bool) or one is None:
            return one
        if isinstance(one, int):
            if not -_LARGEST_SIDE <= one <= _most(name):
                raise ValueError(f"{name} is {float(one):.6g}, at most {_most(name)}")
            return one
        if isinstance(one, float) and math.isfinite(one):
            return one
        if isinstance(one, str) and len(one) <= _LONGEST_NAME:
            return _one_line(one)
        raise ValueError(f"{name} is no plain value")

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
