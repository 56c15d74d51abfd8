"""Saves the work of a viewer, by itself and by hand, and opens it again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from platformdirs import user_data_path
from qtpy.QtCore import QObject, QTimer, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.preferences import preferences
from napari_cam_sam.plugin.tasks import Newest
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.session import (
    ImageRecord,
    Session,
    check_session_image,
    image_record,
    read_session,
    write_session,
)

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["FOLDER_VARIABLE", "Found", "SessionKeeper", "autosave_folder"]

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


def autosave_folder() -> Path:
    """Give the folder in which autosaves lie, one folder each."""
    moved = os.environ.get(FOLDER_VARIABLE)
    return Path(moved) if moved else user_data_path("napari-cam-sam") / "autosaves"


class SessionKeeper(QObject):
    """Keeps the session of a workspace on disk, a moment after each change.

    Parameters
    ----------
    workspace : Workspace
    """

    saved = Signal(str)
    """In words: what was saved where, or why it could not be."""
    found = Signal(object)
    """A `Found`: work on this image that a process which is gone has left."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        self._record: tuple[int | None, ImageRecord] | None = None
        self._changes = self._saved_changes = 0
        # Which opening of an image it is: what a thread brings of an earlier one is not this.
        self._opening = 0
        self._saver = Newest(self._was_saved, self._was_not_saved, self)
        self._looker = Newest(self._looked, lambda _: None, self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.autosave)
        self._heard: Any = None
        self.left: Found | None = None
        self._taken: Found | None = None
        workspace.prompts.settled.connect(self._changed)
        workspace.masks.accepted_changed.connect(self._accepted)
        workspace.image_changed.connect(self._image_changed)
        if workspace.image_layer is not None:
            self._image_changed()

    # What there is to save

    def _session(self, record: ImageRecord) -> Session:
        """Read the session, but for its labels, on the main thread."""
        workspace = self._workspace
        prompts: list[PlanePrompts] = []
        for axis in range(len(record.shape) if len(record.shape) == 3 else 1):
            count = record.shape[axis] if len(record.shape) == 3 else 1
            # One that lies off every plane is no part of the work, and must not hinder its saving.
            prompts.extend(p for p in workspace.prompts.read_all(axis) if 0 <= p.index < count)
        choices: dict[str, Any] = {"docks": workspace.dock_states()}
        layer = workspace.image_layer
        if layer is not None and not getattr(layer, "rgb", False):
            choices["contrast_limits"] = [float(v) for v in layer.contrast_limits]
        with suppress(CamSamError):  # in three dimensions no plane is shown
            choices["plane"] = list(workspace.plane())
        return Session(
            record,
            choices,
            tuple(prompts),
            tuple(sorted(workspace.prompts.touched())),
            tuple(workspace.masks.accepted),
            tuple(workspace.score_rows()),
        )

    def _labels_layer(self) -> Any | None:
        masks = self._workspace.masks
        if masks.target is not None and masks.target in self._workspace.viewer.layers:
            return masks.target
        return self._workspace.own("labels")

    def _writer(self, folder: Path, by_hand: bool) -> Callable[[], Any]:
        """Give what writes the session as it is now, in a thread."""
        workspace = self._workspace
        image, frame = workspace.image(), workspace.frame()
        record = self._known_record(frame)
        session = self._session(record or _unknown(image, frame))
        layer = self._labels_layer()
        data = None if layer is None else layer.data
        changes, opening = self._changes, self._opening

        def write() -> tuple[str, int, int | None, ImageRecord, int, bool]:
            known = record or image_record(image, frame)
            labels = None if data is None else np.array(data)
            write_session(folder, replace(session, image=known, labels=labels), image)
            words = f"Saved to {folder}." if by_hand else "Saved by itself."
            return words, opening, frame, known, changes, by_hand

        return write

    def _known_record(self, frame: int | None) -> ImageRecord | None:
        return self._record[1] if self._record is not None and self._record[0] == frame else None

    # Saving

    def save(self, folder: str | Path) -> None:
        """Save by hand into a folder, in a thread; `saved` tells when it is done.

        Raises
        ------
        CamSamError
            Without an image.
        """
        self._saver.ask(self._writer(Path(folder), by_hand=True))

    def forget_autosave(self) -> None:
        """Delete this process's autosave: what it holds was saved by hand."""
        if self._record is not None:
            shutil.rmtree(self._own_folder(self._record[1]), ignore_errors=True)

    def autosave(self) -> None:
        """Save by itself, if anything changed since the last time."""
        if self._changes == self._saved_changes or not preferences().autosave:
            return
        if self._saver.busy:
            self._timer.start()
            return
        try:
            image, frame = self._workspace.image(), self._workspace.frame()
        except CamSamError:
            return
        record = self._known_record(frame)
        if record is None:
            self._look(image, frame)
            return
        self._saver.ask(self._writer(self._own_folder(record), by_hand=False))

    def _own_folder(self, record: ImageRecord) -> Path:
        me = psutil.Process()
        owner = f"{me.pid}-{int(me.create_time())}-{id(self)}-{self._opening}"
        return autosave_folder() / f"{record.sha256[:16]}-{record.frame or 0}-{owner}"

    def _was_saved(self, answer: tuple[str, int, int | None, ImageRecord, int, bool]) -> None:
        words, opening, frame, record, changes, by_hand = answer
        if opening == self._opening:
            self._record = frame, record
            self._saved_changes = changes
            if by_hand:
                self.forget_autosave()
        if self._taken is not None:
            self.discard(self._taken)
            self._taken = None
        self.saved.emit(words)

    def _was_not_saved(self, sentence: str) -> None:
        self.saved.emit(f"Not saved: {sentence}")

    def _changed(self, _: object = None) -> None:
        self._changes += 1
        self._timer.setInterval(int(preferences().autosave_seconds * 1000))
        if not self._timer.isActive():
            self._timer.start()

    def _accepted(self) -> None:
        layer = self._labels_layer()
        if layer is not None and layer is not self._heard:
            # What is painted by hand is work, too.
            self._heard = layer
            layer.events.labels_update.connect(self._changed)
        self._changed()

    # Finding what was left

    def _image_changed(self) -> None:
        self._timer.stop()
        self._record = self.left = None
        self._changes = self._saved_changes = 0
        self._opening += 1
        try:
            image, frame = self._workspace.image(), self._workspace.frame()
        except CamSamError:
            return
        self._look(image, frame)

    def _look(self, image: Image, frame: int | None) -> None:
        """Hash the image, and look for work on it that was left behind, in a thread."""
        opening = self._opening

        def look() -> tuple[int, int | None, ImageRecord, Found | None]:
            record = image_record(image, frame)
            return opening, frame, record, _left_behind(record, self._own_folder(record))

        self._looker.ask(look)

    def _looked(self, answer: tuple[int, int | None, ImageRecord, Found | None]) -> None:
        opening, frame, record, found = answer
        if opening != self._opening:
            return
        self._record = frame, record
        if found is not None and not self._changes:
            self.left = found
            self.found.emit(found)
        if self._changes != self._saved_changes:
            self._timer.start()

    def discard(self, found: Found) -> None:
        """Delete an autosave that is not wanted, or that was opened."""
        self.left = None
        shutil.rmtree(found.folder, ignore_errors=True)

    def take(self, found: Found) -> None:
        """Bring an autosave back; it stays on disk until this process has saved the same."""
        self.restore(found.session)
        self._taken = found
        self._changed()

    # Opening

    def open(self, folder: str | Path) -> None:
        """Open a session on the image that is open: prompts, labels, choices, scores, plane.

        Raises
        ------
        CamSamError
            If it is no session, or one of another image.
        """
        session = read_session(folder)
        check_session_image(session, self._workspace.image(), self._workspace.frame())
        self.restore(session)

    def restore(self, session: Session) -> None:
        """Put a session of the image that is open into the layers and the docks.

        It takes the place of the prompts and the accepted labels that are there; prompts come
        back by undo.
        """
        workspace = self._workspace
        self._record = session.image.frame, session.image
        workspace.restore_docks(session.choices.get("docks", {}))
        there = [
            PlanePrompts(axis, index)
            for axis in range(len(session.image.shape))
            for index in workspace.prompts.planes(axis)
        ]
        planes = {(p.axis, p.index): p for p in (*there, *session.prompts)}
        workspace.prompts.write(planes.values(), "replace")
        workspace.prompts.mark_touched(session.touched)
        if session.labels is not None:
            layer = workspace.labels_layer("labels", create=True, dtype=np.uint16)
            layer.data = session.labels.astype(np.promote_types(session.labels.dtype, np.uint16))
        elif (layer := workspace.own("labels")) is not None:
            layer.data = np.zeros_like(layer.data)
        workspace.masks.accepted[:] = session.accepted
        workspace.masks.accepted_changed.emit()
        workspace.labels_changed.emit()
        workspace.restore_score_rows(session.scores)
        limits = session.choices.get("contrast_limits")
        layer = workspace.image_layer
        if limits is not None and layer is not None:
            layer.contrast_limits = limits
        if "plane" in session.choices and len(session.image.shape) == 3:
            workspace.show_plane(*session.choices["plane"])
        self.saved.emit(f"Opened the session of {session.saved_at}.")


def _left_behind(record: ImageRecord, own: Path) -> Found | None:
    """Find the newest autosave of an image whose process, or whose opening in it, is gone."""
    newest: Found | None = None
    start = f"{record.sha256[:16]}-{record.frame or 0}-"
    try:
        folders = sorted(autosave_folder().glob(f"{start}*"))
    except OSError:
        return None
    for folder in folders:
        # The same but for the number of the opening: the image was closed since, in this window.
        earlier = folder != own and folder.name.rpartition("-")[0] == own.name.rpartition("-")[0]
        if not earlier and _is_open(folder.name.removeprefix(start)):
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


def _unknown(image: Image, frame: int | None) -> ImageRecord:
    """Stand in for a record until the thread has hashed the image."""
    spacing = tuple(float(v) for v in image.geometry.spacing)
    return ImageRecord(
        image.name, None, "0" * 64, image.spatial_shape, spacing, image.geometry.unit, frame
    )
