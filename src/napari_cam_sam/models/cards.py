"""What one must know about a model to use it: its card, and where the card comes from."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.parsing import parse_json, read_text

__all__ = [
    "NETWORK_FIELDS",
    "OUTPUTS",
    "PLANE_ORDERS",
    "ClassifierCard",
    "OutputKind",
    "PlaneOrder",
    "Sources",
    "card_in_metadata",
    "card_path",
    "check_normalisation",
    "merge_cards",
    "merge_classes",
    "merge_fields",
    "only_fields",
    "read_sidecar",
    "sources_of_file",
    "sources_of_module",
]

Sources = list[tuple[str, Mapping[str, Any]]]
"""What errors call each source of a card, and the fields that it gives, the most trusted first."""
PlaneOrder = Literal["rows-columns", "columns-rows"]
PLANE_ORDERS: tuple[PlaneOrder, ...] = ("rows-columns", "columns-rows")
OutputKind = Literal["logits", "probabilities", "log-probabilities"]
OUTPUTS: tuple[OutputKind, ...] = get_args(OutputKind)
"""What a network's numbers may be."""

# torchvision's normalisation for RGB, and its mean over the channels for gray.
_MEAN: dict[int, tuple[float, ...]] = {3: (0.485, 0.456, 0.406), 1: (0.449,)}
_STD: dict[int, tuple[float, ...]] = {3: (0.229, 0.224, 0.225), 1: (0.226,)}


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
        What the network's numbers are; see :mod:`models.classify.output_kinds`.
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

    Raises
    ------
    CamSamError
        If ``card`` is no mapping.
    """
    if "card" in metadata:
        card = metadata["card"]
        if isinstance(card, str):
            card = parse_json(card, f"the card in {source}")
        if not isinstance(card, Mapping):
            raise refusal("The card is not a mapping of names to values", source)
        return _fields_in(card)
    found = {key: _perhaps_json(value) for key, value in _fields_in(metadata).items()}
    if found.get("output") not in OUTPUTS:  # often a folder
        found.pop("output", None)
    return found


def _fields_in(card: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a card's fields, and what is nearly called so, which is refused when it is checked."""
    sure = "architecture" in card  # so that another program's entries are left alone
    return {
        key: value
        for key, value in card.items()
        if key in _FIELDS or (sure and get_close_matches(str(key), _FIELDS, 1, 0.8))
    }


def sources_of_file(path: Path, metadata: Mapping[str, Any]) -> Sources:
    """Read the two cards of a checkpoint: in its metadata, and in the JSON file beside it.

    Parameters
    ----------
    path : Path
        Of the checkpoint.
    metadata : mapping
        Of the checkpoint, as :func:`card_in_metadata` takes it.

    Returns
    -------
    list of (str, dict)
        What errors call each, and its fields, not yet checked: the metadata's, and those of the
        JSON file of the same name.

    Raises
    ------
    CamSamError
        If the file beside it is no JSON object, or a card is no mapping.
    """
    return [
        (f"the metadata of {path.name}", card_in_metadata(metadata, path.name)),
        (str(card_path(path)), read_sidecar(path)),
    ]


def sources_of_module(name: str, module: object, given: Mapping[str, Any]) -> Sources:
    """Return what says something of a factory's module.

    Parameters
    ----------
    name : str
        Of the factory; where nothing else says it, of the architecture.
    module : object
        May have a mapping ``card``.
    given : mapping
        Fields that the user gave.

    Returns
    -------
    list of (str, dict)
        What errors call each source, and its fields, not yet checked.
    """
    card = getattr(module, "card", None)
    own = _fields_in(card) if isinstance(card, Mapping) else {}
    sources: Sources = [(f"the card of {name}", own), ("the argument", given)]
    if not any(fields.get("architecture") for _, fields in sources):
        sources.append(("the factory's name", {"architecture": name}))
    return sources


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read the card from the JSON file beside a checkpoint.

    Parameters
    ----------
    path : Path
        Of the checkpoint.

    Returns
    -------
    dict
        As of :func:`card_in_metadata`; empty where there is no such file.

    Raises
    ------
    CamSamError
        If the file is no JSON object.
    """
    path = card_path(path)
    if not path.exists() or path.is_dir():
        return {}
    card = parse_json(read_text(path, "a card"), path)
    if not isinstance(card, dict):
        raise refusal("The card is not a JSON object", path)
    return card_in_metadata(card, str(path))


def card_path(path: Path) -> Path:
    """Return the JSON file beside a checkpoint: the same name, but for its ending.

    Parameters
    ----------
    path : Path
        Of the checkpoint.

    Returns
    -------
    Path
        It need not exist.
    """
    if path.suffix.lower() == ".tar":  # of .pth.tar
        path = path.with_suffix("")
    return path.with_suffix(".json")


def merge_cards(sources: Sources, what: str, default_size: tuple[int, int]) -> ClassifierCard:
    """Merge several sources that must not contradict each other into a card.

    Parameters
    ----------
    sources : list of (str, mapping)
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
    channels = known.get("channels", 3)
    defaults = {
        "input_size": default_size,
        "channels": channels,
        "mean": _MEAN[channels],
        "std": _STD[channels],
    }
    classes = {"num_classes": num_classes, "class_names": names}
    card = ClassifierCard(**defaults | only_fields(ClassifierCard, known) | classes)
    if len(card.input_size) != 2:
        raise CamSamError(
            f"The input size {card.input_size}; a classifier's is rows and columns ({what})."
        )
    check_normalisation(channels, card.mean, card.std, what)
    return card


def only_fields(kind: type[Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the fields of a data class.

    Parameters
    ----------
    kind : type
        The data class.
    known : mapping of str to object

    Returns
    -------
    dict
        Only with its fields.
    """
    return {field.name: known[field.name] for field in fields(kind) if field.name in known}


def check_normalisation(
    channels: int, mean: Sequence[float], std: Sequence[float], what: str
) -> None:
    """Check that mean and standard deviation have a value a channel.

    Parameters
    ----------
    channels : int
    mean, std : sequence of float
    what : str
        The model, for errors.

    Raises
    ------
    CamSamError
        If one of them has not.
    """
    if len(mean) != channels or len(std) != channels:
        raise CamSamError(
            f"There are {channels} channel(s), but {len(mean)} value(s) for mean and {len(std)} "
            f"for std ({what})."
        )


def merge_fields(sources: Sources, what: str) -> dict[str, Any]:
    """Gather a card's fields, checked, from sources that must not contradict each other.

    Parameters
    ----------
    sources : list of (str, mapping)
    what : str
        Both as for :func:`merge_cards`.

    Returns
    -------
    dict
        Those that a source gives.

    Raises
    ------
    CamSamError
        If a value is not what its field needs, a field is unknown, or two sources differ.
    """
    # Here, since pydantic takes a while to import and most programs ask for --help alone.
    from napari_cam_sam.models.card_fields import check_card

    found: dict[str, tuple[str, Any]] = {}
    for source, values in sources:
        for key, value in check_card(values, source).items():
            if key not in found:
                found[key] = (source, value)
            elif found[key][1] != value:
                raise CamSamError(
                    f"Two sources differ: {key} = {reprlib.repr(found[key][1])} by "
                    f"{found[key][0]}, but {reprlib.repr(value)} by {source}; give it once "
                    f"({what})."
                )
    return {key: value for key, (_, value) in found.items()}


def merge_classes(known: Mapping[str, Any], what: str) -> tuple[int, tuple[str, ...]]:
    """Return the number of classes and their names.

    Parameters
    ----------
    known : mapping
        From :func:`merge_fields`.
    what : str
        The model, for errors.

    Returns
    -------
    num_classes : int
    class_names : tuple of str
        ``class 0``, ``class 1``, … where they are not known.

    Raises
    ------
    CamSamError
        If the architecture or the classes are missing, or their numbers differ.
    """
    if "architecture" not in known:
        raise CamSamError(
            "The model does not say its architecture; give it as an argument, in the file's "
            f"metadata, or in a JSON file beside it ({what})."
        )
    names = known.get("class_names")
    if names is None and "num_classes" not in known:
        raise CamSamError(
            "The model does not say its classes; give num_classes or class_names as an argument, "
            f"in the file's metadata, or in a JSON file beside it ({what})."
        )
    num_classes = known.get("num_classes", len(names or ()))
    if names is None:
        names = tuple(f"class {i}" for i in range(num_classes))
    if len(names) != num_classes:
        raise CamSamError(f"There are {num_classes} classes but {len(names)} class names ({what}).")
    return num_classes, names


def _perhaps_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value, "metadata")
    except CamSamError:
        return value
