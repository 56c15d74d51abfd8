"""What is compared: the layers and the label that are scored, and whether they can be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.conversion import frame_shown, image_of, is_own
from napari_cam_sam.plugin.layers.layer_geometry import geometry_of
from napari_cam_sam.plugin.qt.dock import connect_to_layers, connect_until_destroyed
from napari_cam_sam.plugin.qt.widgets import ValueComboBox, form_layout, vbox
from napari_cam_sam.plugin.scores.score_rows import Subject
from napari_cam_sam.plugin.state.label_choice import LabelChoice
from napari_cam_sam.plugin.state.plane_words import along_words
from napari_cam_sam.plugin.state.truth_row import TruthRow

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import ScoringInput
    from napari_cam_sam.plugin.scores.scoring_run import ScoringRun
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ScoreInputs"]

# What is done when a layer that was chosen sends an event.
_ANSWERS = {
    "_edit": ("labels_update", "paint", "data"),
    "_refresh": ("set_data",),
    "_move": ("scale", "translate", "rotate", "shear", "affine", "units"),
}


class ScoreInputs(QWidget):
    """The choice of a prediction, a truth, a heatmap and a label, out of the viewer's layers.

    Parameters
    ----------
    workspace : Workspace
    """

    changed = Signal()
    """What is chosen, what there is to choose from, or where it lies may be another."""
    edited = Signal(object)
    """The prediction or the truth was edited, on these planes; None where that may be all.

    The one that is shown need not be among them.
    """
    refreshed = Signal()
    """One of them was drawn anew: perhaps edited, perhaps only scrolled through."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._seen: Any = None
        self._picked: set[str] = set()
        self._heard: list[Any] = []
        self.prediction = ValueComboBox("The labels layer to score.")
        self.truth = ValueComboBox("The ground truth: a labels layer on the image's grid.")
        self.truth_row = TruthRow(workspace, self.truth)
        self.heatmap = ValueComboBox(
            "A heatmap to score too: computed here, or a gray layer from 0 to 1."
        )
        self.label = LabelChoice(workspace, "The label to compare in both layers.")
        rows = (
            ("Prediction", self.prediction), ("Ground truth", self.truth_row),
            ("Heatmap", self.heatmap), ("Label", self.label),
        )  # fmt: skip
        vbox(self, form_layout(rows))
        self.label.found.connect(self.changed)
        for name in ("prediction", "truth", "heatmap", "label"):
            getattr(self, name).chosen.connect(lambda one=name: self._chosen(one))
        workspace.image_changed.connect(self._image_changed)
        workspace.plane_changed.connect(self._plane_changed)
        workspace.heatmaps_changed.connect(self._list_layers)
        workspace.truth_changed.connect(self._truth_changed)
        workspace.masks.accepted_changed.connect(self._accepted)
        connect_to_layers(self, workspace.viewer, self._list_layers)
        self._list_layers()

    # What there is to choose from

    def choose_prediction(self, layer: Any | None) -> None:
        """Choose what is scored, as the user would."""
        for i in range(self.prediction.count()):
            # Equal, not the same: napari hands plugins a proxy of a layer.
            if layer is not None and self.prediction.itemData(i) == layer:
                self.prediction.setCurrentIndex(i)
                self._chosen("prediction")

    def _chosen(self, name: str) -> None:
        self._picked.add(name)
        if name == "truth":
            self._workspace.choose_truth(self.truth.value())
        self._hear_layers()
        self.changed.emit()

    def _accepted(self) -> None:
        """Score what was accepted: the preview holds it no more."""
        masks = self._workspace.masks
        if masks.accepted and self.prediction.value() is self._workspace.own("preview"):
            self.choose_prediction(masks.accept_layer())

    def _truth_changed(self) -> None:
        self._picked.discard("truth")
        self._list_layers()

    def _image_changed(self) -> None:
        self._picked.clear()
        self._list_layers()

    def _plane_changed(self) -> None:
        try:
            axis, _ = self._workspace.plane()
            seen: Any = (axis, self._workspace.frame())
        except CamSamError as error:
            seen = str(error)
        if seen != self._seen:  # each step of the scrollbar comes here
            self._seen = seen
            self._list_layers()

    def _move(self, _: object = None) -> None:
        self._hear_layers()  # in its place now, or no longer
        self.changed.emit()

    def _edit(self, event: Any) -> None:
        self.edited.emit(self._edited_planes(event))

    def _edited_planes(self, event: Any) -> set[int] | None:
        """Return on which planes a layer was edited, by napari's word; None for all."""
        if event.type == "labels_update":  # what is drawn anew
            return set()
        if event.type != "paint":
            return None
        with suppress(CamSamError):
            axis = self._workspace.plane()[0] - self._workspace.image().spatial_ndim
            # Of each stroke: where, what was there, and what is.
            return {int(i) for where, *_ in event.value for i in np.unique(where[axis])}
        return None

    def _refresh(self, _: object = None) -> None:
        self.refreshed.emit()

    def _list_layers(self, _: object = None) -> None:
        workspace = self._workspace
        labels, truth = workspace.labels_layers(), workspace.truth()
        ours = [x for x in (workspace.own("labels"), workspace.own("preview")) if x is not None]
        others = [layer for layer in labels if layer not in ours]
        of_another = workspace.truth_layer.is_of_another
        others_here = [x for x in others if x != truth and not of_another(x)]
        maps = self._heatmap_layers()
        for name, layers, default in (
            ("truth", labels, truth),
            ("prediction", ours + others, (*ours, *others_here, None)[0]),
            ("heatmap", maps, maps[0] if maps and is_own(maps[0]) else None),
        ):
            choice = getattr(self, name)
            if choice.value() not in layers:
                self._picked.discard(name)
            none = [("none", None)] if name == "heatmap" else []
            choice.offer([*none, *((layer.name, layer) for layer in layers)])
            if name not in self._picked and not choice.set_value(default):
                choice.setCurrentIndex(-1)
        self._hear_layers()
        self.changed.emit()

    def _heatmap_layers(self) -> list[Any]:
        """List heatmaps: ours along the axis shown, then gray layers within 0 to 1."""
        workspace = self._workspace
        try:
            own = workspace.own("heatmap", workspace.plane()[0])
        except CamSamError:
            return []
        return [own] * (own is not None) + [
            layer
            for layer in workspace.viewer.layers
            if isinstance(layer, ImageLayer)
            and layer != workspace.image_layer
            and not is_own(layer)
            and not layer.rgb
            and np.dtype(layer.dtype).kind == "f"
            and layer.contrast_limits_range[0] >= 0
            and layer.contrast_limits_range[1] <= 1
            and workspace.mismatch(layer) is None
        ]

    def _hear_layers(self) -> None:
        """Hear of edits in the layers chosen, and look which labels they hold."""
        layers = [x for x in (self.prediction.value(), self.truth.value()) if x is not None]
        if layers != self._heard:
            for event, method in self._events():
                event.disconnect(method)
            self._heard = layers
            for event, method in self._events():
                connect_until_destroyed(self, event, method)
        self.label.look_in(layers)

    def _events(self) -> list[tuple[Any, Callable[..., None]]]:
        """List the events of the layers that are heard, each with what is done."""
        return [
            (getattr(layer.events, name), getattr(self, method))
            for layer in self._heard
            for method, names in _ANSWERS.items()
            for name in names
        ]

    # What is chosen

    def layers(self) -> tuple[Any | None, Any | None, Any | None]:
        """Return prediction, truth and heatmap."""
        return self.prediction.value(), self.truth.value(), self.heatmap.value()

    def key(self) -> tuple[Any, ...]:
        """Return what is chosen: scores are of the choices of their time."""
        layers = (self._workspace.image_layer, *self.layers())
        ids = [None if layer is None else layer.unique_id for layer in layers]
        return (*ids, self.label.value(), self._workspace.plane()[0], self._workspace.frame())

    def heatmap_notes(self) -> list[Any]:
        """Return what is known of the heatmaps chosen, where the docks made them."""
        heatmaps, layer = self._workspace.heatmaps, self.heatmap.value()
        if layer is None or not is_own(layer):
            return []
        axis = self._workspace.plane()[0]
        return [(i, heatmaps.record(axis, i)) for i in heatmaps.computed_planes(axis)]

    def key_or_none(self) -> tuple[Any, ...] | None:
        """Return the key; None where the viewer shows no single plane."""
        try:
            return self.key()
        except CamSamError:
            return None

    def are_those_of(self, run: ScoringRun | None) -> TypeGuard[ScoringRun]:
        """Return whether a scoring is of what is chosen now."""
        return run is not None and run.key == self.key_or_none()

    def problem(self) -> str | None:
        """Return in words why nothing can be scored; None where it can."""
        workspace, prediction, truth = self._workspace, self.prediction.value(), self.truth.value()
        try:
            name = workspace.image().name
            workspace.plane()
        except CamSamError as error:
            return str(error)
        if truth is None:
            return (
                f"No ground truth: press Open mask…, or add a labels layer on the grid of {name}."
            )
        if prediction is None:
            return "No prediction yet: make masks (step 3), or open a labels layer."
        if prediction == truth:
            return f"{truth.name} is both prediction and ground truth: choose two layers."
        reasons = (workspace.mismatch(layer) for layer in self.layers() if layer is not None)
        return next((reason for reason in reasons if reason is not None), None)

    def subject(self) -> Subject:
        """Return what is chosen in words."""
        image, (axis, _) = self._workspace.image(), self._workspace.plane()
        prediction, truth, heatmap = (None if x is None else x.name for x in self.layers())
        return Subject(
            image.name, self._workspace.frame(), axis, self.label.value() or "all",
            str(prediction), str(truth), heatmap, _unit(image),
        )  # fmt: skip

    def unit_remark(self) -> str | None:
        """Return in words which unit distances are in where a layer has another than the image.

        One of them has none then: a mask in pixels fits any image of its shape.
        """
        image = self._workspace.image()
        layers = [layer for layer in self.layers()[:2] if layer is not None]
        others = [x.name for x in layers if geometry_of(x).unit != image.geometry.unit]
        if not others:
            return None
        names, many = " and ".join(others), len(others) > 1
        if image.geometry.unit == "mm":
            verb = "have" if many else "has"
            return f"Distances are in mm, by the spacing of {image.name}: {names} {verb} no unit."
        verb = "are" if many else "is"
        return f"Distances are in px: {image.name} has no unit, though {names} {verb} in mm."

    def words(self) -> str:
        """Return in words what would be scored."""
        image, (axis, _) = self._workspace.image(), self._workspace.plane()
        cut = along_words(self._workspace.shown, axis, f"{image.n_planes(axis)} slices")
        return (
            f"{self.prediction.currentText()} against {self.truth.currentText()}"
            f"{f', {cut}' if image.spatial_ndim == 3 else ''}, distances in {_unit(image)}"
            f"{'; no heatmap, so none is scored' * (self.heatmap.value() is None)}."
        )

    def to_score(self) -> ScoringInput:
        """Return what is scored: the layers' own arrays."""
        from napari_cam_sam.evaluation.score_steps import ScoringInput

        image, (axis, _) = self._workspace.image(), self._workspace.plane()
        layer, maps = self.heatmap.value(), None
        planes: tuple[int, ...] = ()
        if layer is not None:
            own = is_own(layer)
            data = layer.data if own else self.array(layer)
            maps = data[None] if image.spatial_ndim == 2 else np.moveaxis(data, axis, 0)
            computed = self._workspace.heatmaps.computed_planes(axis) if own else range(len(maps))
            planes = tuple(computed)
            # A view where all planes have one: a large volume is copied in the thread.
            if len(planes) < len(maps):
                maps = maps[list(planes)] if planes else None
        prediction, truth = (self.array(x) for x in self.layers()[:2])
        name = self.heatmap.currentText()
        label = self.label.value()
        return ScoringInput(image, axis, prediction, truth, label, maps, planes, name)

    def array(self, layer: Any) -> Any:
        """Return the array of a layer, of a series that of the frame shown."""
        return image_of(layer, frame_shown(self._workspace.viewer, layer)).data


def _unit(image: Image) -> str:
    return "px" if image.geometry.unit == "pixel" else image.geometry.unit
