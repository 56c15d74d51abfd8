"""The heatmap dock in a real viewer."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from napari.layers import Image as ImageLayer
from napari.utils.notifications import notification_manager

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.images.windows import WindowParameters, apply_window, resolve_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.plugin.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.layers import image_of, own_layer
from napari_cam_sam.plugin.tasks import Task


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture
def dock(viewer: Any, qtbot: Any) -> Iterator[HeatmapDock]:
    viewer.open_sample("napari-cam-sam", "ct")
    widget = HeatmapDock(viewer)
    viewer.window.add_dock_widget(widget)
    widget.choose("lesion", "lesion")
    yield widget
    qtbot.waitUntil(lambda: widget._task is None, timeout=120_000)


def scroll_to(viewer: Any, layer: Any, plane: int) -> None:
    """Show a plane of a volume that lies oblique: steps of the slider are not its planes."""
    middle = [(n - 1) / 2 for n in layer.data.shape[1:]]
    viewer.dims.set_point(range(3), layer.data_to_world((plane, *middle)))


def finish(dock: HeatmapDock, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: dock._task is None, timeout=120_000)


def test_the_plane_shown_gets_the_heatmap_that_the_core_computes(
    viewer: Any, dock: HeatmapDock, qtbot: Any
) -> None:
    image = viewer.layers["CT-like phantom"]
    scroll_to(viewer, image, 11)
    assert "Heatmap of lesion for plane 11 along axis 0, on the cpu" in dock.words.text()
    dock.run.click()
    finish(dock, qtbot)
    heat = own_layer(viewer, "heatmap", image)
    assert heat is not None
    source = image_of(image)
    window = resolve_window(source, WindowParameters("limits", *image.contrast_limits))
    plane = apply_window(source.plane(0, 11), window)
    classifier = load_classifier("lesion", device="cpu")
    (expected,) = compute_heatmaps(classifier, [plane], CamParameters(target="lesion"))
    np.testing.assert_allclose(heat.data[11], expected.values, atol=1e-5)
    assert not np.delete(heat.data, 11, axis=0).any()
    assert f"lesion {expected.probability:.2f}" in dock.words.text()


def test_the_layer_lies_exactly_over_its_image(viewer: Any, dock: HeatmapDock, qtbot: Any) -> None:
    image = viewer.layers["CT-like phantom"]
    dock.run.click()
    finish(dock, qtbot)
    heat = own_layer(viewer, "heatmap", image)
    assert heat is not None
    for point in np.random.default_rng(0).uniform(0, 20, (5, 3)):
        np.testing.assert_allclose(heat.data_to_world(point), image.data_to_world(point))
    assert heat.units == image.units
    # Saved, it has the header of the image's file.
    assert heat.metadata["napari_cam_sam"]["image"] is image.metadata["napari_cam_sam"]["image"]
    # A second run fills the same layer.
    scroll_to(viewer, image, 3)
    dock.run.click()
    finish(dock, qtbot)
    assert (
        sum(layer.metadata["napari_cam_sam"].get("role") == "heatmap" for layer in viewer.layers)
        == 1
    )


def test_all_planes_of_the_axis_in_view(viewer: Any, dock: HeatmapDock, qtbot: Any) -> None:
    viewer.dims.order = (1, 0, 2)
    dock.planes.setCurrentText("all planes")
    assert "128 planes along axis 1" in dock.words.text()
    dock.target.setCurrentIndex(0)
    dock.run.click()
    assert not dock.run.isEnabled()
    assert dock.cancel.isEnabled()
    finish(dock, qtbot)
    heat = own_layer(viewer, "heatmap", viewer.layers["CT-like phantom"])
    assert heat is not None
    assert heat.data.any(axis=(0, 2)).mean() > 0.5
    assert dock.run.isEnabled()


def test_cancel_keeps_what_is_done(viewer: Any, dock: HeatmapDock, qtbot: Any) -> None:
    dock.planes.setCurrentText("all planes")
    viewer.dims.order = (2, 0, 1)
    dock.run.click()
    assert dock._task is not None
    with qtbot.waitSignal(dock._task.stepped, timeout=120_000):
        pass
    dock.cancel.click()
    finish(dock, qtbot)
    heat = own_layer(viewer, "heatmap", viewer.layers["CT-like phantom"])
    assert heat is not None
    assert heat.data.any(axis=(0, 1)).sum() < 128


@pytest.mark.parametrize("what", ["image", "heatmap"])
def test_a_layer_that_goes_away_ends_the_work_quietly(
    viewer: Any, dock: HeatmapDock, qtbot: Any, what: str
) -> None:
    image = viewer.layers["CT-like phantom"]
    dock.planes.setCurrentText("all planes")
    dock.run.click()
    viewer.layers.remove(image if what == "image" else own_layer(viewer, "heatmap", image))
    finish(dock, qtbot)


def test_what_is_missing_is_said_and_nothing_can_be_pressed(viewer: Any) -> None:
    dock = HeatmapDock(viewer)
    assert not dock.run.isEnabled()
    assert "Open an image" in dock.words.text()
    viewer.add_image(np.random.default_rng(0).random((4, 40, 40)))
    assert "Choose a classifier" in dock.words.text()
    dock.choose("lesion")
    assert dock.run.isEnabled()
    viewer.dims.ndisplay = 3
    assert not dock.run.isEnabled()
    assert "switch to 2D" in dock.words.text()


def test_every_error_of_a_task_is_a_notification_and_ends_it(viewer: Any, qtbot: Any) -> None:
    def steps() -> Any:
        yield 1
        raise torch.OutOfMemoryError("out of memory, as torch says it")

    seen: list[str] = []
    notification_manager.notification_ready.connect(lambda n: seen.append(n.message))
    task = Task(steps, 2, "fails", lambda _: None)
    with qtbot.waitSignal(task.ended, timeout=60_000) as ended:
        task.start()
    assert ended.args == [False]
    assert any("out of memory" in message for message in seen)


def test_torch_may_come_after_the_window() -> None:
    """With Mesa's LLVM in the process, an import of torch as it is ends the process."""
    code = (
        "import napari, os; v = napari.Viewer(show=False);"
        "from napari_cam_sam.plugin.importing import import_torch; import_torch();"
        "import torchvision, torch; assert torch.ones(2).sum() == 2; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]


def test_colour_pictures(viewer: Any, qtbot: Any) -> None:
    viewer.open_sample("napari-cam-sam", "shapes")
    dock = HeatmapDock(viewer)
    dock.choose("shapes")
    dock.run.click()
    finish(dock, qtbot)
    layers = [layer for layer in viewer.layers if isinstance(layer, ImageLayer)]
    assert layers[-1].data.shape == (128, 128)
    assert layers[-1].data.max() == pytest.approx(1)
    gc.collect()
