"""A saved session once more: ``napari-cam-sam replay``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import print_json, progress
from napari_cam_sam.cli.shared import add_shared
from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.formats import TIFF, VOLUMES, suffix_of
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.text import shown

__all__ = ["add_replay_command"]


def add_replay_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    replay = commands.add_parser(
        "replay",
        help="repeat a saved annotation session",
        description="Segment again what was accepted in a saved session, and compare the labels.",
    )
    replay.add_argument("folder", type=Path, metavar="FOLDER", help="of the session")
    replay.add_argument("--image", type=Path, metavar="FILE", help="its image, if it was moved")
    replay.add_argument("--output", type=Path, metavar="FILE", help="labels file to write")
    add_shared(replay, "device")
    replay.set_command(_replay)


def _replay(arguments: argparse.Namespace) -> None:

    session = ncs.read_session(arguments.folder)
    image = _session_image(session, arguments.image)
    if arguments.output:
        _check_labels_file(arguments.output, image, arguments.folder)
    devices: dict[str, str] = {}

    def load(name: str, precision: str) -> Segmenter:
        segmenter = ncs.load_segmenter(name, arguments.device, precision=precision)
        devices[name] = segmenter.device
        return segmenter

    update, bar = progress(arguments, image.name)
    with bar:
        labels = ncs.replay(session, image, load, update)
    if arguments.output:
        ncs.write_labels(arguments.output, labels, image)
    planes = {(one.prompts.axis, one.prompts.index) for one in session.accepted}
    differing = None
    if session.labels is not None:
        differing = int(np.count_nonzero(labels != session.labels))
    if arguments.json:
        print_json(
            {
                "image": image.name,
                "saved_at": session.saved_at,
                "acceptances": len(session.accepted),
                "planes": len(planes),
                "segmenters": devices,
                "voxels": labels.size,
                "differing": differing,
                "output": arguments.output,
            }
        )
        return
    size = " × ".join(str(n) for n in image.spatial_shape)
    print(f"Session     {shown(arguments.folder)}, saved {session.saved_at}")
    print(f"Image       {image.name}, {size}")
    for name, device in devices.items():
        print(f"Segmenter   {name} on {device}")
    print(f"Slices      {len(planes)} run again, accepted {len(session.accepted)} times in all")
    if differing is None:
        print("Labels      none were saved to compare with")
    elif differing == 0:
        print(f"Labels      the same as those saved: none of {labels.size} voxels differs")
    else:
        print(f"Labels      {differing} of {labels.size} voxels differ from those saved:")
        print("            what was painted or erased by hand is not run again, and another")
        print("            device or version may decide differently at an outline")
    if arguments.output:
        print(f"\nWritten to {shown(arguments.output)}")


def _session_image(session: ncs.Session, given: Path | None) -> ncs.Image:
    """Read the image of a session from where it was, or from where the user says that it is."""
    record = session.image
    if given is None and record.path is None:
        raise CamSamError(
            f"The image of this session, {record.name}, came from no file: "
            "name a file that holds it by --image."
        )
    path = Path(record.path or "") if given is None else given
    if given is None and not path.exists():
        raise CamSamError(
            f"The image of this session is no longer there: name its file by --image ({path})."
        )
    if record.series is None:
        return ncs.read_image(path, record.frame, channel=record.channel, axes=record.axes)
    # Uneven slices were opened as they are or resampled, and their number says which.
    image = ncs.read_image(path, record.frame, series=record.series, spacing="as-is")
    if image.spatial_shape != record.shape:
        image = ncs.read_image(path, record.frame, series=record.series, spacing="even")
    return image


def _check_labels_file(path: Path, image: ncs.Image, session: Path) -> None:
    """Refuse a file that labels cannot be written to, before anything is computed."""
    pictures = (".png", *TIFF) if image.spatial_ndim == 2 else TIFF
    fitting = pictures if image.geometry.affine is None else VOLUMES
    dicom = isinstance(image.source, DicomSource)
    if not (dicom and path.name.lower().endswith(".dcm")) and suffix_of(path) not in fitting:
        raise refusal(
            f"This format cannot hold the labels of {image.name}: use {' or '.join(fitting)}", path
        )
    if not path.parent.is_dir():
        raise refusal("This cannot be written: there is no folder for it", path)
    if path.resolve().parent == session.resolve():
        raise refusal("This lies in the session itself: name a file in another folder", path)
