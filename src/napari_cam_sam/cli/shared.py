"""What the commands have in common: the parser, their options, images and models."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args, get_type_hints

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import print_notes
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.field_help import field_help
from napari_cam_sam.images.windows import CT_PRESETS
from napari_cam_sam.models.cards import OUTPUTS, PLANE_ORDERS
from napari_cam_sam.prompts.parameters import PRESETS, TRUTH_PRESETS

if TYPE_CHECKING:
    from napari_cam_sam.pipeline.heatmaps import ExplainableModel

__all__ = [
    "CLASSIFIER_HELP",
    "IMAGE_HELP",
    "IMAGE_OPTIONS",
    "RULES_HELP",
    "SHARED",
    "WINDOW_HELP",
    "Parser",
    "add_card",
    "add_fields",
    "add_image",
    "add_shared",
    "changed",
    "given",
    "load_model_of",
    "read_given",
    "whole",
]

T = TypeVar("T")

CLASSIFIER_HELP = (
    "classifier or segmentation network: a name, a checkpoint, the folder of a MONAI bundle, or "
    "package.module:function"
)
IMAGE_HELP = (
    "NIfTI, NRRD, MetaImage, MGH, TIFF, PNG or JPEG file, or DICOM: a file, a folder, a DICOMDIR "
    "or a zip"
)
IMAGE_OPTIONS = ("frame", "channel", "axes", "series", "spacing")
RULES_HELP = f"strategy: {', '.join(PRESETS)}; from the truth: {', '.join(TRUTH_PRESETS)}"
WINDOW_HELP = (
    "intensities that become black and white: auto ({}8-bit images as they are, others by their "
    "percentiles 0.5 and 99.5), minmax, percentiles:1,99, limits:LOW,HIGH, or a CT window: "
    f"{', '.join(CT_PRESETS)} (default auto)"
)

SHARED: dict[str, dict[str, Any]] = {
    "frame": {"type": int, "metavar": "N", "help": "time point, counted from 0"},
    "channel": {"type": int, "metavar": "N", "help": "channel of a TIFF file, counted from 0"},
    "axes": {
        "metavar": "TZYX",
        "help": "axes of a TIFF file that does not name them: T time, C channels, Z slices, "
        "Y rows, X columns",
    },
    "series": {
        "metavar": "ID",
        "help": "which series of a DICOM folder, as napari-cam-sam series lists them",
    },
    "spacing": {
        "choices": ["as-is", "even"],
        "help": "open a DICOM series whose slices are not evenly spaced: as it is, or resampled "
        "to even spacing (default: it is refused)",
    },
    "segment": {
        "action": "append",
        "metavar": "NAME",
        "help": "segment of labels that name their segments, by name or number; may be repeated "
        "(default: all)",
    },
    "truth-segment": {
        "action": "append",
        "metavar": "NAME",
        "help": "segment of a truth that names its segments, by name or number; may be repeated "
        "(default: all)",
    },
    "allow-factory": {
        "action": "append",
        "default": [],
        "metavar": "NAME",
        "help": "run this package.module:function where the file names it; without it no code of "
        "a file is run. Repeat it for several",
    },
    "axis": {
        "type": int,
        "default": 0,
        "metavar": "N",
        "help": "array axis to slice along; in a NIfTI file 0 is k, 1 is j, 2 is i (default 0)",
    },
    "planes": {
        "metavar": "A:B",
        "help": "slices A to B - 1, counted from 0, or a single one (default: all)",
    },
    "window": {"default": "auto", "help": WINDOW_HELP.format("")},
    "device": {"default": "auto", "help": "auto, cpu, cuda, cuda:N or mps (default auto)"},
    "segmenter": {
        "metavar": "MODEL",
        "help": "name or checkpoint; medsam:FILE or sam:FILE says how a checkpoint of your own "
        "was trained (default: the best one installed)",
    },
    "target": {
        "metavar": "CLASS",
        "help": "class by name or index; benign+malignant takes two as one (default: the predicted "
        "class)",
    },
    "cam": {
        "dest": "method",
        "default": "layer-cam",
        "metavar": "METHOD",
        "help": "method of the heatmap: layer-cam, grad-cam, grad-cam++, hires-cam, score-cam, "
        "lrp, occlusion and others; an unknown name lists all (default layer-cam)",
    },
    "layer": {
        "dest": "layers",
        "action": "append",
        "metavar": "NAME",
        "help": "layer of the model; repeat it to average several (default: the model's own)",
    },
    "output-kind": {"choices": OUTPUTS, "help": "what the network returns"},
    "plane-order": {
        "choices": PLANE_ORDERS,
        "help": "how slices lie before the model; columns-rows for one trained on slices of "
        "nibabel's or MONAI's arrays (default rows-columns)",
    },
}
"""Options that several commands have, by their names."""

# What "none" on the command line stands for, where None means that nothing was given.
_OFF = object()


class _Help(argparse.HelpFormatter):
    """Breaks no name at its hyphens."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and takes no shortened options.

    Parameters
    ----------
    *args, **more
        As `argparse.ArgumentParser` takes them.

    Attributes
    ----------
    moved : callable or None
        Says of an option of former days what to do instead; None of any other.
    """

    moved: Callable[[str], str | None] | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, "formatter_class": _Help, **more})

    def set_command(self, command: Callable[[argparse.Namespace], None]) -> None:
        """Set what is called with the arguments, and add the last option, ``--json``."""
        self.add_argument("--json", action="store_true", help="print one JSON object")
        self.set_defaults(command=command)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is not known here, where the command is known whose help explains it."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = unknown[0].partition("=")[0]
            if self.moved is not None and (instead := self.moved(option)) is not None:
                self.error(f"{option} is no option any more: {instead}")
            near = get_close_matches(unknown[0], self._option_string_actions, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raise what :func:`napari_cam_sam.cli.main` prints."""
        raise CamSamError(f"{message} (see {self.prog} --help)")


def add_shared(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Add options that other commands have, too.

    Parameters
    ----------
    parser : argparse.ArgumentParser or argument group
    *names : str
        Keys of `SHARED`.
    **changes
        What `add_argument` takes, instead of what stands in `SHARED`.
    """
    for name in names:
        flags = [f"--{name}", *(["--sam"] if name == "segmenter" else [])]
        parser.add_argument(*flags, **SHARED[name] | changes)


def whole(least: int) -> Callable[[str], int]:
    """Make what reads a whole number that is not too small.

    Parameters
    ----------
    least : int

    Returns
    -------
    callable
        The type of an option.
    """

    def read(text: str) -> int:
        if int(text) < least:
            raise ValueError
        return int(text)

    read.__name__ = f"whole number of {least} or more"  # argparse names it where it fails
    return read


def add_fields(
    parser: argparse.ArgumentParser,
    title: str,
    group: type[Any],
    prefix: str = "",
    default: str | None = None,
    without: Collection[str] = (),
) -> None:
    """Add an option for each field of a parameter group; what is not given stays None.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    title : str
        Of the group in the help.
    group : type
        Data class whose fields become options.
    prefix : str
        Before each option's name, with its hyphen.
    default : str, optional
        What holds where nothing is given, in words; by default the field's own default.
    without : collection of str
        Fields that get no option.
    """
    options = parser.add_argument_group(title, default and f"defaults are {default}")
    hints, described = get_type_hints(group), field_help(group)
    for field in fields(group):
        if field.name in without:
            continue
        kind = hints[field.name]
        choices = [one for one in get_args(kind) if isinstance(one, str)]
        more: dict[str, Any] = {"metavar": "{" + ",".join(choices) + "}" if choices else "TEXT"}
        if kind is bool:
            more = {"action": argparse.BooleanOptionalAction, "default": None}
        elif kind in (int, float):
            more = {"type": kind, "metavar": "N" if kind is int else "X"}
        elif NoneType in get_args(kind):
            number = int if int in get_args(kind) else float
            more = {"type": _or_none(number), "metavar": "N" if number is int else "X"}
        elif kind == tuple[str, ...]:
            more = {"nargs": "+", "metavar": "NAME"}
        elif isinstance(field.default, tuple):
            more = {"type": int, "nargs": len(field.default), "metavar": "N"}
        shown_default = "" if default else _shown_default(field.default)
        text = _help_of(described.get(field.name, ""), shown_default)
        name = prefix.replace("-", "_") + field.name
        options.add_argument("--" + name.replace("_", "-"), dest=name, help=text, **more)


def _help_of(description: str, default: str) -> str:
    """Make the help of an option from the first sentence on its field, in a user's words."""
    sentence = re.split(r"\.(?:\s|$)", description)[0]
    first, space, rest = sentence.partition(" ")
    if first[1:].islower() and first not in ("Gaussian", "Otsu"):
        first = first.lower()
    words = re.sub(r"\bplane(s?)\b", r"slice\1", re.sub(r"\bNone\b", "none", first + space + rest))
    return (words + (f" (default {default})" if default else "")).replace("%", "%%")


def _shown_default(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value in ("", ()) else "none" if value is None else str(value)


def _or_none(number: type[int] | type[float]) -> Callable[[str], Any]:
    """Make what reads a number or ``none``."""

    def read(text: str) -> Any:
        return _OFF if text.lower() == "none" else number(text)

    read.__name__ = f"{number.__name__} or none"  # argparse names it where it fails
    return read


def given(group: type[Any], arguments: argparse.Namespace, prefix: str = "") -> dict[str, Any]:
    """Collect the options of a parameter group that were given, by field.

    Parameters
    ----------
    group : type
    arguments : argparse.Namespace
    prefix : str
        As `add_fields` took it.

    Returns
    -------
    dict of str to object
    """
    values: dict[str, Any] = {}
    for field in fields(group):
        value = getattr(arguments, prefix.replace("-", "_") + field.name, None)
        if value is not None:
            value = tuple(value) if isinstance(value, list) else value
            values[field.name] = None if value is _OFF else value
    return values


def changed(group: T, arguments: argparse.Namespace, prefix: str = "") -> T:
    """Apply the options that were given to a parameter group.

    Parameters
    ----------
    group : dataclass
    arguments : argparse.Namespace
    prefix : str
        As `add_fields` took it.

    Returns
    -------
    dataclass
        Of the type of `group`.
    """
    return replace(group, **given(type(group), arguments, prefix))  # type: ignore[type-var]


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the image, and what chooses from a file that holds several.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("image", type=Path, metavar="IMAGE", help=IMAGE_HELP)
    add_shared(parser, *IMAGE_OPTIONS)


def read_given(arguments: argparse.Namespace) -> ncs.Image:
    """Read the image of `add_image`, and print what reading decided.

    Parameters
    ----------
    arguments : argparse.Namespace

    Returns
    -------
    Image
    """
    image = ncs.read_image(
        arguments.image,
        arguments.frame,
        channel=arguments.channel,
        axes=arguments.axes,
        series=arguments.series,
        spacing=arguments.spacing or "refuse",
    )
    print_notes(image)
    return image


def add_card(parser: argparse.ArgumentParser) -> None:
    """Add what a checkpoint may not say about itself.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    card = parser.add_argument_group("model", "what a checkpoint does not say about itself")
    card.add_argument("--architecture", metavar="NAME", help="e.g. resnet18 or monai-unet")
    card.add_argument(
        "--class-names", type=lambda text: text.split(","), metavar="A,B", help="one for each class"
    )
    card.add_argument(
        "--input-size", type=int, nargs="+", metavar="N", help="rows and columns, or a 3D window"
    )
    card.add_argument("--channels", type=int, metavar="N", help="1 for gray, 3 for RGB")
    card.add_argument(
        "--mean", type=float, nargs="+", metavar="X", help="of each channel, for values in 0 to 1"
    )
    card.add_argument(
        "--std", type=float, nargs="+", metavar="X", help="of each channel, for values in 0 to 1"
    )
    add_shared(card, "output-kind", "plane-order")
    card.add_argument(
        "--spatial-dims", type=int, metavar="N", help="2 or 3: a segmentation network"
    )


def load_model_of(arguments: argparse.Namespace, name: str, device: str) -> ExplainableModel:
    """Load a classifier or a segmentation network with what the options say about it.

    Parameters
    ----------
    arguments : argparse.Namespace
        With the options of `add_card`.
    name : str
    device : str

    Returns
    -------
    Classifier or SegmentationNetwork
    """
    from napari_cam_sam.studies.config.run_settings import CARD_KEYS

    said = {key: getattr(arguments, key) for key in CARD_KEYS if key != "output"}
    return ncs.load_model(name, **said, output=arguments.output_kind, device=device)
