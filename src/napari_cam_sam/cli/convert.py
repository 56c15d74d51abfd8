"""From any format to any other: ``napari-cam-sam convert``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import print_json, print_note, print_notes
from napari_cam_sam.cli.shared import IMAGE_HELP, IMAGE_OPTIONS, add_shared, read_given
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.drawn import is_drawn
from napari_cam_sam.images.fitting import fitted
from napari_cam_sam.images.formats import SEG_NRRD, suffix_of
from napari_cam_sam.images.reading import check_same_grid
from napari_cam_sam.images.writing import write_image
from napari_cam_sam.text import shown

__all__ = ["add_convert_command"]

_DICOM = ".dcm"


def add_convert_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    convert = commands.add_parser(
        "convert",
        help="write an image or labels in another format",
        description="Write an image, or labels with their names, in the format that the suffix of "
        "OUT says, in the same place of the world. What that format cannot hold is said.",
    )
    convert.add_argument("image", type=Path, metavar="IN", help=IMAGE_HELP)
    convert.add_argument("output", type=Path, metavar="OUT", help="file to write or to replace")
    add_shared(convert, *IMAGE_OPTIONS)
    convert.add_argument(
        "--labels",
        action="store_true",
        help="IN holds labels (known of .seg.nrrd and of DICOM segmentations and contours)",
    )
    add_shared(convert, "segment")
    convert.add_argument(
        "--on",
        type=Path,
        metavar="FILE",
        help="image that the labels are of: contours need it, and DICOM (.dcm) to be written",
    )
    convert.set_command(_convert)


def _convert(arguments: argparse.Namespace) -> None:
    output = arguments.output
    suffix = _DICOM if output.name.lower().endswith(_DICOM) else suffix_of(output)
    labels = _holds_labels(arguments, suffix)
    if labels:
        image, like = _labels(arguments, suffix)
    else:
        if arguments.on is not None:
            raise CamSamError("--on is for labels alone: IN is read as an image.")
        image = like = read_given(arguments)
    if suffix != _DICOM:
        like, notes = fitted(like, suffix)
        for note in notes:
            print_note(f"{image.name}: {note}")
    if labels:
        ncs.write_labels(output, np.asarray(image.data), like, segments=image.segments)
    else:
        write_image(output, like)
    if arguments.json:
        print_json({"image": image.name, "shape": image.spatial_shape, "output": output})
        return
    size = " × ".join(str(n) for n in image.spatial_shape)
    print(f"{'Labels' if labels else 'Image'} of {size} written to {shown(output)}")


def _holds_labels(arguments: argparse.Namespace, suffix: str) -> bool:
    source = arguments.image
    if arguments.labels or arguments.segment or suffix in (_DICOM, SEG_NRRD):
        return True
    return source.name.lower().endswith(SEG_NRRD) or (source.is_file() and is_drawn(source))


def _labels(arguments: argparse.Namespace, suffix: str) -> tuple[ncs.Image, ncs.Image]:
    """Return labels, and the image on whose grid they are written."""
    on = None
    if arguments.on is not None:
        on = ncs.read_image(
            arguments.on, series=arguments.series, spacing=arguments.spacing or "refuse"
        )
    elif suffix == _DICOM:
        raise CamSamError("DICOM labels belong to a series: name its folder or file by --on.")
    labels = ncs.read_labels(
        arguments.image,
        arguments.frame,
        channel=arguments.channel,
        axes=arguments.axes,
        exact=True,
        like=on,
        segments=arguments.segment,
    )
    if on is not None:
        check_same_grid(on, labels)
    print_notes(labels)
    return labels, on or labels
