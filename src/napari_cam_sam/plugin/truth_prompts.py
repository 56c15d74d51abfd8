"""Prompts from a truth: the best that prompts of a kind can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.forms import Choice, button, form, line, listen
from napari_cam_sam.plugin.layers import frame_shown, image_of
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["TruthPrompts"]

_RULES = (
    ("a box", "truth-box"),
    ("a point", "truth-point"),
    ("a box and a point", "truth-box-point"),
)


class TruthPrompts(QWidget):
    """Which labels layer is the truth, and what is taken from it.

    Parameters
    ----------
    workspace : Workspace
    """

    wanted = Signal(bool)
    """Prompts are to be placed; True on all planes, not only on the one shown."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.layer = Choice("A labels layer that holds the right answer.")
        self.rule = Choice("What each object of it gives: the best that prompts can be.")
        self.place = button("Place on this plane", "Takes the truth of the plane shown.")
        self.place_all = button("…on all with a truth", "Along the axis that is shown.")
        self.rule.offer((text, name, name) for text, name in _RULES)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(form((("Truth", self.layer), ("Take", self.rule))))
        whole.addLayout(line(self.place, self.place_all))
        self.place.clicked.connect(lambda: self.wanted.emit(False))
        self.place_all.clicked.connect(lambda: self.wanted.emit(True))
        self.layer.chosen.connect(lambda: workspace.choose_truth(self.layer.value()))
        workspace.truth_changed.connect(self._list)
        workspace.image_changed.connect(self._list)
        events = workspace.viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            listen(self, event, self._list)
        self._list()

    def jobs(self, everywhere: bool) -> list[Callable[[], PlanePrompts]]:
        """Give what makes the prompts of the plane shown, or of each plane, in a thread.

        Raises
        ------
        CamSamError
            Without a truth, or where it does not lie on the image's grid.
        """
        from napari_cam_sam.prompts.strategies import prompts_from_mask, strategy_parameters

        workspace, layer = self._workspace, self.layer.value()
        axis, shown = workspace.plane()
        if layer is None or layer not in workspace.viewer.layers:
            raise CamSamError("Open a truth first: a labels layer on the image's grid.")
        reason = workspace.mismatch(layer)
        if reason is not None:
            raise CamSamError(reason)
        truth = image_of(layer, frame_shown(workspace.viewer, layer))
        rule = replace(strategy_parameters(self.rule.value()), one_object=True)

        def one(index: int) -> PlanePrompts:
            plane = np.asarray(truth.plane(axis, index))
            return prompts_from_mask(plane, rule, axis=axis, index=index)

        indices = range(truth.n_planes(axis)) if everywhere else [shown]
        return [partial(one, index) for index in indices]

    def _list(self, _: object = None) -> None:
        before = self.layer.value()
        layers = self._workspace.labels_layers()
        self.layer.offer([("choose one…", None), *((layer.name, layer) for layer in layers)])
        if before is None or before not in layers or before is not self._workspace.truth():
            self.layer.set_value(self._workspace.truth())
