"""A napari window that a script uses as a person does."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QScrollArea, QWidget

from napari_cam_sam.metrics.overlap import overlap

__all__ = ["Window", "dices", "run", "shown"]

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


class Window:
    """A napari window that is used as a person does: by the mouse, by keys, and by eye."""

    def __init__(self, pictures: Path | None) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1500, 1000)
        self.app = QApplication.instance()
        self.pictures = pictures
        self.pause(0.5)
        (self.canvas,) = (
            w for w in QApplication.allWidgets() if "CanvasBackend" in type(w).__name__
        )

    def pause(self, seconds: float = 0.4) -> None:
        """Let the window live for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.005)

    def wait(self, until: Callable[[], Any], seconds: float = 120) -> None:
        """Let the window live until something is so."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise SystemExit("The window did not do what was expected.")
            self.pause(0.02)
        self.pause()

    def picture(self, name: str) -> None:
        """Take a picture of the whole window."""
        self.pause()
        if self.pictures is not None:
            path = self.pictures / f"{name}.png"
            self.viewer.screenshot(str(path), canvas_only=False)
            with Image.open(path) as picture:
                # A third of the bytes; this way of choosing 256 colours keeps rare ones, as a
                # point's green.
                method = Image.Quantize.MAXCOVERAGE
                few = picture.convert("RGB").quantize(256, method, dither=Image.Dither.NONE)
                few.save(path, optimize=True)

    def scroll_to(self, widget: QWidget) -> None:
        """Bring the top of a part of a dock to the top of its scroll area."""
        parent = widget.parentWidget()
        while parent is not None and not isinstance(parent, QScrollArea):
            parent = parent.parentWidget()
        if parent is not None:
            bar = parent.verticalScrollBar()
            bar.setValue(widget.mapTo(parent.widget(), QPoint(0, 0)).y())
        self.pause(0.2)

    def press(self, button: QWidget) -> None:
        """Click on a button, scrolling its dock to it first."""
        parent = button.parentWidget()
        while parent is not None and not isinstance(parent, QScrollArea):
            parent = parent.parentWidget()
        if parent is not None:
            parent.ensureWidgetVisible(button)
        self.pause(0.1)
        QTest.mouseClick(button, LEFT)
        self.pause(0.1)

    def key(self, key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Press a key in the canvas."""
        self.canvas.setFocus()
        QTest.keyClick(self.canvas, key, modifier)
        self.pause()

    def drag(self, start: Any, end: Any) -> None:
        """Drag in the canvas, from and to a place in the world of the two shown axes."""
        a, b = self.pixel(start), self.pixel(end)
        QTest.mouseMove(self.canvas, a)
        self.pause(0.2)
        QTest.mousePress(self.canvas, LEFT, NONE, a)
        for part in np.linspace(0.1, 1, 10):
            QTest.mouseMove(self.canvas, a + (b - a) * float(part))
            self.pause(0.03)
        QTest.mouseRelease(self.canvas, LEFT, NONE, b)
        self.pause()

    def pixel(self, world: Any) -> QPoint:
        """Where on the canvas a place in the world of the two shown axes is."""
        centre = np.array(self.viewer.camera.center[-2:])
        row, column = (np.array(world) - centre) * self.viewer.camera.zoom
        return QPoint(
            round(self.canvas.width() / 2 + column), round(self.canvas.height() / 2 + row)
        )


def run(about: str, steps: Callable[[Window, Path], Iterable[str]]) -> None:
    """Do steps in a window as a command, print what they say, and end the process.

    Parameters
    ----------
    about : str
        Of whose first line the help is made.
    steps : callable
        Takes the window and a folder for what is written on the way.
    """
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--output", type=Path, help="folder for pictures; none without it")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["NAPARI_CAM_SAM_SESSIONS"] = tempfile.mkdtemp()
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for line in steps(Window(arguments.output), Path(folder)):
            print(line, flush=True)
    # Qt's own teardown after a script is no part of this.
    os._exit(0)


def dices(truth: Any, prediction: Any, axis: int = 0) -> dict[int, float]:
    """Dice of each plane where truth or prediction is not empty."""
    pairs = zip(np.moveaxis(truth > 0, axis, 0), np.moveaxis(prediction > 0, axis, 0), strict=True)
    return {i: overlap(p, t).dice for i, (t, p) in enumerate(pairs) if t.any() or p.any()}


def shown(layer: Any, vertices: Any) -> Any:
    """Give the places of data coordinates in the world of the two shown axes."""
    return np.array([layer.data_to_world(v)[-2:] for v in np.atleast_2d(vertices)])
