"""Scores as pictures: the layer of agreement, and plots in the colours of the viewer's theme.

matplotlib is imported by the first plot that is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_sam.plugin.layers.conversion import KEY
from napari_cam_sam.plugin.qt.plain_text import Label, unmarked
from napari_cam_sam.plugin.qt.widgets import connect_until_destroyed
from napari_cam_sam.text import drawn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_cam_sam.metrics.curves import Curve
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = [
    "AGREEMENT",
    "AgreementLayer",
    "CurvesPlot",
    "PlanesPlot",
    "Plot",
    "ThemeColours",
    "dress_axes",
    "legend",
    "theme_colours",
]

AGREEMENT = {
    1: ("TP", "#00c08b", "in both"),
    2: ("FP", "#e8622c", "in the prediction alone"),
    3: ("FN", "#56b4e9", "in the truth alone"),
}
"""Values of the layer of agreement, in colours that all eyes tell apart and that show on gray."""

# Blue and orange are told apart by all eyes; a dark and a light theme need other shades of them.
_LINES = {"dark": ("#56b4e9", "#e69f00"), "light": ("#0072b2", "#b35900")}


@dataclass(frozen=True)
class ThemeColours:
    """The colours that a plot uses.

    Attributes
    ----------
    background, text, grid : str
    first, second : str
        Of lines, to be seen on the background.
    size : float
        Of the text, in points.
    """

    background: str
    text: str
    grid: str
    first: str
    second: str
    size: float


def theme_colours(theme_id: str) -> ThemeColours:
    """Read the colours of one of napari's themes."""
    from napari.utils.theme import get_theme

    theme = get_theme(theme_id)
    kind = str(getattr(theme, "type", "") or ("light" if "light" in theme_id else "dark"))
    first, second = _LINES.get(kind, _LINES["dark"])
    size = float(str(getattr(theme, "font_size", "9pt")).removesuffix("pt"))
    return ThemeColours(
        theme.background.as_hex(), theme.text.as_hex(), theme.secondary.as_hex(), first, second,
        max(7.0, size - 1),
    )  # fmt: skip


class AgreementLayer:
    """The labels layer that shows where prediction and truth agree."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def there(self) -> list[Any]:
        """List the layers of agreement over the image: one, or none."""
        image = self._workspace.image_layer
        return [
            layer
            for layer in self._workspace.viewer.layers
            if image is not None
            and layer.metadata.get(KEY, {}).get("role") == "comparison"
            and layer.metadata[KEY].get("of") == image.unique_id
        ]

    def show(self, data: NDArray[np.uint8], name: str) -> None:
        """Show an array of `AGREEMENT`, which the layer does not copy."""
        from napari.utils import DirectLabelColormap

        viewer = self._workspace.viewer
        layer = self._workspace.own("comparison")
        for old in self.there():
            if old != layer:
                viewer.layers.remove(old)
        if layer is not None and layer.data.shape == data.shape:
            layer.data, layer.name = data, f"TP/FP/FN of {name}"
            return
        active = viewer.layers.selection.active
        colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        colours |= {value: colour for value, (_, colour, _) in AGREEMENT.items()}
        viewer.add_labels(
            data,
            name=unmarked(f"TP/FP/FN of {name}"),
            opacity=0.7,
            colormap=DirectLabelColormap(color_dict=colours),
            metadata=self._workspace.mark("comparison"),
            **self._workspace.placement(),
        )
        # The user goes on to paint in the layer that was selected.
        viewer.layers.selection.active = active

    def refresh(self) -> None:
        """Show what changed in the array."""
        for layer in self.there():
            layer.refresh()

    def remove(self) -> None:
        """Take the layer away."""
        self._workspace.when_quiet(self._remove)

    def _remove(self) -> None:
        for layer in self.there():
            self._workspace.viewer.layers.remove(layer)


class Plot(QWidget):
    """A figure that is drawn once it is seen, or words while there is nothing to draw.

    Parameters
    ----------
    viewer : napari.Viewer
    height : int
        Least height in pixels.
    """

    picked = Signal(float)
    """Somewhere in the figure was clicked: the x coordinate there."""

    def __init__(self, viewer: Any, height: int) -> None:
        super().__init__()
        self._viewer = viewer
        self._paint: Callable[[Any, ThemeColours], None] | None = None
        self._fresh = False
        self.figure: Any = None
        self.canvas: Any = None
        self.words = Label()
        self.words.setWordWrap(True)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._whole = QVBoxLayout(self)
        self._whole.setContentsMargins(0, 4, 0, 0)
        self._whole.addWidget(self.words)
        self.setMinimumHeight(height)
        # Not at once: the theme's event comes while the theme is being changed.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._draw)
        connect_until_destroyed(self, viewer.events.theme, self._repaint)

    def say(self, words: str) -> None:
        """Show words instead of a figure."""
        self._paint = None
        self.words.setText(words)
        self.words.setVisible(True)
        if self.canvas is not None:
            self.canvas.setVisible(False)

    def draw(self, paint: Callable[[Any, ThemeColours], None]) -> None:
        """Draw by a function of the figure and the colours, now and whenever these change."""
        self._paint = paint
        self._repaint()

    def _repaint(self, _: object = None) -> None:
        self._fresh = False
        if self.isVisible():
            self._later.start()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Draw what was to be drawn while nobody looked."""
        super().showEvent(event)
        if not self._fresh:
            self._later.start()

    def _draw(self) -> None:
        if self._paint is None:
            return
        if self.canvas is None:
            self._make_canvas()
        self.words.setVisible(False)
        self.canvas.setVisible(True)
        colours = theme_colours(self._viewer.theme)
        self.figure.clear()
        self.figure.set_facecolor(colours.background)
        self._paint(self.figure, colours)
        self.canvas.draw_idle()
        self._fresh = True

    def _make_canvas(self) -> None:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        self.figure = Figure(layout="constrained")
        self.canvas = FigureCanvasQTAgg(self.figure)
        self.canvas.setToolTip(self.toolTip())
        self.canvas.mpl_connect("button_press_event", self._pressed)
        self._whole.addWidget(self.canvas)

    def _pressed(self, event: Any) -> None:
        if event.inaxes is not None and event.xdata is not None:
            self.picked.emit(float(event.xdata))


class CurvesPlot(Plot):
    """ROC above precision–recall, each with its area and what chance gives."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, 320)
        self.setToolTip(
            "Every threshold of the heatmap, over all its planes as one volume. "
            "Dashed: a map that knows nothing."
        )

    def show_curves(self, roc: Curve, precision_recall: Curve, title: str) -> None:
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
                dress_axes(axes, colours, *labels)
                axes.plot(*chance, "--", color=colours.text, lw=1,
                          label=f"chance {curve.baseline:.3f}")  # fmt: skip
                axes.plot(
                    curve.x, curve.y, color=colours.first, lw=1.8, drawstyle=style,
                    label=f"{name} {_number(curve.area)}",
                )  # fmt: skip
                axes.set_xlim(-0.02, 1.02)
                axes.set_ylim(-0.02, 1.02)
                legend(axes, colours, "best")

        self.draw(paint)


class PlanesPlot(Plot):
    """Scores along the planes, with a line at the plane shown; a click asks for a plane."""

    plane_chosen = Signal(int)

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, 230)
        self.setToolTip("Click to see a plane. Planes with neither mask are left out.")
        self._planes: list[int] = []
        self._shown: int | None = None
        self._line: Any = None
        self.picked.connect(self._nearest)

    def show_scores(self, dice: Mapping[int, float], auroc: Mapping[int, float], axis: int) -> None:
        """Draw the Dice of planes and the AUROC of their heatmaps."""
        self._planes = sorted(dice)

        def paint(figure: Any, colours: ThemeColours) -> None:
            axes = figure.subplots()
            dress_axes(axes, colours, f"Plane along axis {axis}", "Score")
            for values, name, colour, mark in (
                (dice, "Dice", colours.first, "o"),
                (auroc, "AUROC of the heatmap", colours.second, "s"),
            ):
                known = [i for i in sorted(values) if not math.isnan(values[i])]
                if known:
                    axes.plot(*_gaps(known, values), color=colour, marker=mark, ms=4, lw=1.5,
                              label=name)  # fmt: skip
            axes.set_ylim(-0.03, 1.03)
            axes.xaxis.get_major_locator().set_params(integer=True)
            self._line = axes.axvline(0, color=colours.text, lw=1, ls=":", label="shown")
            self._move_line()
            low, high = min(self._planes), max(self._planes)
            axes.set_xlim(low - 1, high + 1)
            figure.legend(
                *axes.get_legend_handles_labels(), loc="outside upper center", ncols=3,
                frameon=False, fontsize=colours.size, labelcolor=colours.text,
                handlelength=1.4, columnspacing=1.0,
            )  # fmt: skip

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


def _gaps(known: list[int], values: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Give the points of a line that is broken where planes are missing."""
    x: list[float] = []
    y: list[float] = []
    for before, index in zip([known[0], *known], known, strict=False):
        if index - before > 1:
            x.append((index + before) / 2)
            y.append(math.nan)
        x.append(index)
        y.append(values[index])
    return x, y


def dress_axes(axes: Any, colours: ThemeColours, x: str, y: str) -> None:
    """Name the axes, and give them the colours of the theme."""
    axes.set_facecolor(colours.background)
    axes.set_xlabel(x, color=colours.text, fontsize=colours.size)
    axes.set_ylabel(y, color=colours.text, fontsize=colours.size)
    axes.tick_params(colors=colours.text, labelsize=colours.size)
    axes.grid(color=colours.grid, lw=0.5, alpha=0.6)
    for spine in axes.spines.values():
        spine.set_color(colours.grid)


def legend(axes: Any, colours: ThemeColours, where: str) -> None:
    """Put a legend in the colours of the theme into axes."""
    axes.legend(
        loc=where, fontsize=colours.size, labelcolor=colours.text, frameon=True,
        facecolor=colours.background, edgecolor=colours.grid, framealpha=0.8,
    )  # fmt: skip


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.3f}"
