"""Train in a real window, as docs/training.md tells it, and take its pictures.

    xvfb-run -a -s "-screen 0 1500x1000x24" .venv/bin/python tools/training_pictures.py \
        --output docs/images

Prints the figures that the page names. Needs a display.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image
from qtpy.QtCore import Qt

from napari_cam_sam.demo.phantoms import ultrasound
from window import Window, run

EACH, EPOCHS, SIDE = 60, 20, 64


def write_phantoms(folder: Path) -> None:
    """Write ultrasound-like images with and without a bright stone, one folder a class."""
    rows, columns = np.mgrid[:128, :128]
    for name in ("none", "stone"):
        (folder / name).mkdir(parents=True)
        for number in range(EACH):
            seed = 2 * number + (name == "stone")
            pixels = ultrasound(seed, size=128, lesion=False).image.astype(float)
            if name == "stone":
                row, column = np.random.default_rng(seed).uniform(30, 98, 2)
                pixels += 120 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 200)
            pixels = pixels.clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def train(window: Window, folder: Path) -> Iterator[str]:
    """Train on a folder; cancel, resume, look at the result, use it."""
    write_phantoms(folder)
    window.viewer.open_sample("napari-cam-sam", "ultrasound")
    _, dock = window.viewer.window.add_plugin_dock_widget("napari-cam-sam", "Train")
    dock.source.folder.text.setText(str(folder))
    form = dock.parameters
    form.architecture.set_value("small-cnn")
    form.rows.setValue(SIDE)
    form.epochs.setValue(EPOCHS)
    window.wait(lambda: "2 classes" in dock.plan.text())
    begin = time.monotonic()
    window.press(dock.run)
    # The page of the picture: what is learned, and how far it is.
    dock.sections[1].title.setChecked(False)
    window.wait(lambda: "Epoch 9" in dock.row.words.text(), 600)
    window.picture("training-1-curves")
    window.press(dock.row.cancel)
    window.wait(lambda: not dock.row.busy)
    yield dock.row.words.text()
    window.press(dock.resume)
    window.wait(lambda: not dock.row.busy, 600)
    window.pause(1)
    window.picture("training-2-result")
    yield f"{dock.report.words.text()} ({time.monotonic() - begin:.0f} s with the pauses)"
    window.press(dock.use)
    window.wait(lambda: dock.workspace.classifier is not None)
    yield dock.row.words.text()


def tag(window: Window) -> Iterator[str]:
    """Tag planes of a volume by a key and by its truth."""
    window.viewer.layers.clear()
    window.viewer.open_sample("napari-cam-sam", "ct")
    for shell in list(window.viewer.window.dock_widgets):
        window.viewer.window.remove_dock_widget(window.viewer.window.dock_widgets[shell].parent())
    _, dock = window.viewer.window.add_plugin_dock_widget("napari-cam-sam", "Train")
    dock.source.kind.set_value("planes")
    dock.workspace.show_plane(0, 11)
    window.viewer.layers["CT-like phantom, truth"].visible = True
    window.pause(1)
    for name in ("absent", "present"):
        dock.source.tagging.name.setText(name)
        window.press(dock.source.tagging.add)
    window.key(Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    yield dock.source.tagging.shown.text()
    window.press(dock.source.tagging.by_truth)
    window.wait(lambda: sum(dock.workspace.tags.counts().values()) > 1)
    window.picture("training-3-planes")
    yield dock.plan.text()


def main() -> None:
    """Take the pictures and print the figures."""
    run(__doc__, lambda window, folder: chain(train(window, folder / "ultrasound"), tag(window)))


if __name__ == "__main__":
    main()
