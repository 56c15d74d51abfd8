"""The demo's window: a sample, the dock for the whole way, and what it finds.

Started as ``python -m napari_cam_sam.plugin.workflow.demo_window SAMPLE`` by the command line,
which itself knows no viewer.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_cam_sam.plugin.session.capture import record_of
from napari_cam_sam.plugin.session.recovery import forget_untouched

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock

__all__ = ["enlarge", "open_demo", "show_demo"]

_CLOSER = 1.6
# Beside the dock and the list of layers there is room for the image.
_WIDTH, _HEIGHT = 1600, 1000


def enlarge(viewer: napari.viewer.Viewer) -> None:
    """Make the window as large as the demo needs, and no larger than the screen.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """
    screen: Any = QApplication.primaryScreen()
    room = screen.availableGeometry()
    viewer.window.resize(min(_WIDTH, room.width()), min(_HEIGHT, room.height()))


def open_demo(viewer: napari.viewer.Viewer, sample: str) -> WorkflowDock:
    """Open a sample and the dock, run all four steps, and then show what came out.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    sample : {"ct", "ultrasound", "shapes"}

    Returns
    -------
    WorkflowDock
    """
    viewer.open_sample("napari-cam-sam", sample)
    dock: Any
    _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", "CAM → SAM")

    def ended() -> None:
        dock.ended.disconnect(ended)  # what the user runs later is looked at by the user
        _show_result(dock)

    dock.ended.connect(ended)
    dock.run_all()
    return dock


def _show_result(dock: WorkflowDock) -> None:
    """Show heatmap, mask and truth on a typical slice: the one of the median Dice."""
    truth: Any = dock.workspace.truth()
    rows = [row for row in dock.scores.table.rows() if row.kind in ("plane", "image")]
    if truth is None or not rows:
        return
    rows.sort(key=lambda row: row.scores.values["dice"])
    index = rows[len(rows) // 2].number
    axis, _ = dock.workspace.plane()
    truth.visible = True
    dock.workspace.show_plane(axis, index)
    marked = np.argwhere(truth.data if truth.ndim == 2 else truth.data[index])
    if not len(marked):
        return
    # Nearer to what was looked for, with enough around it to know where one is.
    viewer = dock.workspace.viewer
    camera = getattr(viewer, "scene", viewer).camera
    middle = np.array(truth.data_to_world([*[index] * (truth.ndim - 2), *marked.mean(axis=0)]))
    now = np.array(camera.center)
    now[-2:] += (middle[-2:] - now[-2:]) * _CLOSER / (1 + _CLOSER)
    camera.center, camera.zoom = tuple(now), camera.zoom * _CLOSER


def show_demo(sample: str) -> None:
    """Open napari with a sample, show what is found on it, and stay until it is closed.

    Of a demo in which nobody did anything by hand nothing is offered the next time.

    Parameters
    ----------
    sample : {"ct", "ultrasound", "shapes"}
    """
    import napari

    viewer = napari.Viewer()
    enlarge(viewer)
    workspace = open_demo(viewer, sample).workspace
    record = record_of(workspace.image(), workspace.frame())
    try:
        napari.run()
    finally:
        forget_untouched(record)


if __name__ == "__main__":
    show_demo(sys.argv[1] if len(sys.argv) > 1 else "ct")
