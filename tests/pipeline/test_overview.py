"""The picture of a run: what is found is seen on it, and told apart when it is small."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from skimage.color import rgb2lab

import napari_cam_sam as ncs
from napari_cam_sam.colours import HEATMAP, HEATMAP_OPACITY, MASKS, SOURCES, TRUTH
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.geometry import Hanging
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.pipeline.overview import (
    _choose,
    close_up,
    draw_contours,
    draw_heatmap,
    draw_overview,
    hang,
)
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

THUMBNAIL = 240


def count(picture: Image.Image, colour: str) -> int:
    """Count pixels of the hue of a colour, and about as bright."""
    lab = rgb2lab(np.asarray(picture, float) / 255)
    wanted = rgb2lab(np.array(to_rgb(colour)))
    hues = np.arctan2(lab[..., 2], lab[..., 1]) - np.arctan2(wanted[2], wanted[1])
    alike = np.abs(np.angle(np.exp(1j * hues))) < np.deg2rad(20)
    alike &= np.abs(lab[..., 0] - wanted[0]) < 28
    return int((alike & (np.hypot(lab[..., 1], lab[..., 2]) > 20)).sum())


@pytest.mark.parametrize("name", ["ct", "ultrasound"])
def test_mask_truth_heatmap_and_box_are_told_apart_on_a_thumbnail(
    name: str, tmp_path: Path
) -> None:
    sample = make_sample(name)
    result = ncs.run_image(
        sample.image,
        ncs.load_segmenter("compact-sam", "cpu"),
        ncs.load_classifier(sample.classifier, device="cpu"),
        ncs.RunParameters(
            window=parse_window(sample.window),
            cam=ncs.CamParameters(target=sample.target, min_probability=0.5),
        ),
        sample.truth,
    )
    draw_overview(tmp_path / "overview.png", result, sample.truth)
    with Image.open(tmp_path / "overview.png") as picture:
        small = picture.convert("RGB").resize(
            (THUMBNAIL, round(picture.height * THUMBNAIL / picture.width)), Image.Resampling.LANCZOS
        )
    rows = min(6, sum(bool(p.objects) for p in result.prompts))
    for colour in (MASKS[0], TRUTH, HEATMAP[-2], SOURCES["cam"]):
        assert count(small, colour) > 15 * rows, colour


def _drawn(*parts: str) -> Image.Image:
    """Draw a heatmap, and a mask within a truth, over gray."""
    figure = Figure(figsize=(2, 2), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.full((40, 40), 128), cmap="gray", vmin=0, vmax=255)
    mask, truth = np.zeros((2, 40, 40), bool)
    mask[15:25, 15:25], truth[5:35, 5:35] = True, True
    if "heatmap" in parts:
        draw_heatmap(axes, np.tile(np.linspace(0, 1, 40, dtype=np.float32), (40, 1)), 1)
    if "outlines" in parts:
        draw_contours(axes, mask, truth)
    hang(axes, Hanging(), (40, 40))
    axes.set_axis_off()
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])


def test_outlines_are_an_orange_line_with_a_dark_rim_and_a_thin_cyan_one() -> None:
    picture = _drawn("outlines")
    middle = np.asarray(picture, int)[:, 100]
    dark = (middle < 40).all(axis=1)
    orange = np.abs(middle - np.multiply(to_rgb(MASKS[0]), 255)).max(axis=1) < 25
    cyan = np.abs(middle - np.multiply(to_rgb(TRUTH), 255)).max(axis=1) < 60
    # Both outlines are crossed twice.
    assert orange.sum() >= 2 * 3
    assert dark.sum() >= 2 * 2
    assert 2 <= cyan.sum() < orange.sum()


def test_a_heatmap_is_as_in_the_viewer_and_leaves_the_image_clear_where_it_is_0() -> None:
    row = np.asarray(_drawn("heatmap"), float)[100] / 255
    np.testing.assert_allclose(row[2], 128 / 255, atol=0.02)
    wanted = HEATMAP_OPACITY * np.array(to_rgb(HEATMAP[-1])) + (1 - HEATMAP_OPACITY) * 128 / 255
    np.testing.assert_allclose(row[-3], wanted, atol=0.03)


def test_the_close_up_holds_all_masks_in_the_proportions_of_the_plane() -> None:
    mask, truth = np.zeros((2, 60, 120), bool)
    assert close_up([mask, truth]) is None
    mask[50:58, 100:118], truth[48:52, 90:100] = True, True
    found = close_up([mask, truth])
    assert found is not None
    rows, columns = found
    assert mask[found].sum() + truth[found].sum() == mask.sum() + truth.sum()
    assert rows.stop <= 60
    assert columns.stop <= 120
    assert (rows.stop - rows.start) * 2 == columns.stop - columns.start
    truth[:] = True
    assert close_up([mask, truth]) is None
    # A single pixel is not blown up beyond all recognition.
    mask[:], mask[0, 0] = False, True
    assert close_up([mask]) == (slice(0, 20), slice(0, 40))


@pytest.mark.parametrize("flip", [False, True])
def test_a_close_up_hangs_as_the_plane_does(flip: bool) -> None:
    axes = Figure().subplots()
    hang(axes, Hanging(flip, flip), (60, 120), part=(slice(10, 30), slice(40, 80)))
    x, y = (39.5, 79.5), (29.5, 9.5)
    assert axes.get_xlim() == (x[::-1] if flip else x)
    assert axes.get_ylim() == (y[::-1] if flip else y)


@pytest.mark.parametrize(("best", "worst"), [(11, 8), (8, 14), (10, 11), (13, 12)])
def test_the_best_and_the_worst_plane_are_among_those_shown(best: int, worst: int) -> None:
    one = ObjectPrompt(1, (), Box(4, 5, 12, 15))
    prompts = tuple(PlanePrompts(0, i, (one,)) for i in range(8, 15))
    dice = dict.fromkeys(range(8, 15), 0.5) | {best: 0.9, worst: 0.1}
    scores = {(i, 1): SimpleNamespace(values={"dice": value}) for i, value in dice.items()}
    result: Any = SimpleNamespace(prompts=prompts, scores=scores, sources={})
    shown = [plane.index for plane in _choose(result)]
    assert len(set(shown)) == 6
    assert shown == sorted(shown)
    assert {best, worst} < set(shown)
