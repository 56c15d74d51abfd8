"""Scores as plots: curves over thresholds, and values along the planes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_cam_sam.plugin.qt.plots import (
    Plot,
    ThemeColours,
    add_legend,
    add_legend_above,
    style_axes,
)
from napari_cam_sam.text import drawn
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import ScoredRow
    from napari_cam_sam.metrics.curves import Curve
    from napari_cam_sam.plugin.scores.score_rows import Subject
    from napari_cam_sam.plugin.scores.scoring_run import ScoringRun

__all__ = ["CurvesPlot", "PlanesPlot"]


class CurvesPlot(Plot):
    """ROC above precision–recall, each with its area and what chance gives.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, 320)
        self.setToolTip(
            "All thresholds of the heatmap, over all its slices as one volume. Dashed: chance."
        )

    def show_run(self, run: ScoringRun | None) -> None:
        """Draw the curves of a scoring, as far as it has some."""
        volume = None if run is None else run.volume
        roc, precision_recall = (
            (None, None) if volume is None else (volume.roc, volume.precision_recall)
        )
        if run is None or roc is None or precision_recall is None or not roc.x.size:
            self.show_message("")
        else:
            slices = counted(len(run.job.heatmap_planes), "slice")
            self._show_curves(roc, precision_recall, f"{run.subject.heatmap}, {slices}")

    def _show_curves(self, roc: Curve, precision_recall: Curve, title: str) -> None:
        """Draw both curves; ``title`` says of what."""

        def paint(figure: Any, colours: ThemeColours) -> None:
            upper, lower = figure.subplots(2, 1)
            figure.suptitle(drawn(title), color=colours.text, fontsize=colours.size)
            for axes, curve, name, labels, style, chance in (
                (upper, roc, "AUROC", ("False positive rate", "True positive rate"), "default",
                 ([0, 1], [0, 1])),
                (lower, precision_recall, "AUPRC", ("Recall", "Precision"), "steps-pre",
                 ([0, 1], [precision_recall.baseline] * 2)),
            ):  # fmt: skip
                style_axes(axes, colours, *labels)
                axes.plot(*chance, "--", color=colours.text, lw=1,
                          label=f"chance {curve.baseline:.3f}")  # fmt: skip
                axes.plot(
                    curve.x, curve.y, color=colours.first, lw=1.8, drawstyle=style,
                    label=f"{name} {_number(curve.area)}",
                )  # fmt: skip
                axes.set_xlim(-0.02, 1.02)
                axes.set_ylim(-0.02, 1.02)
                add_legend(axes, colours, "best")

        self.draw(paint)


class PlanesPlot(Plot):
    """Scores along the planes, with a line at the plane shown; a click asks for a plane.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    plane_chosen = Signal(int)

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, 230)
        self.setToolTip("Click to go to a slice. Slices without either mask are left out.")
        self._planes: list[int] = []
        self._shown: int | None = None
        self._line: Any = None
        self.picked.connect(self._nearest)

    def show_rows(self, rows: Iterable[ScoredRow], subject: Subject | None) -> None:
        """Draw the scores of the slices among the rows of a table, as far as there are some."""
        planes = [row for row in rows if row.kind == "plane"]
        if subject is None or not planes:
            self.show_message("")
            return
        dice, auroc = (
            {row.number: row.scores.values.get(name, math.nan) for row in planes}
            for name in ("dice", "auc_judd")
        )
        self._show_scores(dice, auroc, subject.axis)

    def _show_scores(
        self, dice: Mapping[int, float], auroc: Mapping[int, float], axis: int
    ) -> None:
        """Draw the Dice of planes and the AUROC of their heatmaps."""
        self._planes = sorted(dice)

        def paint(figure: Any, colours: ThemeColours) -> None:
            axes = figure.subplots()
            style_axes(axes, colours, f"Slice along axis {axis}", "Score")
            low, high = self._planes[0], self._planes[-1]
            for values, name, colour, mark in (
                (dice, "Dice", colours.first, "o"),
                (auroc, "AUROC of the heatmap", colours.second, "s"),
            ):
                # Broken where planes are missing.
                line = [values.get(i, math.nan) for i in range(low, high + 1)]
                if not all(map(math.isnan, line)):
                    axes.plot(range(low, high + 1), line, color=colour, marker=mark, ms=4, lw=1.5,
                              label=name)  # fmt: skip
            axes.set_ylim(-0.03, 1.03)
            axes.xaxis.get_major_locator().set_params(integer=True)
            self._line = axes.axvline(0, color=colours.text, lw=1, ls=":", label="shown")
            self._move_line()
            axes.set_xlim(low - 1, high + 1)
            add_legend_above(figure, axes, colours)

        self.draw(paint)

    def show_plane(self, index: int | None) -> None:
        """Move the line to the plane shown; None hides it."""
        self._shown = index
        if self._line is not None and self._paint is not None:
            self._move_line()
            self.canvas.draw_idle()

    def _move_line(self) -> None:
        self._line.set_visible(self._shown is not None)
        if self._shown is not None:
            self._line.set_xdata([self._shown, self._shown])

    def _nearest(self, x: float) -> None:
        if self._planes:
            self.plane_chosen.emit(min(self._planes, key=lambda i: abs(i - x)))


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.3f}"
