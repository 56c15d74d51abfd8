"""Take the first picture of the README: what `make demo` shows at its end.

    xvfb-run -a -s "-screen 0 1500x1000x24" .venv/bin/python tools/demo_picture.py \
        --output docs/images

Prints what the dock says at the top. Needs a display.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_cam_sam.plugin.workflow.demo_window import open_demo
from window import Window, run


def demo(window: Window, _: Path) -> Iterator[str]:
    """Open the demo as the command line does, and wait for its end."""
    window.viewer.window.resize(1280, 800)
    window.pause()
    dock = open_demo(window.viewer, "ct")
    window.wait(lambda: dock.words.text().startswith("Done"))
    window.pause(1)
    window.picture("demo")
    yield dock.words.text()


if __name__ == "__main__":
    run(__doc__, demo)
