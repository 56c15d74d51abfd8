from __future__ import annotations

import runpy
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps.standardize_color import transform_color
from scipy import ndimage as ndi
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_cam_sam.plugin.layers.outlined_labels import OutlinedLabels, rim_label
from napari_cam_sam.plugin.layers.styles import (
    HEATMAP,
    LABELS,
    PROMPT_PREVIEW,
    PROMPTS,
    TRUTH,
    line_width,
    outline_steps,
)

CONTRAST = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "contrast.py"))
luminance, ratio = CONTRAST["luminance"], CONTRAST["ratio"]
EYES = {"all cones": np.asarray, "no green cones": CONTRAST["without_green_cones"]}


def rgb(colour: Any) -> Any:
    return np.asarray(transform_color(colour)[0][:3], float)


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
    assert (layer.name, layer.colormap.name, layer.blending) == ("x", "heatmap", "translucent")
    assert layer.opacity == 0.55
    assert tuple(layer.contrast_limits) == (0, 1)


@pytest.mark.parametrize("eyes", EYES)
def test_a_heatmap_is_seen_on_black_and_on_white_and_hides_nothing_without_evidence(
    eyes: str,
) -> None:
    layer = HEATMAP.add(ViewerModel(), np.zeros((8, 8), np.float32))
    *colours, opacity = layer.colormap.map(np.array([1.0]))[0]
    opacity *= layer.opacity
    for gray in (0.0, 1.0):
        shown = opacity * np.array(colours) + (1 - opacity) * gray
        assert ratio(luminance(EYES[eyes](shown)), gray) >= 1.8
    alpha = layer.colormap.map(np.linspace(0, 1, 50))[:, 3]
    assert alpha[0] == 0
    assert (np.diff(alpha) >= 0).all()


def test_contrast_and_deuteranopia_are_those_of_wcag_and_of_the_published_matrix() -> None:
    assert ratio(luminance([1.0, 1, 1]), luminance([0.0, 0, 0])) == pytest.approx(21)
    # As colorspacious 1.1.2 computes it.
    seen = CONTRAST["without_green_cones"]([0.2, 0.5, 0.3])
    assert seen == pytest.approx([0.4609706, 0.43236026, 0.31284234], abs=1e-6)


@pytest.mark.parametrize("eyes", EYES)
def test_an_outline_or_its_rim_stands_out_from_any_image(eyes: str) -> None:
    layer = LABELS["preview"].add(ViewerModel(), np.zeros((8, 8), np.uint16))
    rim = luminance(EYES[eyes](rgb(layer.get_color(rim_label(np.uint16)))))
    for label in range(1, 300):
        line = luminance(EYES[eyes](rgb(layer.get_color(label))))
        for around in np.linspace(0, 1, 21):
            assert max(ratio(line, around), ratio(rim, around)) >= CONTRAST["LEAST"]


@pytest.mark.parametrize("eyes", EYES)
def test_colours_of_what_means_different_things_are_told_apart(eyes: str) -> None:
    preview = LABELS["preview"].add(ViewerModel(), np.zeros((8, 8), np.uint16))
    objects = [preview.get_color(label) for label in range(1, 6)]
    accepted = LABELS["labels"].add(ViewerModel(), np.zeros((8, 8), np.uint16))
    np.testing.assert_allclose([accepted.get_color(i) for i in range(1, 6)], objects, atol=1e-6)
    for group in (
        [*objects, TRUTH.colour],
        [objects[0], PROMPT_PREVIEW.colour, *PROMPTS.edges.values()],
    ):
        labs = [rgb2lab(EYES[eyes](rgb(colour))) for colour in group]
        assert min(deltaE_ciede2000(a, b) for a, b in combinations(labs, 2)) > 10


def test_outlines_have_their_rim_outside_of_what_is_outlined() -> None:
    data = np.zeros((3, 12, 12), np.uint16)
    data[1, 3:8, 4:9], data[1, 3:8, 9:11] = 1, 2
    layer = LABELS["preview"].add(ViewerModel(), data)
    for axis, mask in ((0, data[1]), (1, data[:, 5])):
        viewer = ViewerModel()
        layer = LABELS["preview"].add(viewer, data)
        viewer.dims.order = (axis, *(a for a in range(3) if a != axis))
        viewer.dims.set_current_step(axis, (1, 5)[axis])
        drawn = np.asarray(layer._slice.image.view)
        rim = drawn == 65534
        assert rim.any()
        assert not (rim & (mask > 0)).any()
        assert set(np.unique(drawn[mask > 0])) <= {0, 1, 2}
    plain = Labels(data[1], colormap=layer.colormap)
    plain.contour = 1
    layer = OutlinedLabels(data[1], colormap=layer.colormap)
    layer.contour = 1
    drawn, usual = (np.asarray(x._slice.image.view) for x in (layer, plain))
    assert (drawn[drawn != 65534] == usual[drawn != 65534]).all()


def test_outlines_in_steps_are_thin_and_lie_where_the_labels_do() -> None:
    data = np.zeros((6, 3, 40), np.uint16)
    data[1:4, 1, 10:20] = 1
    viewer = ViewerModel()
    layer = LABELS["preview"].add(viewer, data)
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 1)
    layer.outline(1, (8, 2))
    drawn = np.asarray(layer._data_view)
    inside = data[:, 1].repeat(8, axis=0).repeat(2, axis=1) == 1
    within = ndi.binary_erosion(inside)
    assert drawn.shape == inside.shape
    assert (drawn[inside & ~within] == 1).all()
    assert (drawn[within] == 0).all()
    assert ((drawn == 65534) == (ndi.binary_dilation(inside) & ~inside)).all()
    # As many steps a pixel as are drawn in its place.
    assert layer._transforms["tile2data"].scale.tolist() == [1 / 8, 1, 1 / 2]
    assert layer.get_value((2, 1, 12)) == 1
    layer.outline(1, (1, 1))
    assert layer._data_view.shape == data[:, 1].shape
    assert layer._transforms["tile2data"].scale.tolist() == [1, 1, 1]
    layer.outline(1, (8, 2000))
    assert layer._data_view.shape == (48, 1000)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int32, np.uint32, np.int64])
def test_a_truth_of_any_type_has_a_rim_and_no_label_looks_like_it(dtype: Any) -> None:
    data = np.zeros((12, 12), dtype)
    data[3:8, 4:9] = 1 if dtype is bool else min(65534, np.iinfo(dtype).max - 1)
    layer = ViewerModel().add_labels(data)
    assert TRUTH.give(layer)
    labels = np.asarray(layer.data)
    outlines = layer._calculate_contour(labels, (slice(0, 12), slice(0, 12)))
    drawn = layer.colormap.map(outlines)
    np.testing.assert_allclose(drawn[3, 4:9], [[*rgb(TRUTH.colour), 1]] * 5, atol=1e-6)
    np.testing.assert_allclose(drawn[2, 4:9], [[0, 0, 0, 1]] * 5, atol=1e-6)
    assert layer._data_view.any()


def test_what_is_painted_into_a_truth_is_shown_in_steps_too() -> None:
    data = np.zeros((12, 12), np.uint8)
    data[3:8, 4:9] = 1
    layer = ViewerModel().add_labels(data)
    assert TRUTH.give(layer)
    layer.outline(1, (4, 4))
    layer.brush_size = 1
    layer.paint((9, 6), 1)
    drawn = np.asarray(layer._data_view)
    assert layer.data[9, 6] == 1
    assert drawn[9 * 4 : 10 * 4, 6 * 4 : 7 * 4].any()
    layer.undo()
    assert layer.data[9, 6] == 0


def test_a_truth_that_is_hidden_can_be_changed() -> None:
    viewer = ViewerModel()
    layer = viewer.add_labels(np.ones((3, 12, 12), np.uint8), visible=False)
    assert TRUTH.give(layer)
    for parts in ((1, 1), (4, 4)):
        layer.outline(1, parts)
        layer.data_setitem((np.array([0]), np.array([3]), np.array([3])), parts[0] + 1)
        assert layer.data[0, 3, 3] == parts[0] + 1
    layer.visible = True
    assert layer._data_view.shape == (48, 48)


def test_outlines_are_silent_in_three_dimensions() -> None:
    viewer = ViewerModel()
    data = np.zeros((4, 12, 12), np.uint8)
    data[1:3, 3:8, 4:9] = 255
    layer = viewer.add_labels(data)
    assert TRUTH.give(layer)
    layer.outline(1, (4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        viewer.dims.ndisplay = 3
    assert layer._data_view.shape == data.shape
    assert layer._transforms["tile2data"].scale.tolist() == [1, 1, 1]
    assert layer.get_color(255)[:3] == pytest.approx(rgb(TRUTH.colour), abs=1e-6)


def test_a_user_s_colours_and_filled_labels_have_no_rim() -> None:
    data = np.zeros((12, 12), np.uint16)
    data[3:8, 4:9] = 1
    layer = LABELS["preview"].add(ViewerModel(), data)
    layer.contour = 0
    assert (np.asarray(layer._slice.image.view) == data).all()
    layer.contour = 1
    layer.colormap = Labels(data).colormap
    assert np.asarray(layer._slice.image.view).max() == 1


def test_the_truth_gets_its_look_where_the_user_gave_it_none() -> None:
    data = np.arange(64).reshape(8, 8)
    layer = Labels(data)
    assert TRUTH.give(layer)
    assert (layer.contour, layer.opacity) == (1, 1)
    for label in (1, 7, 63):
        assert layer.get_color(label)[:3] == pytest.approx(rgb(TRUTH.colour), abs=1e-6)
    assert layer.data is data
    assert not TRUTH.give(layer)
    for of_the_user in ({"opacity": 0.4}, {"colormap": layer.colormap}):
        layer = Labels(data, **of_the_user)
        assert not TRUTH.give(layer)
        assert layer.contour == 0
    layer = Labels(data)
    layer.contour = 2
    assert not TRUTH.give(layer)


def test_lines_keep_their_width_on_the_screen() -> None:
    assert line_width((4, 4), 2) == 0.5
    for pixels, finest, expected in (
        ((1, 1), (9, 9), (3, (1, 1))),
        ((0.4, 0.4), (9, 9), (8, (1, 1))),
        ((1.5, 1.5), (9, 9), (2, (1, 1))),
        ((8, 8), (9, 9), (2, (5, 5))),
        ((8, 8), (1, 1), (1, (1, 1))),
        ((24, 3), (40, 4), (2, (16, 2))),
    ):
        assert outline_steps(pixels, 3, finest) == expected
    # A rim is one step wide at least, and seen wherever it lies.
    assert outline_steps((6.5, 6.5), 1.5, (40, 40)) == (1, (6, 6))
    # Of long pixels the lines across them come out wider, so that the others can be seen.
    assert line_width((32, 4), 2) == 0.25
    assert line_width((0.5, 1), 2) == 2


def test_prompts_can_be_seen_on_small_images_and_grow_with_large_ones() -> None:
    assert PROMPTS.points((5, 64, 64))["size"] == 3
    assert PROMPTS.points((5, 1000, 2000))["size"] == 25
    assert PROMPTS.boxes((64, 64))["edge_width"] == 1
    assert PROMPTS.boxes((480, 480))["edge_width"] == 2
    assert PROMPT_PREVIEW.shapes((64, 64))["edge_width"] == 0.4
    assert np.ptp(PROMPT_PREVIEW.circle((600, 900)), axis=0) == pytest.approx([20, 20], abs=0.8)
