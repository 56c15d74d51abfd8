"""How loss and accuracy go on from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_cam_sam.plugin.qt.plots import Plot, ThemeColours, add_legend_above, style_axes

if TYPE_CHECKING:
    from napari_cam_sam.models.training.results import Epoch

__all__ = ["TrainingCurves"]


class TrainingCurves(Plot):
    """Loss above accuracy, of training and validation, with a line at the best epoch.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, 300)
        self.setMaximumHeight(360)
        self.setToolTip(
            "The network learns from augmented training images; validation images choose the "
            "epoch that is kept. Where the curves part, it overfits."
        )

    def show_epochs(self, epochs: Sequence[Epoch], total: int) -> None:
        """Draw the epochs so far, of so many."""
        epochs = tuple(epochs)
        best = max((epoch.number for epoch in epochs if epoch.best), default=None)
        known = [epoch for epoch in epochs if not math.isnan(epoch.validation_loss)]

        def paint(figure: Any, colours: ThemeColours) -> None:
            upper, lower = figure.subplots(2, 1, sharex=True)
            style_axes(upper, colours, "", "Loss")
            style_axes(lower, colours, "Epoch", "Accuracy")
            numbers = [epoch.number for epoch in epochs]
            for axes, own, other in (
                (upper, [e.loss for e in epochs], [e.validation_loss for e in known]),
                (lower, [e.accuracy for e in epochs], [e.validation_accuracy for e in known]),
            ):
                axes.plot(numbers, own, color=colours.second, lw=1.5, marker="s", ms=3,
                          label="training")  # fmt: skip
                if known:
                    axes.plot([e.number for e in known], other, color=colours.first, lw=1.8,
                              marker="o", ms=3.5, label="validation")  # fmt: skip
                if best is not None:
                    label = f"kept: {best}"
                    axes.axvline(best, color=colours.text, lw=1, ls=":", label=label)
            losses = [e.loss for e in epochs] + [e.validation_loss for e in known]
            upper.set_ylim(0, 1.1 * max(filter(math.isfinite, losses), default=1.0))
            lower.set_ylim(-0.03, 1.03)
            # The axis is as long as the training: one sees how much is to come.
            lower.set_xlim(0.5, max(total, 2) + 0.5)
            lower.xaxis.get_major_locator().set_params(integer=True)
            add_legend_above(figure, upper, colours)

        self.draw(paint)
