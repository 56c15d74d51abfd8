"""Saves the work of a viewer, by itself and by hand, and opens it again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QThreadPool, QTimer, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.autosaves import Found, left_behind, own_folder, own_folders
from napari_cam_sam.plugin.label_watch import LabelWatch
from napari_cam_sam.plugin.plain_text import show_info, show_warning
from napari_cam_sam.plugin.preferences import preferences
from napari_cam_sam.plugin.session_opening import put_back
from napari_cam_sam.plugin.session_taking import record_of, session_taker
from napari_cam_sam.plugin.tasks import Newest
from napari_cam_sam.session import (
    ImageRecord,
    Session,
    check_session_image,
    read_session,
    write_session,
)

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["OFFER", "SessionKeeper"]

OFFER = "offer what was left"
"""What an open dock with a `SessionRow` answers."""

# How long the end of the program waits for what is still being written.
_LAST_SAVE_MS = 30_000
# When a folder that could not be written is tried again.
_TRY_AGAIN_MS = 30_000


@dataclass(frozen=True)
class _Written:
    """What a thread tells of a session that it saved."""

    folder: Path
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

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        self._record: tuple[int | None, ImageRecord] | None = None
        # Edits so far; those that are on disk; those of the last write that was asked for.
        self._changes = self._saved_changes = self._asked_changes = 0
        # Edits up to the last save by hand: what that holds needs no autosave.
        self._by_hand = -1
        # Which opening of an image it is: what a thread brings of an earlier one is not this.
        self._opening = 0
        # By image and frame: the openings whose work is in the layers.
        self._in_layers: dict[Any, set[int]] = {}
        self._opener = Newest(self._read, self.saved.emit, self)
        # Of two saves that wait for each other the later one counts, whichever thread comes first.
        self._writing, self._asked, self._written = threading.Lock(), 0, 0
        self._under_way = 0
        self._looker = Newest(self._looked, lambda _: None, self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.autosave)
        self._labels = LabelWatch(workspace, self)
        self._labels.changed.connect(self._changed)
        self.left: Found | None = None
        # What was brought back, into which opening, and after which save.
        self._taken: tuple[Found, int, int] | None = None
        # Whether the work on this image was in the layers when it was opened again.
        self._goes_on = False
        # Why it could not be saved, as it was last told.
        self._trouble = ""
        workspace.prompts.settled.connect(self._edited)
        workspace.masks.accepted_changed.connect(self._accepted)
        workspace.docks.changed.connect(self._edited)
        workspace.image_changed.connect(self._image_changed)
        # What was done a moment ago is saved before its layers go.
        workspace.image_about_to_change.connect(self.flush)
        # First: that a layer of prompts goes is an edit of its own, after what this ends.
        workspace.viewer.layers.events.removing.connect(self._layer_goes, position="first")
        self._going = QTimer(self)
        self._going.setSingleShot(True)
        if (application := QCoreApplication.instance()) is not None:
            application.aboutToQuit.connect(self._quit)
        if workspace.image_layer is not None:
            self._image_changed()

    # Saving

    def _writer(self, folder: Path | None) -> Callable[[], _Written]:
        """Give what writes the session as it is now, in a thread.

        Parameters
        ----------
        folder : Path or None
            Where it is saved by hand; None for the folder of this process's autosaves.
        """
        image, frame = self._workspace.image(), self._workspace.frame()
        take = session_taker(self._workspace, image, self._known_record(frame))
        changes, opening = self._changes, self._opening
        me = id(self)
        self._asked += 1
        number = self._asked

        def write() -> _Written:
            session = take()
            known = session.image
            where = folder or own_folder(me, known, opening)
            with self._writing:
                if number > self._written or folder is not None:
                    write_session(where, session, image)
                    self._written = max(number, self._written)
            return _Written(where, number, opening, frame, known, changes, folder is not None)

        return write

    def _known_record(self, frame: int | None) -> ImageRecord | None:
        return self._record[1] if self._record is not None and self._record[0] == frame else None

    def save(self, folder: str | Path) -> None:
        """Save by hand into a folder, in a thread; `saved` tells when it is done.

        Raises
        ------
        CamSamError
            Without an image.
        """
        self._ask(Path(folder))

    def _ask(
        self,
        folder: Path | None,
        then: Callable[[_Written], None] | None = None,
        otherwise: Callable[[str], None] | None = None,
    ) -> None:
        """Let a thread write the session as it is now; None for this process's autosave.

        Parameters
        ----------
        folder : Path or None
        then, otherwise : callable, optional
            What is done when it is written, or was not, if more than to say it.
        """
        write, standing = self._writer(folder), self._labels.standing
        self._under_way += 1
        self._asked_changes = self._changes

        def saved(done: _Written) -> None:
            self._under_way -= 1
            self._was_saved(done)
            accepted = done.opening == self._opening and standing is not self._labels.standing
            if accepted and folder is not None:
                # The labels were copied later than it was read what was accepted into them.
                self._ask(folder)
            else:
                (then or self._say_saved)(done)
            asker.deleteLater()

        def failed(sentence: str) -> None:
            self._under_way -= 1
            (otherwise or self._was_not_saved)(sentence)
            asker.deleteLater()

        # One each: what waits in a common one would give way to what is newer.
        asker = Newest(saved, failed, self)
        asker.ask(write)

    def _forget_autosaves(self, record: ImageRecord, *, but: int | None = None) -> None:
        """Delete what this window saved by itself of the work in the layers.

        Parameters
        ----------
        record : ImageRecord
        but : int, optional
            The opening whose autosave stays.
        """
        for opening, folder in own_folders(id(self), record).items():
            if opening in self._line() and opening != but:
                shutil.rmtree(folder, ignore_errors=True)

    def _line(self) -> set[int]:
        """Give the openings of this image whose work is in the layers."""
        layer = self._workspace.image_layer
        of = None if layer is None else (layer.unique_id, self._workspace.frame())
        return self._in_layers.setdefault(of, set())

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
        if self._going.isActive() or not preferences().autosave:
            return
        self._workspace.prompts.settle()
        if self._changes in (self._saved_changes, self._asked_changes):
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
        self._trouble = ""
        if done.opening == self._opening:
            self._record = done.frame, done.record
            self._saved_changes = max(done.changes, self._saved_changes)
            if done.by_hand:
                self._by_hand = done.changes
            if not done.by_hand:
                self._forget_autosaves(done.record, but=self._opening)
            elif done.number == self._asked:
                self._forget_autosaves(done.record)
        if self._taken is not None:
            taken, opening, number = self._taken
            # A save of another image does not hold it.
            same = any({opening, done.opening} <= line for line in self._in_layers.values())
            if same and done.number > number:
                self._taken = None
                self.discard(taken)

    def _say_saved(self, done: _Written) -> None:
        self.saved.emit(f"Saved to {done.folder}." if done.by_hand else "Saved by itself.")

    def _was_not_saved(self, sentence: str) -> None:
        words = f"Not saved: {sentence}"
        self.saved.emit(words)
        # It is tried again and again, and told once.
        if words != self._trouble and not self._workspace.docks.answers(OFFER):
            show_warning(f'{words} Plugins → CAM to SAM → "CAM → SAM" saves it elsewhere.')
        self._trouble = words
        self._asked_changes = -1
        self._timer.start(_TRY_AGAIN_MS)

    def _edited(self) -> None:
        # A window that closes destroys its docks before anybody can ask them.
        self._workspace.docks.remember()
        self._changed()

    def _changed(self) -> None:
        self._changes += 1
        # A timer that runs would begin anew: steady work would never be saved.
        if not self._timer.isActive():
            self._timer.start(int(preferences().autosave_seconds * 1000))

    def _accepted(self) -> None:
        self._labels.listen()
        self._edited()

    # Finding what was left

    def _image_changed(self) -> None:
        self._timer.stop()
        self._record = self.left = None
        self._changes = self._saved_changes = self._asked_changes = 0
        self._by_hand = -1
        self._opening += 1
        self._labels.look_anew()
        workspace = self._workspace
        try:
            image, frame = workspace.image(), workspace.frame()
        except CamSamError:
            return
        self._goes_on = self._is_work(image)
        if not self._goes_on:
            self._line().clear()
        self._line().add(self._opening)
        # It may be work on other pixels, or of an opening that was not saved to its end.
        self._changes = int(self._goes_on)
        self._look(image, frame)

    def _is_work(self, image: Image) -> bool:
        """Tell whether there is anything in the layers that could be lost."""
        workspace = self._workspace
        return bool(
            any(workspace.prompts.planes(axis) for axis in image.axes)
            or workspace.prompts.touched()
            or workspace.masks.work_layers()
            or workspace.tags.state()["planes"]
        )

    def _look(self, image: Image, frame: int | None) -> None:
        """Hash the image, and look for work on it that was left behind, in a thread."""
        opening, me, in_layers = self._opening, id(self), frozenset(self._line())
        known = self._known_record(frame)

        def look() -> tuple[int, int | None, ImageRecord, Found | None]:
            record = known or record_of(image, frame)
            return opening, frame, record, left_behind(record, me, in_layers)

        self._looker.ask(look)

    def _looked(self, answer: tuple[int, int | None, ImageRecord, Found | None]) -> None:
        opening, frame, record, found = answer
        if opening != self._opening:
            return
        self._record = frame, record
        if found is not None and not self._goes_on:
            self.left = found
            if not self._workspace.docks.act(OFFER, found):
                show_info(f'{found.words()} Plugins → CAM to SAM → "CAM → SAM" brings it back.')
        if self._changes != self._saved_changes:
            self._timer.start()

    def discard(self, found: Found) -> None:
        """Delete an autosave that is not wanted, or that was opened; what else is left is offered.

        Parameters
        ----------
        found : Found
        """
        self.left = None
        shutil.rmtree(found.folder, ignore_errors=True)
        with suppress(CamSamError):  # no image any more
            self._look(self._workspace.image(), self._workspace.frame())

    def take(self, found: Found) -> None:
        """Bring an autosave back; it stays on disk until this process has saved the same."""
        if self._record is None or self._record[1].sha256 != found.session.image.sha256:
            self.saved.emit("That work was done on another image than the one that is open.")
            return
        self.restore(found.session, found)

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

    def restore(self, session: Session, found: Found | None = None) -> None:
        """Put a session of the image that is open into the layers and the docks.

        Work that is there is first saved, into an autosave that stays, and is offered.

        Parameters
        ----------
        session : Session
        found : Found, optional
            The autosave that it is.
        """
        if self._changes == self._by_hand or not self._is_work(self._workspace.image()):
            self._put_back(session, found)
            return

        def kept(done: _Written) -> None:
            if done.opening != self._opening:
                self.saved.emit("The session was not opened: another image was chosen meanwhile.")
            elif done.changes != self._changes:
                self.restore(session, found)  # it was edited meanwhile
            else:
                # As if the image were opened once more: the autosave of this opening stays.
                self._opening += 1
                self._goes_on = False
                self._line().clear()
                self._line().add(self._opening)
                self._put_back(session, found, f" What was there is kept in {done.folder}.")
                if found is None:  # else once that one is discarded
                    self._look(self._workspace.image(), self._workspace.frame())

        def not_kept(sentence: str) -> None:
            self._asked_changes = -1
            if found is not None:
                self._workspace.docks.act(OFFER, found)
            self.saved.emit(f"Not opened, as what is there cannot be saved first: {sentence}")

        self._ask(None, kept, not_kept)

    def _put_back(self, session: Session, found: Found | None, also: str = "") -> None:
        self._record = session.image.frame, session.image
        self.saved.emit(put_back(self._workspace, session) + also)
        if found is not None:
            self._taken = found, self._opening, self._asked
            self._changed()
