"""One picture of a run: image, heatmap, prompts, and the contours of mask and truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.evaluation.truth import truth_plane
from napari_cam_sam.images.geometry import Hanging, hanging
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import apply_window
from napari_cam_sam.pipeline.results import RunResult
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.text import drawn

__all__ = ["draw_contours", "draw_heatmap", "draw_overview", "draw_prompts", "hang"]

_MOST_PLANES = 6
_PREDICTION, _TRUTH, _POSITIVE, _NEGATIVE = "#ffb000", "#40e0ff", "#50ff50", "#ff5050"
_COLOUR_WORDS = "orange: mask    cyan, dashed: truth    green: positive    red: negative"


def draw_overview(path: Path, result: RunResult, truth: Image | None = None) -> None:
    """Draw up to six planes, a row each, and save them as PNG.

    They are spread over the planes that have prompts, a score, or a mask from another plane.
    Colours are told apart by line style too: masks are solid, the truth is dashed. Planes of a
    volume with an affine hang as in the viewer, with letters for the sides of the patient.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    result : RunResult
    truth : Image, optional
    """
    # The object interface leaves a user's own pyplot state, and any viewer's backend, alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = _choose(result)
    axis = result.parameters.axis
    rows, columns = result.image.plane_shape(axis)
    row_spacing, column_spacing = result.image.geometry.plane_spacing(axis)
    aspect = row_spacing / column_spacing
    view = hanging(result.image.geometry, axis)
    titles = ["image", "heatmap", "prompts", "mask"]
    if result.heatmap is None:
        titles.remove("heatmap")
    height = min(3.2, max(1.0, 2.6 * rows * aspect / columns))
    figure = Figure(figsize=(2.7 * len(titles), (height + 0.45) * len(shown) + 0.3), dpi=100)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(shown), len(titles), squeeze=False)
    for line, prompts in zip(grid, shown, strict=True):
        index = prompts.index
        plane = apply_window(result.image.plane(axis, index), result.window)
        where = result.image.plane_index(axis, index)
        for axes, title in zip(line, titles, strict=True):
            axes.imshow(plane, cmap="gray", vmin=0, vmax=255, aspect=aspect)
            axes.set_axis_off()
            if title == "heatmap" and result.heatmap is not None:
                draw_heatmap(axes, result.heatmap[where], aspect)
            if title == "prompts":
                draw_prompts(axes, prompts)
            if title == "mask":
                answer = None
                if truth is not None:
                    answer = truth_plane(truth, axis, index, result.parameters.truth_label) > 0
                draw_contours(axes, result.labels[where] > 0, answer)
            hang(axes, view, (rows, columns), letters=title == "image")
            axes.set_title(drawn(_title(title, result, prompts)), fontsize=8)
    figure.text(
        0.01,
        0.004,
        drawn(f"{result.image.name}: {len(shown)} of {len(_worth_showing(result))} slices with ")
        + f"prompts, a mask or a score    {_COLOUR_WORDS}",
        fontsize=7,
    )
    figure.tight_layout(pad=0.4, rect=(0, 0.02, 1, 1))
    figure.savefig(path, format="png")


def _worth_showing(result: RunResult) -> list[PlanePrompts]:
    """Planes with prompts, a mask or a score: what was missed is as much a result."""
    also = {index for index, _ in result.scores} | {
        index for index, parts in result.sources.items() if any(p.source != "none" for p in parts)
    }
    return [p for p in result.prompts if p.objects or p.index in also] or list(result.prompts)


def _choose(result: RunResult) -> list[PlanePrompts]:
    pool = _worth_showing(result)
    if len(pool) <= _MOST_PLANES:
        return pool
    chosen = np.linspace(0, len(pool) - 1, _MOST_PLANES).round().astype(int).tolist()
    prompted = [i for i, plane in enumerate(pool) if plane.objects]
    # Of a volume few planes may be prompted: the one that all else is from is not left out.
    if prompted and not set(prompted) & set(chosen):
        middle = prompted[len(prompted) // 2]
        chosen[min(range(_MOST_PLANES), key=lambda k: abs(chosen[k] - middle))] = middle
    return [pool[i] for i in sorted(chosen)]


def hang(axes: Any, view: Hanging, shape: Sequence[int], letters: bool) -> None:
    """Set the axes so that a plane hangs as in the viewer.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    view : Hanging
    shape : sequence of int
        Rows and columns of the plane.
    letters : bool
        Whether letters name its sides, where the view knows them.
    """
    x, y = view.limits(shape)
    axes.set(xlim=x, ylim=y)
    if not letters or view.letters is None:
        return
    places = ((0.5, 0.99), (0.5, 0.01), (0.01, 0.5), (0.99, 0.5))
    for letter, (across, up) in zip(view.letters, places, strict=True):
        axes.text(
            across, up, letter, transform=axes.transAxes, fontsize=7, color="white",
            ha={0.01: "left", 0.99: "right"}.get(across, "center"),
            va={0.01: "bottom", 0.99: "top"}.get(up, "center"),
            bbox={"facecolor": "black", "alpha": 0.5, "linewidth": 0, "pad": 0.8},
        )  # fmt: skip


def draw_heatmap(axes: Any, heatmap: NDArray[np.float32], aspect: float) -> None:
    """Lay a heatmap over an image.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    heatmap : ndarray of float32, shape (rows, columns)
        In [0, 1].
    aspect : float
        Height of a pixel over its width.
    """
    opacity = 0.15 + 0.6 * heatmap
    axes.imshow(heatmap, cmap="inferno", alpha=opacity, vmin=0, vmax=1, aspect=aspect)


def draw_contours(axes: Any, mask: NDArray[np.bool_], truth: NDArray[np.bool_] | None) -> None:
    """Draw the outlines of a mask, solid, and of the truth, dashed.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    mask, truth : ndarray of bool, shape (rows, columns)
        The truth may be None.
    """
    _contour(axes, mask, _PREDICTION, "solid")
    if truth is not None:
        _contour(axes, truth, _TRUTH, "dashed")


def _contour(axes: Any, mask: NDArray[np.bool_], colour: str, style: str) -> None:
    if mask.any():
        # A frame of background closes contours at the border of the plane.
        padded = np.pad(mask.astype(float), 1)
        x, y = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
        axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=1.2, linestyles=style)


def draw_prompts(axes: Any, prompts: PlanePrompts) -> None:
    """Draw boxes, positive points as + and negative ones as ×.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    prompts : PlanePrompts
    """
    from matplotlib.patches import Rectangle

    for prompt in prompts.objects:
        if prompt.box is not None:
            box = prompt.box
            corner = (box.column_min - 0.5, box.row_min - 0.5)
            size = box.width, box.height
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=_POSITIVE, linewidth=1.2))
        for point in prompt.points:
            marker, colour = ("+", _POSITIVE) if point.positive else ("x", _NEGATIVE)
            look = {"marker": marker, "color": colour, "markersize": 7, "markeredgewidth": 1.5}
            axes.plot(point.column, point.row, **look)


def _title(column: str, result: RunResult, prompts: PlanePrompts) -> str:
    index = prompts.index
    if column == "image":
        where = f"axis {prompts.axis}, slice {index}"
        return result.image.name if result.image.spatial_ndim == 2 else where
    if column == "heatmap":
        return f"heatmap, p = {result.probabilities.get(index, float('nan')):.2f}"
    if column == "prompts":
        return "prompts" if prompts.objects else (prompts.reason or "no prompts")[:48]
    sources = dict.fromkeys(part.source for part in result.sources.get(index, ()))
    title = " ".join(source for source in sources if source != "none") or "mask"
    found = [scores for (i, _), scores in result.scores.items() if i == index]
    if not found:
        return title
    dice = float(np.mean([scores.values["dice"] for scores in found]))
    return f"{title}, Dice {dice:.3f}"
