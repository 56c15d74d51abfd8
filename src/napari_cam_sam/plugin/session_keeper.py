"""Saves the work of a viewer, by itself and by hand, and opens it again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QObject, QThreadPool, QTimer, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.autosaves import Found, left_behind, own_folder, own_folders
from napari_cam_sam.plugin.preferences import preferences
from napari_cam_sam.plugin.session_opening import put_back
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

__all__ = ["SessionKeeper"]

# How long the end of the program waits for what is still being written.
_LAST_SAVE_MS = 30_000
# When a folder that could not be written is tried again.
_TRY_AGAIN_MS = 30_000
# How long after the labels were drawn they are looked at for an undo: scrolling draws them, too.
_LOOK_AGAIN_MS = 500


@dataclass(frozen=True)
class _Written:
    """What a thread tells of a session that it saved."""

    words: str
    number: int
    opening: int
    frame: int | None
    record: ImageRecord
    changes: int
    by_hand: bool


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
        # Edits so far; those that are on disk; those of the last write that was asked for.
        self._changes = self._saved_changes = self._asked_changes = 0
        # Which opening of an image it is: what a thread brings of an earlier one is not this.
        self._opening = 0
        self._opener = Newest(self._read, self.saved.emit, self)
        # Of two saves that wait for each other the later one counts, whichever thread comes first.
        self._writing, self._asked, self._written = threading.Lock(), 0, 0
        self._under_way = 0
        self._looker = Newest(self._looked, lambda _: None, self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.autosave)
        self._heard: Any = None
        self._drawn = QTimer(self)
        self._drawn.setSingleShot(True)
        self._drawn.setInterval(_LOOK_AGAIN_MS)
        self._drawn.timeout.connect(self._look_at_labels)
        self._standing: list[int] = []
        self.left: Found | None = None
        self._taken: tuple[Found, int] | None = None
        # Whether the work on this image was in the layers when it was opened again.
        self._goes_on = False
        workspace.prompts.settled.connect(self._edited)
        workspace.masks.accepted_changed.connect(self._accepted)
        workspace.docks.changed.connect(self._edited)
        workspace.image_changed.connect(self._image_changed)
        # What was done a moment ago is saved before its layers go.
        workspace.image_about_to_change.connect(self.flush)
        workspace.viewer.layers.events.removing.connect(self._layer_goes)
        self._going = QTimer(self)
        self._going.setSingleShot(True)
        if (application := QCoreApplication.instance()) is not None:
            application.aboutToQuit.connect(self._quit)
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
        choices: dict[str, Any] = {"docks": workspace.docks.states()}
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
            workspace.masks.standing(),
            tuple(workspace.docks.score_rows()),
        )

    def _writer(self, folder: Path | None) -> Callable[[], _Written]:
        """Give what writes the session as it is now, in a thread.

        Parameters
        ----------
        folder : Path or None
            Where it is saved by hand; None for the folder of this process's autosaves.
        """
        workspace = self._workspace
        image, frame = workspace.image(), workspace.frame()
        record = self._known_record(frame)
        session = self._session(record or _unknown(image, frame))
        layer = workspace.masks.accept_layer()
        if layer is not None and layer.data.shape != image.spatial_shape:
            layer = workspace.own("labels")  # the user's choice is of another grid
        data = None if layer is None else layer.data
        changes, opening = self._changes, self._opening
        me = id(self)
        self._asked += 1
        number = self._asked

        def write() -> _Written:
            known = record or _record(image, frame)
            where = folder or own_folder(me, known, opening)
            labels = None if data is None else np.array(data)
            with self._writing:
                if number > self._written or folder is not None:
                    full = replace(session, image=known, labels=labels)
                    write_session(where, full, image)
                    self._written = max(number, self._written)
            words = "Saved by itself." if folder is None else f"Saved to {folder}."
            return _Written(words, number, opening, frame, known, changes, folder is not None)

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
        self._ask(Path(folder))

    def _ask(self, folder: Path | None) -> None:
        """Let a thread write the session as it is now; None for this process's autosave."""
        write = self._writer(folder)
        self._under_way += 1
        self._asked_changes = self._changes

        def saved(done: _Written) -> None:
            self._under_way -= 1
            self._was_saved(done)
            asker.deleteLater()

        def failed(sentence: str) -> None:
            self._under_way -= 1
            self._was_not_saved(sentence)
            asker.deleteLater()

        # One each: what waits in a common one would give way to what is newer.
        asker = Newest(saved, failed, self)
        asker.ask(write)

    def _forget_autosaves(self, record: ImageRecord, *, but: int | None = None) -> None:
        """Delete what this window saved by itself of an image, all or all but one opening."""
        for opening, folder in own_folders(id(self), record).items():
            if opening != but:
                shutil.rmtree(folder, ignore_errors=True)

    def autosave(self) -> None:
        """Save by itself, if anything changed since the last time."""
        if self._changes == self._saved_changes or not preferences().autosave:
            return
        if self._under_way:
            self._timer.start()
            return
        with suppress(CamSamError):  # no image: nothing to save
            self._ask(None)

    def flush(self, _: object = None) -> None:
        """Save by itself now what else would be saved in a moment, e.g. before an image goes."""
        asked = self._changes in (self._saved_changes, self._asked_changes)
        if asked or self._going.isActive() or not preferences().autosave:
            return
        with suppress(CamSamError):  # no image: nothing to save
            self._ask(None)

    def _layer_goes(self, _: object = None) -> None:
        """Save before the first of several layers goes: a window that closes removes them all."""
        if not self._going.isActive():
            self.flush()
        self._going.start(0)

    def _quit(self) -> None:
        self.flush()
        QThreadPool.globalInstance().waitForDone(_LAST_SAVE_MS)

    def _was_saved(self, done: _Written) -> None:
        if done.opening == self._opening:
            self._record = done.frame, done.record
            self._saved_changes = max(done.changes, self._saved_changes)
            if done.by_hand and done.number == self._asked:
                self._forget_autosaves(done.record)
            elif self._goes_on and not done.by_hand:
                self._forget_autosaves(done.record, but=self._opening)
        if self._taken is not None and done.number > self._taken[1]:
            self.discard(self._taken[0])
            self._taken = None
        self.saved.emit(done.words)

    def _was_not_saved(self, sentence: str) -> None:
        self.saved.emit(f"Not saved: {sentence}")
        self._asked_changes = -1
        self._timer.start(_TRY_AGAIN_MS)

    def _edited(self) -> None:
        # A window that closes destroys its docks before anybody can ask them.
        self._workspace.docks.remember()
        self._changed()

    def _changed(self, _: object = None) -> None:
        self._changes += 1
        self._timer.setInterval(int(preferences().autosave_seconds * 1000))
        if not self._timer.isActive():
            self._timer.start()

    def _accepted(self) -> None:
        layer = self._workspace.masks.accept_layer()
        if layer is not None and layer is not self._heard:
            # What is painted by hand is work, too.
            self._heard = layer
            layer.events.labels_update.connect(self._changed)
            layer.events.data.connect(self._changed)
            # napari tells of its own undo by no event but that the layer is drawn anew.
            layer.events.set_data.connect(self._layer_drawn)
        self._standing = self._what_stands()
        self._edited()

    def _layer_drawn(self, _: object = None) -> None:
        self._drawn.start()

    def _look_at_labels(self) -> None:
        """Find out whether the layer's own undo or redo changed what stands."""
        standing = self._what_stands()
        if standing != self._standing:
            self._standing = standing
            self._changed()

    def _what_stands(self) -> list[int]:
        return [id(one) for one in self._workspace.masks.standing()]

    # Finding what was left

    def _image_changed(self) -> None:
        self._timer.stop()
        self._record = self.left = None
        self._changes = self._saved_changes = self._asked_changes = 0
        self._opening += 1
        workspace = self._workspace
        try:
            image, frame = workspace.image(), workspace.frame()
        except CamSamError:
            return
        prompted = any(workspace.prompts.planes(axis) for axis in image.axes)
        tagged = workspace.tags.state()["planes"]
        self._goes_on = prompted or bool(
            workspace.prompts.touched() or workspace.masks.accepted or tagged
        )
        # It may be work on other pixels, or of an opening that was not saved to its end.
        self._changes = int(self._goes_on)
        self._look(image, frame)

    def _look(self, image: Image, frame: int | None) -> None:
        """Hash the image, and look for work on it that was left behind, in a thread."""
        opening = self._opening

        def look() -> tuple[int, int | None, ImageRecord, Found | None]:
            record = _record(image, frame)
            left = left_behind(record, own_folder(id(self), record, opening))
            return opening, frame, record, left

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
        if self._record is None or self._record[1].sha256 != found.session.image.sha256:
            self.saved.emit("That work was done on another image than the one that is open.")
            return
        self.restore(found.session)
        self._taken = found, self._asked
        self._changed()

    # Opening

    def open(self, folder: str | Path) -> None:
        """Open a session on the image that is open: prompts, labels, choices, scores, plane.

        It is read in a thread; `saved` tells when it is there, or why it is not: no session, or
        one of another image.

        Raises
        ------
        CamSamError
            Without an image.
        """
        image, frame = self._workspace.image(), self._workspace.frame()
        opening = self._opening

        def read() -> tuple[int, Session]:
            session = read_session(folder)
            check_session_image(session, image, frame)
            return opening, session

        self.saved.emit("Opening the session…")
        self._opener.ask(read)

    def _read(self, answer: tuple[int, Session]) -> None:
        opening, session = answer
        if opening == self._opening:
            self.restore(session)
        else:
            self.saved.emit("The session was not opened: another image was chosen meanwhile.")

    def restore(self, session: Session) -> None:
        """Put a session of the image that is open into the layers and the docks."""
        self._record = session.image.frame, session.image
        self.saved.emit(put_back(self._workspace, session))


def _record(image: Image, frame: int | None) -> ImageRecord:
    """Hash the image: its file, or its values where the file was moved away since."""
    try:
        return image_record(image, frame)
    except CamSamError:
        return image_record(replace(image, path=None), frame)


def _unknown(image: Image, frame: int | None) -> ImageRecord:
    """Stand in for a record until the thread has hashed the image."""
    spacing = tuple(float(v) for v in image.geometry.spacing)
    return ImageRecord(
        image.name, None, "0" * 64, image.spatial_shape, spacing, image.geometry.unit, frame
    )
