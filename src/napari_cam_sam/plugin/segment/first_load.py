"""The segmenter is loaded when the first prompt is begun, so that its mask comes at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.tasks import notify
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.plugin.segment.segmenter_job import load

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["FirstLoad"]


class FirstLoad(QObject):
    """Loads the segmenter that is chosen, in a thread; one to be downloaded waits to be asked for.

    Parameters
    ----------
    workspace : Workspace
    segmenter : SegmenterChoice
    on_error : callable
        Takes the reason why it does not load.
    parent : QObject
    """

    changed = Signal()
    """It begins to load, or is done."""

    def __init__(
        self,
        workspace: Workspace,
        segmenter: SegmenterChoice,
        on_error: Callable[[str], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._workspace, self._segmenter, self._on_error = workspace, segmenter, on_error
        self._then: Callable[[], object] | None = None
        self._latest = LatestOnly(self._ended, on_error, self)
        self.busy = False
        """Whether a segmenter is being loaded."""

    def start(self) -> None:
        """Load what is chosen, unless it is loaded, or on its way."""
        choice = self._segmenter
        if self.busy or choice.loaded() is not None or not choice.is_here():
            return
        self.busy = True
        self._latest.ask(partial(_load, str(choice.value()), self._workspace.device))
        self.changed.emit()

    def when_done(self, action: Callable[[], object]) -> None:
        """Do something once nothing is being loaded, in place of what waited for that before."""
        self._then = action

    def _ended(self, found: tuple[Segmenter | Exception, str, str]) -> None:
        segmenter, name, device = found
        choice, self.busy = self._segmenter, False
        then, self._then = self._then, None
        # The user may have chosen another meanwhile.
        wanted = (name, device) == (choice.value(), self._workspace.device)
        if isinstance(segmenter, CamSamError):
            self._on_error(str(segmenter))
        elif isinstance(segmenter, Exception):
            notify(segmenter)
        elif wanted and choice.loaded() is None:
            choice.adopt(segmenter, name, device)
        self.changed.emit()
        if then is not None:
            then()


def _load(name: str, device: str) -> tuple[Segmenter | Exception, str, str]:
    """Load a segmenter in a thread; why it does not load is an answer, too."""
    try:
        return load(name, device), name, device
    except Exception as error:
        return error, name, device
