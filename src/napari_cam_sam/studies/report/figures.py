"""Figures of a report, as data addresses that a page holds within itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from napari_cam_sam.images.geometry import AS_IT_IS, Hanging
from napari_cam_sam.pipeline.overview import (
    close_up,
    draw_contours,
    draw_heatmap,
    draw_prompts,
    hang,
)
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.text import drawn

__all__ = ["CaseView", "box_plots", "case_picture", "curves", "differences"]

# Of Okabe and Ito: told apart by all kinds of colour vision, and in gray by their lightness.
_SOURCE_COLOURS = {
    "cam": "#0072B2", "truth": "#009E73", "annotator": "#E69F00", "heatmap": "#CC79A7",
}  # fmt: skip
_LINES = (
    ("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D"),
    ("#E69F00", "-", "v"), ("#56B4E9", "--", "P"),
)  # fmt: skip
_INK, _GRID = "#222222", "#d9d9d9"

# More points than these in a figure say no more than its boxes do.
_MOST_POINTS = 1500
_STYLE: dict[Any, Any] = {
    "text.usetex": False,  # a matplotlibrc in the working folder may ask for it, and runs LaTeX
    "font.size": 9, "axes.edgecolor": "#555555", "axes.labelcolor": _INK, "xtick.color": _INK,
    "ytick.color": _INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "svg.hashsalt": "napari-cam-sam",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class CaseView:
    """What is drawn of a case that was run again: one plane with all that was found on it.

    Attributes
    ----------
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Seen through the window of the run.
    heatmap : ndarray of float32 in [0, 1], shape (rows, columns), or None
    prompts : PlanePrompts
    mask : ndarray of bool, shape (rows, columns)
    truth : ndarray of bool, shape (rows, columns), or None
    aspect : float
        Height of a pixel by its width.
    hanging : Hanging
        How the plane hangs, as in the viewer.
    """

    plane: NDArray[np.uint8]
    heatmap: NDArray[np.float32] | None
    prompts: PlanePrompts
    mask: NDArray[np.bool_]
    truth: NDArray[np.bool_] | None
    aspect: float = 1.0
    hanging: Hanging = AS_IT_IS


@rc_context(_STYLE)
def box_plots(
    values: Mapping[str, NDArray[np.float64]],
    sources: Mapping[str, str],
    label: str,
    limits: tuple[float, float] | None,
) -> str:
    """Draw a box for each setting: quartiles, median, whiskers to 1.5 of the box, mean, cases.

    Parameters
    ----------
    values : mapping of str to ndarray of float64, shape (cases,)
        Finite values by setting, drawn from top to bottom.
    sources : mapping of str to str
        Where the prompts of each setting come from.
    label : str
        Of the axis.
    limits : (float, float) or None
        Of the axis; None for those of the values.

    Returns
    -------
    str
        An SVG as a data address.
    """
    names = list(values)
    figure = _figure(8.2, 0.9 + 0.3 * len(names))
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    few = sum(found.size for found in values.values()) <= _MOST_POINTS
    for row, name in enumerate(names):
        found, colour = values[name], _SOURCE_COLOURS.get(sources.get(name, ""), "#777777")
        if not found.size:
            continue
        axes.boxplot(
            found,
            positions=[row],
            widths=0.62,
            orientation="horizontal",
            manage_ticks=False,
            patch_artist=True,
            showfliers=not few,
            boxprops={"facecolor": colour + "40", "edgecolor": colour},
            whiskerprops={"color": colour},
            capprops={"color": colour},
            medianprops={"color": _INK, "linewidth": 1.6},
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colour},
        )
        if few:
            spread = row + rng.uniform(-0.2, 0.2, found.size)
            axes.plot(found, spread, ".", color=colour, markersize=3.2, alpha=0.55, zorder=2.5)
        axes.plot(
            found.mean(), row, "D", color="white", markeredgecolor=_INK, markersize=5, zorder=4
        )
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    if limits is not None:
        axes.set_xlim(*limits)
    axes.grid(axis="x", color=_GRID, linewidth=0.7)
    axes.set_xlabel(label)
    shown = [s for s in _SOURCE_COLOURS if s in {sources.get(n) for n in names}]
    if len(shown) > 1:
        handles = [
            Patch(facecolor=_SOURCE_COLOURS[s] + "40", edgecolor=_SOURCE_COLOURS[s], label=s)
            for s in shown
        ]
        figure.legend(
            handles=handles, title="prompts from", ncols=len(shown), loc="outside upper right",
            frameon=False, fontsize=8, title_fontsize=8,
        )  # fmt: skip
    return _svg(figure)


@rc_context(_STYLE)
def curves(curve: pd.DataFrame, label: str, limits: tuple[float, float] | None) -> str:
    """Draw a metric against the number of prompts, the mean with its band of quartiles.

    Parameters
    ----------
    curve : DataFrame
        Of :func:`~napari_cam_sam.studies.report.statistics.annotator_curve`, of at most six
        settings.
    label : str
        Of the axis.
    limits : (float, float) or None

    Returns
    -------
    str
        An SVG as a data address.
    """
    figure = _figure(8.2, 3.8)
    axes = figure.subplots()
    looks = zip(curve.groupby("setting", sort=False), _LINES, strict=False)
    for (name, part), (colour, line, marker) in looks:
        axes.fill_between(part["step"], part["p25"], part["p75"], color=colour, alpha=0.13, lw=0)
        axes.plot(
            part["step"], part["mean"], color=colour, linestyle=line, marker=marker, markersize=5,
            label=f"{_short(str(name))} (mean)",
        )  # fmt: skip
        axes.plot(part["step"], part["median"], color=colour, linestyle=line, lw=0.8, alpha=0.6)
    axes.set_xticks(sorted(int(step) for step in curve["step"].unique()))
    if limits is not None:
        axes.set_ylim(*limits)
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_xlabel("number of prompts")
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return _svg(figure)


@rc_context(_STYLE)
def differences(found: pd.DataFrame, label: str) -> str:
    """Draw mean paired differences with their intervals, filled where Holm's p is below .05.

    Parameters
    ----------
    found : DataFrame
        Of :func:`~napari_cam_sam.studies.report.statistics.compare_settings`.
    label : str
        Of the axis.

    Returns
    -------
    str
        An SVG as a data address.
    """
    rows: list[Any] = list(found.itertuples(index=False))
    figure = _figure(8.2, 0.8 + 0.3 * len(rows))
    axes = figure.subplots()
    axes.axvline(0, color="#555555", linewidth=1)
    for row, one in enumerate(rows):
        sure = one.p_holm < 0.05
        axes.plot([one.ci_low, one.ci_high], [row, row], color="#0072B2", linewidth=1.6)
        axes.plot(
            one.mean, row, "o", markersize=6, color="#0072B2" if sure else "white",
            markeredgecolor="#0072B2",
        )  # fmt: skip
    references = {one.b for one in rows}
    if len(references) == 1:
        names = [_short(one.a) for one in rows]
        label = f"{label}, minus that of {_short(references.pop())}"
    else:
        names = [f"{_short(one.a, 34)}  −  {_short(one.b, 34)}" for one in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=_GRID, linewidth=0.7)
    axes.set_xlabel(label)
    return _svg(figure)


@rc_context(_STYLE)
def case_picture(view: CaseView) -> str:
    """Draw a case in four parts: image, heatmap, prompts, and from near the mask and truth.

    Parameters
    ----------
    view : CaseView

    Returns
    -------
    str
        A PNG as a data address.
    """
    titles = ["image", "heatmap", "prompts", "mask and truth"]
    if view.heatmap is None:
        titles.remove("heatmap")
    rows, columns = view.plane.shape[:2]
    lines, width = (2, 2) if len(titles) == 4 else (1, 3)
    height = float(np.clip(2.2 * rows * view.aspect / columns, 0.9, 3.2)) + 0.25
    figure = _figure(2.25 * width, height * lines)
    grid = figure.subplots(lines, width, squeeze=False)
    near = close_up([view.mask] if view.truth is None else [view.mask, view.truth])
    for axes, title in zip(grid.flat, titles, strict=True):
        axes.imshow(view.plane, cmap="gray", vmin=0, vmax=255, aspect=view.aspect)
        if title == "heatmap" and view.heatmap is not None:
            draw_heatmap(axes, view.heatmap, view.aspect)
        if title == "prompts":
            draw_prompts(axes, view.prompts)
        if title == "mask and truth":
            draw_contours(axes, view.mask, view.truth)
        first, last = title == "image", title == "mask and truth"
        hang(
            axes,
            view.hanging,
            (rows, columns),
            first,
            near if last else None,
            near if first else None,
        )
        axes.set_axis_off()
        axes.set_title(title, fontsize=8, color=_INK, pad=3)
    return _address(figure, "png", dpi=110)


def _figure(width: float, height: float) -> Figure:
    """Make a figure that leaves a user's own pyplot state, and any viewer's backend, alone."""
    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    return _address(figure, "svg", metadata={"Date": None, "Creator": None})


def _address(figure: Figure, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    mime = "image/svg+xml" if kind == "svg" else f"image/{kind}"
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _short(name: str, most: int = 46) -> str:
    """Cut a long name in the middle: its ends are what tells settings apart."""
    if len(name) > most:
        half = (most - 1) // 2
        name = f"{name[:half]}…{name[-half:]}"
    return drawn(name)
