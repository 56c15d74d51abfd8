"""The segment dock where things go wrong or go away meanwhile, and on every kind of image."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from qtpy.QtWidgets import QFileDialog

from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.windows import apply_window, resolve_window
from napari_cam_sam.pipeline import segment_plane
from napari_cam_sam.plugin.io.sample_data import shapes_sample, ultrasound_sample
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.sam.seeded.segmenter import SeededSegmenter

Finish = Callable[[Any], None]
ONE = ObjectPrompt(1, (Point(10, 12),), Box(5, 6, 15, 18))
OTHER = ObjectPrompt(1, (), Box(14, 18, 22, 26))


@pytest.fixture
def gate(hold: Any) -> Any:
    """Hold encoding."""
    return hold(SeededSegmenter, "encode")


def volume() -> Any:
    rng = np.random.default_rng(0)
    pixels = rng.normal(40, 4, (6, 24, 28)).astype(np.float32)
    pixels[:, 6:14, 7:17] += 60
    return pixels


def new_dock(viewer: Any) -> SegmentDock:
    """Add the dock to a viewer whose plane 2 has prompts."""
    dock = SegmentDock(viewer)
    dock.segmenter.choose("seeded")
    dock.workspace.show_plane(0, 2)
    index = dock.workspace.plane()[1]
    dock.workspace.prompts.write([PlanePrompts(0, index, (ONE,))])
    return dock


def wanted(plane: Any, rgb: bool = False, whole: Any = None) -> Any:
    """Masks of the prompts on a plane, as the library makes them."""
    image = image_from_array(plane if whole is None else whole, rgb=rgb)
    segmenter = SeededSegmenter()
    shown = apply_window(plane, resolve_window(image))
    return segment_plane(segmenter, segmenter.encode(shown), PlanePrompts(0, 0, (ONE,)))[0]


def start(dock: SegmentDock, gate: Any, qtbot: Any) -> None:
    dock.run.click()
    assert dock.row.busy
    qtbot.waitUntil(gate.entered.is_set, timeout=60_000)


@pytest.mark.parametrize("gone", ["image", "prompts", "other image"])
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
        for layer in (dock.workspace.prompts.points, dock.workspace.prompts.boxes):
            viewer.layers.remove(layer)
    else:
        dock.workspace.choose_image(viewer.add_image(volume(), name="other"))
    gate.open()
    finish(dock.row)
    qtbot.waitUntil(lambda: dock.masks.get(0, 2) is None, timeout=10_000)
    assert dock.workspace.own("preview") is None or not dock.workspace.own("preview").data.any()
    assert notices == []


def test_a_preview_that_is_deleted_comes_back_with_the_next_mask(
    qapp: Any, finish: Finish, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume(), name="scan")
    dock = new_dock(viewer)
    dock.run.click()
    finish(dock.row)
    viewer.layers.remove(dock.workspace.own("preview"))
    assert dock.masks.get(0, 2) is None
    assert not dock.review.accept.isEnabled()
    dock.run.click()
    finish(dock.row)
    np.testing.assert_array_equal(
        dock.workspace.own("preview").data[2], wanted(volume()[2], whole=volume())
    )
    assert notices == []


def test_a_preview_deleted_while_masks_are_made(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume(), name="scan")
    dock = new_dock(viewer)
    gate.open()
    dock.run.click()
    finish(dock.row)
    gate.shut()
    dock.workspace.prompts.write([PlanePrompts(0, 4, (ONE,))])
    dock.run_all.click()
    qtbot.waitUntil(gate.entered.is_set, timeout=60_000)
    viewer.layers.remove(dock.workspace.own("preview"))
    gate.open()
    finish(dock.row)
    assert dock.masks.get(0, 4) is not None
    shown = dock.workspace.own("preview").data
    np.testing.assert_array_equal(shown[4], wanted(volume()[4], whole=volume()))
    assert notices == []


def test_a_second_press_starts_nothing(qapp: Any, qtbot: Any, finish: Finish, gate: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    start(dock, gate, qtbot)
    assert not dock.run.isEnabled()
    assert not dock.segment()
    assert not dock.segment_all()
    gate.open()
    finish(dock.row)
    assert gate.calls == 1
    assert dock.run.isEnabled()
    # The plane is encoded: asked again, it is decoded alone.
    dock.run.click()
    finish(dock.row)
    assert gate.calls == 1


def test_a_cancel_keeps_the_masks_that_are_made(qapp: Any, finish: Finish) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    dock.workspace.prompts.write(PlanePrompts(0, i, (ONE,)) for i in range(6))
    ended: list[bool] = []
    dock.segmented.connect(ended.append)

    def made() -> None:
        if dock.masks.planes(0) == [0, 1]:
            dock.row.cancel.click()

    dock.masks.changed.connect(made)
    dock.run_all.click()
    finish(dock.row)
    assert ended == [False]
    assert dock.masks.planes(0) == [0, 1]
    assert dock.workspace.own("preview").data.any(axis=(1, 2)).tolist() == [True] * 2 + [False] * 4
    assert dock.run_all.isEnabled()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a shape is wrong")]
)
def test_an_error_of_the_model_is_a_notification_and_the_dock_goes_on(
    qapp: Any, finish: Finish, monkeypatch: pytest.MonkeyPatch, notices: list[str], error: Exception
) -> None:
    def fails(*_: Any) -> None:
        raise error

    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    with monkeypatch.context() as patch:
        patch.setattr(SeededSegmenter, "encode", fails)
        dock.run.click()
        finish(dock.row)
    assert any(str(error) in notice for notice in notices)
    assert dock.run.isEnabled()
    assert not dock.row.bar.isVisibleTo(dock)
    dock.run.click()
    finish(dock.row)
    assert dock.workspace.own("preview").data[2].any()


def test_a_window_that_is_closed_takes_the_work_with_it(
    make_napari_viewer_proxy: Any, qtbot: Any, gate: Any, notices: list[str]
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(volume(), name="scan")
    dock = new_dock(viewer)
    viewer.window.add_dock_widget(dock)
    dock.workspace.prompts.write(PlanePrompts(0, i, (ONE,)) for i in range(6))
    dock.run_all.click()
    qtbot.waitUntil(gate.entered.is_set, timeout=60_000)
    with qtbot.waitSignal(dock.destroyed, timeout=10_000):
        viewer.close()
    gate.open()
    del dock
    gc.collect()
    assert gate.calls == 1
    assert notices == []


@pytest.mark.slow
def test_two_viewers_know_nothing_of_each_other(
    make_napari_viewer_proxy: Any, finish: Finish
) -> None:
    pixels = volume(), volume()[:, ::-1].copy()
    docks = []
    for one in pixels:
        viewer = make_napari_viewer_proxy()
        viewer.add_image(one, name="scan")
        docks.append(new_dock(viewer))
    for dock in docks:
        dock.run.click()
    for dock in docks:
        finish(dock.row)
    assert docks[0].workspace is not docks[1].workspace
    for dock, one in zip(docks, pixels, strict=True):
        np.testing.assert_array_equal(
            dock.workspace.own("preview").data[2], wanted(one[2], whole=one)
        )
    docks[0].review.accept.click()
    assert docks[1].workspace.own("labels") is None
    assert docks[1].masks.get(0, 2) is not None


def test_a_dask_volume_and_a_frame_of_a_series(qapp: Any, finish: Finish) -> None:
    first = volume()
    second = first[:, ::-1].copy()
    series = np.stack([first * 0, second])
    for pixels, frame in ((da.from_array(first, chunks=(1, 24, 28)), None), (series, 1)):
        viewer = ViewerModel()
        viewer.add_image(pixels)
        if frame is not None:
            viewer.dims.set_point(range(2), (frame, 2))
        dock = new_dock(viewer)
        dock.run.click()
        finish(dock.row)
        whole = first if frame is None else second
        shown = dock.workspace.own("preview").data
        assert shown.shape == (6, 24, 28)
        np.testing.assert_array_equal(shown[2], wanted(whole[2], whole=whole))
        dock.review.accept.click()
        labels = dock.workspace.own("labels")
        np.testing.assert_array_equal(labels.data[2], wanted(whole[2], whole=whole))
        if frame is not None:
            viewer.dims.set_point(0, 0)
            assert dock.workspace.own("labels") is None


def test_pyramids_are_segmented_at_their_finest_level(qapp: Any, finish: Finish) -> None:
    whole = volume()
    truth = np.zeros(whole.shape, np.uint8)
    truth[:, 6:14, 7:17] = 1
    viewer = ViewerModel()
    viewer.add_image([whole, whole[:, ::2, ::2]], multiscale=True, name="scan")
    target = viewer.add_labels([truth, truth[:, ::2, ::2]], multiscale=True, name="truth")
    dock = new_dock(viewer)
    dock.run.click()
    finish(dock.row)
    expected = wanted(whole[2], whole=whole)
    preview = dock.workspace.own("preview").data
    assert preview.shape == whole.shape
    np.testing.assert_array_equal(preview[2], expected)
    dice = 2 * (expected & truth[2]).sum() / (expected.sum() + truth[2].sum())
    assert f"Dice with the ground truth {dice:.3f}" in dock.review.shown.text()
    dock.masks.target = target
    dock.review.accept.click()
    assert "truth cannot be written into" in dock.row.words.text()
    np.testing.assert_array_equal(target.data[0], truth)
    dock.masks.target = None
    dock.review.accept.click()
    np.testing.assert_array_equal(dock.workspace.own("labels").data[2], expected)


def test_the_alpha_of_a_picture_changes_no_mask(qapp: Any, finish: Finish) -> None:
    (data, _, _), _ = shapes_sample()
    alpha = np.random.default_rng(0).integers(0, 256, (*data.shape[:2], 1), dtype=np.uint8)
    viewer = ViewerModel()
    viewer.add_image(np.concatenate([data, alpha], axis=-1), rgb=True)
    dock = new_dock(viewer)
    dock.run.click()
    finish(dock.row)
    expected = wanted(data, rgb=True)
    assert expected.any()
    np.testing.assert_array_equal(dock.workspace.own("preview").data, expected)


@pytest.mark.parametrize("sample", [ultrasound_sample, shapes_sample])
def test_flat_pictures_gray_and_coloured(qapp: Any, finish: Finish, sample: Any) -> None:
    (data, meta, _), _ = sample()
    viewer = ViewerModel()
    viewer.add_image(data, **meta)
    workspace = workspace_of(viewer)
    dock = SegmentDock(viewer)
    dock.segmenter.choose("seeded")
    workspace.prompts.write([PlanePrompts(0, 0, (ONE,))])
    dock.run.click()
    finish(dock.row)
    expected = wanted(data, rgb=meta["rgb"])
    assert expected.any()
    np.testing.assert_array_equal(workspace.own("preview").data, expected)
    dock.review.accept.click()
    np.testing.assert_array_equal(workspace.own("labels").data, expected)
    workspace.own("labels").undo()
    assert not workspace.own("labels").data.any()


def test_planes_edited_or_cleared_meanwhile_do_not_get_their_old_masks(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    prompts = dock.workspace.prompts
    prompts.write(PlanePrompts(0, i, (ONE,)) for i in (1, 3, 4))
    dock.run_all.click()
    qtbot.waitUntil(gate.entered.is_set, timeout=60_000)
    prompts.write([PlanePrompts(0, i, (OTHER,)) for i in (2, 4)], "replace")
    prompts.clear(0, 3)
    gate.open()
    finish(dock.row)
    assert set(dock.masks.planes(0)) - {2} == {1}
    # The one that is shown follows its prompts by itself.
    qtbot.waitUntil(lambda: dock.masks.planes(0) == [1, 2], timeout=10_000)
    masks = dock.masks.get(0, 2)
    assert masks is not None
    assert masks.prompts.objects[0].box == OTHER.box
    assert dock.row.words.text() == (
        "Slice 4 skipped: Prompts changed during the run; press S there for new masks."
    )
    assert notices == []


def test_a_plane_that_is_refused_does_not_keep_masks_from_those_after_it(
    qapp: Any, finish: Finish, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    outside = ObjectPrompt(1, (Point(500, 12),))
    dock.workspace.prompts.write(PlanePrompts(0, i, (outside,)) for i in (0, 1))
    dock.workspace.prompts.write([PlanePrompts(0, 3, (ONE,))])
    ended: list[bool] = []
    dock.segmented.connect(ended.append)
    dock.run_all.click()
    finish(dock.row)
    assert ended == [True]
    assert dock.masks.planes(0) == [2, 3]
    words = dock.row.words.text()
    assert words.startswith("Slice 0 skipped: The point (row 500, column 12) of object 1 lies out")
    assert ". Slice 1 skipped: The point" in words
    assert notices == [words]
    dock.workspace.show_plane(0, 1)
    dock.workspace.shown.look_at_plane()
    assert dock.row.words.text() == words
    # Where no plane has any, nothing goes on from there.
    dock.run.click()
    finish(dock.row)
    assert ended == [True, False]
    assert dock.row.words.text().startswith("The point (row 500, column 12)")


def test_of_many_planes_left_out_some_are_named(
    qapp: Any, finish: Finish, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    negative = ObjectPrompt(1, (Point(10, 12, False),))
    outside = ObjectPrompt(1, (Point(500, 12),))
    dock.workspace.prompts.write(PlanePrompts(0, i, (outside,)) for i in (0, 1, 3, 4))
    dock.workspace.prompts.write([PlanePrompts(0, 5, (negative,))])
    dock.run_all.click()
    finish(dock.row)
    words = dock.row.words.text()
    assert "Slice 3 skipped" in words
    assert "Slice 4" not in words
    assert words.endswith(" 2 more skipped.")
    assert notices == [words]


def test_how_long_it_takes_is_said_once_a_plane_was_encoded(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    dock.live.setChecked(False)
    dock.run.click()
    assert dock.row.words.text() == "Loading seeded…"
    qtbot.waitUntil(lambda: "Loading" not in dock.row.words.text(), timeout=60_000)
    assert dock.row.words.text() == "Masks of 1 slice: seeded on the CPU, duration not known yet."
    gate.open()
    finish(dock.row)
    known = dock.segmenter.seconds()
    assert known is not None
    dock.run.click()
    assert dock.row.words.text() == "Masks of 1 slice: seeded on the CPU, about 1 s."
    finish(dock.row)
    # Now it was encoded already: how long that takes says nothing of other planes.
    assert dock.segmenter.seconds() == known


def test_a_checkpoint_that_is_refused_is_said_and_the_dock_goes_on(
    qapp: Any, finish: Finish, notices: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "sam_vit_b.pth"
    broken.write_bytes(b"no weights at all")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(broken), ""))
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    dock.segmenter.setCurrentIndex(dock.segmenter.count() - 1)
    dock.segmenter.chosen.emit()
    assert dock.segmenter.value() == str(broken)
    dock.run.click()
    finish(dock.row)
    assert len(notices) == 1
    assert "sam_vit_b.pth" in notices[0]
    assert dock.segmenter.loaded() is None
    assert dock.masks.get(0, 2) is None
    assert dock.run.isEnabled()
    dock.segmenter.choose("seeded")
    dock.run.click()
    finish(dock.row)
    assert dock.masks.get(0, 2) is not None
    assert len(notices) == 1


def test_in_three_dimensions_it_says_why_there_is_nothing_to_press(
    qapp: Any, finish: Finish, notices: list[str]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume())
    dock = new_dock(viewer)
    dock.run.click()
    finish(dock.row)
    review = dock.review
    pressed = (dock.run, dock.run_all, review.accept, review.accept_all, review.after)
    viewer.dims.ndisplay = 3
    dock.workspace.shown.look_at_plane()
    assert "switch to 2D" in dock.row.words.text()
    assert not any(one.isEnabled() for one in pressed)
    assert review.shown.text() == ""
    assert not dock.segment()
    assert not dock.segment_all()
    dock.review.accept_masks()
    assert "switch to 2D" in dock.row.words.text()
    assert dock.workspace.own("labels") is None
    viewer.dims.ndisplay = 2
    dock.workspace.shown.look_at_plane()
    assert all(one.isEnabled() for one in pressed)
    assert "switch to 2D" not in dock.row.words.text()
    assert notices == 2 * ["The viewer shows three dimensions: switch to 2D to choose a slice."]


def test_a_checkpoint_is_listed_with_both_frames_and_chosen_with_either(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    dock = SegmentDock(viewer)
    path = str(tmp_path / "mine.pth")
    dock.segmenter.choose(path)
    assert dock.segmenter.value() == path
    texts = [dock.segmenter.itemText(i) for i in range(3)]
    assert texts == ["mine.pth", "mine.pth, in SAM's frame", "mine.pth, in MedSAM's frame"]
    dock.segmenter.choose(f"medsam:{path}")
    assert dock.segmenter.currentText() == "mine.pth, in MedSAM's frame"
    dock.segmenter.choose(f"sam:{tmp_path / 'other.pth'}")
    assert dock.segmenter.value() == f"sam:{tmp_path / 'other.pth'}"
    names = [dock.segmenter.itemData(i) for i in range(dock.segmenter.count())]
    assert len(set(names)) == len(names)
