"""Figures in the colours of the viewer's theme; matplotlib is imported by the first one seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.plugin.qt.dock import connect_until_destroyed
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.qt.widgets import vbox

__all__ = [
    "Plot",
    "ThemeColours",
    "add_legend",
    "add_legend_above",
    "style_axes",
    "theme_colours",
]

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
    """Return the colours of one of napari's themes.

    Parameters
    ----------
    theme_id : str
        As ``viewer.theme``.

    Returns
    -------
    ThemeColours
    """
    from napari.utils.theme import get_theme

    theme = get_theme(theme_id)
    kind = str(getattr(theme, "type", "") or ("light" if "light" in theme_id else "dark"))
    first, second = _LINES.get(kind, _LINES["dark"])
    size = float(str(getattr(theme, "font_size", "9pt")).removesuffix("pt"))
    return ThemeColours(
        theme.background.as_hex(), theme.text.as_hex(), theme.secondary.as_hex(), first, second,
        max(7.0, size - 1),
    )  # fmt: skip


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
        self.words = Label(wraps=True)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._whole = vbox(self, self.words, margins=(0, 4, 0, 0))
        self.setMinimumHeight(height)
        # Not at once: the theme's event comes while the theme is being changed.
        self._later = single_shot_timer(self, self._draw)
        connect_until_destroyed(self, viewer.events.theme, self._repaint)

    @property
    def has_figure(self) -> bool:
        """Whether there is something to draw."""
        return self._paint is not None

    def show_message(self, words: str) -> None:
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

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt calls it so
        """Draw it anew when the size of the text changes."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._repaint()

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
        # As large as the texts around it: the preferences say more than the theme.
        size = max(7.0, self.fontInfo().pointSizeF() - 1)
        colours = replace(theme_colours(self._viewer.theme), size=size)
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


def style_axes(axes: Any, colours: ThemeColours, x: str, y: str) -> None:
    """Name the axes, and give them the colours of the theme.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    colours : ThemeColours
    x, y : str
        Their labels.
    """
    axes.set_facecolor(colours.background)
    axes.set_xlabel(x, color=colours.text, fontsize=colours.size)
    axes.set_ylabel(y, color=colours.text, fontsize=colours.size)
    axes.tick_params(colors=colours.text, labelsize=colours.size)
    axes.grid(color=colours.grid, lw=0.5, alpha=0.6)
    for spine in axes.spines.values():
        spine.set_color(colours.grid)


def add_legend(axes: Any, colours: ThemeColours, where: str) -> None:
    """Put a legend in the colours of the theme into axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    colours : ThemeColours
    where : str
        A location as of matplotlib.
    """
    axes.legend(
        loc=where, fontsize=colours.size, labelcolor=colours.text, frameon=True,
        facecolor=colours.background, edgecolor=colours.grid, framealpha=0.8,
    )  # fmt: skip


def add_legend_above(figure: Any, axes: Any, colours: ThemeColours) -> None:
    """Put the legend of axes above a figure, in one row.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes
        Whose lines it names.
    colours : ThemeColours
    """
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False,
        fontsize=colours.size, labelcolor=colours.text, handlelength=1.4, columnspacing=1.0,
    )  # fmt: skip
