"""Saves the work of a viewer, by itself and by hand, and opens it again."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QThreadPool, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.conversion import is_shown_alone
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.plain_text import show_info, show_warning
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.session.capture import record_of
from napari_cam_sam.plugin.session.image_work import ImageWork, SavedSession, has_work
from napari_cam_sam.plugin.session.recovery import (
    RecoverableSession,
    find_recoverable,
    forget,
    work_folder,
)
from napari_cam_sam.plugin.session.restore import check_choices, restore_session
from napari_cam_sam.plugin.session.save_queue import SaveQueue
from napari_cam_sam.plugin.session.work_monitor import WorkMonitor
from napari_cam_sam.plugin.state.image_keys import PixelsKey
from napari_cam_sam.plugin.state.preferences import preferences
from napari_cam_sam.session import (
    ImageRecord,
    Session,
    check_session_image,
    read_session,
)

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["OFFER", "SessionManager"]

OFFER = "offer what was left"
"""What an open dock with a `SessionPanel` answers."""

# How long the end of the program waits for what is still being written.
_LAST_SAVE_MS = 30_000
# When a folder that could not be written is tried again.
_TRY_AGAIN_MS = 30_000

_OTHER_IMAGE = "The session was not opened: another image was chosen meanwhile."

_WINDOWS = itertools.count(1)


class SessionManager(QObject):
    """Keeps the session of a workspace on disk, a moment after each change.

    Parameters
    ----------
    workspace : Workspace
    """

    saved = Signal(str)
    """In words: what was saved where, or why it could not be."""
    changed = Signal()
    """There is work that is not saved yet."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        # Tells apart the windows of this process: an id would be given again.
        self._window = next(_WINDOWS)
        self._numbers = itertools.count(1)
        # What is worked on now, and by its pixels the work on every image that is in the layers.
        self._work: ImageWork | None = None
        self._works: dict[PixelsKey, ImageWork] = {}
        self._opener = LatestOnly(self._read, self.saved.emit, self)
        self._queue = SaveQueue(workspace, self._window, self)
        self._looker = LatestOnly(self._looked, lambda _: None, self)
        self._timer = single_shot_timer(self, self.autosave)
        self._monitor = WorkMonitor(workspace, self)
        self._monitor.changed.connect(self._changed)
        self.left: RecoverableSession | None = None
        # Why it could not be saved, as it was last told.
        self._trouble = ""
        workspace.image_changed.connect(self._image_changed)
        # What was done a moment ago is saved before its layers go.
        workspace.shown.image_about_to_change.connect(self.flush)
        # First: that a layer of prompts goes is an edit of its own, after what this ends.
        workspace.viewer.layers.events.removing.connect(self._layer_goes, position="first")
        self._going = single_shot_timer(self)
        if (application := QCoreApplication.instance()) is not None:
            application.aboutToQuit.connect(self._quit)
        if workspace.image_layer is not None:
            self._image_changed()

    # Saving

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
        then: Callable[[SavedSession], None] | None = None,
        otherwise: Callable[[str], None] | None = None,
    ) -> None:
        """Write the session as it is now in a thread; None for this process's autosave.

        Parameters
        ----------
        folder : Path or None
        then, otherwise : callable, optional
            What is done when it is written, or was not, if more than to say it.
        """
        work = self._work
        if work is None:
            self._workspace.image()
            raise CamSamError("The image is being changed: save again in a moment.")
        write = self._queue.gather(work, folder)
        work.asked = work.changes
        self._send(work, write, folder, then, otherwise)

    def _send(
        self,
        work: ImageWork,
        write: Callable[[], SavedSession],
        folder: Path | None = None,
        then: Callable[[SavedSession], None] | None = None,
        otherwise: Callable[[str], None] | None = None,
    ) -> None:
        """Write in a thread what was gathered of the work on an image."""
        standing = self._monitor.standing

        def saved(done: SavedSession) -> None:
            self._was_saved(done)
            accepted = work is self._work and standing is not self._monitor.standing
            if accepted and folder is not None:
                self._ask(folder)  # what was accepted meanwhile belongs to it, too
            else:
                (then or self._say_saved)(done)

        def failed(sentence: str) -> None:
            if folder is None and work is not self._work:
                work.owed = write
            (otherwise or self._was_not_saved)(sentence)
            work.asked = -1

        self._queue.send(write, saved, failed)

    def _living(self) -> frozenset[int]:
        """Return the numbers of work that is in the layers: nobody else may have or delete it."""
        there = {layer.unique_id for layer in self._workspace.viewer.layers}
        return frozenset(work.number for work in self._works.values() if work.key.layer in there)

    def autosave(self) -> None:
        """Save by itself, if anything changed since the last time."""
        work = self._work
        if not preferences().autosave:
            return
        if self._queue.busy or self._workspace.shown.changing:
            self._timer.start()
            return
        for other in self._works.values():
            write, other.owed = other.owed, None
            if write is not None and other.saved < other.changes:
                self._send(other, write)
        if work is not None and work.changes != work.saved:
            with suppress(CamSamError):  # no image: nothing to save
                self._ask(None)

    def flush(self, _: object = None) -> None:
        """Save by itself now what else would be saved in a moment, e.g. before an image goes."""
        if self._going.isActive() or self._workspace.shown.changing or not preferences().autosave:
            return
        self._workspace.prompts.settle()
        work = self._work
        if work is None or work.changes in (work.saved, work.asked):
            return
        with suppress(CamSamError):  # no image: nothing to save
            self._ask(None)

    def _layer_goes(self, event: Any) -> None:
        """Save before the first of several layers goes: a window that closes removes them all."""
        if is_shown_alone(self._workspace.viewer.layers[event.index]):
            return  # we put it away ourselves, and it holds nothing
        if not self._going.isActive():
            self.flush()
        self._going.start(0)

    def _quit(self) -> None:
        self.flush()
        QThreadPool.globalInstance().waitForDone(_LAST_SAVE_MS)

    def _was_saved(self, done: SavedSession) -> None:
        self._trouble = ""
        work = done.work
        work.record = done.record
        work.saved = max(done.changes, work.saved)
        if done.by_hand:
            work.by_hand = done.changes
            if done.number == work.asked_last:
                autosave = work_folder(self._window, done.record, work.number)
                shutil.rmtree(autosave, ignore_errors=True)
        restored = work.restored
        if restored is not None and done.number > work.restored_after:
            work.restored = None
            self.discard(restored)

    def _say_saved(self, done: SavedSession) -> None:
        self.saved.emit(done.words(done.work is self._work))

    def _was_not_saved(self, sentence: str) -> None:
        words = f"Not saved: {sentence}"
        self.saved.emit(words)
        # It is tried again and again, and told once.
        if words != self._trouble and not self._workspace.docks.has_handler(OFFER):
            show_warning(f'{words} Plugins → CAM to SAM → "CAM → SAM" saves it elsewhere.')
        self._trouble = words
        self._timer.start(_TRY_AGAIN_MS)

    def _changed(self) -> None:
        if self._work is not None:
            self._work.changes += 1
            self.changed.emit()
        # A timer that runs would begin anew: steady work would never be saved.
        if not self._timer.isActive():
            self._timer.start(int(preferences().autosave_seconds * 1000))

    # Finding what was left

    def _image_changed(self) -> None:
        self._timer.stop()
        self._work = self.left = None
        self._monitor.look_anew()
        workspace = self._workspace
        try:
            image, key = workspace.image(), workspace.shown.pixels_key()
        except CamSamError:
            return
        work, there = self._works.get(key), has_work(workspace, image)
        if work is None or not there:
            work = self._new_work(key)
            # It may be work on other pixels, or layers that came with a session of napari's.
            work.changes = int(there)
        self._work = work
        self._look(image, work, offer=not there)

    def _new_work(self, key: PixelsKey) -> ImageWork:
        """Begin the work on an image anew; what was saved of it before stays as it is."""
        work = self._works[key] = ImageWork(key, next(self._numbers))
        return work

    def _look(self, image: Image, work: ImageWork, offer: bool = True) -> None:
        """Hash the image, and look for work on it that was left behind, in a thread."""
        window, living, known = self._window, self._living(), work.record

        def look() -> tuple[ImageWork, ImageRecord, RecoverableSession | None]:
            record = known or record_of(image, work.key.frame)
            return work, record, find_recoverable(record, window, living) if offer else None

        self._looker.ask(look)

    def _looked(self, answer: tuple[ImageWork, ImageRecord, RecoverableSession | None]) -> None:
        work, record, found = answer
        work.record = record
        if work is not self._work:
            return
        if found is not None:
            self.left = found
            if not self._workspace.docks.dispatch(OFFER, found):
                show_info(f'{found.words()} Plugins → CAM to SAM → "CAM → SAM" restores it.')
        if work.changes != work.saved:
            self._timer.start()

    def discard(self, found: RecoverableSession) -> None:
        """Delete an autosave that is not wanted, or that was opened; what else is left is offered.

        Generations that hold more than it does stay, and are offered.

        Parameters
        ----------
        found : RecoverableSession
        """
        self.left = None
        forget(found, self._window, self._living())
        self._look_again()

    def _look_again(self) -> None:
        with suppress(CamSamError):  # no image any more
            if self._work is not None:
                self._look(self._workspace.image(), self._work)

    def take(self, found: RecoverableSession) -> None:
        """Restore an autosave; it stays on disk until this process has saved the same."""
        record = None if self._work is None else self._work.record
        if record is None or record.sha256 != found.session.image.sha256:
            self.saved.emit("That work belongs to another image than the one that is open.")
            return
        try:
            session = found.whole()
            check_choices(session)
            self.restore(session, found)
        except CamSamError as error:
            self.saved.emit(f"It cannot be restored: {error}")

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
        work = self._work

        def read() -> tuple[ImageWork | None, Session]:
            session = read_session(folder)
            check_choices(session)
            check_session_image(session, image, frame)
            return work, session

        self.saved.emit("Opening the session…")
        self._opener.ask(read)

    def _read(self, answer: tuple[ImageWork | None, Session]) -> None:
        work, session = answer
        if work is self._work:
            self.restore(session)
        else:
            self.saved.emit(_OTHER_IMAGE)

    def restore(self, session: Session, found: RecoverableSession | None = None) -> None:
        """Restore a session of the image that is open in the layers and the docks.

        Work that is there is first saved, into an autosave that stays, and is offered.

        Parameters
        ----------
        session : Session
        found : RecoverableSession, optional
            The autosave that it is.
        """
        work = self._work
        if work is None:
            return
        if work.changes == work.by_hand or not has_work(self._workspace, self._workspace.image()):
            self._put_back(session, found)
            return

        def kept(done: SavedSession) -> None:
            if done.work is not self._work:
                self.saved.emit(_OTHER_IMAGE)
            elif done.changes != done.work.changes:
                self.restore(session, found)  # it was edited meanwhile
            else:
                # As if the image were opened once more: the autosave of what was there stays.
                self._work = self._new_work(done.work.key)
                self._work.record = done.record
                self._put_back(session, found, f" What was there is kept in {done.folder}.")
                if found is None:  # else once that one is discarded
                    self._look_again()

        def not_kept(sentence: str) -> None:
            if found is not None:
                self._workspace.docks.dispatch(OFFER, found)
            self.saved.emit(f"Not opened, as what is there cannot be saved first: {sentence}")

        self._ask(None, kept, not_kept)

    def _put_back(self, session: Session, found: RecoverableSession | None, also: str = "") -> None:
        work = self._work
        if work is None:
            return
        work.record = session.image
        self.saved.emit(restore_session(self._workspace, session) + also)
        if found is not None:
            work.restored, work.restored_after = found, self._queue.asked
            self._changed()
