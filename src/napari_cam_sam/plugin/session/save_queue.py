"""Writes sessions in threads; of two writes of the same work the one asked for later counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QObject

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.session.capture import capture_session
from napari_cam_sam.plugin.session.image_work import ImageWork, SavedSession
from napari_cam_sam.plugin.session.owners import hold
from napari_cam_sam.plugin.session.recovery import work_folder
from napari_cam_sam.plugin.state.workspace import Workspace
from napari_cam_sam.session import write_session
from napari_cam_sam.session.generations import write_generation

__all__ = ["SaveQueue"]


class SaveQueue(QObject):
    """Gathers the session as it is, and writes it while the user works on.

    Parameters
    ----------
    workspace : Workspace
    window : int
        Tells apart the windows of this process.
    parent : QObject
    """

    def __init__(self, workspace: Workspace, window: int, parent: QObject) -> None:
        super().__init__(parent)
        self._workspace, self._window = workspace, window
        self._writing, self._under_way = threading.Lock(), 0
        self.asked = 0
        """Number of the last write that was asked for."""

    @property
    def busy(self) -> bool:
        """Whether a write is not heard of yet."""
        return self._under_way > 0

    def gather(self, work: ImageWork, folder: Path | None) -> Callable[[], SavedSession]:
        """Read all of the session as it is now, and return what writes it in a thread.

        Parameters
        ----------
        work : ImageWork
        folder : Path or None
            Where it is saved by hand; None for the folder of this process's autosaves.

        Raises
        ------
        CamSamError
            Without an image.
        """
        # The viewer may show another frame already, of which nobody has heard.
        with self._workspace.shown.at_frame(work.key.frame):
            image = self._workspace.image()
            take = capture_session(self._workspace, image, work.record)
        changes, window = work.changes, self._window
        self.asked += 1
        number = work.asked_last = self.asked

        def write() -> SavedSession:
            session = take()
            where = folder or work_folder(window, session.image, work.number)
            with self._writing:  # whichever thread comes first
                if folder is not None:
                    write_session(where, session, image)
                elif number > work.written:
                    hold(where.parent)  # before there is anything that others could take
                    write_generation(where, session, image)
                work.written = max(number, work.written)
            return SavedSession(where, number, work, session.image, changes, folder is not None)

        return write

    def send(
        self,
        write: Callable[[], SavedSession],
        saved: Callable[[SavedSession], None],
        failed: Callable[[str], None],
    ) -> None:
        """Write in a thread what was gathered, and call what is to hear how it went."""
        self._under_way += 1

        def over(tell: Callable[[], None]) -> None:
            self._under_way -= 1
            tell()
            asker.deleteLater()

        def told() -> SavedSession:
            try:
                return write()
            except CamSamError:
                raise
            except Exception as error:
                # Nobody would count it as over, and nothing would be saved any more.
                raise CamSamError(f"{type(error).__name__}: {error}.") from error

        # One each: what waits in a common one would give way to what is newer.
        asker = LatestOnly(
            lambda done: over(lambda: saved(done)), lambda why: over(lambda: failed(why)), self
        )
        asker.ask(told)
