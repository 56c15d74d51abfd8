"""Lines of a width that stays on the screen, and the truth in a look of its own."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels, Shapes
from qtpy.QtCore import QObject

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import in_units, is_own
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.layers.layer_geometry import axis_steps
from napari_cam_sam.plugin.layers.outlined_labels import OutlinedLabels
from napari_cam_sam.plugin.layers.styles import (
    LABELS,
    PROMPT_PREVIEW,
    PROMPTS,
    TRUTH,
    line_width,
    outline_steps,
)
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.state.mask_layers import MaskLayers
from napari_cam_sam.plugin.state.shown_image import ShownImage
from napari_cam_sam.plugin.state.truth_layer import TruthLayer

__all__ = ["Looks"]

# In screen pixels, by role.
_LINES = {
    "boxes": PROMPTS.line,
    "sketch": PROMPT_PREVIEW.line,
    "preview": LABELS["preview"].line,
    "explained": LABELS["explained"].line,
}
# Turning the wheel zooms many times a second.
_WAIT = 60


class Looks(QObject):
    """Follows the view with the widths of lines, and marks the truth as such, once.

    napari's lines are as wide as pixels of the data are: bars where slices are thick, and where
    one has zoomed in. What the user set is left alone.

    Parameters
    ----------
    shown : ShownImage
    truth : TruthLayer
    masks : MaskLayers
        Know which labels are being worked on, and are no truth.
    parent : QObject
    """

    def __init__(
        self, shown: ShownImage, truth: TruthLayer, masks: MaskLayers, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._shown, self._truth, self._masks = shown, truth, masks
        self._given: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._looked_at: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._timer = single_shot_timer(self, self.look, _WAIT)
        viewer = shown.viewer
        # napari before 0.9 has no scene.
        self._camera = getattr(viewer, "scene", viewer).camera
        for event in (self._camera.events.zoom, viewer.layers.events.inserted):
            event.connect(self.soon)
        for signal in (shown.axis_changed, shown.image_changed, truth.changed):
            signal.connect(self.soon)

    def soon(self, _: object = None) -> None:
        """Look once what goes on is over."""
        self._timer.start()

    def look(self) -> None:
        """Set the look of the truth and the widths of lines, for the image as it is shown."""
        image: Any = self._shown.layer
        if image is None:
            return
        self._give_truth_its_look()
        try:
            self._shown.plane()
        except CamSamError:  # three dimensions have no width of lines that fits all
            return
        pixels = self._pixels(image)
        for layer in self._shown.viewer.layers:
            mark = mark_of(layer)
            if self._looked_at.get(layer):
                self._set_outline(layer, pixels, TRUTH.line)
            elif mark.get("of") == image.unique_id and mark.get("role") in _LINES:
                wanted = _LINES[mark["role"]]
                if isinstance(layer, Shapes):
                    self._set_line(layer, line_width(pixels, wanted))
                elif isinstance(layer, OutlinedLabels):  # a copy that napari makes is none
                    self._set_outline(layer, pixels, wanted)

    def _pixels(self, image: Any) -> list[float]:
        """Return how many screen pixels one of the image takes, down and across the screen."""
        viewer = self._shown.viewer
        steps, _ = axis_steps(image)
        if viewer.dims.units is not None:
            have, want = image.units[-len(steps) :], viewer.dims.units[-len(steps) :]
            steps = np.stack([in_units(step, have, want) for step in steps.T], axis=1)
        sizes = np.linalg.norm(steps, axis=0) * self._camera.zoom
        if len(sizes) == 2:
            return list(sizes)
        shown = [d - viewer.dims.ndim + 3 for d in viewer.dims.displayed]
        return [sizes[d] for d in shown]

    def _set_line(self, layer: Any, width: float) -> None:
        if self._is_ours(layer, layer.current_edge_width) and layer.current_edge_width != width:
            self._given[layer] = width
            layer.edge_width = width
            # This has them drawn, and is for those to come.
            layer.current_edge_width = width

    def _set_outline(self, layer: Any, pixels: list[float], wanted: float) -> None:
        if self._is_ours(layer, layer.contour):
            width, parts = outline_steps(pixels, wanted, layer.finest())
            self._given[layer] = width
            layer.outline(width, parts)

    def _is_ours(self, layer: Any, width: float) -> bool:
        """Say whether the user set no width."""
        return width == self._given.setdefault(layer, width)

    def _give_truth_its_look(self) -> None:
        truth = self._truth.find()
        if not isinstance(truth, Labels) or is_own(truth) or truth in self._looked_at:
            return
        # A layer that was just added to paint in is nobody's truth yet.
        empty = isinstance(truth.data, np.ndarray) and not truth.data.any()
        if not empty and truth is not self._masks.target:
            self._looked_at[truth] = TRUTH.give(truth)
