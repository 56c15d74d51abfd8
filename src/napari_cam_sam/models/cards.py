"""What one must know about a model to use it: its card, and where the card comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.preparation import read_preparation

__all__ = [
    "NETWORK_FIELDS",
    "OUTPUTS",
    "PLANE_ORDERS",
    "ClassifierCard",
    "OutputKind",
    "PlaneOrder",
    "beside",
    "card_in_metadata",
    "card_path",
    "merge_cards",
    "merge_classes",
    "merge_fields",
]

PlaneOrder = Literal["rows-columns", "columns-rows"]
PLANE_ORDERS: tuple[PlaneOrder, ...] = ("rows-columns", "columns-rows")
OutputKind = Literal["logits", "probabilities", "log-probabilities"]
OUTPUTS: tuple[OutputKind, ...] = get_args(OutputKind)
"""What a network's numbers may be."""

# torchvision's normalisation for RGB, and its mean over the channels for gray.
_MEAN: dict[int, tuple[float, ...]] = {3: (0.485, 0.456, 0.406), 1: (0.449,)}
_STD: dict[int, tuple[float, ...]] = {3: (0.229, 0.224, 0.225), 1: (0.226,)}
_LARGEST_SIDE = 4096
# Places in "LRPAIS" of one letter from each pair, sorted.
_ORIENTATIONS = [sorted(places) for places in product((0, 1), (2, 3), (4, 5))]


@dataclass(frozen=True)
class ClassifierCard:
    """How to build and feed a classifier.

    Attributes
    ----------
    architecture : str
        A name in the table of architectures, or the ``package.module:function`` of a factory.
    num_classes : int
        Number of scores. With 1 the score is a sigmoid's, else a softmax's.
    class_names : tuple of str
        One a logit, all different.
    input_size : tuple of int
        Rows and columns of the input.
    mean, std : tuple of float
        Normalisation a channel, after division by 255.
    channels : {1, 3}
        Gray or RGB.
    layers : tuple of str
        Default target layers; empty for the architecture's.
    fine_grid : bool
        Whether the architecture's last halving of the grid is left out, so that heatmaps of its
        last layer have twice as many rows and columns.
    head : {"linear", "extra"}
        The architecture's own last layer, or with what S1 puts behind its 1000 outputs:
        ReLU, dropout and one more linear layer.
    plane_order : {"rows-columns", "columns-rows"}
        How a plane lies before the module; the second for one that was trained on planes cut out
        of nibabel's or MONAI's (i, j, k), whose first axis goes to the right in a viewer.
    output : {"logits", "probabilities", "log-probabilities"}
        What the network's numbers are; see :mod:`models.output_kinds`.
    """

    architecture: str
    num_classes: int
    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Literal[1, 3]
    layers: tuple[str, ...] = ()
    fine_grid: bool = False
    head: Literal["linear", "extra"] = "linear"
    plane_order: PlaneOrder = "rows-columns"
    output: OutputKind = "logits"

    def to_json(self) -> str:
        """Write the card as the JSON that a file's metadata or a file beside it holds."""
        return json.dumps(asdict(self))


# What only a card of a segmentation network says (models.segmentation_cards).
NETWORK_FIELDS = (
    "spatial_dims",
    "activation",
    "standardise",
    "spacing",
    "orientation",
    "window",
    "arguments",
    "preparation",
)
_FIELDS = (*(field.name for field in fields(ClassifierCard)), *NETWORK_FIELDS)


def card_in_metadata(metadata: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Find a card in a checkpoint's metadata.

    Parameters
    ----------
    metadata : mapping
        With an entry ``card`` (a mapping or JSON text), or with the card's fields themselves.
        Values that are strings may be JSON, since safetensors holds nothing else.
    source : str
        What errors call the metadata, e.g. the file's path.

    Returns
    -------
    dict
        The fields that are there, not yet checked. Empty where there is no card.
    """
    if "card" in metadata:
        card = metadata["card"]
        if isinstance(card, str):
            card = _parse(card, source)
        if not isinstance(card, Mapping):
            raise CamSamError(f"The card in {source} is not a mapping of names to values.")
        return {key: card[key] for key in _FIELDS if key in card}
    found = {key: _perhaps_json(metadata[key]) for key in _FIELDS if key in metadata}
    if found.get("output") not in OUTPUTS:  # often a folder
        found.pop("output", None)
    return found


def card_path(path: Path) -> Path:
    """Name the JSON file beside a checkpoint: the same name, but for its ending."""
    if path.suffix.lower() == ".tar":  # of .pth.tar
        path = path.with_suffix("")
    return path.with_suffix(".json")


def beside(path: Path) -> dict[str, Any]:
    """Read the card from the JSON file beside a checkpoint, see :func:`card_path`."""
    path = card_path(path)
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CamSamError(f"The card {path} cannot be read: {error}.") from error
    card = _parse(text, str(path))
    if not isinstance(card, dict):
        raise CamSamError(f"The card {path} is not a JSON object.")
    return card_in_metadata(card, str(path))


def merge_cards(
    sources: Sequence[tuple[str, Mapping[str, Any]]], what: str, default_size: tuple[int, int]
) -> ClassifierCard:
    """Put a card together from several sources that must not contradict each other.

    Parameters
    ----------
    sources : sequence of (str, mapping)
        A name for errors and the fields that the source gives, the first the most trusted.
        Fields that are None count as not given.
    what : str
        The classifier, for errors.
    default_size : tuple of int
        Input size where no source says it.

    Returns
    -------
    ClassifierCard
        Where no source says so: 3 channels, torchvision's normalisation (ImageNet's), and
        ``class 0``, ``class 1``, … as names.

    Raises
    ------
    CamSamError
        If a value is not what its field needs, two sources differ, or a field is missing that
        has no default: the architecture, or the number of classes and their names together.
    """
    known = merge_fields(sources, what)
    num_classes, names = merge_classes(known, what)
    size = known.get("input_size", default_size)
    if len(size) != 2:
        raise CamSamError(f"{what} has the input size {size}; a classifier's is rows and columns.")
    channels = known.get("channels", 3)
    card = ClassifierCard(
        architecture=known["architecture"],
        num_classes=num_classes,
        class_names=names,
        input_size=size,
        mean=known.get("mean", _MEAN[channels]),
        std=known.get("std", _STD[channels]),
        channels=channels,
        layers=known.get("layers", ()),
        fine_grid=known.get("fine_grid", False),
        head=known.get("head", "linear"),
        plane_order=known.get("plane_order", "rows-columns"),
        output=known.get("output", "logits"),
    )
    if len(card.mean) != channels or len(card.std) != channels:
        raise CamSamError(
            f"{what} has {channels} channel(s), but {len(card.mean)} value(s) for mean and "
            f"{len(card.std)} for std."
        )
    return card


def merge_fields(sources: Sequence[tuple[str, Mapping[str, Any]]], what: str) -> dict[str, Any]:
    """Gather a card's fields, checked, from sources that must not contradict each other.

    Parameters are those of :func:`merge_cards`; it raises the same errors but for missing fields.
    """
    found: dict[str, tuple[str, Any]] = {}
    for source, values in sources:
        for key in _FIELDS:
            value = values.get(key)
            if value is None:
                continue
            value = _checked(key, value, source)
            if key not in found:
                found[key] = (source, value)
            elif found[key][1] != value:
                raise CamSamError(
                    f"{what}: {found[key][0]} says {key} = {found[key][1]!r}, but {source} says "
                    f"{value!r}; give it once."
                )
    return {key: value for key, (_, value) in found.items()}


def merge_classes(known: Mapping[str, Any], what: str) -> tuple[int, tuple[str, ...]]:
    """Give the number of classes and their names, after a look at whether there are any.

    Raises
    ------
    CamSamError
        If the architecture or the classes are missing, or their numbers differ.
    """
    if "architecture" not in known:
        raise CamSamError(
            f"{what} does not say its architecture; give it as an argument, in the file's "
            "metadata, or in a JSON file beside it."
        )
    names = known.get("class_names")
    if names is None and "num_classes" not in known:
        raise CamSamError(
            f"{what} does not say its classes; give num_classes or class_names as an argument, "
            "in the file's metadata, or in a JSON file beside it."
        )
    num_classes = known.get("num_classes", len(names or ()))
    if names is None:
        names = tuple(f"class {i}" for i in range(num_classes))
    if len(names) != num_classes:
        raise CamSamError(f"{what} has {num_classes} classes but {len(names)} class names.")
    return num_classes, names


def _parse(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CamSamError(f"The card in {source} is not valid JSON: {error}.") from error


def _perhaps_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _checked(key: str, value: Any, source: str) -> Any:
    """Bring one field to its type, or say what it should have been."""
    ok, wanted, out = False, "", value
    if key == "architecture":
        ok, wanted = isinstance(value, str) and bool(value), "a name"
    elif key == "num_classes":
        ok, wanted = _is_whole(value) and value >= 1, "a whole number of 1 or more"
    elif key == "channels":
        ok, wanted = _is_whole(value) and value in (1, 3), "1 (gray) or 3 (RGB)"
    elif key == "fine_grid":
        ok, wanted = isinstance(value, bool), "true or false"
    elif key == "output":
        ok, wanted = value in OUTPUTS, " or ".join(OUTPUTS)
    elif key == "head":
        ok, wanted = value in ("linear", "extra"), "linear or extra"
    elif key == "plane_order":
        ok, wanted = value in PLANE_ORDERS, " or ".join(PLANE_ORDERS)
    elif key == "preparation":
        ok, out = True, read_preparation(value, source)
    elif key in ("class_names", "layers"):
        wanted = "a list of different names"
        if isinstance(value, Sequence) and not isinstance(value, str):
            out = tuple(value)
            ok = all(isinstance(v, str) and v for v in out) and len(set(out)) == len(out)
            ok = ok and (key == "layers" or bool(out))
    elif key == "input_size":
        wanted = f"rows and columns (of a 3D network three sizes), each from 8 to {_LARGEST_SIDE}"
        if _is_whole(value):
            value = (value, value)
        if isinstance(value, Sequence) and not isinstance(value, str):
            out = tuple(value)
            ok = len(out) in (2, 3) and all(_is_whole(v) and 8 <= v <= _LARGEST_SIDE for v in out)
    elif key == "spatial_dims":
        ok, wanted = _is_whole(value) and value in (2, 3), "2 or 3"
    elif key == "activation":
        ok, wanted = value in ("softmax", "sigmoid"), "softmax or sigmoid"
    elif key == "standardise":
        ok, wanted = value in ("no", "image", "nonzero"), "no, image or nonzero"
    elif key == "spacing":
        wanted = "three numbers above 0, in mm"
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
            ok = all(_is_number(v) and v > 0 for v in value)
            out = tuple(float(v) for v in value) if ok else value
    elif key == "orientation":
        wanted = "three letters, one each of L or R, P or A, I or S, e.g. RAS"
        ok = isinstance(value, str) and sorted(map("LRPAIS".find, value)) in _ORIENTATIONS
    elif key == "window":
        ok, wanted = isinstance(value, str) and bool(value), "a window, e.g. limits:-57,164"
    elif key == "arguments":
        ok, wanted = isinstance(value, Mapping), "a mapping of the network's arguments"
        out = dict(value) if ok else value
    else:
        wanted = "a finite number a channel" + (", each above 0" if key == "std" else "")
        if isinstance(value, Sequence) and not isinstance(value, str):
            ok = all(_is_number(v) for v in value)
            ok = ok and (key == "mean" or all(v > 0 for v in value))
            out = tuple(float(v) for v in value) if ok else value
    if not ok:
        raise CamSamError(f"{source} says {key} = {value!r}; expected {wanted}.")
    return out


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
