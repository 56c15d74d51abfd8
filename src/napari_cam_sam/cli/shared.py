"""What the commands have in common: options of parameter groups, progress and tables."""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args, get_type_hints

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.field_help import field_help
from napari_cam_sam.models.cards import OUTPUTS, PLANE_ORDERS
from napari_cam_sam.sam.registry import FRAMES
from napari_cam_sam.text import shown

if TYPE_CHECKING:
    from napari_cam_sam.images.image import Image
    from napari_cam_sam.pipeline.planes import ExplainableModel

__all__ = [
    "AXIS_HELP",
    "DEVICE_HELP",
    "Parser",
    "add_allowed",
    "add_card",
    "add_fields",
    "add_frame",
    "add_image",
    "cell",
    "changed",
    "given",
    "load_model_of",
    "print_json",
    "print_note",
    "print_notes",
    "print_table",
    "progress",
    "prompt_parameters_class",
    "read_given",
    "rules_help",
    "warnings_as_notes",
    "window_help",
]

T = TypeVar("T")

AXIS_HELP = "array axis that the planes cut; of a NIfTI 0 is k, 1 j, 2 i (%(default)s)"
DEVICE_HELP = "auto, cpu, cuda, cuda:N or mps"

# What "none" on the command line stands for, where None means that nothing was given.
_OFF = object()


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and takes no shortened options."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **more})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is not known here, where the command is known whose help explains it."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = get_close_matches(unknown[0], self._option_string_actions, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raise what :func:`napari_cam_sam.cli.main` prints."""
        raise CamSamError(f"{message} (see {self.prog} --help)")


def add_fields(
    parser: argparse.ArgumentParser,
    title: str,
    group: type[Any],
    prefix: str = "",
    default: str | None = None,
    without: Collection[str] = (),
) -> None:
    """Add an option for each field of a parameter group; what is not given stays None.

    `default` says in words what holds then, where it is not the field's own default; `without`
    names fields that have no option.
    """
    options = parser.add_argument_group(title)
    hints, described = get_type_hints(group), field_help(group)
    for field in fields(group):
        if field.name in without:
            continue
        flag = "--" + prefix + field.name.replace("_", "-")
        name = prefix.replace("-", "_") + field.name
        kind = hints[field.name]
        choices = " | ".join(one for one in get_args(kind) if isinstance(one, str))
        sentence = re.split(r"\.(?:\s|$)", described.get(field.name, ""))[0]
        text = "; ".join(part for part in (sentence, choices) if part)
        if default is None and field.default not in ("", ()):
            text += f" (default {'none' if field.default is None else field.default})"
        elif default is not None and not choices:
            text += f" (default {default})"
        help_text = text.replace("%", "%%")
        metavar = field.name.upper()
        if kind is bool:
            options.add_argument(
                flag,
                dest=name,
                action=argparse.BooleanOptionalAction,
                default=None,
                help=help_text,
            )
        elif kind in (int, float):
            options.add_argument(flag, dest=name, type=kind, metavar=metavar, help=help_text)
        elif NoneType in get_args(kind):
            number = int if int in get_args(kind) else float
            options.add_argument(
                flag, dest=name, type=_or_none(number), metavar=metavar, help=help_text
            )
        elif kind == tuple[str, ...]:
            options.add_argument(flag, dest=name, nargs="+", metavar="NAME", help=help_text)
        elif isinstance(field.default, tuple):
            n = len(field.default)
            options.add_argument(
                flag, dest=name, type=int, nargs=n, metavar=metavar, help=help_text
            )
        else:
            options.add_argument(flag, dest=name, metavar=metavar, help=help_text)


def _or_none(number: type[int] | type[float]) -> Callable[[str], Any]:
    """Make what reads a number or ``none``."""

    def read(text: str) -> Any:
        return _OFF if text.lower() == "none" else number(text)

    read.__name__ = f"{number.__name__} or none"  # argparse names it where it fails
    return read


def rules_help() -> str:
    """Name the rules that make prompts."""
    from napari_cam_sam.prompts.parameters import PRESETS, TRUTH_PRESETS

    return (
        f"rule that makes prompts: {', '.join(PRESETS)}; from the truth {', '.join(TRUTH_PRESETS)}"
    )


def window_help() -> str:
    """Say what --window takes."""
    from napari_cam_sam.images.windows import CT_PRESETS

    return (
        "auto (8-bit as it is, else the volume's percentiles 0.5 and 99.5; the default), "
        f"minmax, percentiles:1,99, limits:A,B, or in HU {', '.join(CT_PRESETS)}"
    )


def given(group: type[Any], arguments: argparse.Namespace, prefix: str = "") -> dict[str, Any]:
    """Collect the options of a parameter group that were given, by field."""
    values: dict[str, Any] = {}
    for field in fields(group):
        value = getattr(arguments, prefix.replace("-", "_") + field.name, None)
        if value is not None:
            value = tuple(value) if isinstance(value, list) else value
            values[field.name] = None if value is _OFF else value
    return values


def changed(group: T, arguments: argparse.Namespace, prefix: str = "") -> T:
    """Apply the options that were given to a parameter group."""
    changes = given(type(group), arguments, prefix)
    return replace(group, **changes)  # type: ignore[type-var]


def progress(
    arguments: argparse.Namespace, what: str, unit: str = "plane"
) -> tuple[Callable[[int, int], None], Any]:
    """Make a bar on a terminal's standard error, and what tells it (planes done, planes)."""
    from tqdm import tqdm

    bar = tqdm(desc=what, unit=unit, disable=arguments.json or not sys.stderr.isatty())

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return update, bar


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the image, and what chooses from a file that holds several."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help=".nii, .nii.gz, .png, .jpg, .tif")
    parser.add_argument("--frame", type=int, help="which frame of a series over time")
    parser.add_argument("--channel", type=int, help="which channel of a TIFF file")
    parser.add_argument(
        "--axes",
        help="what the axes of a TIFF file are, where it does not say: T time, C channels, "
        "Z slices, Y rows, X columns, e.g. TZYX",
    )


def read_given(arguments: argparse.Namespace) -> Image:
    """Read the image of `add_image`, and print what reading decided."""
    from napari_cam_sam.images.reading import read_image

    image = read_image(
        arguments.image, arguments.frame, channel=arguments.channel, axes=arguments.axes
    )
    print_notes(image)
    return image


def print_json(data: Mapping[str, Any]) -> None:
    """Print the one object of --json."""
    from napari_cam_sam.records.values import plain

    print(json.dumps(plain(dict(data)), allow_nan=False))


def print_notes(*images: Image | None) -> None:
    """Print what reading images decided, on standard error."""
    for image in filter(None, images):
        for note in image.notes:
            print_note(f"{image.name}: {note}")


def print_note(text: str) -> None:
    """Print what a user should know as one line on standard error."""
    print(_note(text), file=sys.stderr)


def _note(text: str) -> str:
    return "napari-cam-sam: note: " + shown(" ".join(text.split()))


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print warnings as notes, without the line of code that Python shows."""
    before = warnings.formatwarning
    # Only how they are written: who records warnings, or turns them into errors, still does.
    warnings.formatwarning = lambda message, *_, **__: _note(str(message)) + "\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under the keys of the first; numbers to four places, aligned right."""
    if not rows:
        return
    names = list(rows[0])
    cells = [[cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(n), *(len(line[i]) for line in cells)) for i, n in enumerate(names)]
    print("  ".join(n.ljust(w) for n, w in zip(names, widths, strict=True)).rstrip())
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def cell(value: Any) -> str:
    """Write a value as a table shows it."""
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
    return shown(str(value))


def add_allowed(parser: argparse.ArgumentParser) -> None:
    """Add the factories that a file may name."""
    parser.add_argument(
        "--allow-factory",
        action="append",
        default=[],
        metavar="NAME",
        help="import and run this package.module:function where the file names it: no file has "
        "its code run by itself; may be given several times",
    )


def add_card(parser: argparse.ArgumentParser) -> None:
    """Add what a checkpoint may not say about itself."""
    card = parser.add_argument_group("model", "what a checkpoint does not say about itself")
    card.add_argument("--architecture", help="e.g. resnet18, fcn_resnet50, monai-unet")
    card.add_argument("--class-names", type=lambda text: text.split(","), help="comma-separated")
    card.add_argument(
        "--input-size", type=int, nargs="+", metavar="N", help="rows and columns, or a 3D window"
    )
    card.add_argument("--channels", type=int, help="1 for gray, 3 for RGB")
    card.add_argument("--mean", type=float, nargs="+", help="a channel, of values in 0 to 1")
    card.add_argument("--std", type=float, nargs="+", help="a channel, of values in 0 to 1")
    card.add_argument(
        "--output-kind", choices=OUTPUTS, help="what the numbers are that a network of yours gives"
    )
    card.add_argument(
        "--plane-order",
        choices=PLANE_ORDERS,
        help="how a plane lies before the model: rows-columns (default), or columns-rows for one "
        "that was trained on planes cut out of nibabel's or MONAI's arrays",
    )
    card.add_argument(
        "--spatial-dims", type=int, help="2 or 3: a segmentation network, not a classifier"
    )


def add_frame(parser: argparse.ArgumentParser) -> None:
    """Add how planes are brought before a SAM, which its weights do not tell."""
    parser.add_argument(
        "--sam-frame",
        choices=FRAMES,
        help="how planes are brought before a checkpoint of your own: as SAM's authors do it, or "
        "as MedSAM's; weights do not tell",
    )


def load_model_of(arguments: argparse.Namespace, name: str, device: str) -> ExplainableModel:
    """Load a classifier or a segmentation network with what the options say about it."""
    from napari_cam_sam.models.loading import load_model

    return load_model(
        name,
        architecture=arguments.architecture,
        class_names=arguments.class_names,
        input_size=arguments.input_size,
        channels=arguments.channels,
        mean=arguments.mean,
        std=arguments.std,
        spatial_dims=arguments.spatial_dims,
        output=arguments.output_kind,
        plane_order=arguments.plane_order,
        device=device,
    )


def prompt_parameters_class() -> type[Any]:
    """Import the parameters of prompts when a parser is built, not before."""
    from napari_cam_sam.prompts.parameters import PromptParameters

    return PromptParameters
