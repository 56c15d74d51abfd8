"""Prompts from a truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.plugin.prompts.margin_words import MarginWords
from napari_cam_sam.plugin.qt.dock import connect_to_layers
from napari_cam_sam.plugin.qt.messages import Message
from napari_cam_sam.plugin.qt.widgets import SpinBox, ValueComboBox, button, form_layout, hbox, vbox
from napari_cam_sam.plugin.state.label_choice import LabelChoice
from napari_cam_sam.plugin.state.truth_row import TruthRow
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import TRUTH_PRESETS, truth_parameters
from napari_cam_sam.prompts.regions import part_sizes
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["TruthPrompts"]

_RULES = (
    ("a box", "truth-box"),
    ("a point", "truth-point"),
    ("a box and a point", "truth-box-point"),
)
_PARTS = (
    "Each part of an object gets its own prompt; parts below Min area (Rule settings) get none."
)


@dataclass(frozen=True)
class _LeftOut:
    """How many parts of the truth are too small to be prompted, by plane.

    Attributes
    ----------
    least : int
        Pixels that a part needs.
    parts : dict of int to int
    """

    least: int
    parts: dict[int, int]

    def count(self, plane: NDArray[Any], index: int) -> None:
        """Count those of a plane; in a thread."""
        if self.least > 1:
            sizes = part_sizes(plane)
            self.parts[index] = int((sizes < self.least).sum())

    def words(self) -> str:
        """Return it as a sentence; empty where nothing was left out."""
        number = sum(self.parts.values())
        if not number:
            return ""
        verb = "was" if number == 1 else "were"
        return f"{counted(number, 'part')} below {self.least} pixels {verb} left out."


class TruthPrompts(QWidget):
    """Which labels layer is the truth, and what is taken from it.

    Parameters
    ----------
    workspace : Workspace

    Attributes
    ----------
    left_out : _LeftOut
        Of the last prompts.
    """

    wanted = Signal(bool)
    """Prompts are to be placed; True on all planes, not only on the one shown."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.layer = ValueComboBox("The labels layer that holds the ground truth.")
        self.truth_row = TruthRow(workspace, self.layer)
        self.label = LabelChoice(
            workspace, "The label to use; each label becomes the object of its number."
        )
        self.rule = ValueComboBox("The prompt to place on each object.")
        self.left_out = _LeftOut(0, {})
        self.place = button(
            "Place on this slice", f"Places prompts from the ground truth of this slice. {_PARTS}"
        )
        self.place_all = button(
            "…on all with ground truth",
            f"Places prompts on every slice with ground truth along this axis. {_PARTS}",
        )
        self.rule.offer((text, name, name) for text, name in _RULES)
        usual = int(TRUTH_PRESETS["truth-box"].margin)
        self.margin = SpinBox(minimum=0, maximum=99, value=usual, suffix=" pixels")
        self.margin.setToolTip(
            "Added on every side of each box; use fewer along an axis of thick slices."
        )
        self.in_mm = MarginWords(workspace, self.margin.value)
        self.remark = Message()
        self.remark.hide()
        rows = (
            ("Ground truth", self.truth_row), ("Label", self.label),
            ("Prompt", self.rule), ("Margin", self.margin),
        )  # fmt: skip
        vbox(self, form_layout(rows), self.in_mm, self.remark, hbox(self.place, self.place_all))
        self.place.clicked.connect(lambda: self.wanted.emit(False))
        self.place_all.clicked.connect(lambda: self.wanted.emit(True))
        self.margin.valueChanged.connect(self.in_mm.look)
        self.label.found.connect(lambda: self.remark.setText(self.label.remark))
        self.layer.chosen.connect(self._layer_chosen)
        workspace.truth_changed.connect(self._list)
        workspace.image_changed.connect(self._list)
        connect_to_layers(self, workspace.viewer, self._list)
        self._list()

    def jobs(self, everywhere: bool) -> list[Callable[[], PlanePrompts]]:
        """Return what makes the prompts of the plane shown, or of each plane, in a thread.

        Raises
        ------
        CamSamError
            Without a truth, or where it does not lie on the image's grid.
        """
        from napari_cam_sam.prompts.strategies import prompts_from_mask

        label, (axis, shown) = self.label.value(), self._workspace.plane()
        truth = self._workspace.truth_layer.read(self.layer.value())
        least = self._workspace.prompt_parameters.min_area
        rule = truth_parameters(self.rule.value(), margin=self.margin.value(), min_area=least)
        left_out = self.left_out = _LeftOut(least, {})

        def one(index: int) -> PlanePrompts:
            plane = np.asarray(truth.plane(axis, index))
            if label is not None:
                plane = np.where(plane == label, plane, 0)
                if not plane.any():
                    reason = f"the ground truth has no label {label} there"
                    return PlanePrompts(axis, index, (), reason)
            left_out.count(plane, index)
            return prompts_from_mask(plane, rule, axis=axis, index=index)

        indices = range(truth.n_planes(axis)) if everywhere else [shown]
        return [partial(one, index) for index in indices]

    def showEvent(self, event: object) -> None:  # noqa: N802 - Qt calls it so
        """List what was painted since it was folded."""
        super().showEvent(event)
        self.label.look_again()

    def _layer_chosen(self) -> None:
        self._workspace.choose_truth(self.layer.value())
        self._look_for_labels()
        self.label.look_again()  # the same layer may have been painted in since

    def _look_for_labels(self) -> None:
        layer = self.layer.value()
        self.label.look_in([] if layer is None else [layer])

    def _list(self, _: object = None) -> None:
        before = self.layer.value()
        layers = self._workspace.labels_layers()
        self.layer.offer([("choose…", None), *((layer.name, layer) for layer in layers)])
        if before is None or before not in layers or before is not self._workspace.truth():
            self.layer.set_value(self._workspace.truth())
        self._look_for_labels()
