"""Where sessions that are saved by themselves lie, and which of them a process left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.session import owners
from napari_cam_sam.session import FILE, ImageRecord, Session, read_session
from napari_cam_sam.session.generations import drop_generations, generations, holdings
from napari_cam_sam.wording import counted

__all__ = [
    "FOLDER_VARIABLE",
    "RecoverableSession",
    "autosave_folder",
    "find_recoverable",
    "forget",
    "forget_untouched",
    "work_folder",
]

FOLDER_VARIABLE = "NAPARI_CAM_SAM_SESSIONS"
"""Environment variable that moves the folder of autosaves."""


@dataclass(frozen=True)
class RecoverableSession:
    """An autosave that was left behind for the image that is open.

    Attributes
    ----------
    folder : Path
    session : Session
        Of an older one without its labels.
    file : str
        Which generation of the folder it is.
    older : tuple of RecoverableSession
        Others, the newest first, each with something that none before it holds.
    """

    folder: Path
    session: Session
    file: str = FILE
    older: tuple[RecoverableSession, ...] = ()

    def words(self) -> str:
        """Return when it was saved and what it holds, in a sentence."""
        session = self.session
        tags = len(session.choices.get("docks", {}).get("plane tags", {}).get("planes", ()))
        tagged = f", {tags} tagged for training" if tags else ""
        masks = len(session.choices.get("masks", ()))
        waiting = f", masks on {masks} not accepted" if masks else ""
        when = datetime.fromisoformat(session.saved_at).astimezone()
        return (
            f"Unsaved work on this image from {when:%Y-%m-%d %H:%M} was found: prompts on "
            f"{counted(len(session.prompts), 'slice')}, {len(session.touched)} edited, "
            f"{len(session.accepted)} accepted{waiting}{tagged}."
        )

    def whole(self) -> Session:
        """Read it with its labels.

        Raises
        ------
        CamSamError
            If it is gone, or damaged.
        """
        return read_session(self.folder, self.file)


def autosave_folder() -> Path:
    """Return the folder in which autosaves lie, one folder each.

    Returns
    -------
    Path
        What `FOLDER_VARIABLE` says; else one of the user's for this program.
    """
    moved = os.environ.get(FOLDER_VARIABLE)
    return Path(moved) if moved else user_data_path("napari-cam-sam") / "autosaves"


def work_folder(window: int, record: ImageRecord, line: int) -> Path:
    """Return the folder of one line of work on an image.

    Parameters
    ----------
    window : int
        Tells apart the windows of this process.
    record : ImageRecord
    line : int
        Counts the lines of work of a window.

    Returns
    -------
    Path
    """
    return autosave_folder() / f"{_start(record)}{owners.me()}-{window}-{line}"


def find_recoverable(
    record: ImageRecord, window: int, living: Collection[int]
) -> RecoverableSession | None:
    """Find the newest autosave of an image whose process is gone, or whose work in it is.

    Parameters
    ----------
    record : ImageRecord
    window : int
        Tells apart the windows of this process.
    living : collection of int
        The lines of this window whose work is in the layers.

    Returns
    -------
    RecoverableSession or None
        The newest that is whole and holds anything, with all others that hold more.
    """
    found = []
    for folder in _not_in_use(record, window, living):
        whole = list(_whole(folder, record))
        wanted = [one for one in whole if holdings(one.session)]
        if wanted:
            found.append(wanted)
        elif whole:
            shutil.rmtree(folder, ignore_errors=True)  # saved before there was anything
    owners.tidy(autosave_folder())
    found.sort(key=lambda wanted: wanted[0].session.saved_at, reverse=True)
    first, older = None, []
    known: frozenset[Any] = frozenset()
    for one in (one for wanted in found for one in wanted):
        held = holdings(one.session)
        if first is None:
            # The labels come with it: one that cannot be read is not whole.
            with suppress(CamSamError):
                first, known = replace(one, session=one.whole()), held
        elif not held <= known:
            older.append(one)
            known |= held
    return None if first is None else replace(first, older=tuple(older))


def forget(found: RecoverableSession, window: int, living: Collection[int]) -> None:
    """Delete an autosave, and what of the same folder holds no more than it does.

    What holds more stays, and what another window works on.

    Parameters
    ----------
    found : RecoverableSession
    window : int
        Tells apart the windows of this process.
    living : collection of int
        The lines of this window whose work is in the layers.
    """
    record = found.session.image
    if found.folder not in list(_not_in_use(record, window, living)):
        return
    held = holdings(found.session)
    more = [one.file for one in _whole(found.folder, record) if not holdings(one.session) <= held]
    if more:
        gone = [name for name in generations(found.folder) if name not in more]
        drop_generations(found.folder, gone)
        return
    shutil.rmtree(found.folder, ignore_errors=True)


def forget_untouched(record: ImageRecord) -> None:
    """Delete this process's autosaves of an image in which nobody did anything by hand.

    For the end of a run that only shows something: prompts that nobody edited, and masks that
    nobody accepted, are made again by the next run.

    Parameters
    ----------
    record : ImageRecord
    """
    for folder in autosave_folder().glob(f"{_start(record)}{owners.me()}-*"):
        if not any(_by_hand(one.session) for one in _whole(folder, record)):
            shutil.rmtree(folder, ignore_errors=True)


def _by_hand(session: Session) -> bool:
    """Return whether anything was edited, accepted, painted or tagged."""
    kinds = {held[0] for held in holdings(session)}
    return bool(session.touched) or bool(kinds & {"accepted", "labels", "tag"})


def _start(record: ImageRecord) -> str:
    return f"{record.sha256[:16]}-{record.frame or 0}-"


def _not_in_use(record: ImageRecord, window: int, living: Collection[int]) -> Iterator[Path]:
    """List the autosaves of an image whose process, or whose line of work, is gone."""
    start = _start(record)
    mine = f"{owners.me()}-{window}-"
    try:
        folders = sorted(autosave_folder().glob(f"{start}*"))
    except OSError:
        return
    for folder in folders:
        rest = folder.name.removeprefix(start)
        if rest.startswith(mine):
            line = rest.removeprefix(mine)
            if line.isdigit() and int(line) not in living:
                yield folder
            continue
        owner = owners.owner_in(rest)
        if owner is not None and not owners.is_alive(autosave_folder(), owner):
            yield folder


def _whole(folder: Path, record: ImageRecord) -> Iterator[RecoverableSession]:
    """List the generations of an autosave that can be read, the newest first."""
    for name in generations(folder):
        try:
            session = read_session(folder, name, labels=False)
            if "labelled" not in session.choices:  # of a version that did not say which planes
                session = read_session(folder, name)
        except CamSamError:
            continue  # killed before the first save was whole, or damaged since
        if session.image.sha256 == record.sha256:
            yield RecoverableSession(folder, session, name)
