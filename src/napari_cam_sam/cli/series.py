"""The series of a folder of DICOM: ``napari-cam-sam series``."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_sam.cli.printing import print_json, print_note, print_table

if TYPE_CHECKING:
    from napari_cam_sam.images.dicom.series import DicomSeries

__all__ = ["add_series_command"]


def add_series_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    series = commands.add_parser(
        "series",
        help="list the series of a DICOM folder",
        description="List the series of images in a folder with all below it, a DICOMDIR, a zip "
        "or a file. Only headers are read. Other commands take the id by --series.",
    )
    series.add_argument("folder", type=Path, metavar="FOLDER", help="folder, DICOMDIR, zip or file")
    series.set_command(_series)


def _series(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.images.dicom.series import find_series

    found = find_series(arguments.folder)
    for note in dict.fromkeys(note for one in found for note in one.notes):
        print_note(note)
    if arguments.json:
        print_json({"series": [_data(one) for one in found]})
        return
    print_table([_row(one) for one in found])
    for one in found:
        if one.trouble:
            print(f"\n{one.id}: {one.trouble}.")


def _data(series: DicomSeries) -> dict[str, Any]:
    return {one.name: getattr(series, one.name) for one in fields(series) if one.compare}


def _row(series: DicomSeries) -> dict[str, Any]:
    steps = None if series.spacing is None else " × ".join(f"{s:.3g}" for s in series.spacing)
    return {
        "id": series.id,
        "kind": series.modality or None,
        "number": series.number,
        "description": " ".join(filter(None, (series.description, series.part))) or None,
        "date": series.date or None,
        "size": f"{series.rows} × {series.columns}",
        "slices": series.slices,
        "frames": series.frames,
        "spacing (mm)": "see below" if series.trouble else steps,
    }
