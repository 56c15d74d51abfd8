from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.layers.styles import HEATMAP, LABELS, PROMPT_PREVIEW, PROMPTS


def test_a_labels_layer_has_the_colours_of_its_style_and_nothing_else_shows() -> None:
    colours = LABELS["comparison"].colours
    assert colours is not None
    layer = LABELS["comparison"].add(ViewerModel(), np.zeros((8, 8), np.uint8))
    for value, colour in colours.items():
        hexed = "#" + "".join(f"{round(255 * float(c)):02x}" for c in layer.get_color(value)[:3])
        assert hexed == colour
    assert layer.get_color(7)[3] == 0
    assert layer.opacity == LABELS["comparison"].opacity


@pytest.mark.parametrize(("side", "contour"), [(64, 1), (1024, 4)])
def test_outlines_are_thicker_on_larger_planes(side: int, contour: int) -> None:
    layer = LABELS["preview"].add(ViewerModel(), np.zeros((3, side, side), np.uint16))
    assert layer.contour == contour
    assert not layer.editable
    assert LABELS["labels"].add(ViewerModel(), np.zeros((side, side), int)).contour == 0


def test_the_image_shows_through_the_outline_of_explained_pixels() -> None:
    layer = LABELS["explained"].add(ViewerModel(), np.zeros((8, 8), np.uint8))
    assert (layer.opacity, layer.contour) == (0.7, 1)


def test_a_heatmap_lies_transparent_over_the_image() -> None:
    layer = HEATMAP.add(ViewerModel(), np.zeros((8, 8), np.float32), name="x")
    assert (layer.name, layer.colormap.name, layer.blending) == ("x", "inferno", "additive")
    assert layer.opacity == 0.6
    assert tuple(layer.contrast_limits) == (0, 1)


def test_prompts_can_be_seen_on_small_images_and_grow_with_large_ones() -> None:
    assert PROMPTS.points((5, 64, 64))["size"] == 3
    assert PROMPTS.points((5, 1000, 2000))["size"] == 25
    assert PROMPTS.boxes((64, 64))["edge_width"] == 1
    assert PROMPTS.boxes((480, 480))["edge_width"] == 2
    assert PROMPT_PREVIEW.shapes((64, 64))["edge_width"] == 0.4
    assert np.ptp(PROMPT_PREVIEW.circle((600, 900)), axis=0) == pytest.approx([20, 20], abs=0.8)
