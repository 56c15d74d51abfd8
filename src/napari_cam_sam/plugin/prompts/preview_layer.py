"""The live preview of a strategy: outline, boxes and points that it would place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.plugin.layers.prompt_table import box_corners
from napari_cam_sam.plugin.layers.styles import PROMPT_PREVIEW, PROMPTS
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import PromptParameters

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["PreviewLayer", "PromptPreview", "preview_prompts"]


@dataclass(frozen=True, eq=False)
class PromptPreview:
    """What a strategy would place on a plane.

    Attributes
    ----------
    prompts : PlanePrompts
    outlines : tuple of ndarray, shape (n, 2)
        Of the part of the heatmap that the prompts are taken from, in pixels.
    plane_shape : tuple of int
    """

    prompts: PlanePrompts
    outlines: tuple[NDArray[np.float64], ...]
    plane_shape: tuple[int, int]


def preview_prompts(
    values: NDArray[np.float32],
    parameters: PromptParameters,
    axis: int,
    index: int,
    first_id: int,
) -> PromptPreview:
    """Return what a strategy would place; for a thread.

    Parameters
    ----------
    values : ndarray of float32, shape (rows, columns)
        A heatmap in [0, 1].
    parameters : PromptParameters
    axis, index : int
        The plane.
    first_id : int
        Of its first object.

    Returns
    -------
    PromptPreview
    """
    from napari_cam_sam.prompts.strategies import prompts_from_heatmap, pseudo_mask

    prompts = prompts_from_heatmap(values, parameters, axis=axis, index=index, first_id=first_id)
    outlines = tuple(_outlines(pseudo_mask(values, parameters)))
    return PromptPreview(prompts, outlines, (values.shape[0], values.shape[1]))


class PreviewLayer:
    """A shapes layer that shows prompts before they are placed; it cannot be edited.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def hide(self) -> None:
        """Show nothing; the layer stays, as making one takes napari a while."""
        layer = self._workspace.own("sketch")
        if layer is not None:
            layer.visible = False

    def remove(self) -> None:
        """Remove the layer."""
        self._workspace.layer_list.when_quiet(self._remove)

    def _remove(self) -> None:
        layer = self._workspace.own("sketch")
        if layer is not None:
            self._workspace.viewer.layers.remove(layer)

    def show(self, proposal: PromptPreview) -> None:
        """Draw the outline of a pseudo-mask, and boxes and points as outlines."""
        prompts = proposal.prompts
        shapes = list(proposal.outlines)
        kinds = ["path"] * len(shapes)
        colours = [PROMPT_PREVIEW.colour] * len(shapes)
        circle = PROMPT_PREVIEW.circle(proposal.plane_shape)
        for prompt in prompts.objects:
            if prompt.box is not None:
                shapes.append(np.array(box_corners(prompt.box)))
                kinds.append("polygon")
                colours.append(PROMPT_PREVIEW.colour)
            for point in prompt.points:
                shapes.append(circle + np.array([point.row, point.column]))
                kinds.append("polygon")
                colours.append(PROMPTS.colours["positive" if point.positive else "negative"])
        layer = self._layer()
        with layer.events.data.blocker():
            layer.selected_data = set(range(len(layer.data)))
            layer.remove_selected()
            if shapes:
                lifted = [self._lifted(shape, prompts) for shape in shapes]
                layer.add(lifted, shape_type=kinds, edge_color=colours)
            layer.selected_data = set()
        layer.visible = True

    def _layer(self) -> Any:
        workspace = self._workspace
        layer = workspace.own("sketch")
        if layer is None:
            image = workspace.image()
            active = workspace.viewer.layers.selection.active
            layer = workspace.viewer.add_shapes(
                None,
                ndim=image.spatial_ndim,
                name="prompt preview",
                **PROMPT_PREVIEW.shapes(image.spatial_shape),
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
    """Return the closed outlines of a mask, with at most some hundred vertices each."""
    from skimage.measure import approximate_polygon, find_contours

    padded = np.pad(mask, 1).astype(np.float32)
    found = [approximate_polygon(c - 1, 0.5) for c in find_contours(padded, 0.5)]
    return [outline for outline in found if len(outline) > 3]
