"""Layers that are removed: nothing of ours adds or removes one while napari goes through them."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, single_candidate
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

BOX = ObjectPrompt(1, (), Box(4, 5, 12, 15))


def segmented(
    count: int, shape: tuple[int, ...] = (6, 20, 24), **where: Any
) -> tuple[ViewerWorkspace, list[Any]]:
    """Open images, with prompts, labels and a mask that is not accepted on each; and docks."""
    viewer = ViewerModel()
    images = [
        viewer.add_image(np.random.default_rng(i).random(shape), name=f"image {i}", **where)
        for i in range(count)
    ]
    workspace = workspace_of(viewer)
    docks = [kind(viewer) for kind in (SegmentDock, ScoresDock, PromptsDock)]
    square = np.zeros((20, 24), bool)
    square[4:12, 5:15] = True
    for image in images:
        workspace.choose_image(image)
        workspace.prompts.write([PlanePrompts(0, 2, (BOX,))])
        for index in (2, 3):
            where, found = PlanePrompts(0, index), (single_candidate(1, square, None),)
            workspace.masks.put(
                PlaneMasks(where, found, (0,), "seeded", "0" * 64, (0.0, 1.0), source="automatic")
            )
        workspace.masks.accept(0, [3], "keep")
    return workspace, docks


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::11], ids=str)
def test_all_layers_go_in_any_order(qapp: Any, order: tuple[int, ...]) -> None:
    workspace, docks = segmented(1)
    layers = list(workspace.viewer.layers)
    assert len(layers) == len(order)  # image, labels, preview, boxes, points
    for i in order:
        # As napari does with what is selected: one that is gone already is an error.
        workspace.viewer.layers.remove(layers[i])
    at_rest(workspace)
    assert len(workspace.viewer.layers) == 0
    assert workspace.image_layer is None
    assert [dock.isEnabled() for dock in docks] == [True] * 3


@pytest.mark.parametrize("units", ["pixel", "mm"])
@pytest.mark.parametrize("shape", [(2, 6, 20, 24), (6, 20, 24)], ids=str)
@pytest.mark.parametrize("first", range(5))
def test_all_layers_go_where_those_left_have_fewer_axes(
    qapp: Any, shape: tuple[int, ...], units: str, first: int
) -> None:
    """napari looks at what is left before it tells that the image is gone."""
    workspace, _ = segmented(1, shape, units=units)
    flat = workspace.viewer.add_labels(np.zeros((20, 24), np.uint8), units=units)
    workspace.viewer.dims.set_current_step(0, 1)
    workspace.shown.look_at_plane()
    layers = [layer for layer in workspace.viewer.layers if layer is not flat]
    frame, seen = workspace.frame(), []

    def look(_: object) -> None:
        # As our layers of prompts do, which napari draws anew in the middle of it.
        if workspace.image_layer in workspace.viewer.layers or workspace.image_layer is None:
            return
        seen.append(workspace.frame())
        with suppress(CamSamError):
            workspace.plane()

    for event in (workspace.viewer.dims.events.ndim, workspace.viewer.dims.events.range):
        event.connect(look)
    for layer in (*layers[first:], *layers[:first], flat):
        workspace.viewer.layers.remove(layer)
    at_rest(workspace)
    assert set(seen) <= {frame}
    assert seen or len(shape) == 3
    assert len(workspace.viewer.layers) == 0
    assert workspace.image_layer is None


@pytest.mark.parametrize("seed", range(10))
def test_what_is_selected_goes_whichever_image_is_left(qapp: Any, seed: int) -> None:
    workspace, _ = segmented(3)
    viewer, rng = workspace.viewer, np.random.default_rng(seed)
    layers = list(viewer.layers)
    gone = [layers[i] for i in rng.permutation(len(layers))[: rng.integers(3, len(layers))]]
    for layer in gone:
        viewer.layers.remove(layer)
    at_rest(workspace)
    assert not set(gone) & set(viewer.layers)
    assert set(viewer.layers) >= set(layers) - set(gone) - set(previews(layers))
    # What is shown is that of the image that is worked on, as it was left.
    if workspace.image_layer is not None and workspace.masks.held():
        assert workspace.own("preview").data[2].any()
    # Those of other images are hidden with them.
    others = [x for x in previews(viewer.layers) if x is not workspace.own("preview")]
    assert not any(one.visible for one in others)


def at_rest(workspace: ViewerWorkspace) -> None:
    """Let the window live on."""
    QApplication.processEvents()
    while workspace.layer_list.busy:
        QApplication.processEvents()


def previews(layers: Any) -> list[Any]:
    return [layer for layer in layers if layer.name.startswith("mask preview")]


def test_a_preview_is_hidden_with_its_image_and_comes_back(qapp: Any) -> None:
    """Where it were removed while other layers are hidden, the window would end by a crash."""
    workspace, _ = segmented(2)
    viewer = workspace.viewer
    first, second = viewer.layers[0], viewer.layers[1]
    at_rest(workspace)
    assert workspace.image_layer is second
    before = list(viewer.layers)
    mine = workspace.own("preview")
    workspace.choose_image(first)
    at_rest(workspace)
    assert set(before) <= set(viewer.layers)
    assert not mine.visible
    assert workspace.own("preview") is not mine
    assert workspace.own("preview").visible
    workspace.choose_image(second)
    at_rest(workspace)
    assert workspace.own("preview") is mine
    assert mine.visible
    assert mine.data[2].any()
    assert not [one for one in previews(viewer.layers) if one is not mine and one.visible]


@pytest.mark.parametrize("selected", [False, True])
def test_a_series_goes_with_its_work(qapp: Any, selected: bool) -> None:
    viewer = ViewerModel()
    series = viewer.add_image(np.random.default_rng(0).random((2, 6, 20, 24)), name="series")
    workspace = workspace_of(viewer)
    docks = [kind(viewer) for kind in (SegmentDock, ScoresDock, PromptsDock)]
    viewer.dims.set_point(0, 1)
    workspace.shown.look_at_plane()
    workspace.prompts.write([PlanePrompts(0, 2, (BOX,))])
    if selected:
        viewer.layers.select_all()
        viewer.layers.remove_selected()
    else:
        viewer.layers.remove(series)  # the axis of time goes with it
    at_rest(workspace)
    assert workspace.image_layer is None
    assert workspace.frame() is None
    assert len(docks) == 3


def test_select_all_and_delete(qapp: Any) -> None:
    for _ in range(6):  # napari goes through a set: in half of the tries it was another order
        workspace, _ = segmented(2)
        workspace.viewer.layers.select_all()
        workspace.viewer.layers.remove_selected()
        at_rest(workspace)
        assert len(workspace.viewer.layers) == 0


def test_the_first_image_of_all_is_taken_up_while_layers_come(qapp: Any) -> None:
    workspace, _ = segmented(1)
    image = workspace.image_layer
    workspace.viewer.layers.clear()
    workspace.viewer.layers.append(image)
    assert workspace.image_layer is image
    assert workspace.masks.held() == []
    at_rest(workspace)
    assert list(workspace.viewer.layers) == [image]
