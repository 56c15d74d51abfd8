"""How good a trained classifier is on images that it never saw."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_cam_sam.plugin.qt.plain_text import Label, RichLabel, plain_tip
from napari_cam_sam.plugin.qt.plots import Plot, ThemeColours, style_axes
from napari_cam_sam.plugin.qt.tables import (
    fit_columns,
    format_score,
    make_read_only,
    set_headers,
    set_rows,
)
from napari_cam_sam.plugin.qt.widgets import vbox
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.models.training.figures import Figures
    from napari_cam_sam.models.training.results import TrainingResult

__all__ = ["TrainingReport", "result_words"]

# Of a table that is shown without scrolling.
_MOST_ROWS = 10
# How many columns of the confusion share the width of the dock.
_STRETCHED = 8
# From few to all of a class: one hue, lighter to darker, which all eyes tell apart.
_FEW, _ALL = (222, 235, 247), (8, 69, 148)

_CLASS_HEADS = (
    ("Class", ""),
    ("n", "Number of images."),
    ("Prec.", "Precision: share of predictions of this class that are correct."),
    ("Recall", "Share of the images of this class that were predicted correctly."),
    ("F1", "Harmonic mean of precision and recall."),
    ("AUROC", "Area under the ROC curve of the class's probability: 0.5 is chance."),
)


class _ShortTable(QTableWidget):
    """A table as high as its rows, whose columns are at least as wide as their names.

    Where they are wider than the table, they are scrolled.
    """

    def __init__(self, rows: int = 0, columns: int = 0) -> None:
        super().__init__(rows, columns)
        self.horizontalScrollBar().rangeChanged.connect(self.fit)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt calls it so
        """Fit it when the size of the text changes."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.fit()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Fit it once the size of its text is known."""
        super().showEvent(event)
        self.fit()

    def fit(self, *_: int) -> None:
        """Give the names of columns and the rows the room that they need."""
        heads = self.horizontalHeader()
        if heads.sectionResizeMode(0) == QHeaderView.ResizeMode.Stretch:
            hints = [heads.sectionSizeHint(i) for i in range(self.columnCount())]
            heads.setMinimumSectionSize(max(hints))
        rows = sum(self.rowHeight(i) for i in range(min(self.rowCount(), _MOST_ROWS)))
        bar = self.horizontalScrollBar()
        below = bar.sizeHint().height() if bar.maximum() > bar.minimum() else 0
        self.setFixedHeight(rows + heads.sizeHint().height() + below + 2 * self.frameWidth() + 2)


class TrainingReport(QWidget):
    """The figures of the reported part: all, a class each, confusion and calibration.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.words = RichLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.classes = _ShortTable(0, len(_CLASS_HEADS))
        make_read_only(self.classes)
        set_headers(self.classes, _CLASS_HEADS)
        self.confusion_title = Label("Rows: true class. Columns: predicted class.", wraps=True)
        self.confusion = _ShortTable()
        make_read_only(self.confusion)
        self.confusion.verticalHeader().setVisible(True)
        self.confusion.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.confusion.setToolTip(
            "Images of each true class by predicted class. The diagonal is correct; darker is a "
            "larger share of the row."
        )
        self.calibration = CalibrationPlot(viewer)
        self._figures = (self.classes, self.confusion_title, self.confusion, self.calibration)
        vbox(self, self.words, *self._figures)

    def show_result(self, result: TrainingResult, remark: str = "") -> None:
        """Show what came out; ``remark`` says what to know of it."""
        self.words.setText(result_words(result, remark))
        figures = result.figures or result.validation
        for widget in self._figures:
            widget.setVisible(figures is not None)
        if figures is not None:
            self._show_classes(figures)
            self._show_confusion(figures)
            self.calibration.show_figures(figures)

    def _show_classes(self, figures: Figures) -> None:
        rows = [(c.name, c.n, c.precision, c.recall, c.f1, c.auroc) for c in figures.classes]
        set_rows(self.classes, rows)
        fit_columns(self.classes)
        self.classes.fit()

    def _show_confusion(self, figures: Figures) -> None:
        names = [one.name for one in figures.classes]
        table = self.confusion
        table.setRowCount(len(names))
        table.setColumnCount(len(names))
        table.setHorizontalHeaderLabels(names)
        table.setVerticalHeaderLabels(names)
        for row, counts in enumerate(figures.confusion):
            for column, count in enumerate(counts):
                item = QTableWidgetItem(str(count))
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                part = count / max(1, sum(counts))
                colour = [round(a + (b - a) * part) for a, b in zip(_FEW, _ALL, strict=True)]
                item.setBackground(QBrush(QColor(*colour)))
                item.setForeground(QBrush(QColor("white" if part > 0.45 else "black")))
                said = f"images of {names[row]} were predicted as {names[column]}."
                item.setToolTip(plain_tip(f"{count} of {sum(counts)} {said}"))
                table.setItem(row, column, item)
        # Many columns are scrolled: stretched, each would be a few pixels wide.
        stretched = len(names) <= _STRETCHED
        mode = QHeaderView.ResizeMode.Stretch if stretched else QHeaderView.ResizeMode.Interactive
        table.horizontalHeader().setSectionResizeMode(mode)
        table.fit()


_CALIBRATION = "Right as often as sure?"


class CalibrationPlot(Plot):
    """How often it is right against how sure it is."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, 190)
        self.setMaximumHeight(240)
        self.setToolTip(
            "On the dashed line, confidence equals accuracy. Below it the model is "
            "overconfident, above it underconfident. Larger dots are more images."
        )

    def show_figures(self, figures: Figures) -> None:
        """Draw the reliability diagram."""
        bins, n = figures.reliability, figures.n

        def paint(figure: Any, colours: ThemeColours) -> None:
            axes = figure.subplots()
            style_axes(axes, colours, "Confidence", "Accuracy")
            axes.set_title(_CALIBRATION, color=colours.text, fontsize=colours.size)
            axes.plot([0, 1], [0, 1], "--", color=colours.text, lw=1)
            at = [one.confidence for one in bins], [one.accuracy for one in bins]
            axes.plot(*at, color=colours.first, lw=1)
            axes.scatter(*at, s=[15 + 150 * one.n / n for one in bins], color=colours.first)
            axes.set_xlim(-0.03, 1.03)
            axes.set_ylim(-0.08, 1.08)

        self.draw(paint)


def result_words(result: TrainingResult, remark: str = "") -> str:
    """Return in words what came out of a training.

    Parameters
    ----------
    result : TrainingResult
    remark : str
        What to know of its figures; empty for nothing.

    Returns
    -------
    str
        Rich text, a line a sentence; names of files are escaped.
    """
    if result.model is None:
        return "Stopped before the first epoch was complete: nothing to keep yet."
    figures = result.figures or result.validation
    kept = f"epoch {result.best_epoch} of {len(result.epochs)} is kept"
    lines = [f"{'Trained' if result.finished else 'Stopped'}: {kept}."]
    if figures is None:
        lines.append("No images were held out: accuracy on other images is not known.")
    else:
        accuracy, f1, auroc, ece = (
            format_score("", value)
            for value in (figures.accuracy, figures.f1, figures.auroc, figures.ece)
        )
        seen = "used to choose the epoch (expect a little less on others)"
        seen = seen if result.figures is None else "never seen in training"
        lines.append(
            f"On {figures.n} images {seen}: accuracy <b>{accuracy}</b>, mean F1 <b>{f1}</b>, "
            f"AUROC <b>{auroc}</b>, calibration error {ece}."
        )
    if result.warning:
        lines.append(f"<b>{result.warning}</b>")
    parts = ", ".join(f"{n} {_PARTS[name]}" for name, n in result.parts.items() if n)
    lines.append(f"Images: {parts}.")
    copies = result.copies
    if copies is not None and copies.images:
        lines.append(f"{copies.images} images have near copies; copies stayed in one part.")
        if copies.contradictions:
            groups = counted(len(copies.contradictions), "group")
            first = " and ".join(map(_short, copies.contradictions[0]))
            lines.append(f"{groups} of copies with different labels, e.g. {first}.")
    if result.left_out:
        n, one = len(result.left_out), result.left_out[0]
        lines.append(f"{n} skipped, e.g. {_short(one.name)}: {escape(one.reason)}")
    if remark:
        lines.append(remark)
    return "<br>".join(one if one.endswith((".", "</b>")) else f"{one}." for one in lines)


_PARTS = {"train": "for training", "validation": "for validation", "test": "for testing"}


def _short(name: str) -> str:
    """Leave of a path the file and its folder; for rich text."""
    return escape("/".join(Path(name).parts[-2:]))
