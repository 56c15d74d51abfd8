"""What a classifier is trained on: a folder, a table, or planes tagged in the viewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.dock import connect_until_destroyed
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.paths import PathRow
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.qt.widgets import ValueComboBox, form_layout, vbox
from napari_cam_sam.plugin.qt.wording import why_not
from napari_cam_sam.plugin.state.plane_tags import single_planes
from napari_cam_sam.plugin.training.tagging_panel import TaggingPanel
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.models.training.samples import SampleSet
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["FOLDER", "PLANES", "TABLE", "TrainingSource"]

FOLDER, TABLE, PLANES = "folder", "table", "planes"
_TYPED_MS = 400
# How many classes are named in the line on what was found.
_NAMED = 8

_KINDS = (
    ("a folder", FOLDER,
     "One subfolder per class: FOLDER/benign/*.png, FOLDER/malignant/*.png, …"),
    ("a table (CSV)", TABLE,
     "Columns path and label, optionally group (the patient), axis and plane; or image "
"and truth: slices of volumes, labelled by whether the ground truth is in them."),
    ("slices in this viewer", PLANES, "Tag slices with classes, one by one or by a ground truth."),
)  # fmt: skip


class TrainingSource(QWidget):
    """A choice of images with their classes, and what was found there.

    Parameters
    ----------
    workspace : Workspace
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._found: SampleSet | None = None
        self._problem = ""
        self.kind = ValueComboBox("Where the images and their classes come from.")
        self.kind.offer(_KINDS)
        self.folder = PathRow("A folder with one subfolder per class.", self._ask_folder)
        self.table = PathRow(_KINDS[1][2], self._ask_table)
        self.tagging = TaggingPanel(workspace)
        self._parts: dict[str, QWidget] = {
            FOLDER: self.folder, TABLE: self.table, PLANES: self.tagging
        }  # fmt: skip
        self._rows = form_layout(
            (("Train on", self.kind), ("Images in", self.folder), ("Table", self.table))
        )
        vbox(self, self._rows, self.tagging)
        self._looker = LatestOnly(self._looked, self._refused, self)
        self._typed = single_shot_timer(self, self.look, _TYPED_MS)
        self.kind.currentIndexChanged.connect(self._kind_changed)
        self.folder.changed.connect(self._typed.start)
        self.table.changed.connect(self._typed.start)
        self.tagging.refused.connect(self._refused)
        workspace.tags.changed.connect(self._tags_changed)
        workspace.image_changed.connect(self._tags_changed)
        workspace.truth_changed.connect(self._try_again)
        workspace.plane_changed.connect(self._try_again)
        events = workspace.viewer.layers.events
        for event in (events.removed, events.renamed):
            connect_until_destroyed(self, event, self._tags_changed)
        connect_until_destroyed(self, events.inserted, self._try_again)
        self._kind_changed()

    def _ask_folder(self) -> str:
        title = "Choose a folder with one subfolder per class"
        return str(QFileDialog.getExistingDirectory(self, title))

    def _ask_table(self) -> str:
        title = "Open a table of images"
        return str(QFileDialog.getOpenFileName(self, title, "", "Tables (*.csv)")[0])

    # What there is

    def look(self) -> None:
        """List the images, of files in a thread."""
        self._typed.stop()
        self._found, self._problem = None, ""
        if self.kind.value() == PLANES:
            self._looker.answer(self._workspace.tags.samples)
            return
        read = self._reader()
        if read is None:
            self._looker.drop()
        else:
            self._looker.ask(read)
        self.changed.emit()

    def words(self) -> str:
        """Return in words what there is to train on, or why there is nothing."""
        if self._problem:
            return self._problem
        kind = self.kind.value()
        if self._found is None:
            return _ASK[kind] if self._path() is None else f"Reading {self._path()}…"
        counts = Counter(sample.label for sample in self._found.samples)
        if not counts:
            if kind == PLANES and not self._workspace.tags.classes:
                return why_not(self._workspace.image) or _ASK[kind]
            return _ASK[kind]
        n, what = sum(counts.values()), "slice" if kind == PLANES else "image"
        named = [f"{name} {count}" for name, count in counts.items()]
        each = ", ".join(named[:_NAMED])
        if len(named) > _NAMED:
            each += f" and {len(named) - _NAMED} more"
        masks = sum(one.reason.startswith("is a mask") for one in self._found.left_out)
        others = len(self._found.left_out) - masks
        more = f"; {counted(masks, 'mask')} beside them skipped" if masks else ""
        more += f"; {counted(others, 'other file')} skipped" if others else ""
        classes = f"{len(counts)} class{'es' * (len(counts) > 1)}"
        only = " Training needs two classes or more." if len(counts) == 1 else ""
        return f"{counted(n, what)}, {classes}: {each}{more}.{only}"

    def ready(self) -> bool:
        """Whether there is something that a training may be tried on."""
        if self.kind.value() == PLANES:
            return self._found is not None and len({s.label for s in self._found.samples}) > 1
        return self._path() is not None

    def name(self) -> str:
        """Return a name for what is trained on it."""
        path = self._path()
        if path is not None:
            return path.stem if self.kind.value() == TABLE else path.name
        image = self._workspace.image_layer
        return "planes" if image is None else str(image.name)

    def place(self) -> Path:
        """Return the folder beside which a training may be kept."""
        path = self._path()
        return Path.home() if path is None else path.absolute().parent

    def stands_alone(self, parts: int) -> bool:
        """Whether planes of one image must be shared out, since there are too few images."""
        return (
            self.kind.value() == PLANES
            and self._found is not None
            and single_planes(self._found, parts) is not None
        )

    def reader(self, parts: int) -> Callable[[], SampleSet]:
        """Return what lists the images, to be called in a thread.

        Parameters
        ----------
        parts : int
            Into how many parts they will be split.

        Raises
        ------
        CamSamError
            Where nothing was chosen.
        """
        if self.kind.value() == PLANES:
            samples = self._workspace.tags.samples()
            alone = single_planes(samples, parts)
            return lambda: samples if alone is None else alone
        read = self._reader()
        if read is None:
            raise CamSamError(_ASK[self.kind.value()])
        return read

    # The session

    def state(self) -> dict[str, Any]:
        """Return the choices as plain data, for the session."""
        return {
            "source": self.kind.value(),
            "folder": self.folder.text.text(),
            "table": self.table.text.text(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session."""
        self.folder.text.setText(str(state.get("folder", "")))
        self.table.text.setText(str(state.get("table", "")))
        self.kind.set_value(state.get("source"))
        self.look()

    def _path(self) -> Path | None:
        row = self._parts[self.kind.value()]
        return row.path() if isinstance(row, PathRow) else None

    def _reader(self) -> Callable[[], SampleSet] | None:
        from napari_cam_sam.models.training.samples import samples_from_csv, samples_from_folder

        path = self._path()
        if path is None:
            return None
        read: Callable[[Path], SampleSet]
        read = samples_from_folder if self.kind.value() == FOLDER else samples_from_csv
        return lambda: read(path)

    def _kind_changed(self) -> None:
        for kind, widget in self._parts.items():
            seen = self.kind.value() == kind
            if isinstance(widget, PathRow):
                self._rows.setRowVisible(widget, seen)
            else:
                widget.setVisible(seen)
        self.look()

    def _tags_changed(self, _: object = None) -> None:
        if self.kind.value() == PLANES:
            self.look()

    def _try_again(self, _: object = None) -> None:
        """Let go of why slices could not be tagged: it may be past."""
        if self._problem:
            self._tags_changed()

    def _looked(self, found: SampleSet) -> None:
        self._found, self._problem = found, ""
        self.changed.emit()

    def _refused(self, sentence: str) -> None:
        self._problem = sentence
        self.changed.emit()


_ASK = {
    FOLDER: "Choose a folder with one subfolder of images per class.",
    TABLE: "Choose a table with the columns path and label, or image and truth.",
    PLANES: "Add two classes or more, go to a slice, and press the button of its class.",
}
