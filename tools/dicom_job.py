"""Do the whole job on a DICOM series in a real window, with mouse and keys, and take pictures.

    xvfb-run -a -s "-screen 0 1500x1000x24" .venv/bin/python tools/dicom_job.py \
        ../shared/data/dicom --output FOLDER

On `ct_3slice`: the folder opened, a box drawn on the liver of each slice, masks, accepted, scored
against the segmentation that is its truth, and saved as a segmentation and as contours, which are
read back. On `mr_generic`: a box, a mask and both files along each of the three axes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_cam_sam.images.dicom.reading import read_dicom
from napari_cam_sam.images.reading import read_labels
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.plugin.io.series_dialog import SeriesDialog
from window import Window

_READER = "napari-cam-sam"


def open_series(window: Window, folder: Path, rows: int) -> Any:
    """Open a folder; where it holds more than one series, choose one by the keyboard."""

    def choose() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, SeriesDialog):
            QTimer.singleShot(50, choose)
            return
        window.pause(2)
        if window.pictures is not None:
            dialog.grab().save(str(window.pictures / "dicom-1-series.png"))
        for _ in range(rows):
            QTest.keyClick(dialog.table, Qt.Key.Key_Down)
        QTest.keyClick(dialog, Qt.Key.Key_Return)

    if rows >= 0:
        QTimer.singleShot(50, choose)
    (layer,) = window.viewer.open(str(folder), plugin=_READER)
    return layer


def save_labels(window: Window, way: Any, path: Path, kind: int) -> None:
    """Press *Save labels…* and answer its dialog."""

    def ask(_parent: Any, _title: str, _start: str, kinds: str) -> tuple[str, str]:
        return str(path), kinds.split(";;")[kind]

    before, QFileDialog.getSaveFileName = QFileDialog.getSaveFileName, ask
    window.press(way.segment.saving.button)
    window.wait(lambda: not way.segment.saving.row.busy)
    QFileDialog.getSaveFileName = before


def box(window: Window, way: Any, axis: int, index: int, corners: Any) -> None:
    """Draw a box with the mouse on a slice, and wait for its mask."""
    way.workspace.show_plane(axis, index)
    window.pause()
    window.press(way.prompts.draw_box)
    boxes = way.workspace.prompts.boxes
    ends = [np.insert(np.array(corner, float), axis, index) for corner in corners]
    displayed = list(window.viewer.dims.displayed)
    window.drag(*(np.array(boxes.data_to_world(end))[displayed] for end in ends))
    window.wait(lambda: index in way.workspace.prompts.planes(axis))

    def masked() -> bool:
        preview = way.workspace.own("preview")
        return preview is not None and bool(np.take(preview.data, index, axis).any())

    window.wait(lambda: not way.segment.row.busy and masked())
    window.pause(0.8)


def read_back(way: Any, image: Any, output: Path, name: str) -> str:
    """Compare both files with the labels in the window."""
    labels = way.workspace.own("labels").data > 0
    found = []
    for suffix in (".dcm", ".rtstruct.dcm"):
        back = np.asarray(read_labels(output / f"{name}{suffix}", like=image).data) > 0
        found.append(f"{suffix} {overlap(back, labels).dice:.4f}")
    return f"read back, Dice with the labels: {', '.join(found)} of {np.count_nonzero(labels)}"


def liver(window: Window, data: Path, output: Path) -> Iterator[str]:
    """From the folder to a scored and saved mask of the liver."""
    viewer = window.viewer
    layer = open_series(window, data, 0)
    yield f"chosen: {layer.name}, {layer.data.shape}"
    viewer.layers.clear()
    open_series(window, data / "ct_3slice", -1)
    _, way = viewer.window.add_plugin_dock_widget("napari-cam-sam", "CAM → SAM")
    for section in way.sections:
        section.title.setChecked(section in (way.sections[1], way.sections[2]))
    window.pause()
    image = read_dicom(data / "ct_3slice")
    truth = np.asarray(read_labels(data / "ct_3slice_liver_seg.dcm", like=image).data) > 0
    for index in range(len(truth)):
        places = np.argwhere(truth[index])
        box(window, way, 0, index, (places.min(axis=0) - 2, places.max(axis=0) + 2))
    window.picture("dicom-2-liver")
    window.press(way.segment.review.accept_all)
    way.scores.choices.truth_row.open_file(data / "ct_3slice_liver_seg.dcm")
    window.wait(lambda: "Its labels are" in way.scores.choices.truth_row.words.text())
    for section in way.sections:
        section.title.setChecked(section is way.sections[3])
    window.press(way.scores.run)
    window.wait(lambda: not way.scores.row.busy)
    window.picture("dicom-3-scores")
    labels = way.workspace.own("labels").data > 0
    yield f"liver: Dice {overlap(labels, truth).dice:.3f} with the segmentation"
    for section in way.sections:
        section.title.setChecked(section is way.sections[2])
    for kind, suffix in enumerate((".dcm", ".rtstruct.dcm")):
        save_labels(window, way, output / f"liver{suffix}", kind)
        yield way.segment.saving.row.words.text()
    window.picture("dicom-4-saved")
    yield read_back(way, image, output, "liver")
    viewer.layers.clear()
    open_series(window, data / "ct_3slice", -1)
    viewer.open(str(output / "liver.rtstruct.dcm"), plugin=_READER)
    viewer.dims.set_current_step(0, 1)
    window.picture("dicom-5-contours")


def axes(window: Window, data: Path, output: Path) -> Iterator[str]:
    """Do the same along each axis of a series that was cut from front to back."""
    viewer = window.viewer
    (way,) = viewer.window.dock_widgets.values()
    image = read_dicom(data / "mr_generic")
    for axis in range(3):
        viewer.layers.clear()
        os.environ["NAPARI_CAM_SAM_SESSIONS"] = tempfile.mkdtemp()
        layer = open_series(window, data / "mr_generic", -1)
        for section in way.sections:
            section.title.setChecked(section in (way.sections[1], way.sections[2]))
        index = layer.data.shape[axis] // 2
        sizes = [n for i, n in enumerate(layer.data.shape) if i != axis]
        viewer.dims.order = (axis, *(i for i in range(3) if i != axis))
        viewer.reset_view()
        # Of a series of a few slices across all of them.
        margins = [n * 0.25 if n > 8 else -1.5 for n in sizes]
        ends = [n - 1 - margin for n, margin in zip(sizes, margins, strict=True)]
        box(window, way, axis, index, (margins, ends))
        window.picture(f"dicom-6-axis-{axis}")
        window.press(way.segment.review.accept_all)
        labels = way.workspace.own("labels").data > 0
        where = np.argwhere(labels)
        yield f"axis {axis}: mask on {set(where[:, axis].tolist())}, {len(where)} voxels"
        for kind, suffix in enumerate((".dcm", ".rtstruct.dcm")):
            save_labels(window, way, output / f"axis-{axis}{suffix}", kind)
            yield way.segment.saving.row.words.text()
        yield read_back(way, image, output, f"axis-{axis}")


def main() -> None:
    """Take the pictures and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="the folder of ct_3slice and mr_generic")
    parser.add_argument("--output", type=Path, required=True, help="for pictures and files")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["NAPARI_CAM_SAM_SESSIONS"] = tempfile.mkdtemp()
    arguments.output.mkdir(parents=True, exist_ok=True)
    window = Window(arguments.output)
    for part in (liver, axes):
        for line in part(window, arguments.data, arguments.output):
            print(line, flush=True)
    # Qt's own teardown after a script is no part of this.
    os._exit(0)


if __name__ == "__main__":
    main()
