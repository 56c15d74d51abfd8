"""Volume, diameters and values of what is labelled: ``napari-cam-sam measure``."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import print_json, print_notes, print_table
from napari_cam_sam.cli.shared import add_image, add_shared, read_given
from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.datasets import object_kind
from napari_cam_sam.images.dicom.report_writing import write_report
from napari_cam_sam.images.measurements import measure_labels, measurements_rows
from napari_cam_sam.images.reading import check_same_grid
from napari_cam_sam.images.writing import write_text

__all__ = ["add_measure_command"]


def add_measure_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    measure = commands.add_parser(
        "measure",
        help="measure what is labelled: volume, diameters, mean",
        description="Measure each label of an image: volume in ml, longest diameter on a slice "
        "and the one across it in mm, mean and standard deviation in the image's own unit.",
    )
    add_image(measure)
    measure.add_argument(
        "--labels", type=Path, required=True, metavar="FILE", help="labels file to measure"
    )
    add_shared(measure, "segment")
    measure.add_argument("--output", type=Path, metavar="FILE", help="CSV file to write")
    measure.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="DICOM structured report to write (.dcm); the labels are then a DICOM segmentation",
    )
    measure.set_command(_measure)


def _measure(arguments: argparse.Namespace) -> None:
    image = read_given(arguments)
    labels = ncs.read_labels(arguments.labels, like=image, segments=arguments.segment)
    check_same_grid(image, labels)
    print_notes(labels)
    report = arguments.report
    if report is not None and object_kind(arguments.labels) != "segmentation":
        raise refusal(
            "A report refers to a DICOM segmentation: save the labels as one (.dcm), and measure "
            "that",
            arguments.labels,
        )
    found = measure_labels(np.asarray(labels.data), image, labels.segments)
    rows = measurements_rows(found)
    if arguments.output is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else ["label"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(arguments.output, text.getvalue())
    if report is not None:
        write_report(report, found, arguments.labels, image)
    if arguments.json:
        print_json({"measurements": rows})
        return
    print_table(rows)
