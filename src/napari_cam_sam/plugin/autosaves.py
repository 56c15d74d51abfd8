"""Where sessions that are saved by themselves lie, and which of them a process left behind."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from platformdirs import user_data_path

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.session import ImageRecord, Session, read_session

__all__ = [
    "FOLDER_VARIABLE",
    "Found",
    "autosave_folder",
    "left_behind",
    "own_folder",
    "own_folders",
]

FOLDER_VARIABLE = "NAPARI_CAM_SAM_SESSIONS"
"""Environment variable that moves the folder of autosaves."""


@dataclass(frozen=True)
class Found:
    """An autosave that was left behind for the image that is open.

    Attributes
    ----------
    folder : Path
    session : Session
    """

    folder: Path
    session: Session

    def words(self) -> str:
        """Say what it holds."""
        session = self.session
        planes = len(session.prompts)
        tags = len(session.choices.get("docks", {}).get("plane tags", {}).get("planes", ()))
        tagged = f", {tags} tagged for training" if tags else ""
        when = datetime.fromisoformat(session.saved_at).astimezone()
        return (
            f"Unsaved work on this image from {when:%Y-%m-%d %H:%M} was found: prompts on "
            f"{planes} plane{'s' if planes != 1 else ''}, {len(session.touched)} edited, "
            f"{len(session.accepted)} accepted{tagged}."
        )


def autosave_folder() -> Path:
    """Give the folder in which autosaves lie, one folder each."""
    moved = os.environ.get(FOLDER_VARIABLE)
    return Path(moved) if moved else user_data_path("napari-cam-sam") / "autosaves"


def own_folder(keeper: int, record: ImageRecord, opening: int) -> Path:
    """Give the folder of one opening of an image.

    Parameters
    ----------
    keeper : int
        Tells apart the windows of this process.
    record : ImageRecord
    opening : int
        Counts the images that were opened in a window.
    """
    me = psutil.Process()
    owner = f"{me.pid}-{int(me.create_time())}-{keeper}-{opening}"
    return autosave_folder() / f"{record.sha256[:16]}-{record.frame or 0}-{owner}"


def own_folders(keeper: int, record: ImageRecord) -> dict[int, Path]:
    """List the folders of all openings of an image in a window, by their numbers."""
    start = own_folder(keeper, record, 0).name.removesuffix("0")
    try:
        found = [f for f in autosave_folder().glob(f"{start}*") if f.name[len(start) :].isdigit()]
    except OSError:
        return {}
    return {int(folder.name[len(start) :]): folder for folder in found}


def left_behind(record: ImageRecord, keeper: int, in_layers: Collection[int]) -> Found | None:
    """Find the newest autosave of an image whose process is gone, or whose work in it is.

    Parameters
    ----------
    record : ImageRecord
    keeper : int
        Tells apart the windows of this process.
    in_layers : collection of int
        The openings in this window whose work is in the layers.
    """
    newest: Found | None = None
    mine = {folder: opening for opening, folder in own_folders(keeper, record).items()}
    start = f"{record.sha256[:16]}-{record.frame or 0}-"
    try:
        folders = sorted(autosave_folder().glob(f"{start}*"))
    except OSError:
        return None
    for folder in folders:
        if folder in mine:
            if mine[folder] in in_layers:
                continue
        elif _is_open(folder.name.removeprefix(start)):
            continue
        try:
            session = read_session(folder)
        except CamSamError:
            continue  # killed before the first save was whole: there is nothing in it
        if session.image.sha256 != record.sha256:
            continue
        if newest is None or session.saved_at > newest.session.saved_at:
            newest = Found(folder, session)
    return newest


def _is_open(process: str) -> bool:
    """Tell whether the process that owns an autosave, named pid-start-…, still runs."""
    pid, _, rest = process.partition("-")
    started = rest.partition("-")[0]
    if not (pid.isdigit() and started.isdigit()):
        return True  # none of ours
    try:
        return int(psutil.Process(int(pid)).create_time()) == int(started)
    except psutil.Error:
        return False
