"""What is asked while DICOM is opened: which series, how it is spaced, and whether to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Literal

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QMainWindow,
    QMessageBox,
    QProgressDialog,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_cam_sam.errors import CamSamError, Cancelled
from napari_cam_sam.images.dicom.reading import read_series
from napari_cam_sam.images.dicom.series import DicomSeries
from napari_cam_sam.images.dicom.stacking import distances
from napari_cam_sam.images.windows import Window, apply_window
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.widgets import vbox

__all__ = ["SeriesDialog", "ask_series", "ask_spacing", "searching"]

_COLUMNS = ("", "Kind", "No.", "Description", "Date", "Size", "Slices")
_PICTURE = 72


class SeriesDialog(QDialog):
    """A table of series, of which one is chosen by a double click or by OK.

    Parameters
    ----------
    found : sequence of DicomSeries
        At least one; the first is selected.
    parent : QWidget, optional

    Attributes
    ----------
    table : QTableWidget
        One row a series, in their order.
    """

    def __init__(self, found: Sequence[DicomSeries], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Choose one of {len(found)} series")
        self._found = tuple(found)
        self.table = table = QTableWidget(len(found), len(_COLUMNS))
        table.setHorizontalHeaderLabels(list(_COLUMNS))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(_PICTURE + 8)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(_COLUMNS.index("Description"), QHeaderView.ResizeMode.Stretch)
        table.setColumnWidth(0, _PICTURE + 12)
        for row, series in enumerate(found):
            for column, text in enumerate(_words(series), 1):
                table.setItem(row, column, QTableWidgetItem(text))
            table.setCellWidget(row, 0, _picture_label())
        self.words = Label(wraps=True)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok.setText("Open")
        vbox(self, table, self.words, buttons)
        self.resize(760, min(680, 170 + (_PICTURE + 8) * len(found)))
        table.itemSelectionChanged.connect(self._tell)
        table.itemDoubleClicked.connect(lambda _: self.accept())
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        table.selectRow(0)
        table.setFocus()
        # The table is there at once; its pictures come one after the other.
        self._pictures = iter(range(len(found)))
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._next_picture)
        self._timer.start(0)

    def chosen(self) -> DicomSeries:
        """Return the series whose row is selected."""
        return self._found[max(0, self.table.currentRow())]

    def _tell(self) -> None:
        trouble = self.chosen().trouble
        self.words.setText(trouble and trouble.rstrip(".") + ".")

    def _next_picture(self) -> None:
        row = next(self._pictures, None)
        if row is None:
            self._timer.stop()
            return
        label = self.table.cellWidget(row, 0)
        picture = _picture(self._found[row])
        if picture is None:
            label.setText("–")
        else:
            label.setPixmap(picture)


def ask_series(found: Sequence[DicomSeries]) -> DicomSeries | None:
    """Ask which series to open.

    Parameters
    ----------
    found : sequence of DicomSeries

    Returns
    -------
    DicomSeries or None
        None where the user would rather not.
    """
    dialog = SeriesDialog(found, _window())
    try:
        return dialog.chosen() if dialog.exec() else None
    finally:
        dialog.deleteLater()


def ask_spacing(trouble: str) -> Literal["as-is", "even"] | None:
    """Ask what becomes of slices that are not evenly spaced.

    Parameters
    ----------
    trouble : str
        How they lie.

    Returns
    -------
    {"as-is", "even"} or None
        None where the user would rather not open them.
    """
    box = QMessageBox(QMessageBox.Icon.Warning, "Uneven slices", "", parent=_window())
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(f"{trouble.rstrip('.')}.")
    roles = QMessageBox.ButtonRole
    as_is = box.addButton("Open as it is (as-is)", roles.AcceptRole)
    even = box.addButton("Resample to even spacing (even)", roles.AcceptRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(even)
    box.exec()
    pressed = box.clickedButton()
    box.deleteLater()
    if pressed is as_is:
        return "as-is"
    return "even" if pressed is even else None


@contextmanager
def searching(where: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a search is, where it takes more than a moment, with a button to end it.

    Parameters
    ----------
    where : str
        What is searched.

    Yields
    ------
    callable
        Takes the number of files that were read, and of all; raises `Cancelled`.
    """
    bar = QProgressDialog(f"Looking for DICOM in {where}…", "Cancel", 0, 0, _window())
    bar.setWindowTitle("DICOM")
    bar.setWindowModality(Qt.WindowModality.ApplicationModal)
    bar.setMinimumDuration(1000)
    bar.setAutoReset(False)

    def update(done: int, total: int) -> None:
        bar.setMaximum(total)
        bar.setValue(done)
        if bar.wasCanceled():
            raise Cancelled

    try:
        yield update
    finally:
        bar.close()
        bar.deleteLater()


def _window() -> QWidget | None:
    """Return the window of napari, whose colours dialogs take on."""
    windows = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow)]
    seen = [one for one in windows if one.isVisible()]
    return QApplication.activeWindow() or next(iter(seen), None)


def _words(series: DicomSeries) -> tuple[str, ...]:
    number = "" if series.number is None else str(series.number)
    said = " ".join(filter(None, (series.description, series.part)))
    slices = str(series.slices)
    if series.frames > 1:
        slices += f", {series.frames} frames"
    if series.trouble:
        slices += ", see below"
    size = f"{series.rows} × {series.columns}"
    return series.modality, number, said, series.date, size, slices


def _picture_label() -> Label:
    label = Label()
    label.setAlignment(Qt.AlignmentFlag.AlignCenter)
    return label


def _picture(series: DicomSeries) -> QPixmap | None:
    """Return the middle slice, small; None where its pixels cannot be read."""
    volume = series.volumes[len(series.volumes) // 2]
    with suppress(CamSamError):
        order = range(len(volume))
        if len(volume) > 1 and volume[0].values.position is not None:
            order = np.argsort(distances(volume)).tolist()
        middle = volume[order[len(volume) // 2]]
        one = replace(series, volumes=((middle,),), frames=1, slices=1, frame_names=())
        image = read_series(one)
        plane = image.plane()
        if image.rgb:
            low, high = 0.0, float(np.iinfo(plane.dtype).max)
        elif image.windows:
            low, high = image.windows[0][1:]
        else:
            low, high = (float(v) for v in np.nanpercentile(plane, (1, 99)))
        if not low < high:
            high = low + 1
        gray = apply_window(plane, Window(low, high, 0, ""))
        step = max(1, max(gray.shape[:2]) // (2 * _PICTURE))
        part = np.ascontiguousarray(np.broadcast_to(
            gray[::step, ::step] if image.rgb else gray[::step, ::step, None],
            (*gray[::step, ::step].shape[:2], 3),
        ))  # fmt: skip
        rows, columns = part.shape[:2]
        drawn = QImage(part.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        height, width = np.array((rows, columns)) * image.geometry.spacing[-2:]
        zoom = _PICTURE / max(height, width)
        return QPixmap.fromImage(drawn).scaled(
            max(1, round(width * zoom)), max(1, round(height * zoom)),
            Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation,
        )  # fmt: skip
    return None
