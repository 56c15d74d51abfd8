"""Two docks of one viewer, closed and opened again in every order."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication

from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

pytestmark = pytest.mark.slow

PAIRS = (
    ("CAM → SAM", "Segment"), ("CAM → SAM", "Train"), ("Heatmap", "Prompts"), ("Segment", "Scores"),
)  # fmt: skip
BOX = PlanePrompts(0, 1, (ObjectPrompt(1, (), Box(4, 5, 14, 16)),))


def settle() -> None:
    """Let the window do what it has put off, and delete what was closed."""
    QApplication.processEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_docks_close_and_open_in_every_order(
    viewer: Any, pair: tuple[str, str], notices: list[str], qtbot: Any, finish: Any
) -> None:
    pixels = np.random.default_rng(0).normal(40, 4, (3, 20, 22)).astype(np.float32)
    pixels[:, 4:14, 5:16] += 60
    viewer.add_image(pixels, name="scan")
    workspace = workspace_of(viewer)
    open_docks: dict[str, Any] = {}

    def open_one(name: str) -> None:
        open_docks[name] = viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
        settle()

    for name in pair:
        open_one(name)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        workspace.prompts.write([BOX])
    workspace.show_plane(0, 1)
    for closing, opening in product(permutations(pair), permutations(pair)):
        for name in closing:
            viewer.window.remove_dock_widget(open_docks.pop(name)[0])
            settle()
        # With no dock at all the work stays, and a key says which dock it needs.
        assert workspace.prompts.read(0, 1).objects == BOX.objects
        assert not workspace.docks.has_handler("segment")
        for name in opening:
            open_one(name)
        frames = [frame for frame, _ in open_docks.values()]
        assert all(not frame.isHidden() for frame in frames)
    assert notices == []
    # What is open in the end works, and what is closed does nothing more.
    segment = {"CAM → SAM": lambda dock: dock.segment, "Segment": lambda dock: dock}
    parts = [segment[name](dock) for name, (_, dock) in open_docks.items() if name in segment]
    if parts:
        parts[-1].segmenter.choose("seeded")
        assert workspace.docks.dispatch("segment")
        for one in parts:
            finish(one.row)
        assert workspace.masks.planes(0) == [1]
