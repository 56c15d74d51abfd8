"""The live preview of a strategy: outline, boxes and points that it would place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.plugin.prompt_layers import COLOURS
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["Sketch"]

_SEGMENTS = 12
# Of no prompt that is placed: what is drawn so is not there yet.
_COLOUR = "#e040fb"


class Sketch:
    """A shapes layer that shows prompts before they are placed; it cannot be edited.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def hide(self) -> None:
        """Remove the layer."""
        layer = self._workspace.own("sketch")
        if layer is not None:
            self._workspace.viewer.layers.remove(layer)

    def show(self, mask: NDArray[np.bool_], prompts: PlanePrompts) -> None:
        """Draw the outline of a pseudo-mask, and boxes and points as outlines.

        Parameters
        ----------
        mask : ndarray of bool, shape (rows, columns)
        prompts : PlanePrompts
        """
        shapes, kinds, colours = [], [], []
        for outline in _outlines(mask):
            shapes.append(outline)
            kinds.append("path")
            colours.append(_COLOUR)
        size = max(1.0, min(mask.shape) / 60)
        turn = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
        circle = size * np.stack([np.sin(turn), np.cos(turn)], axis=1)
        for prompt in prompts.objects:
            if prompt.box is not None:
                top, left = prompt.box.row_min - 0.5, prompt.box.column_min - 0.5
                bottom, right = prompt.box.row_max - 0.5, prompt.box.column_max - 0.5
                corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
                shapes.append(np.array(corners))
                kinds.append("polygon")
                colours.append(_COLOUR)
            for point in prompt.points:
                shapes.append(circle + np.array([point.row, point.column]))
                kinds.append("polygon")
                colours.append(COLOURS["positive" if point.positive else "negative"])
        layer = self._layer()
        with layer.events.data.blocker():
            layer.selected_data = set(range(len(layer.data)))
            layer.remove_selected()
            if shapes:
                lifted = [self._lifted(shape, prompts) for shape in shapes]
                layer.add(lifted, shape_type=kinds, edge_color=colours)
            layer.selected_data = set()

    def _layer(self) -> Any:
        workspace = self._workspace
        layer = workspace.own("sketch")
        if layer is None:
            image = workspace.image()
            active = workspace.viewer.layers.selection.active
            layer = workspace.viewer.add_shapes(
                None,
                ndim=image.spatial_ndim,
                name="preview of the strategy",
                face_color="transparent",
                edge_width=max(0.4, min(image.spatial_shape[-2:]) / 250),
                opacity=0.9,
                metadata=workspace.mark("sketch"),
                **workspace.placement(),
            )
            layer.editable = False
            workspace.viewer.layers.selection.active = active
        return layer

    def _lifted(self, vertices: NDArray[np.float64], prompts: PlanePrompts) -> NDArray[np.float64]:
        if self._workspace.image().spatial_ndim == 2:
            return vertices
        return np.insert(vertices, prompts.axis, prompts.index, axis=1)


def _outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Give the closed outlines of a mask, with at most some hundred vertices each."""
    from skimage.measure import approximate_polygon, find_contours

    padded = np.pad(mask, 1).astype(np.float32)
    found = [approximate_polygon(c - 1, 0.5) for c in find_contours(padded, 0.5)]
    return [outline for outline in found if len(outline) > 3]
