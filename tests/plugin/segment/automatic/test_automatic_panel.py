"""All masks of a plane: found and ranked as the library does, picked, accepted, replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.windows import WindowParameters, apply_window, resolve_window
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.plugin.io.sample_data import shapes_sample, ultrasound_sample
from napari_cam_sam.plugin.segment import segmenter_job
from napari_cam_sam.plugin.segment.automatic.automatic_panel import AutomaticPanel
from napari_cam_sam.plugin.segment.automatic.automatic_run import (
    FoundMasks,
    Picked,
    Search,
)
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.cache.embeddings import round_features
from napari_cam_sam.sam.everything.automatic import (
    AutomaticMask,
    AutomaticParameters,
    automatic_masks,
    recommended_parameters,
)
from napari_cam_sam.sam.everything.ranking import (
    RankingParameters,
    choose_by_heatmap,
    heatmap_scores,
)
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.models.promptable import SamSegmenter
from napari_cam_sam.sam.run_length import encode_mask
from napari_cam_sam.session import read_session, replay

Finish = Callable[[Any], None]
FEW = AutomaticParameters(
    points_per_side=6, points_per_batch=9, predicted_iou=0.3, stability=0.3, box_overlap=0.9
)


@pytest.fixture
def opened(qapp: Any, qtbot: Any, finish: Finish) -> Iterator[Callable[[Any], SegmentDock]]:
    docks = []

    def open_dock(viewer: Any, segmenter: str = "compact-sam") -> SegmentDock:
        dock = SegmentDock(viewer)
        docks.append(dock)
        dock.segmenter.choose(segmenter)
        assert (dock.automatic.row.words.text() == "") == (segmenter == "compact-sam")
        panel(dock).search.set_value(FEW)
        return dock

    yield open_dock
    for dock in docks:
        dock.stop()
        finish(dock.row)
        finish(dock.automatic.row)


def panel(dock: SegmentDock) -> AutomaticPanel:
    return dock.automatic


def sample(viewer: Any, draw: Callable[[], Any]) -> Any:
    (data, meta, _), (truth, truth_meta, _) = draw()
    viewer.add_image(data, **meta)
    return viewer.add_labels(truth, **truth_meta)


def put_heatmap(
    dock: SegmentDock, axis: int, index: int, values: Any, reason: str | None = None
) -> None:
    """Put a heatmap where the heatmap dock puts it."""
    workspace = dock.workspace
    layer = workspace.heatmaps.layer(axis, create=True)
    workspace.heatmaps.set_record(layer, index, HeatmapRecord("lesion", {}, reason, {}))
    layer.data[workspace.image().plane_index(axis, index)] = values
    workspace.heatmaps_changed.emit()


def plane_of(dock: SegmentDock, axis: int = 0, index: int = 0) -> Any:
    image = dock.workspace.image()
    return apply_window(image.plane(axis, index), resolve_window(image))


def headless(plane: Any, parameters: AutomaticParameters = FEW) -> tuple[AutomaticMask, ...]:
    segmenter = load_segmenter("compact-sam", "cpu")
    return automatic_masks(segmenter, plane, parameters, round_features(segmenter.encode(plane)))


def preview(dock: SegmentDock, axis: int = 0, index: int = 0) -> Any:
    layer = dock.workspace.own("preview")
    return None if layer is None else layer.data[dock.workspace.image().plane_index(axis, index)]


def column(dock: SegmentDock, at: int) -> list[str]:
    table = panel(dock).list.table
    return [table.item(row, at).text() for row in range(table.rowCount())]


def blob(shape: tuple[int, int], rows: slice, columns: slice) -> Any:
    values = np.zeros(shape, np.float32)
    values[rows, columns] = 0.9
    return values


def test_the_heatmap_picks_what_the_library_picks_and_it_is_the_object(
    opened: Any, finish: Finish, tmp_path: Path, qtbot: Any
) -> None:
    viewer = ViewerModel()
    truth = sample(viewer, shapes_sample)
    dock = opened(viewer)
    workspace, plane = dock.workspace, plane_of(dock)
    assert plane.ndim == 3
    classifier = load_classifier(workspace.suggestion("classifier"), device="cpu")
    cam = CamParameters(target=workspace.suggestion("target"))
    (heatmap,) = compute_heatmaps(classifier, [plane], cam)
    put_heatmap(dock, 0, 0, heatmap.values)
    panel(dock).pick.click()
    finish(dock.automatic.row)

    masks = [one.mask for one in headless(plane)]
    chosen = choose_by_heatmap(masks, heatmap.values)
    np.testing.assert_array_equal(preview(dock) == 1, chosen.mask)
    assert overlap(preview(dock) > 0, np.asarray(truth.data) > 0).dice > 0.9
    words = f"picked by the heatmap, 1 of {len(masks)}"
    assert words in dock.review.shown.text()
    assert "Dice with the ground truth" in dock.review.shown.text()
    scores = heatmap_scores(masks, heatmap.values)
    assert column(dock, 1) == [f"{v:.3f}" for v in sorted(scores, reverse=True)]
    assert [i.row() for i in panel(dock).list.table.selectionModel().selectedRows()] == [0]

    # Accepted, saved, read and replayed without the viewer.
    accepted = chosen.mask.astype(int)
    dock.review.accept_masks()
    np.testing.assert_array_equal(workspace.own("labels").data, accepted)
    assert not panel(dock).list.table.selectionModel().selectedRows()
    with qtbot.waitSignal(workspace.sessions.saved, timeout=60_000):
        workspace.sessions.save(tmp_path / "session")
    session = read_session(tmp_path / "session")
    (record,) = session.accepted
    assert (record.source, record.segmenter, record.candidates) == ("automatic", "compact-sam", ())
    np.testing.assert_array_equal(replay(session, workspace.image()), accepted)


def test_rows_are_shown_one_by_one_and_several_as_one_object_or_many(
    opened: Any, finish: Finish
) -> None:
    viewer = ViewerModel()
    sample(viewer, ultrasound_sample)
    dock = opened(viewer)
    one, table = panel(dock), panel(dock).list.table
    one.find.click()
    finish(dock.automatic.row)
    found = headless(plane_of(dock))
    assert len(found) > 2
    # Without a heatmap the model's own score ranks them.
    assert column(dock, 1) == ["–"] * len(found)
    assert column(dock, 2) == [f"{mask.predicted_iou:.2f}" for mask in found]
    assert column(dock, 4) == [str(mask.area) for mask in found]
    assert preview(dock) is None
    assert not one.pick_masks()
    assert "no heatmap with evidence" in dock.automatic.row.words.text()

    one.list.after.click()
    np.testing.assert_array_equal(preview(dock), found[0].mask)
    # A modifier key that is held does not add the row to those shown.
    QTest.mouseClick(one.list.after, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier)
    np.testing.assert_array_equal(preview(dock), found[1].mask)
    assert (
        f"chosen from all masks, 2 of {len(found)} ranked by the model" in dock.review.shown.text()
    )
    assert f"expected IoU {found[1].predicted_iou:.2f}" in dock.review.shown.text()
    one.list.before.click()
    one.list.before.click()
    np.testing.assert_array_equal(preview(dock), found[-1].mask)

    dock.workspace.prompts.set_object(4)
    table.selectRow(0)
    table.setRangeSelected(_range(1, 1, table.columnCount()), True)
    np.testing.assert_array_equal(preview(dock), 4 * (found[0].mask | found[1].mask))
    assert one.list.several.set_value(True)
    one.list.several.chosen.emit()
    wanted = np.where(found[0].mask, 4, np.where(found[1].mask, 5, 0))
    np.testing.assert_array_equal(preview(dock), wanted)
    dock.review.accept_masks()
    np.testing.assert_array_equal(dock.workspace.own("labels").data, wanted)
    # Taken back, the rows are marked again, too.
    dock.review.undo_accept()
    np.testing.assert_array_equal(preview(dock), wanted)
    assert sorted(i.row() for i in table.selectionModel().selectedRows()) == [0, 1]


def _range(first: int, last: int, columns: int) -> Any:
    from qtpy.QtWidgets import QTableWidgetSelectionRange

    return QTableWidgetSelectionRange(first, 0, last, columns - 1)


def volume() -> Any:
    """Give a volume with a bright block; planes along axis 1 are 24 × 28."""
    pixels = np.random.default_rng(0).normal(40, 4, (24, 6, 28)).astype(np.float32)
    pixels[6:14, :, 7:17] += 60
    return pixels


WARM = blob((24, 28), slice(6, 14), slice(7, 17))


def test_all_planes_with_a_heatmap_along_another_axis(opened: Any, finish: Finish) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume(), name="scan")
    dock = opened(viewer)
    workspace, one = dock.workspace, panel(dock)
    workspace.show_plane(1, 2)
    for index in (1, 2, 4):
        put_heatmap(dock, 1, index, WARM)
    put_heatmap(dock, 1, 3, 0 * WARM, "the class is not likely here")
    parameters = RankingParameters("dice", union=0.5)
    one.ranking.set_value(parameters)
    one.pick_all.click()
    finish(dock.automatic.row)
    assert workspace.masks.planes(1) == [1, 2, 4]
    said = dock.automatic.row.words.text()
    assert said.startswith("Picked by the heatmap on 3 of 3 slices: review them, then accept (C).")
    for index in (1, 2, 4):
        masks = [mask.mask for mask in headless(plane_of(dock, 1, index))]
        chosen = choose_by_heatmap(masks, WARM, parameters)
        assert chosen.mask.any()
        np.testing.assert_array_equal(preview(dock, 1, index), chosen.mask)
    assert overlap(preview(dock, 1, 2) > 0, WARM > 0).dice > 0.8
    # Each plane keeps its list, and another rule needs no other search.
    before = one.searched(1, 4).found
    one.ranking.set_value(RankingParameters("mean"))
    one.pick_all.click()
    finish(dock.automatic.row)
    assert one.searched(1, 4).found is before
    masks = [mask.mask for mask in headless(plane_of(dock, 1, 4))]
    wanted = choose_by_heatmap(masks, WARM, RankingParameters("mean")).mask
    np.testing.assert_array_equal(preview(dock, 1, 4), wanted)
    dock.review.accept_masks(everywhere=True)
    assert np.flatnonzero(workspace.own("labels").data.any(axis=(0, 2))).tolist() == [1, 2, 4]


def test_where_nothing_is_picked_or_found_it_is_said(opened: Any, finish: Finish) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume()[:, 0], name="plane")
    dock = opened(viewer)
    put_heatmap(dock, 0, 0, WARM)
    panel(dock).ranking.set_value(RankingParameters(min_score=1.0))
    panel(dock).pick.click()
    finish(dock.automatic.row)
    assert "none matches the heatmap" in dock.automatic.row.words.text()
    assert preview(dock) is None
    assert float(column(dock, 1)[0]) > 0.5
    panel(dock).search.set_value(AutomaticParameters(points_per_side=2, predicted_iou=1.0))
    panel(dock).find.click()
    finish(dock.automatic.row)
    assert "No mask is good enough" in dock.automatic.row.words.text()
    assert panel(dock).list.table.rowCount() == 0


@pytest.fixture
def gate(hold: Any) -> Any:
    """Hold each batch of points."""
    return hold(SamSegmenter, "decode_points")


@pytest.mark.parametrize("how", ["cancel", "image", "removed", "window", "segmenter"])
def test_what_is_not_wanted_any_more_ends_within_a_batch(
    opened: Any, finish: Finish, qtbot: Any, gate: Any, notices: list[str], how: str
) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(volume()[:, 0], name="plane")
    dock = opened(viewer)
    put_heatmap(dock, 0, 0, WARM)
    panel(dock).pick.click()
    assert not panel(dock).find_masks()
    qtbot.waitUntil(gate.entered.is_set, timeout=60_000)
    if how == "cancel":
        dock.automatic.row.cancel.click()
    elif how == "image":
        dock.workspace.choose_image(viewer.add_image(volume()[:, 1], name="other"))
    elif how == "removed":
        viewer.layers.remove(image)
    elif how == "window":
        dock.workspace.choose_window(WindowParameters("limits", 0, 60))
    else:
        dock.segmenter.choose("seeded")
    gate.open()
    finish(dock.automatic.row)
    assert gate.calls <= 2
    assert panel(dock).list.table.rowCount() == 0
    assert preview(dock) is None if how != "removed" else True
    assert dock.workspace.masks.planes(0) == []
    assert notices == []
    words = dock.automatic.row.words.text()
    if how == "cancel":
        assert words == "Stopped. Results so far are kept."
        assert panel(dock).find.isEnabled()
    elif how in ("image", "window"):
        assert words == "Stopped: the image, the window or the segmenter changed."


def test_masks_go_with_their_image_window_or_segmenter(opened: Any, finish: Finish) -> None:
    viewer = ViewerModel()
    first = viewer.add_image(volume()[:, 0], name="plane")
    second = viewer.add_image(volume()[:, 1], name="other")
    dock = opened(viewer)
    for change in (
        lambda: dock.workspace.choose_image(first),
        lambda: dock.workspace.choose_window(WindowParameters("limits", 0, 60)),
        lambda: setattr(first, "data", volume()[:, 2]),
        lambda: dock.segmenter.choose("sam-vit-b"),
    ):
        panel(dock).find.click()
        finish(dock.automatic.row)
        assert panel(dock).list.table.rowCount() > 0
        change()
        assert panel(dock).list.table.rowCount() == 0
        assert panel(dock).searched(0, 0) is None
    assert second in viewer.layers


@pytest.mark.parametrize(
    ("name", "words"), [("seeded", "prompts only"), ("medsam", "accepts boxes only")]
)
def test_segmenters_that_need_prompts_say_so(opened: Any, name: str, words: str) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume()[:, 0])
    dock = opened(viewer, name)
    one = panel(dock)
    assert not any(button.isEnabled() for button in (one.find, one.pick, one.pick_all))
    assert words in dock.automatic.row.words.text()
    assert not one.find_masks()
    dock.segmenter.choose("compact-sam")
    assert one.find.isEnabled()
    assert words not in dock.automatic.row.words.text()


def test_the_search_suits_the_segmenter_until_it_is_edited(opened: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(volume()[:, 0])
    dock = opened(viewer)
    form = panel(dock).search
    form.set_value(recommended_parameters("compact-sam"))
    assert (form.value().predicted_iou, form.value().stability) == (0.5, 0.5)
    dock.segmenter.choose("sam-vit-b")
    assert panel(dock).search.value() == AutomaticParameters()
    form.set_value(FEW)
    dock.segmenter.choose("compact-sam")
    assert panel(dock).search.value() == FEW


def test_an_edit_of_prompts_elsewhere_leaves_a_picked_mask(opened: Any, finish: Finish) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.moveaxis(volume(), 1, 0), name="scan")
    dock = opened(viewer)
    dock.workspace.show_plane(0, 2)
    put_heatmap(dock, 0, 2, WARM)
    panel(dock).pick.click()
    finish(dock.automatic.row)
    shown = preview(dock, 0, 2).copy()
    assert shown.any()
    box = ObjectPrompt(1, (), Box(6, 7, 14, 17))
    dock.workspace.prompts.write([PlanePrompts(0, 4, (box,))])
    dock.workspace.prompts.clear(0, 4)
    np.testing.assert_array_equal(preview(dock, 0, 2), shown)
    # Masks of prompts take its place when they are asked for.
    dock.workspace.prompts.write([PlanePrompts(0, 2, (box,))])
    dock.segment()
    finish(dock.row)
    masks = dock.masks.get(0, 2)
    assert masks is not None
    assert masks.source == "prompted"
    assert not panel(dock).list.table.selectionModel().selectedRows()


def test_pytorch_that_cannot_be_loaded_is_tried_again(
    opened: Any, finish: Finish, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    def fails() -> None:
        raise CamSamError("PyTorch cannot be loaded (no such thing).")

    viewer = ViewerModel()
    viewer.add_image(volume()[:, 0])
    dock = opened(viewer)
    with monkeypatch.context() as patch:
        patch.setattr(segmenter_job, "import_torch", fails)
        panel(dock).find.click()
        finish(dock.automatic.row)
    assert any("PyTorch cannot be loaded" in notice for notice in notices)
    assert "PyTorch cannot be loaded" in dock.automatic.row.words.text()
    assert panel(dock).searched(0, 0) is None
    panel(dock).find.click()
    finish(dock.automatic.row)
    assert panel(dock).searched(0, 0) is not None


@pytest.mark.parametrize(("crop_layers", "batches"), [(0, 4), (1, 4 + 4 * 1)])
def test_every_batch_is_a_step_and_known_planes_are_one(
    opened: Any, crop_layers: int, batches: int
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.moveaxis(volume(), 1, 0), name="scan")
    dock = opened(viewer)
    parameters = replace(FEW, crop_layers=crop_layers, crop_points_divisor=2)
    job = SegmenterJob(
        dock.workspace.snapshot(), None, "compact-sam", "cpu", dock.workspace.embeddings
    )
    search = Search(job, (1, 3), parameters, {}, {3: WARM}, RankingParameters())
    steps = list(search.steps())
    assert len(steps) == search.total == 1 + 2 * (1 + batches + 1)
    first, second = (step for step in steps if isinstance(step, Picked))
    assert (first.found.index, first.members) == (1, None)
    assert second.members
    expected = headless(dock.workspace.snapshot().plane(1), parameters)
    assert len(first.found.masks) == len(expected)
    for kept, one in zip(first.found.arrays(), expected, strict=True):
        np.testing.assert_array_equal(kept, one.mask)
    loaded: Any = steps[0]
    again = replace(
        search, job=replace(job, segmenter=loaded), known={1: first.found, 3: second.found}
    )
    assert again.total == len(list(again.steps())) == 2


def test_found_masks_are_kept_small_and_whole() -> None:
    image = image_from_array(volume()[:, 0])
    plane = apply_window(image.plane(0, 0), resolve_window(image))
    masks = headless(plane)
    assert len(masks) > 1
    found = FoundMasks(
        0, 3, tuple(encode_mask(1, m.mask) for m in masks), tuple(m.predicted_iou for m in masks),
        tuple(m.stability for m in masks), FEW, "compact-sam", "0" * 64, (0, 255),
    )  # fmt: skip
    for one, again in zip(masks, found.arrays(), strict=True):
        np.testing.assert_array_equal(one.mask, again)
    assert [found.area(i) for i in range(len(masks))] == [m.area for m in masks]
    united = found.shown((1, 0), 7, "both")
    assert united.source == "automatic"
    np.testing.assert_array_equal(united.masks()[7], masks[0].mask | masks[1].mask)
    assert np.isnan(united.found[0].scores[0])


def two_squares(opened: Any) -> Any:
    """Open a volume of three equal planes with two squares, and a heatmap on the larger one."""
    viewer = ViewerModel()
    pixels = np.full((3, 48, 48), 20, np.float32)
    pixels[:, 10:30, 12:32], pixels[:, 36:44, 36:44] = 200, 150
    viewer.add_image(pixels)
    dock = opened(viewer)
    heat = np.zeros((48, 48), np.float32)
    heat[12:28, 14:30] = 1
    for index in range(3):
        put_heatmap(dock, 0, index, heat)
    return dock


def test_masks_of_other_objects_stay_beside_a_pick(qapp: Any, opened: Any, finish: Any) -> None:
    dock = two_squares(opened)
    dock.workspace.show_plane(0, 1)
    other = ObjectPrompt(2, (), Box(36, 36, 44, 44))
    dock.workspace.prompts.write([PlanePrompts(0, 1, (other,))])
    dock.run.click()
    finish(dock.row)
    assert set(dock.workspace.masks.get(0, 1).masks()) == {2}
    dock.workspace.prompts.set_object(1)
    for object_id in (1, 3):
        # What was picked before gives way to what is picked now.
        dock.workspace.prompts.set_object(object_id)
        panel(dock).pick_masks()
        finish(panel(dock).row)
        assert set(dock.workspace.masks.get(0, 1).masks()) == {object_id, 2}


def test_one_run_makes_one_object(qapp: Any, qtbot: Any, opened: Any, finish: Any) -> None:
    dock = two_squares(opened)
    assert panel(dock).pick_masks(everywhere=True)
    qtbot.waitUntil(lambda: panel(dock).searched(0, 0) is not None, timeout=60_000)
    dock.workspace.prompts.set_object(7)
    finish(panel(dock).row)
    assert [set(dock.workspace.masks.get(0, i).masks()) for i in range(3)] == [{1}] * 3


def test_a_plane_is_left_in_the_middle_of_its_encoding(
    qapp: Any, opened: Any, finish: Any, notices: list[str], endless: Any
) -> None:
    dock = two_squares(opened)
    dock.ahead.switch.setChecked(False)
    dock.segmenter.adopt(endless, dock.segmenter.value(), dock.workspace.device)
    assert panel(dock).find_masks()
    assert endless.begun.wait(60)
    dock.stop()
    finish(panel(dock).row)
    assert panel(dock).searched(0, dock.workspace.plane()[1]) is None
    assert notices == []
