"""Which segmenter: from the registry, or a checkpoint of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog

from napari_cam_sam.plugin.qt.paths import CHECKPOINT_FILES
from napari_cam_sam.plugin.qt.widgets import ValueComboBox
from napari_cam_sam.plugin.qt.wording import device_words
from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
from napari_cam_sam.plugin.state.preferences import preferences
from napari_cam_sam.sam.registry import (
    FRAMES,
    REGISTRY,
    default_segmenter,
    is_installed,
    segmenter_names,
    split_frame,
)

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.plugin.state.workspace import Workspace
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["SegmenterChoice"]

_BROWSE = "Open a checkpoint…"
_FRAME_WORDS = {"sam": "in SAM's frame", "medsam": "in MedSAM's frame"}
_HINTS = {
    "seeded": "Needs no weights: a random walk from the prompts.",
    "compact-sam": "Shipped; trained on phantoms only. For trying out.",
}


class SegmenterChoice(ValueComboBox):
    """The list of segmenters, and what is known of the one that is chosen.

    Parameters
    ----------
    workspace : Workspace
        Holds the segmenter that is loaded, for all docks.
    """

    changed = Signal()
    """Another one was chosen, by the user or by the program."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__("The model that turns prompts into masks.")
        self._workspace = workspace
        self._seconds: dict[str, float] = {}
        items: list[tuple[str, Any, str]] = []
        folder = preferences().cache_folder or None
        for name in segmenter_names():
            if name in REGISTRY:
                entry = REGISTRY[name]
                ready = is_installed(name, folder)
                text = name if ready else f"{name} (download, {entry.size / 1e6:.0f} MB)"
                items.append((text, name, entry.note or entry.licence))
            else:
                items.append((name, name, _HINTS.get(name, "")))
        self.offer([*items, (_BROWSE, _BROWSE, "A .pth or .safetensors file of a SAM.")])
        self.choose(preferences().segmenter or default_segmenter(folder))
        self.chosen.connect(self._user_chose)

    def choose(self, name: str) -> None:
        """Choose a segmenter by its name, or by the path of a checkpoint, with a frame or not.

        A path is listed with each of the frames, too, since weights do not tell which is theirs.
        """
        _, path = split_frame(name)
        if self.findData(path) < 0:
            for frame in reversed(FRAMES):
                self.insertItem(0, f"{Path(path).name}, {_FRAME_WORDS[frame]}", f"{frame}:{path}")
                self.setItemData(0, path, Qt.ItemDataRole.ToolTipRole)
            self.add_path(path, place=0)
        self.set_value(name)
        self.changed.emit()

    def loaded(self) -> Segmenter | None:
        """Return the segmenter if it is the one that is chosen, on the device that is chosen."""
        workspace = self._workspace
        held = workspace.segmenter_held
        return workspace.segmenter if held == (self.value(), workspace.device) else None

    def is_here(self) -> bool:
        """Return whether what is chosen can be loaded without a download."""
        name = str(self.value())
        return name not in REGISTRY or is_installed(name, preferences().cache_folder or None)

    def job(self, snapshot: Snapshot) -> SegmenterJob:
        """Return what a thread needs to run the segmenter that is chosen over an image."""
        workspace = self._workspace
        return SegmenterJob(
            snapshot, self.loaded(), str(self.value()), workspace.device, workspace.embeddings
        )

    def adopt(self, segmenter: Segmenter, name: str, device: str) -> None:
        """Keep a segmenter that was loaded, for all docks."""
        workspace = self._workspace
        workspace.segmenter, workspace.segmenter_held = segmenter, (name, device)
        workspace.segmenter_changed.emit()

    def seconds(self) -> float | None:
        """Return what the last plane took to encode and decode; None where that is not known."""
        return self._seconds.get(str(self.value()))

    def tell_seconds(self, name: str, seconds: float) -> None:
        """Record what a plane took."""
        self._seconds[name] = seconds

    def words(self) -> str:
        """Return in words which segmenter will run, and where."""
        segmenter, classifier = self.loaded(), self._workspace.classifier
        device = self._workspace.device if segmenter is None else segmenter.device
        if device == "auto" and classifier is not None:
            device = str(classifier.device)  # what it came to there
        return f"{self.value()} on the {device_words(device)}"

    def _user_chose(self) -> None:
        if self.value() == _BROWSE:
            path, _ = QFileDialog.getOpenFileName(
                self, "Open a SAM checkpoint", "", CHECKPOINT_FILES
            )
            self.choose(path or default_segmenter(preferences().cache_folder or None))
        else:
            self.changed.emit()
