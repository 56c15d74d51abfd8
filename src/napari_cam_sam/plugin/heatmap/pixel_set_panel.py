"""Which pixels of a segmentation network's answer a heatmap explains."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import data_position, is_own
from napari_cam_sam.plugin.layers.drawn_regions import ReadRegion, region_of
from napari_cam_sam.plugin.qt.dock import connect_to_layers
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.widgets import FractionSlider, SpinBox, ValueComboBox, button, vbox

if TYPE_CHECKING:
    from napari_cam_sam.plugin.heatmap.loaded_classifier import LoadedClassifier
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ChosenPixels", "PixelSetPanel"]

_KINDS = (
    ("where it is predicted", "predicted", "The pixels that the network assigns to this class."),
    ("pixels above a probability", "probability", "The pixels above a threshold of your own."),
    ("whole image", "whole", "Every pixel's score for the class."),
    ("ground truth", "truth", "What should have been found: why it was found or missed."),
    ("drawn region", "region", "The inside of a labels or shapes layer."),
    ("one pixel", "pixel", "Why this pixel was, or was not, assigned to the class."),
)


@dataclass(frozen=True, eq=False)
class ChosenPixels:
    """A pixel set, and where its region comes from.

    Attributes
    ----------
    data : dict
        The fields of :class:`~napari_cam_sam.cam.pixel_sets.PixelSet`, as plain data; a pixel of
        a volume with its plane.
    layer : str
        Name of the layer that gives the region; empty where none does.
    region : callable or None
        Reads the region's planes; None where the network itself decides.
    """

    data: dict[str, Any]
    layer: str = ""
    region: ReadRegion | None = None

    def along(self, axis: int | None) -> dict[str, Any]:
        """Return the data for planes along an axis, None for a whole volume: a pixel's differs."""
        pixel = self.data.get("pixel")
        if pixel is None or axis is None or len(pixel) == 2:
            return self.data
        return {**self.data, "pixel": tuple(n for a, n in enumerate(pixel) if a != axis)}


class PixelSetPanel(QWidget):
    """A choice of the pixel set: predicted, whole, truth, drawn, or a pixel that is clicked.

    Parameters
    ----------
    workspace : Workspace
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._pixel: tuple[int, ...] | None = None
        self._active_before: Any = None
        self.kind = ValueComboBox("The pixels whose scores the heatmap explains.", _KINDS)
        self.part = SpinBox()
        self.part.setRange(0, 99)
        self.part.setSpecialValueText("all parts")
        self.part.setPrefix("part ")
        self.part.setSuffix(" by size")
        self.part.setToolTip("All connected parts, or only the largest, the second largest, …")
        self.threshold = FractionSlider(
            "Explains the pixels above this probability of the class.", 0.5
        )
        self.layer = ValueComboBox("The layer that holds the region.")
        self.pick = button("Pick a pixel…", "Then click in the image.")
        self.pick.setCheckable(True)
        self.picked = Label()
        vbox(self, self.kind, self.part, self.threshold, self.layer, self.pick, self.picked)
        self.setToolTip(self.kind.toolTip())
        self.kind.currentIndexChanged.connect(self._kind_changed)
        for signal in (self.part.valueChanged, self.threshold.changed, self.layer.chosen):
            signal.connect(self.changed)
        self.pick.toggled.connect(self._pick_toggled)
        workspace.image_changed.connect(self._image_changed)
        connect_to_layers(self, workspace.viewer, self._list_layers)
        self._list_layers()
        self._kind_changed()

    def value(self, snapshot: Snapshot) -> ChosenPixels:
        """Return what is chosen, for a thread.

        Raises
        ------
        CamSamError
            If no pixel was clicked yet, or there is no truth or no region.
        """
        kind = self.kind.value()
        data: dict[str, Any] = {"kind": kind, "component": self.part.value()}
        if kind == "probability":
            data["threshold"] = self.threshold.value()
        if kind == "pixel":
            if self._pixel is None:
                raise CamSamError(
                    "No pixel chosen: press “Pick a pixel…”, then click in the image."
                )
            return ChosenPixels({**data, "component": 0, "pixel": self._pixel})
        if kind not in ("truth", "region"):
            return ChosenPixels(data)
        layer = self._workspace.truth() if kind == "truth" else self.layer.value()
        if layer is None:
            what = "truth" if kind == "truth" else "labels or shapes layer with a region"
            raise CamSamError(f"There is no {what}: add one, or explain other pixels.")
        reason = self._workspace.mismatch(layer) if isinstance(layer, Labels) else None
        if reason is not None:
            raise CamSamError(reason)
        region = region_of(layer, snapshot.layer, snapshot.image, snapshot.frame)
        return ChosenPixels(data, layer.name, region)

    def value_for(self, loaded: LoadedClassifier | None, snapshot: Snapshot) -> ChosenPixels | None:
        """Return what is chosen, as `value`; None where a classifier needs none, or may."""
        if loaded is not None:
            return self.value(snapshot) if loaded.segments else None
        # Of what is not loaded yet nobody knows whether it needs them.
        with suppress(CamSamError):
            return self.value(snapshot)
        return None

    def words(self) -> str:
        """Return in words which pixels count, to stand behind the class."""
        part = self.part.value()
        text = {
            "predicted": "where it is predicted",
            "probability": f"where its probability is above {self.threshold.value():g}",
            "whole": "on the whole image",
            "truth": "in the ground truth",
            "region": "in the drawn region",
            "pixel": "at one pixel" if self._pixel else "at the pixel you click",
        }[self.kind.value()]
        if part and self.kind.value() not in ("pixel", "whole"):
            text += f" (part {part} by size)"
        return text

    def state(self) -> dict[str, Any]:
        """Return the choice as plain data, for the session."""
        return {
            "kind": self.kind.value(),
            "component": self.part.value(),
            "threshold": self.threshold.value(),
            "pixel": None if self._pixel is None else list(self._pixel),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the choice of a session."""
        self.part.setValue(state.get("component", 0))
        self.threshold.set_value(state.get("threshold", 0.5))
        pixel = state.get("pixel")
        self._pixel = None if pixel is None else tuple(pixel)
        self.kind.set_value(state.get("kind"))
        self._kind_changed()

    def choose_pixel(self, pixel: tuple[int, ...]) -> None:
        """Take a pixel by its place on the image's grid: (row, column) or (plane, row, column)."""
        self._pixel = pixel
        self._show_pixel()
        self.changed.emit()

    def _image_changed(self) -> None:
        self.pick.setChecked(False)
        self._pixel = None
        self._list_layers()
        self._show_pixel()

    def _list_layers(self, _: object = None) -> None:
        drawn = [
            layer
            for layer in self._workspace.viewer.layers
            if isinstance(layer, Labels | Shapes) and not is_own(layer)
        ]
        accepted = self._workspace.own("labels")
        if accepted is not None:
            drawn.append(accepted)
        self.layer.offer((layer.name, layer) for layer in drawn)

    def _kind_changed(self, _: object = None) -> None:
        kind = self.kind.value()
        self.part.setVisible(kind not in ("pixel", "whole"))
        self.threshold.setVisible(kind == "probability")
        self.layer.setVisible(kind == "region")
        self.pick.setVisible(kind == "pixel")
        self.picked.setVisible(kind == "pixel")
        if kind != "pixel":
            self.pick.setChecked(False)
        self._show_pixel()
        self.changed.emit()

    def _show_pixel(self) -> None:
        if self._pixel is None:
            self.picked.setText("No pixel chosen.")
            return
        names = ("slice", "row", "column")[-len(self._pixel) :]
        self.picked.setText(
            ", ".join(f"{name} {n}" for name, n in zip(names, self._pixel, strict=True))
        )

    def _pick_toggled(self, picking: bool) -> None:
        viewer, source = self._workspace.viewer, self._workspace.image_layer
        active = viewer.layers.selection
        if picking and source is not None:
            # The click must not draw into another layer.
            self._active_before = active.active
            active.active = source
            viewer.mouse_drag_callbacks.append(self._clicked)
            return
        if self._clicked in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(self._clicked)
            before, self._active_before = self._active_before, None
            if before is not None and before in viewer.layers:
                active.active = before

    def _clicked(self, _: Any, event: Any) -> None:
        source = self._workspace.image_layer
        image = self._workspace.image()
        at = np.round(data_position(self._workspace.viewer, source, event.position)).astype(int)
        pixel = tuple(int(n) for n in at[-image.spatial_ndim :])
        if not all(0 <= n < size for n, size in zip(pixel, image.spatial_shape, strict=True)):
            return  # beside the image; the next click counts
        self.pick.setChecked(False)
        self.choose_pixel(pixel)
