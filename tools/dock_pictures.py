"""Take pictures of every dock, in windows, fonts and themes of several kinds.

    xvfb-run -a -s "-screen 0 1920x1080x24" .venv/bin/python tools/dock_pictures.py --output FOLDER

Of each dock one picture shows the window, and one the whole dock, also what must be scrolled to.
Prints what is wider than its dock. Needs a display.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from napari.settings import get_settings
from qtpy.QtWidgets import QTabWidget, QWidget

from napari_cam_sam.plugin.qt.widgets import Section
from window import Window, run

DOCKS = ("CAM → SAM", "Heatmap", "Prompts", "Segment", "Scores", "Train")
SIZES, FONTS, THEMES = ((1280, 720), (1920, 1080)), (9, 12, 16), ("dark", "light")


def pictures(window: Window, _: Path) -> Iterator[str]:
    """Make heatmaps, prompts, masks and scores of the sample; take the pictures."""
    viewer = window.viewer
    viewer.open_sample("napari-cam-sam", "ct")
    docks = {name: viewer.window.add_plugin_dock_widget("napari-cam-sam", name) for name in DOCKS}
    frame, way = docks["CAM → SAM"]
    window.pause()
    frame.raise_()
    way.workspace.show_plane(0, 11)
    window.wait(lambda: way.workspace.classifier is not None and not way.heatmap.row.busy)
    window.press(way.run)
    window.wait(lambda: way.run.isEnabled())
    _, scores = docks["Scores"]
    for start, row in (
        (scores.score, scores.row),
        (scores.compare, scores.comparison.row),
        (scores.trust.start, scores.trust.row),
    ):
        start()
        window.wait(lambda row=row: not row.busy)
    for _, dock in docks.values():
        for section in dock.findChildren(Section):
            section.title.setChecked(True)
    for theme, font, size in product(THEMES, FONTS, SIZES):
        get_settings().appearance.theme = theme
        get_settings().appearance.font_size = font
        viewer.window.resize(*size)
        for name, (frame, dock) in docks.items():
            frame.raise_()
            window.pause(0.3)
            base = f"{name.replace(' → ', '-')}-{size[0]}-{font}pt-{theme}"
            window.picture(base)
            (tabs,) = dock.findChildren(QTabWidget) or (None,)
            for i in range(1 if tabs is None else tabs.count()):
                if tabs is not None:
                    tabs.setCurrentIndex(i)
                    window.pause(0.3)
                if window.pictures is not None:
                    dock.scroll.widget().grab().save(str(window.pictures / f"{base}-whole-{i}.png"))
                for one in too_wide(dock):
                    yield f"{base}-{i}: {one}"


def too_wide(dock: QWidget) -> list[str]:
    """Say which parts of a dock are narrower than they need to be."""
    return [
        f"{type(one).__name__} {getattr(one, 'text', str)()!r} has {one.width()} of "
        f"{one.minimumSizeHint().width()} pixels"
        for one in dock.findChildren(QWidget)
        if not one.visibleRegion().isEmpty() and one.width() < one.minimumSizeHint().width()
    ]


def main() -> None:
    """Take the pictures."""
    run(__doc__, pictures)


if __name__ == "__main__":
    main()
