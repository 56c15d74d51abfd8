"""All masks of a plane, as a part of a dock that is folded until it is wanted."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.torch_import import import_torch
from napari_cam_sam.plugin.qt.widgets import Section
from napari_cam_sam.plugin.segment.automatic.automatic_panel import AutomaticPanel
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.live_masks import LiveMasks
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["AutomaticSection"]


class AutomaticSection(Section):
    """A part of a dock that is folded; opened for the first time, it loads PyTorch in a thread.

    Parameters
    ----------
    workspace : Workspace
    segmenter : SegmenterChoice
        The segmenter of the dock.
    live : LiveMasks
        Is told of planes whose masks are not of their prompts.
    """

    def __init__(self, workspace: Workspace, segmenter: SegmenterChoice, live: LiveMasks) -> None:
        inside = QWidget()
        super().__init__("All masks of this slice", inside, opened=False)
        self._workspace, self._segmenter, self._live = workspace, segmenter, live
        self.panel: AutomaticPanel | None = None
        self.title.setToolTip("Finds masks without prompts; the heatmap ranks them.")
        self._whole = QVBoxLayout(inside)
        self._whole.setContentsMargins(0, 0, 0, 0)
        self.row = TaskProgress()
        self._whole.addWidget(self.row)
        self.title.toggled.connect(self._opened)
        self.row.ended.connect(self._ended)

    def _opened(self, opened: bool) -> None:
        if opened and self.panel is None and not self.row.busy:
            self.row.set_message("Loading PyTorch…")
            self.row.start(_import, 1, "Loading PyTorch", lambda _: None)

    def _ended(self, complete: bool) -> None:
        if self.panel is not None:
            return
        if not complete:
            reason = self.row.words.text() if self.row.has_error else "PyTorch was not loaded."
            self.row.show_error(f"{reason} Close and reopen this section to try again.")
            return
        self.row.set_message("")
        self.panel = AutomaticPanel(self._workspace, self._segmenter, self._live, self.row)
        self._whole.insertWidget(0, self.panel)


def _import() -> Generator[None]:
    """Import what the panel is made of; in a thread, as it takes seconds."""
    import_torch()
    import napari_cam_sam.sam.everything.automatic
    import napari_cam_sam.sam.everything.text_labels  # noqa: F401

    yield None
