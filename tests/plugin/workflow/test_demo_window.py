"""The demo's window opens on what the README shows, and says what came out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import napari
import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image
from qtpy.QtWidgets import QApplication
from skimage.color import rgb2hsv

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.plugin.session.recovery import work_folder
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.plugin.workflow import demo_window
from napari_cam_sam.plugin.workflow.demo_window import open_demo, show_demo
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.session import Session, image_record, write_session


@pytest.fixture
def demo(viewer: Any, qtbot: Any) -> Any:
    viewer.window.resize(1280, 800)
    viewer.show()
    dock = open_demo(viewer, "ct")
    qtbot.waitUntil(lambda: dock.words.text().startswith("Done"), timeout=120_000)
    return dock


def test_it_ends_on_a_typical_slice_with_all_layers_and_the_result_in_words(
    viewer: Any, demo: Any
) -> None:
    # The mean says what the misses cost; the picture is of a slice in the middle.
    scores = {
        row.number: row.scores.values["dice"]
        for row in demo.scores.table.rows()
        if row.kind == "plane"
    }
    axis, index = demo.workspace.plane()
    assert axis == 0
    assert scores[index] == np.median(list(scores.values()))
    assert 0.6 < scores[index] < 0.9
    assert demo.words.text() == (
        "Done. Mean Dice 0.604 on 7 slices. Missed: slice 8 (the heatmap is empty); slice 14 (the "
        "heatmap peaks beside it). Next: draw a box there or drag the one there, then accept masks "
        "(C)."
    )
    shown = [layer.name.split(" of ")[0] for layer in viewer.layers if layer.visible]
    assert shown == [
        "CT-like phantom", "heatmap", "CT-like phantom, truth", "mask preview", "boxes", "points"
    ]  # fmt: skip


def test_mask_truth_and_heatmap_are_told_apart_on_a_thumbnail(
    viewer: Any, demo: Any, qtbot: Any
) -> None:
    demo.workspace.looks.look()
    shot = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    # As much as a window of 1280 pixels is made smaller to be 240 wide.
    size = [round(n * 240 / 1280) for n in shot.shape[1::-1]]
    small = np.asarray(Image.fromarray(shot).resize(size, Image.Resampling.LANCZOS), float)
    hue, saturation, _ = np.moveaxis(rgb2hsv(small / 255), -1, 0)

    def seen(low: float, high: float) -> int:
        return int(((hue * 360 > low) & (hue * 360 < high) & (saturation > 0.3)).sum())

    assert seen(20, 45) > 15  # the mask's orange
    assert seen(180, 220) > 10  # the truth's cyan, darker by its rim
    assert seen(330, 360) > 25  # the heatmap's red


def test_a_run_of_the_users_own_leaves_the_view_alone(demo: Any, viewer: Any, qtbot: Any) -> None:
    demo.workspace.show_plane(0, 11)
    viewer.layers["CT-like phantom, truth"].visible = False
    with qtbot.waitSignal(demo.ended, timeout=120_000):
        demo.run_all()
    assert demo.workspace.plane() == (0, 11)
    assert not viewer.layers["CT-like phantom, truth"].visible


def test_a_picture_is_shown_as_well(viewer: Any, qtbot: Any) -> None:
    dock = open_demo(viewer, "ultrasound")
    qtbot.waitUntil(lambda: dock.words.text().startswith("Done"), timeout=120_000)
    assert "Dice 0.875" in dock.words.text()
    assert all(layer.visible for layer in viewer.layers)


def test_the_window_is_large_and_nothing_nobody_touched_is_offered_the_next_time(
    monkeypatch: pytest.MonkeyPatch, qapp: QApplication
) -> None:
    sample, opened, sizes = make_sample("ct").image, ViewerModel(), []
    opened.add_image(sample.data)
    workspace = workspace_of(opened)
    image = workspace.image()
    folder = work_folder(1, image_record(image), 1)

    def used() -> None:
        box = ObjectPrompt(1, (), Box(4, 5, 12, 15))
        session = Session(image_record(image), {}, (PlanePrompts(0, 3, (box,)),))
        write_session(folder, session, image)

    window = SimpleNamespace(resize=lambda *size: sizes.append(size))
    monkeypatch.setattr(napari, "Viewer", lambda: SimpleNamespace(window=window))
    monkeypatch.setattr(napari, "run", used)
    monkeypatch.setattr(demo_window, "open_demo", lambda *_: SimpleNamespace(workspace=workspace))
    show_demo("ct")
    assert not folder.exists()
    room = qapp.primaryScreen().availableGeometry()
    assert sizes == [(min(1600, room.width()), min(1000, room.height()))]
