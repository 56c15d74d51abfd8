"""Through the volume where things go wrong or go away meanwhile, and on series."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from numpy.typing import NDArray

from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.windows import apply_window, resolve_window
from napari_cam_sam.plugin.segment import segmenter_job
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.seeded.segmenter import SeededSegmenter
from napari_cam_sam.sam.volume.propagation import propagate

Finish = Callable[[Any], None]
ONE = ObjectPrompt(1, (), Box(5, 6, 15, 18))
TWO = ObjectPrompt(2, (), Box(15, 18, 23, 27))


@pytest.fixture
def gate(hold: Any) -> Any:
    """Hold encoding, plane by plane."""
    return hold(SeededSegmenter, "encode")


def volume() -> NDArray[np.float32]:
    pixels = np.random.default_rng(0).normal(40, 4, (9, 24, 28)).astype(np.float32)
    pixels[1:8, 6:14, 7:17] += 60
    pixels[2:7, 16:22, 19:26] += 80
    return pixels


def new_dock(viewer: Any, *objects: ObjectPrompt) -> SegmentDock:
    """Add the dock to a viewer whose plane 4 has prompts."""
    dock = SegmentDock(viewer)
    dock.segmenter.choose("seeded")
    dock.workspace.show_plane(0, 4)
    dock.workspace.prompts.write([PlanePrompts(0, 4, objects or (ONE,))])
    dock.through.refresh()
    return dock


def wanted(pixels: Any, *objects: ObjectPrompt) -> NDArray[Any]:
    """Labels as the library makes them."""
    image, labels = image_from_array(pixels), np.zeros(pixels.shape, np.uint16)
    window, segmenter = resolve_window(image), SeededSegmenter()
    prompts = [PlanePrompts(0, 4, objects or (ONE,))]
    read = lambda i: apply_window(image.plane(0, i), window)  # noqa: E731
    for plane in propagate(image, segmenter, prompts, read):
        labels[plane.index] = plane.labels
    assert np.count_nonzero(labels.any(axis=(1, 2))) == 7
    return labels


def start(dock: SegmentDock, gate: Any, qtbot: Any, planes: int = 3) -> None:
    """Start, and wait until some planes are in the preview and the next is being encoded."""
    dock.through.go.click()
    assert dock.row.busy
    gate.open(planes)
    gate.wait(planes + 1)
    qtbot.waitUntil(lambda: len(dock.masks.planes(0)) == planes, timeout=60_000)


@pytest.mark.parametrize("gone", ["image", "prompts", "preview", "other image", "pixels"])
def test_what_goes_away_meanwhile_ends_the_work_quietly(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any, notices: list[str], gone: str
) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(volume(), name="scan")
    dock = new_dock(viewer)
    start(dock, gate, qtbot)
    if gone == "image":
        viewer.layers.remove(image)
    elif gone == "prompts":
        viewer.layers.remove(dock.workspace.prompts.boxes)
    elif gone == "preview":
        viewer.layers.remove(dock.workspace.own("preview"))
    elif gone == "pixels":
        image.data = volume()[:, ::-1]
    else:
        dock.workspace.choose_image(viewer.add_image(volume(), name="other"))
    calls = gate.calls
    gate.open()
    finish(dock.row)
    assert notices == []
    if gone in ("image", "other image", "pixels"):
        # Not even the next plane was encoded.
        assert gate.calls == calls
        assert dock.masks.planes(0) == []
        assert dock.through.result.text() == ""
    else:
        # What the run brings after that is there, drawn anew.
        shown = dock.workspace.own("preview").data
        left = [i for i in range(9) if shown[i].any()]
        np.testing.assert_array_equal(shown[left], wanted(volume())[left])
        # Without prompts the plane shown, that of the prompts, has no masks either.
        assert len(left) == (4 if gone == "preview" else 6)
    if gone == "image":
        assert not dock.through.go.isEnabled()


def test_a_start_that_is_cleared_meanwhile_does_not_get_its_old_mask(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    dock.through.go.click()
    qtbot.waitUntil(lambda: gate.calls == 1, timeout=60_000)
    dock.workspace.prompts.clear(0, 4)
    gate.open()
    finish(dock.row)
    planes = dock.masks.planes(0)
    assert 4 not in planes
    assert 3 in planes
    assert dock.through.result.text().endswith("Skipped, prompts changed meanwhile: slice 4.")
    assert notices == []


def test_a_second_press_starts_nothing(qapp: Any, qtbot: Any, finish: Finish, gate: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    start(dock, gate, qtbot)
    assert not dock.through.go.isEnabled()
    assert not dock.run.isEnabled()
    assert not dock.through.propagate()
    assert not dock.segment()
    gate.open()
    finish(dock.row)
    # Each plane once, those on which it ended too; and for a second run none.
    assert gate.calls == 7
    assert dock.through.go.isEnabled()
    assert dock.run.isEnabled()
    shown = dock.workspace.own("preview").data.copy()
    dock.through.go.click()
    finish(dock.row)
    assert gate.calls == 7
    np.testing.assert_array_equal(dock.workspace.own("preview").data, shown)
    np.testing.assert_array_equal(shown, wanted(volume()))


@pytest.mark.parametrize("by", ["cancel", "dock"])
def test_a_cancel_ends_it_within_a_plane_also_where_none_is_told(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any, by: str
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    dock.workspace.prompts.clear(0, 4)
    # The planes between wait for both objects, each of which comes from its end.
    dock.workspace.prompts.write([PlanePrompts(0, 2, (TWO,)), PlanePrompts(0, 7, (ONE,))])
    dock.through.refresh()
    dock.through.go.click()
    gate.open(3)
    gate.wait(4)
    qtbot.waitUntil(lambda: dock.masks.planes(0) == [2, 7], timeout=60_000)
    if by == "cancel":
        dock.row.cancel.click()
    else:
        dock.stop()
    gate.open()
    finish(dock.row)
    assert gate.calls == 4
    assert dock.masks.planes(0) == [2, 7]
    assert dock.through.result.text().startswith("Stopped. Masks so far are kept.")
    # The next run is not stopped by what stopped this one.
    dock.through.go.click()
    finish(dock.row)
    assert not dock.through.result.text().startswith("Stopped")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a shape is wrong")]
)
def test_an_error_of_the_model_is_a_notification_and_the_dock_goes_on(
    qapp: Any, finish: Finish, monkeypatch: pytest.MonkeyPatch, notices: list[str], error: Exception
) -> None:
    calls: list[Any] = []
    encode = SeededSegmenter.encode

    def fails(segmenter: SeededSegmenter, plane: Any) -> Any:
        calls.append(plane)
        if len(calls) > 3:
            raise error
        return encode(segmenter, plane)

    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    with monkeypatch.context() as patch:
        patch.setattr(SeededSegmenter, "encode", fails)
        dock.through.go.click()
        finish(dock.row)
    assert any(str(error) in notice for notice in notices)
    assert len(dock.masks.planes(0)) == 3
    assert dock.through.go.isEnabled()
    dock.through.go.click()
    finish(dock.row)
    np.testing.assert_array_equal(dock.workspace.own("preview").data, wanted(volume()))


def test_a_segmenter_that_does_not_load_leaves_the_last_masks(
    qapp: Any, finish: Finish, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    dock.through.go.click()
    finish(dock.row)
    shown = dock.workspace.own("preview").data.copy()

    def fails(*_: Any) -> None:
        raise OSError("no such weights")

    monkeypatch.setattr(segmenter_job, "load", fails)
    dock.segmenter.choose("compact-sam")
    dock.through.go.click()
    finish(dock.row)
    assert any("no such weights" in notice for notice in notices)
    np.testing.assert_array_equal(dock.workspace.own("preview").data, shown)


def test_prompts_off_the_plane_are_refused_in_words(
    qapp: Any, finish: Finish, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer, ObjectPrompt(1, (), Box(-30, -30, -5, -5)))
    dock.through.go.click()
    finish(dock.row)
    assert any("has no part on the slice 4 of axis 0" in notice for notice in notices)
    assert dock.workspace.own("preview") is None


def test_a_window_that_is_closed_takes_the_work_with_it(
    make_napari_viewer_proxy: Any, qtbot: Any, gate: Any, notices: list[str]
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(volume(), name="scan")
    dock = new_dock(viewer)
    viewer.window.add_dock_widget(dock)
    start(dock, gate, qtbot)
    with qtbot.waitSignal(dock.destroyed, timeout=10_000):
        viewer.close()
    calls = gate.calls
    gate.open()
    del dock
    gc.collect()
    assert gate.calls == calls
    assert notices == []


def test_masks_that_come_after_the_view_was_turned_lie_not_across_it(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    start(dock, gate, qtbot)
    with qtbot.waitSignal(dock.workspace.plane_changed, timeout=10_000):
        dock.workspace.show_plane(1, 10)
    gate.open()
    finish(dock.row)
    assert not dock.workspace.own("preview").data.any()
    with qtbot.waitSignal(dock.workspace.plane_changed, timeout=10_000):
        dock.workspace.show_plane(0, 4)
    np.testing.assert_array_equal(dock.workspace.own("preview").data, wanted(volume()))


def test_a_dask_volume_and_a_frame_of_a_series(qapp: Any, qtbot: Any, finish: Finish) -> None:
    first = volume()
    second = first.copy()
    second[:, 6:14, 7:17] += 20
    series = np.stack([first * 0, second])
    for pixels, frame in ((da.from_array(first, chunks=(1, 24, 28)), None), (series, 1)):
        viewer = ViewerModel()
        viewer.add_image(pixels)
        if frame is not None:
            viewer.dims.set_point(range(2), (frame, 4))
        dock = new_dock(viewer, ONE, TWO)
        dock.through.go.click()
        finish(dock.row)
        expected = wanted(first if frame is None else second, ONE, TWO)
        np.testing.assert_array_equal(dock.workspace.own("preview").data, expected)
        if frame is not None:
            dock.review.accept_all.click()
            viewer.dims.set_point(0, 0)
            assert dock.workspace.own("labels") is None
            qtbot.waitUntil(lambda dock=dock: dock.through.result.text() == "")


def test_a_plane_is_left_in_the_middle_of_its_encoding(
    qapp: Any, finish: Finish, notices: list[str], endless: Any
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume(), name="scan")
    dock = new_dock(viewer)
    dock.ahead.switch.setChecked(False)
    dock.live.setChecked(False)
    dock.segmenter.adopt(endless, dock.segmenter.value(), dock.workspace.device)
    assert dock.through.propagate()
    assert endless.begun.wait(60)
    dock.row.cancel.click()
    finish(dock.row)
    assert not any(dock.masks.planes(axis) for axis in range(3))
    assert notices == []
