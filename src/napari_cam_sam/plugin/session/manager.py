"""Saves the work of a viewer, by itself and by hand, and opens it again."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from operator import is_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QThreadPool, QTimer, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.conversion import is_shown_alone
from napari_cam_sam.plugin.qt.plain_text import show_info, show_warning
from napari_cam_sam.plugin.qt.tasks import LatestOnly
from napari_cam_sam.plugin.session.capture import capture_session, record_of
from napari_cam_sam.plugin.session.labels_monitor import LabelWatch
from napari_cam_sam.plugin.session.owners import hold
from napari_cam_sam.plugin.session.recovery import (
    RecoverableSession,
    find_recoverable,
    forget,
    own_folder,
)
from napari_cam_sam.plugin.session.restore import restore_session
from napari_cam_sam.plugin.session.viewer_choices import check_choices
from napari_cam_sam.plugin.session.work_lines import Line, Written, is_work
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.plugin.state.preferences import preferences
from napari_cam_sam.session import (
    ImageRecord,
    Session,
    check_session_image,
    read_session,
    write_session,
)
from napari_cam_sam.session.generations import write_generation

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["OFFER", "SessionManager"]

OFFER = "offer what was left"
"""What an open dock with a `SessionPanel` answers."""

# How long the end of the program waits for what is still being written.
_LAST_SAVE_MS = 30_000
# When a folder that could not be written is tried again.
_TRY_AGAIN_MS = 30_000

_WINDOWS = itertools.count(1)


class SessionManager(QObject):
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
        # Tells apart the windows of this process: an id would be given again.
        self._window = next(_WINDOWS)
        self._numbers = itertools.count(1)
        # What is worked on now, and by its pixels the work on every image that is in the layers.
        self._line: Line | None = None
        self._lines: dict[tuple[Any, ...], Line] = {}
        self._opener = LatestOnly(self._read, self.saved.emit, self)
        # Of two saves of one line that wait for each other the later one counts, whichever thread
        # comes first.
        self._writing, self._asked = threading.Lock(), 0
        self._under_way = 0
        # What could not be written of an image that is not worked on any more.
        self._owed: dict[int, Callable[[], Written]] = {}
        self._looker = LatestOnly(self._looked, lambda _: None, self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.autosave)
        self._labels = LabelWatch(workspace, self)
        self._labels.changed.connect(self._changed)
        self.left: RecoverableSession | None = None
        # What was brought back, into which line, and after which save.
        self._taken: tuple[RecoverableSession, Line, int] | None = None
        # Why it could not be saved, as it was last told.
        self._trouble = ""
        workspace.prompts.settled.connect(self._edited)
        workspace.masks.accepted_changed.connect(self._accepted)
        # Masks that are not accepted are work, too.
        self._held: list[PlaneMasks] = []
        workspace.masks.changed.connect(self._masks_changed)
        workspace.docks.changed.connect(self._edited)
        workspace.image_changed.connect(self._image_changed)
        # What was done a moment ago is saved before its layers go.
        workspace.shown.image_about_to_change.connect(self.flush)
        # First: that a layer of prompts goes is an edit of its own, after what this ends.
        workspace.viewer.layers.events.removing.connect(self._layer_goes, position="first")
        self._going = QTimer(self)
        self._going.setSingleShot(True)
        if (application := QCoreApplication.instance()) is not None:
            application.aboutToQuit.connect(self._quit)
        if workspace.image_layer is not None:
            self._image_changed()

    # Saving

    def _writer(self, folder: Path | None) -> tuple[Line, Callable[[], Written]]:
        """Gather the session as it is now, and give what writes it in a thread.

        Parameters
        ----------
        folder : Path or None
            Where it is saved by hand; None for the folder of this process's autosaves.

        Raises
        ------
        CamSamError
            Without an image.
        """
        line = self._line
        if line is None:
            self._workspace.image()
            raise CamSamError("The image is being changed: save again in a moment.")
        # The viewer may show another frame already, of which nobody has heard.
        with self._workspace.shown.at_frame(line.frame):
            image = self._workspace.image()
            take = capture_session(self._workspace, image, line.record)
        changes, window = line.changes, self._window
        self._asked += 1
        number = line.asked_last = self._asked

        def write() -> Written:
            session = take()
            where = folder or own_folder(window, session.image, line.number)
            with self._writing:
                if folder is not None:
                    write_session(where, session, image)
                elif number > line.written:
                    hold(where.parent)  # before there is anything that others could take
                    write_generation(where, session, image)
                line.written = max(number, line.written)
            return Written(where, number, line, session.image, changes, folder is not None)

        return line, write

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
        then: Callable[[Written], None] | None = None,
        otherwise: Callable[[str], None] | None = None,
    ) -> None:
        """Let a thread write the session as it is now; None for this process's autosave.

        Parameters
        ----------
        folder : Path or None
        then, otherwise : callable, optional
            What is done when it is written, or was not, if more than to say it.
        """
        line, write = self._writer(folder)
        line.asked = line.changes
        self._send(line, write, folder, then, otherwise)

    def _send(
        self,
        line: Line,
        write: Callable[[], Written],
        folder: Path | None = None,
        then: Callable[[Written], None] | None = None,
        otherwise: Callable[[str], None] | None = None,
    ) -> None:
        """Write in a thread what was gathered of a line."""
        standing = self._labels.standing
        self._under_way += 1

        def saved(done: Written) -> None:
            self._under_way -= 1
            self._was_saved(done)
            accepted = line is self._line and standing is not self._labels.standing
            if accepted and folder is not None:
                self._ask(folder)  # what was accepted meanwhile belongs to it, too
            else:
                (then or self._say_saved)(done)
            asker.deleteLater()

        def failed(sentence: str) -> None:
            self._under_way -= 1
            if folder is None and line is not self._line:
                self._owed[line.number] = write
            (otherwise or self._was_not_saved)(sentence)
            line.asked = -1
            asker.deleteLater()

        def told() -> Written:
            try:
                return write()
            except CamSamError:
                raise
            except Exception as error:
                # Nobody would count it as over, and nothing would be saved any more.
                raise CamSamError(f"{type(error).__name__}: {error}.") from error

        # One each: what waits in a common one would give way to what is newer.
        asker = LatestOnly(saved, failed, self)
        asker.ask(told)

    def _living(self) -> frozenset[int]:
        """Return the lines of work that are in the layers: nobody else may have or delete them."""
        there = {layer.unique_id for layer in self._workspace.viewer.layers}
        return frozenset(line.number for line in self._lines.values() if line.key[0] in there)

    def autosave(self) -> None:
        """Save by itself, if anything changed since the last time."""
        line = self._line
        if not preferences().autosave:
            return
        if self._under_way or self._workspace.shown.changing:
            self._timer.start()
            return
        for number in list(self._owed):
            write = self._owed.pop(number)
            owing = next((one for one in self._lines.values() if one.number == number), None)
            if owing is not None and owing.saved < owing.changes:
                self._send(owing, write)
        if line is not None and line.changes != line.saved:
            with suppress(CamSamError):  # no image: nothing to save
                self._ask(None)

    def flush(self, _: object = None) -> None:
        """Save by itself now what else would be saved in a moment, e.g. before an image goes."""
        if self._going.isActive() or self._workspace.shown.changing or not preferences().autosave:
            return
        self._workspace.prompts.settle()
        line = self._line
        if line is None or line.changes in (line.saved, line.asked):
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

    def _was_saved(self, done: Written) -> None:
        self._trouble = ""
        line = done.line
        line.record = done.record
        line.saved = max(done.changes, line.saved)
        if done.by_hand:
            line.by_hand = done.changes
            if done.number == line.asked_last:
                autosave = own_folder(self._window, done.record, line.number)
                shutil.rmtree(autosave, ignore_errors=True)
        if self._taken is not None:
            taken, into, number = self._taken
            # A save of another image, or of other work on it, does not hold it.
            if line is into and done.number > number:
                self._taken = None
                self.discard(taken)

    def _say_saved(self, done: Written) -> None:
        if done.by_hand:
            self.saved.emit(f"Saved to {done.folder}.")
        elif done.line is self._line:
            self.saved.emit("Saved by itself.")
        else:
            self.saved.emit(f"The work on {done.record.name} was saved by itself.")

    def _was_not_saved(self, sentence: str) -> None:
        words = f"Not saved: {sentence}"
        self.saved.emit(words)
        # It is tried again and again, and told once.
        if words != self._trouble and not self._workspace.docks.answers(OFFER):
            show_warning(f'{words} Plugins → CAM to SAM → "CAM → SAM" saves it elsewhere.')
        self._trouble = words
        self._timer.start(_TRY_AGAIN_MS)

    def _edited(self) -> None:
        if self._workspace.shown.changing:
            return  # what is told while another image comes is no edit of the user's
        # A window that closes destroys its docks before anybody can ask them.
        self._workspace.docks.remember()
        self._changed()

    def _changed(self) -> None:
        if self._line is not None:
            self._line.changes += 1
        # A timer that runs would begin anew: steady work would never be saved.
        if not self._timer.isActive():
            self._timer.start(int(preferences().autosave_seconds * 1000))

    def _masks_changed(self) -> None:
        before, self._held = self._held, self._workspace.masks.held()
        same = len(before) == len(self._held) and all(map(is_, before, self._held))
        if not same and not self._workspace.shown.changing:
            self._changed()

    def _accepted(self) -> None:
        self._labels.listen()
        self._edited()

    # Finding what was left

    def _image_changed(self) -> None:
        self._timer.stop()
        self._line = self.left = None
        self._held = self._workspace.masks.held()
        self._labels.look_anew()
        workspace = self._workspace
        try:
            image, key = workspace.image(), workspace.shown.pixels_key()
        except CamSamError:
            return
        line, work = self._lines.get(key), is_work(workspace, image)
        if line is None or not work:
            line = self._new_line(key)
            # It may be work on other pixels, or layers that came with a session of napari's.
            line.changes = int(work)
        self._line = line
        self._look(image, line, offer=not work)

    def _new_line(self, key: tuple[Any, ...]) -> Line:
        """Begin a line of work on an image; what was saved of an earlier one stays as it is."""
        line = Line(key, next(self._numbers))
        self._lines[key] = line
        return line

    def _look(self, image: Image, line: Line, offer: bool = True) -> None:
        """Hash the image, and look for work on it that was left behind, in a thread."""
        window, living, known = self._window, self._living(), line.record

        def look() -> tuple[Line, ImageRecord, RecoverableSession | None]:
            record = known or record_of(image, line.frame)
            return line, record, find_recoverable(record, window, living) if offer else None

        self._looker.ask(look)

    def _looked(self, answer: tuple[Line, ImageRecord, RecoverableSession | None]) -> None:
        line, record, found = answer
        line.record = record
        if line is not self._line:
            return
        if found is not None:
            self.left = found
            if not self._workspace.docks.act(OFFER, found):
                show_info(f'{found.words()} Plugins → CAM to SAM → "CAM → SAM" brings it back.')
        if line.changes != line.saved:
            self._timer.start()

    def discard(self, found: RecoverableSession) -> None:
        """Delete an autosave that is not wanted, or that was opened; what else is left is offered.

        Generations that hold more than it does stay, and are offered.

        Parameters
        ----------
        found : Found
        """
        self.left = None
        forget(found, self._window, self._living())
        self._look_again()

    def _look_again(self) -> None:
        with suppress(CamSamError):  # no image any more
            if self._line is not None:
                self._look(self._workspace.image(), self._line)

    def take(self, found: RecoverableSession) -> None:
        """Bring an autosave back; it stays on disk until this process has saved the same."""
        record = None if self._line is None else self._line.record
        if record is None or record.sha256 != found.session.image.sha256:
            self.saved.emit("That work was done on another image than the one that is open.")
            return
        try:
            session = found.whole()
            check_choices(session)
            self.restore(session, found)
        except CamSamError as error:
            self.saved.emit(f"It cannot be brought back: {error}")

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
        line = self._line

        def read() -> tuple[Line | None, Session]:
            session = read_session(folder)
            check_choices(session)
            check_session_image(session, image, frame)
            return line, session

        self.saved.emit("Opening the session…")
        self._opener.ask(read)

    def _read(self, answer: tuple[Line | None, Session]) -> None:
        line, session = answer
        if line is self._line:
            self.restore(session)
        else:
            self.saved.emit("The session was not opened: another image was chosen meanwhile.")

    def restore(self, session: Session, found: RecoverableSession | None = None) -> None:
        """Put a session of the image that is open into the layers and the docks.

        Work that is there is first saved, into an autosave that stays, and is offered.

        Parameters
        ----------
        session : Session
        found : Found, optional
            The autosave that it is.
        """
        line = self._line
        if line is None:
            return
        if line.changes == line.by_hand or not is_work(self._workspace, self._workspace.image()):
            self._put_back(session, found)
            return

        def kept(done: Written) -> None:
            if done.line is not self._line:
                self.saved.emit("The session was not opened: another image was chosen meanwhile.")
            elif done.changes != done.line.changes:
                self.restore(session, found)  # it was edited meanwhile
            else:
                # As if the image were opened once more: the autosave of what was there stays.
                self._line = self._new_line(done.line.key)
                self._line.record = done.record
                self._put_back(session, found, f" What was there is kept in {done.folder}.")
                if found is None:  # else once that one is discarded
                    self._look_again()

        def not_kept(sentence: str) -> None:
            if found is not None:
                self._workspace.docks.act(OFFER, found)
            self.saved.emit(f"Not opened, as what is there cannot be saved first: {sentence}")

        self._ask(None, kept, not_kept)

    def _put_back(self, session: Session, found: RecoverableSession | None, also: str = "") -> None:
        line = self._line
        if line is None:
            return
        line.record = session.image
        self.saved.emit(restore_session(self._workspace, session) + also)
        if found is not None:
            self._taken = found, line, self._asked
            self._changed()
