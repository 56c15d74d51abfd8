"""One picture of a run: image, heatmap, prompts, and the contours of mask and truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.colours import (
    HEATMAP,
    HEATMAP_OPACITY,
    MASKS,
    POINTS,
    RIM,
    SOURCES,
    TRUTH,
)
from napari_cam_sam.evaluation.truth import truth_plane
from napari_cam_sam.images.geometry import Hanging, hanging
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import apply_window
from napari_cam_sam.pipeline.results import RunResult
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.text import drawn

__all__ = [
    "COLOUR_WORDS",
    "close_up",
    "draw_contours",
    "draw_heatmap",
    "draw_overview",
    "draw_prompts",
    "hang",
]

_MOST_PLANES = 6
COLOUR_WORDS = (
    "Mask: orange. Truth: thin, cyan. Heatmap: violet to red. Boxes: pink from a heatmap, cyan "
    "from a truth, white by a user. Points: + positive, × negative."
)
"""What the colours of the pictures mean."""
# Of the sides of a plane; less of it says not where it is.
_LEAST_CLOSE_UP = 1 / 3


def draw_overview(path: Path, result: RunResult, truth: Image | None = None) -> None:
    """Draw up to six planes, a row each, and save them as PNG.

    They are spread over the planes that have prompts, a score, or a mask from another plane, the
    best and the worst by Dice among them. A row shows the plane, its heatmap with the prompts, and
    from near the outlines of mask and truth. Colours are those of the viewer; without them the mask
    is told from the truth by its width and dark rim. Planes of a volume with an affine hang as in
    the viewer, with letters for the sides of the patient.

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
    rows, columns = shape = result.image.plane_shape(axis)
    row_spacing, column_spacing = result.image.geometry.plane_spacing(axis)
    aspect = row_spacing / column_spacing
    view = hanging(result.image.geometry, axis)
    masks = [result.labels[result.image.plane_index(axis, p.index)] > 0 for p in shown]
    answers: list[NDArray[np.bool_] | None] = [None] * len(shown)
    if truth is not None:
        label = result.parameters.truth_label
        answers = [truth_plane(truth, axis, p.index, label) > 0 for p in shown]
    # One for all rows: they are looked at one below the other.
    near = close_up([*masks, *(a for a in answers if a is not None)])
    height = min(4.0, max(1.2, 3.2 * rows * aspect / columns))
    figure = Figure(figsize=(9.6, (height + 0.45) * len(shown) + 0.3), dpi=100)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(shown), 3, squeeze=False)
    for line, prompts, mask, answer in zip(grid, shown, masks, answers, strict=True):
        plane = apply_window(result.image.plane(axis, prompts.index), result.window)
        for axes in line:
            axes.imshow(plane, cmap="gray", vmin=0, vmax=255, aspect=aspect)
            axes.set_axis_off()
        image, prompted, outlined = line
        if result.heatmap is not None:
            heatmap = result.heatmap[result.image.plane_index(axis, prompts.index)]
            draw_heatmap(prompted, heatmap, aspect)
        draw_prompts(prompted, prompts)
        draw_contours(outlined, mask, answer)
        hang(image, view, shape, letters=True, frame=near)
        hang(prompted, view, shape)
        hang(outlined, view, shape, part=near)
        for axes, title in zip(line, _titles(result, prompts), strict=True):
            axes.set_title(fill(drawn(title), 64), fontsize=8)
    words = (
        f"{result.image.name}: {len(shown)} of {len(_worth_showing(result))} slices with prompts, "
    )
    words += "a mask or a score." + " Dotted: the part shown from near." * (near is not None)
    figure.text(0.01, 0.004, f"{drawn(words)}\n{COLOUR_WORDS}", fontsize=7)
    figure.tight_layout(pad=0.4, rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    figure.savefig(path, format="png")


def close_up(masks: Sequence[NDArray[np.bool_]]) -> tuple[slice, slice] | None:
    """Return the part of a plane that what is found on it is looked at in.

    Parameters
    ----------
    masks : sequence of ndarray of bool, shape (rows, columns)

    Returns
    -------
    tuple of slice, or None
        Rows and columns with all of the masks and some room, in the proportions of the plane;
        None for the whole of it.
    """
    found = np.logical_or.reduce(masks)
    if not found.any():
        return None
    ends = [np.flatnonzero(found.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    taken = [(last + 1 - first) / n for (first, last), n in zip(ends, found.shape, strict=True)]
    share = max(_LEAST_CLOSE_UP, 1.5 * max(taken))
    if share >= 1:
        return None
    sizes = [max(1, round(share * n)) for n in found.shape]
    starts = [
        int(np.clip((first + last + 1 - size) // 2, 0, n - size))
        for (first, last), size, n in zip(ends, sizes, found.shape, strict=True)
    ]
    rows, columns = (slice(at, at + size) for at, size in zip(starts, sizes, strict=True))
    return rows, columns


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
    wanted = _best_and_worst(result, pool)
    prompted = [i for i, plane in enumerate(pool) if plane.objects]
    # Of a volume few planes may be prompted: the one that all else is from is not left out.
    if prompted and not set(prompted) & {*chosen, *wanted}:
        wanted.append(prompted[len(prompted) // 2])
    for one in wanted:
        if one not in chosen:
            others = [k for k, at in enumerate(chosen) if at not in wanted]
            chosen[min(others, key=lambda k: abs(chosen[k] - one))] = one
    return [pool[i] for i in sorted(chosen)]


def _best_and_worst(result: RunResult, pool: Sequence[PlanePrompts]) -> list[int]:
    """Return where the planes of the highest and the lowest Dice are, if there are scores."""
    dice = {index: scores.values["dice"] for (index, _), scores in result.scores.items()}
    scored = [i for i, plane in enumerate(pool) if plane.index in dice]
    if not scored:
        return []
    ends = (pick(scored, key=lambda i: dice[pool[i].index]) for pick in (max, min))
    return list(dict.fromkeys(ends))


def hang(
    axes: Any,
    view: Hanging,
    shape: Sequence[int],
    letters: bool = False,
    part: tuple[slice, slice] | None = None,
    frame: tuple[slice, slice] | None = None,
) -> None:
    """Set the axes so that a plane hangs as in the viewer.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    view : Hanging
    shape : sequence of int
        Rows and columns of the plane.
    letters : bool
        Whether letters name its sides, where the view knows them.
    part : tuple of slice, optional
        Rows and columns that are shown; all without it.
    frame : tuple of slice, optional
        Rows and columns that a dotted line goes round.
    """
    from matplotlib.patches import Rectangle

    x, y = view.limits(shape)
    if part is not None:
        rows, columns = part
        x, y = view.limits((rows.stop - rows.start, columns.stop - columns.start))
        x, y = (x[0] + columns.start, x[1] + columns.start), (y[0] + rows.start, y[1] + rows.start)
    axes.set(xlim=x, ylim=y)
    if frame is not None:
        rows, columns = frame
        corner = columns.start - 0.5, rows.start - 0.5
        size = columns.stop - columns.start, rows.stop - rows.start
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linestyle=":"))
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


def draw_heatmap(axes: Any, heatmap: NDArray[np.float32], aspect: float = 1.0) -> None:
    """Lay a heatmap over an image, transparent where it is 0.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    heatmap : ndarray of float32, shape (rows, columns)
        In [0, 1].
    aspect : float
        Height of a pixel over its width.
    """
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("heatmap", HEATMAP)
    axes.imshow(heatmap, cmap=colours, alpha=HEATMAP_OPACITY, vmin=0, vmax=1, aspect=aspect)


def draw_contours(
    axes: Any, mask: NDArray[np.bool_], truth: NDArray[np.bool_] | None = None
) -> None:
    """Draw the outlines of a mask, wide with a dark rim, and of the truth, thin.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    mask, truth : ndarray of bool, shape (rows, columns)
        The truth is optional.
    """
    _contour(axes, mask, RIM, 5.2)
    _contour(axes, mask, MASKS[0], 3.0)
    if truth is not None:
        _contour(axes, truth, TRUTH, 1.4)


def _contour(axes: Any, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    if mask.any():
        # A frame of background closes contours at the border of the plane.
        padded = np.pad(mask.astype(float), 1)
        x, y = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
        axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=width)


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
            size, colour = (box.width, box.height), SOURCES[box.source]
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.5))
        for point in prompt.points:
            marker, polarity = ("+", "positive") if point.positive else ("x", "negative")
            look = {"marker": marker, "markersize": 7, "markeredgewidth": 1.8}
            axes.plot(point.column, point.row, color=POINTS[polarity], **look)


def _titles(result: RunResult, prompts: PlanePrompts) -> tuple[str, str, str]:
    """Return what stands above a plane, its prompts and its mask."""
    index = prompts.index
    plane = f"axis {prompts.axis}, slice {index}"
    if result.image.spatial_ndim == 2:
        plane = result.image.name
    prompted = "prompts" if prompts.objects else (prompts.reason or "no prompts")
    if prompts.objects and result.heatmap is not None:
        probability = result.probabilities.get(index, float("nan"))
        prompted = f"heatmap, p = {probability:.2f}, and prompts"
    sources = dict.fromkeys(part.source for part in result.sources.get(index, ()))
    mask = " ".join(source for source in sources if source != "none") or "mask"
    found = [scores for (i, _), scores in result.scores.items() if i == index]
    if found:
        mask += f", Dice {float(np.mean([scores.values['dice'] for scores in found])):.3f}"
    return plane, prompted, mask
