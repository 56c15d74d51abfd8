"""The demo's window: a sample and the dock for the whole way.

Started as ``python -m napari_cam_sam.plugin.workflow.demo_window SAMPLE`` by the command line,
which itself knows no viewer.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Open napari with a sample and the dock, and stay until it is closed."""
    import napari

    viewer = napari.Viewer()
    viewer.open_sample("napari-cam-sam", sys.argv[1] if len(sys.argv) > 1 else "ct")
    viewer.window.add_plugin_dock_widget("napari-cam-sam", "CAM → SAM")
    napari.run()


if __name__ == "__main__":
    main()
