"""Do the tutorial in a real window, with mouse and keys, and take its pictures.

    xvfb-run -a -s "-screen 0 1500x1000x24" .venv/bin/python tools/tutorial.py --output docs/images

Prints the figures that the tutorial names. Needs a display.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt

from napari_cam_sam.images.writing import write_text
from napari_cam_sam.metrics.overlap import overlap
from window import Window, dices, run, shown


def tutorial(window: Window, table: Path) -> Iterator[str]:
    """Do the steps of docs/tutorial.md; yield what is to be said about them."""
    viewer = window.viewer
    viewer.open_sample("napari-cam-sam", "ct")
    _, way = viewer.window.add_plugin_dock_widget("napari-cam-sam", "CAM → SAM")
    image, truth = viewer.layers["CT-like phantom"], viewer.layers["CT-like phantom, truth"]
    window.wait(lambda: way.workspace.classifier is not None and not way.heatmap.row.busy)
    window.picture("tutorial-2-dock")

    begin = time.monotonic()
    window.press(way.run)
    window.wait(lambda: way.run.isEnabled())
    assert len(way.workspace.heatmaps.computed_planes(0)) == len(image.data), way.words.text()
    yield f"image to scores: {time.monotonic() - begin:.1f} s, the pauses of this script included"
    way.workspace.show_plane(0, 11)
    window.picture("tutorial-3-run")

    preview = way.workspace.own("preview")
    before = dices(truth.data, preview.data)
    yield f"mean Dice without edits: {np.mean(list(before.values())):.3f} over {len(before)} planes"
    yield "  " + ", ".join(f"{i}: {d:.2f}" for i, d in before.items())

    # The prompted plane whose mask is worst, and its box dragged over the lesion.
    prompted = way.workspace.prompts.planes(0)
    worst = min((i for i in prompted if truth.data[i].any()), key=lambda i: before[i])
    way.workspace.show_plane(0, worst)
    truth.visible = True
    window.pause()
    boxes = way.workspace.prompts.boxes
    viewer.layers.selection.active = boxes
    boxes.mode = "select"
    where = [k for k, v in enumerate(boxes.data) if round(v[:, 0].mean()) == worst]
    corners = boxes.data[where[0]]
    rows, columns = np.nonzero(truth.data[worst])
    goal = np.array([rows.mean(), columns.mean()])
    start = corners[:, 1:].mean(axis=0)
    # A little off the middle, where no point lies in the way.
    grip = start + 0.3 * (corners[:, 1:].max(axis=0) - start)
    a, b = (shown(boxes, [[worst, *p]])[0] for p in (grip, grip + goal - start))
    window.picture("tutorial-4-worst")
    window.drag(a, b)
    window.wait(lambda: not way.segment.row.busy)
    window.pause(0.8)
    window.picture("tutorial-5-edited")
    after = dices(truth.data, preview.data)
    yield f"plane {worst}: {before[worst]:.3f} before its box was dragged, {after[worst]:.3f} after"
    yield f"mean Dice after one box was moved: {np.mean(list(after.values())):.3f}"
    moved = way.workspace.prompts.read(0, worst).objects[0]
    yield f"the box is now the {moved.box.source}'s"

    window.key(Qt.Key.Key_C)
    assert len(way.workspace.masks.accepted) == 1, way.segment.row.words.text()
    window.press(way.segment.review.accept_all)
    labels = way.workspace.own("labels")
    np.testing.assert_array_equal(labels.data.shape, image.data.shape)
    window.press(way.scores.run)
    window.wait(lambda: not way.scores.row.busy)
    for section in way.sections[:3]:
        section.title.setChecked(False)
    window.pause()
    window.scroll_to(way.sections[3])
    window.picture("tutorial-6-scores")
    way.scores.tabs.setCurrentWidget(way.scores.curves)
    window.picture("tutorial-7-curves")
    way.scores.tabs.setCurrentWidget(way.scores.comparison)
    window.press(way.scores.comparison.button)
    window.wait(lambda: not way.scores.comparison.row.busy)
    window.picture("tutorial-8-compare")
    for line in way.scores.comparison.lines:
        yield f"  {line}"
    write_text(table, way.scores.table.as_csv())
    lines = table.read_text(encoding="utf-8").splitlines()
    yield f"CSV: {len(lines) - 1} rows, columns {lines[0]}"
    volume = overlap(labels.data > 0, truth.data > 0).dice
    yield f"Dice of the volume: {volume:.3f}"


def one_box(window: Window) -> Iterator[str]:
    """Do the last part of the tutorial: from one box through the volume."""
    viewer = window.viewer
    viewer.layers.clear()
    # What was done on the sample before is not to be brought back.
    os.environ["NAPARI_CAM_SAM_SESSIONS"] = tempfile.mkdtemp()
    viewer.open_sample("napari-cam-sam", "ct")
    (way,) = viewer.window.dock_widgets.values()
    truth = viewer.layers["CT-like phantom, truth"].data
    for section in way.sections:
        section.title.setChecked(section is way.sections[2])
    way.workspace.show_plane(0, 11)
    window.pause()
    window.press(way.prompts.draw_box)
    boxes = way.workspace.prompts.boxes
    # Close around the lesion, as one draws by eye: a pixel wider on each side.
    places = np.argwhere(truth[11])
    corners = places.min(axis=0) - 1.5, places.max(axis=0) + 1.5
    window.drag(*(shown(boxes, [[11, *corner]])[0] for corner in corners))
    window.wait(lambda: way.workspace.prompts.planes(0) == [11])
    through = way.segment.through
    for least in (0.5, 0.25):
        through.rules.rule.widget("min_contrast").set_value(least)
        window.key(Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
        window.wait(lambda: not way.segment.row.busy)
        dice = overlap(way.workspace.own("preview").data > 0, truth > 0).dice
        yield f"one box, min contrast {least}: Dice {dice:.3f}. {through.result.text()}"
    window.scroll_to(way.sections[2])
    window.picture("tutorial-9-through")


def main() -> None:
    """Take the pictures and print the figures."""
    run(
        __doc__,
        lambda window, folder: chain(tutorial(window, folder / "scores.csv"), one_box(window)),
    )


if __name__ == "__main__":
    main()
