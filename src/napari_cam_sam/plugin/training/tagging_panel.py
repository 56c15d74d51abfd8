"""Tag planes of the viewer with classes: by a button or a key, or all by a truth."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QLineEdit,
    QTableWidget,
    QToolButton,
    QWidget,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.dock import connect_until_destroyed
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.plain_text import Label, RichLabel, plain_tip, show_info
from napari_cam_sam.plugin.qt.tables import make_read_only, set_rows
from napari_cam_sam.plugin.qt.widgets import button, hbox, vbox
from napari_cam_sam.plugin.state.plane_range import PlaneRange
from napari_cam_sam.plugin.state.plane_tags import TagRun
from napari_cam_sam.plugin.state.plane_words import plane_label
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["TaggingPanel"]

# As many classes as there are digits for.
_KEYS = 9


class TaggingPanel(QWidget):
    """A button a class, and the list of the planes that have one.

    Parameters
    ----------
    workspace : Workspace
    """

    refused = Signal(str)
    """Why something could not be done, in words."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace, self._tags = workspace, workspace.tags
        self._runs: list[TagRun] = []
        # By class the label that says how many slices have it.
        self._counted: dict[str, Label] = {}
        self.shown = RichLabel()
        self.shown.setWordWrap(True)
        self.name = QLineEdit(placeholderText="class name, e.g. lesion")
        self.name.setToolTip("What the slices show, in a word. Training needs two classes.")
        self.add = button("Add class", "Adds a button for the class.")
        self.planes = PlaneRange(workspace.shown)
        self.classes = QWidget()
        self._grid = QGridLayout(self.classes)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0, 1)
        self.clear = button(
            "Remove tag", "Removes the tag of the slices chosen above (Ctrl-0: of this slice)."
        )
        self.by_truth = button(
            "Tag all by ground truth",
            "Tags every slice along this axis: present where the ground truth has something, "
            "else absent.",
        )
        self.list = QTableWidget(0, 3)
        make_read_only(self.list)
        self.list.setHorizontalHeaderLabels(["Class", "Slices", "Image"])
        self.list.horizontalHeader().setStretchLastSection(True)
        self.list.setToolTip("All tagged slices. Click a row to go to its first slice.")
        self.list.setFixedHeight(120)
        self.remove = button("Remove row", "Removes the tags of the selected row.")

        row = hbox(self.name, self.add)
        row.setStretch(0, 1)
        tags = hbox(self.clear, self.by_truth)
        vbox(self, row, self.planes, self.classes, tags, self.shown, self.list, self.remove)

        self._looker = LatestOnly(self._tag_each, self.refused.emit, self)
        self.add.clicked.connect(self._add)
        self.name.returnPressed.connect(self._add)
        self.clear.clicked.connect(lambda: self.tag(None))
        self.by_truth.clicked.connect(self.tag_by_truth)
        self.remove.clicked.connect(self._remove)
        self.list.cellClicked.connect(self._go)
        self.list.itemSelectionChanged.connect(self._offer_remove)
        self._tags.changed.connect(self._show)
        workspace.plane_changed.connect(self._plane_changed)
        workspace.image_changed.connect(self._plane_changed)
        events = workspace.viewer.layers.events
        for event in (events.removed, events.renamed):
            connect_until_destroyed(self, event, self._show)
        workspace.docks.register("tag", self.tag_shown)
        self._show()
        self._plane_changed()

    # Tagging

    def tag(self, name: str | None) -> None:
        """Set the class of the planes that are chosen; None takes theirs away."""
        try:
            axis, _ = self._workspace.plane()
            self._tags.tag(axis, self.planes.indices(), name)
        except CamSamError as error:
            self.refused.emit(str(error))

    def tag_shown(self, number: int) -> None:
        """Set the class of the plane shown, by its number from 1; 0 takes the class away.

        Raises
        ------
        CamSamError
            Without an image, or where there is no such class.
        """
        axis, index = self._workspace.plane()
        if number > len(self._tags.classes):
            raise CamSamError(
                f"There is no class {number}: add it in the Train dock, under slices in this "
                "viewer."
            )
        self._tags.tag(axis, [index], self._tags.classes[number - 1] if number else None)
        if not self.isVisible():
            show_info(f"Slice {index}: {self._tags.tag_of(axis, index) or 'no tag'}.")

    def tag_by_truth(self) -> None:
        """Tag all planes along the axis shown by whether the truth has something there."""
        workspace = self._workspace
        try:
            axis, _ = workspace.plane()
            truth = workspace.truth_layer.read(workspace.truth())
        except CamSamError as error:
            self.refused.emit(str(error))
            return
        here = workspace.image_layer, workspace.frame()

        def look() -> tuple[Any, int, dict[int, str | None]]:
            found = enumerate(truth.planes(axis))
            return here, axis, {i: "present" if np.any(x) else "absent" for i, x in found}

        self._looker.ask(look)

    def _tag_each(self, answer: tuple[Any, int, dict[int, str | None]]) -> None:
        here, axis, names = answer
        if here == (self._workspace.image_layer, self._workspace.frame()):
            self._tags.tag_each(axis, names)

    def _add(self) -> None:
        try:
            self._tags.add_class(self.name.text())
        except CamSamError as error:
            self.refused.emit(str(error))
        self.name.clear()

    def _remove(self) -> None:
        row = self.list.currentRow()
        if 0 <= row < len(self._runs):
            self._tags.remove(self._runs[row])

    def _go(self, row: int, _: int) -> None:
        run = self._runs[row]
        if run.layer in self._workspace.viewer.layers:
            self._workspace.choose_image(run.layer)
            self._workspace.show_plane(run.axis, run.first)

    # What is shown

    def _plane_changed(self) -> None:
        self.planes.fit()
        self._show_tag()

    def _show_tag(self) -> None:
        try:
            axis, index = self._workspace.plane()
            where = plane_label(self._workspace.shown)
        except CamSamError as error:
            self.shown.setText(str(error))
            return
        tagged = self._tags.tag_of(axis, index)
        words = "no tag yet" if tagged is None else f"<b>{escape(tagged)}</b>"
        self.shown.setText(f"{where}{words}")

    def _offer_remove(self) -> None:
        self.remove.setEnabled(bool(self.list.selectedItems()))

    def _show(self, _: object = None) -> None:
        """List classes and tagged planes."""
        counts = self._tags.counts()
        if list(counts) != list(self._counted):
            self._list_classes(list(counts))
        for name, count in counts.items():
            self._counted[name].setText(counted(count, "slice"))
        self._runs = self._tags.runs()
        several_axes = len({run.axis for run in self._runs}) > 1
        rows = []
        for run in self._runs:
            planes = f"{run.first}" if run.first == run.last else f"{run.first}–{run.last}"
            axis = f" along axis {run.axis}" if several_axes else ""
            frame = "" if run.frame is None else f", frame {run.frame}"
            rows.append((run.name, planes + axis, run.layer.name + frame))
        set_rows(self.list, rows)
        self.list.resizeColumnToContents(0)
        self.list.resizeColumnToContents(1)
        self.list.setVisible(bool(self._runs))
        self.remove.setVisible(bool(self._runs))
        self._offer_remove()
        self._show_tag()

    def _list_classes(self, names: list[str]) -> None:
        """Make a row of buttons for each class."""
        while (item := self._grid.takeAt(0)) is not None:
            # Qt deletes it when it comes to it; nobody is to see it until then.
            item.widget().hide()
            item.widget().deleteLater()
        self._counted = {}
        for number, name in enumerate(names, start=1):
            key = f" (Ctrl-{number}: this slice)" if number <= _KEYS else ""
            words = "Tag as " + name.replace("&", "&&")
            chooser = button(words, f"Tags the slices chosen above{key}.")
            chooser.clicked.connect(lambda _=False, name=name: self.tag(name))
            tagged = self._counted[name] = Label()
            forget = QToolButton()
            forget.setText("×")
            forget.setToolTip(plain_tip(f"Deletes the class {name} and all its tags."))
            forget.clicked.connect(lambda _=False, name=name: self._tags.remove_class(name))
            for column, widget in enumerate((chooser, tagged, forget)):
                self._grid.addWidget(widget, number - 1, column)
