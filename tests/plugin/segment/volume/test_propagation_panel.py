"""Through the volume: masks from plane to plane in the viewer, as the library makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.typing import NDArray

from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.plugin.io.sample_data import ct_sample, ultrasound_sample
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.sam.volume.propagation import PropagatedPlane, propagate
from napari_cam_sam.sam.volume.smoothing import smooth_along_axis
from napari_cam_sam.session import Session, image_record, read_session, replay

Finish = Callable[[Any], None]


def open_sample(viewer: Any, sample: Callable[[], Any]) -> Any:
    """Add a sample as the viewer does, the truth too; give the truth."""
    (data, meta, _), (truth, truth_meta, _) = sample()
    image = viewer.add_image(data, **meta)
    viewer.add_labels(truth, **truth_meta)
    workspace_of(viewer).choose_image(image)
    return np.asarray(truth)


@pytest.fixture
def ct(qapp: Any) -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def truth(ct: ViewerModel) -> NDArray[Any]:
    return open_sample(ct, ct_sample) > 0


@pytest.fixture
def dock(ct: ViewerModel, truth: Any, finish: Finish) -> Iterator[SegmentDock]:
    widget = SegmentDock(ct)
    widget.segmenter.choose("compact-sam")
    widget.workspace.show_plane(0, 11)
    yield widget
    finish(widget.row)


def truth_box(truth: NDArray[Any], axis: int, index: int, object_id: int = 1) -> ObjectPrompt:
    rows, columns = np.nonzero(np.take(truth, index, axis))
    box = Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1, "truth")
    return ObjectPrompt(object_id, (), box)


def place(dock: SegmentDock, index: int, *objects: ObjectPrompt, axis: int = 0) -> None:
    dock.workspace.prompts.write([PlanePrompts(axis, index, objects)], "replace")


@lru_cache
def _loaded(name: str) -> tuple[Any, EmbeddingCache]:
    return load_segmenter(name, "cpu"), EmbeddingCache()


def headless(
    image: Image, prompts: list[PlanePrompts], name: str, rules: PropagationParameters | None = None
) -> tuple[NDArray[Any], dict[int, PropagatedPlane]]:
    """Propagate without a viewer; give labels and planes."""
    segmenter, cache = _loaded(name)
    window, axis = resolve_window(image, parse_window("ct-abdomen")), prompts[0].axis
    found = {
        plane.index: plane
        for plane in propagate(
            image, segmenter, prompts, lambda i: apply_window(image.plane(axis, i), window), rules,
            encode=partial(cache.encode, segmenter),
        )
    }  # fmt: skip
    labels = np.zeros(image.spatial_shape, np.uint16)
    for index, plane in found.items():
        labels[image.plane_index(axis, index)] = plane.labels
    return labels, found


def preview(dock: SegmentDock) -> NDArray[Any]:
    return np.asarray(dock.workspace.own("preview").data)


def go(dock: SegmentDock, finish: Finish) -> None:
    dock.through.refresh()  # else a moment after the prompts
    dock.through.go.click()
    assert dock.row.busy
    finish(dock.row)


@pytest.mark.parametrize("name", ["compact-sam", "seeded"])
def test_one_box_gives_the_volume_that_the_library_gives(
    dock: SegmentDock, truth: Any, finish: Finish, name: str
) -> None:
    dock.workspace.device = "cpu"
    dock.segmenter.choose(name)
    place(dock, 11, truth_box(truth, 0, 11))
    dock.through.refresh()
    assert dock.through.plan.text().startswith(
        f"Object 1 from slice 11 in both directions through 24 slices, {name} on the CPU"
    )
    go(dock, finish)
    image = dock.workspace.image()
    wanted, planes = headless(image, [PlanePrompts(0, 11, (truth_box(truth, 0, 11),))], name)
    np.testing.assert_array_equal(preview(dock), wanted)
    assert overlap(preview(dock) > 0, truth).dice == overlap(wanted > 0, truth).dice > 0.7
    for index in dock.masks.planes(0):
        masks = dock.masks.get(0, index)
        assert masks is not None
        assert masks.source == ("prompted" if index == 11 else "propagated")
        assert len(masks.found[0].masks) == (3 if index == 11 else 1)
        assert masks.about == ("" if index == 11 else "propagated from slice 11")
    # On the planes where it ended stands why.
    ends = {i: p.objects[0].stopped for i, p in planes.items() if p.objects[0].source == "none"}
    assert len(ends) == 2
    for index, reason in ends.items():
        dock.workspace.show_plane(0, index)
        dock.workspace.shown.look_at_plane()
        assert dock.review.shown.text() == (
            f"No prompts on this slice. Ended here, coming from slice 11: {reason}."
        )
        assert f"{index} ({reason})" in dock.through.result.text()
    assert dock.through.result.text().startswith(
        f"Object 1: masks on slices {min(ends) + 1} to {max(ends) - 1}; ended at {min(ends)} ("
    )


@pytest.mark.parametrize(("name", "dice"), [("compact-sam", 0.85), ("seeded", 0.88)])
def test_with_less_contrast_every_plane_of_the_lesion_has_a_mask(
    dock: SegmentDock, truth: Any, finish: Finish, name: str, dice: float
) -> None:
    dock.segmenter.choose(name)
    box = truth_box(truth, 0, 11)
    place(dock, 11, box)
    dock.through.rules.rule.widget("min_contrast").inner.number.setValue(0.25)
    go(dock, finish)
    assert dock.masks.planes(0) == np.flatnonzero(truth.any(axis=(1, 2))).tolist()
    rules = PropagationParameters(min_contrast=0.25)
    wanted, _ = headless(dock.workspace.image(), [PlanePrompts(0, 11, (box,))], name, rules)
    assert overlap(preview(dock) > 0, truth).dice == overlap(wanted > 0, truth).dice > dice
    assert "ended at 7 (nothing is as bright as the object) and 15" in dock.through.result.text()


def test_along_another_axis(dock: SegmentDock, truth: Any, finish: Finish, qtbot: Any) -> None:
    column = int(np.nonzero(truth)[1].mean())
    with qtbot.waitSignal(dock.workspace.plane_changed, timeout=10_000):
        dock.workspace.show_plane(1, column)
    box = truth_box(truth, 1, column)
    place(dock, column, box, axis=1)
    go(dock, finish)
    prompts = [PlanePrompts(1, column, (box,))]
    wanted, _ = headless(dock.workspace.image(), prompts, "compact-sam")
    assert np.count_nonzero(wanted.any(axis=(0, 2))) > 5
    np.testing.assert_array_equal(preview(dock), wanted)
    assert dock.masks.planes(0) == []


def test_prompts_on_two_planes_or_only_on_the_one_shown(
    dock: SegmentDock, truth: Any, finish: Finish
) -> None:
    both = [PlanePrompts(0, i, (truth_box(truth, 0, i),)) for i in (9, 13)]
    dock.workspace.prompts.write(both)
    dock.workspace.show_plane(0, 13)
    dock.through.refresh()
    assert dock.through.plan.text().startswith("Object 1 from slices 9 and 13 in both directions")
    go(dock, finish)
    image = dock.workspace.image()
    wanted, _ = headless(image, both, "compact-sam")
    np.testing.assert_array_equal(preview(dock), wanted)
    sources = {i: dock.masks.get(0, i).source for i in (9, 10, 13)}  # type: ignore[union-attr]
    assert sources == {9: "prompted", 10: "propagated", 13: "prompted"}

    assert dock.through.start_from.set_value("shown")
    assert dock.through.plan.text().startswith("Object 1 from slice 13 in both directions")
    go(dock, finish)
    alone, _ = headless(image, both[1:], "compact-sam")
    assert not np.array_equal(alone, wanted)
    # What plane 9's prompts gave is replaced; nothing of the first run is left.
    np.testing.assert_array_equal(preview(dock), alone)


def test_two_objects_meet_on_a_plane_and_come_one_after_the_other(
    dock: SegmentDock, truth: Any, finish: Finish
) -> None:
    other = ObjectPrompt(2, (), Box(60, 85, 80, 105))
    prompts = [
        PlanePrompts(0, 9, (other,)),
        PlanePrompts(0, 11, (truth_box(truth, 0, 11),)),
    ]
    dock.workspace.prompts.write(prompts)
    go(dock, finish)
    image = dock.workspace.image()
    wanted, planes = headless(image, prompts, "compact-sam")
    assert {one.source for one in planes[11].objects} == {"prompted", "propagated"}
    np.testing.assert_array_equal(preview(dock), wanted)
    mixed = dock.masks.get(0, 11)
    assert mixed is not None
    assert mixed.source == "propagated"
    assert mixed.about == "object 1 from its prompts here, object 2 propagated from slice 9"

    # Both are kept as they are, where one has prompts and the other has none.
    dock.review.accept_all.click()
    np.testing.assert_array_equal(dock.workspace.own("labels").data, wanted)
    accepted = dock.masks.standing()
    assert {one.prompts.index: one.source for one in accepted}[11] == "propagated"
    session = Session(image_record(image), accepted=accepted)
    np.testing.assert_array_equal(replay(session, image), wanted)
    dock.review.undo_accept()
    np.testing.assert_array_equal(preview(dock), wanted)

    # The same, one object after the other: those of the first stay.
    for index in dock.masks.planes(0):
        dock.masks.drop(0, index)
    assert dock.through.start_from.set_value("shown")
    for index in (11, 9):
        dock.workspace.show_plane(0, index)
        go(dock, finish)
    alone = [headless(image, [one], "compact-sam")[0] for one in prompts]
    np.testing.assert_array_equal(preview(dock), np.where(alone[1] > 0, alone[1], alone[0]))


def test_the_candidate_that_was_picked_goes_through_the_volume(
    dock: SegmentDock, truth: Any, finish: Finish
) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    dock.run.click()
    finish(dock.row)
    best = preview(dock)[11].copy()
    dock.review.after.click()
    picked = preview(dock)[11].copy()
    assert not np.array_equal(best, picked)
    go(dock, finish)
    np.testing.assert_array_equal(preview(dock)[11], picked)
    by_pick = preview(dock).copy()
    assert dock.masks.get(0, 11).source == "prompted"  # type: ignore[union-attr]
    wanted, _ = headless(
        dock.workspace.image(), [PlanePrompts(0, 11, (truth_box(truth, 0, 11),))], "compact-sam"
    )
    assert not np.array_equal(by_pick[12], wanted[12])
    # Accepted, it still is where the next run goes out from.
    dock.review.accept.click()
    go(dock, finish)
    np.testing.assert_array_equal(preview(dock)[12], by_pick[12])
    assert not preview(dock)[11].any()


def test_accepted_saved_read_and_replayed(
    dock: SegmentDock, truth: Any, finish: Finish, tmp_path: Path, qtbot: Any
) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    go(dock, finish)
    shown = preview(dock).copy()
    dock.review.accept_all.click()
    labels = dock.workspace.own("labels")
    np.testing.assert_array_equal(labels.data, shown)
    assert not preview(dock).any()
    dock.review.undo_accept()
    assert not labels.data.any()
    np.testing.assert_array_equal(preview(dock), shown)
    dock.review.accept_all.click()
    keeper = dock.workspace.sessions
    with qtbot.waitSignal(keeper.saved, timeout=60_000) as told:
        keeper.save(tmp_path / "session")
    assert told.args == [f"Saved to {tmp_path / 'session'}."]
    session = read_session(tmp_path / "session")
    sources = {one.prompts.index: one.source for one in session.accepted}
    assert sources[11] == "prompted"
    assert {sources[i] for i in sources if i != 11} == {"propagated"}
    np.testing.assert_array_equal(session.labels, shown)
    np.testing.assert_array_equal(replay(session, dock.workspace.image()), shown)


def test_an_accepted_slice_gets_no_mask_again_from_its_own_prompts(
    dock: SegmentDock, truth: Any, finish: Finish, qtbot: Any
) -> None:
    """Its mask of all candidates was chosen by hand: *Accept all slices* must not replace it."""
    place(dock, 12, truth_box(truth, 0, 12))
    dock.workspace.show_plane(0, 12)
    dock.segment()
    finish(dock.row)
    dock.review.flip(-1)
    dock.review.accept.click()
    labels = dock.workspace.own("labels").data.copy()
    for index in (11, 12):
        dock.workspace.show_plane(0, index)
        qtbot.wait(50)
    go(dock, finish)
    for index in (11, 12):
        dock.workspace.show_plane(0, index)
        qtbot.wait(200)
    assert dock.workspace.masks.get(0, 12) is None
    dock.review.accept_all.click()
    np.testing.assert_array_equal(dock.workspace.own("labels").data[12], labels[12])


def test_what_was_accepted_is_left_alone(dock: SegmentDock, truth: Any, finish: Finish) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    go(dock, finish)
    shown = preview(dock).copy()
    dock.workspace.show_plane(0, 12)
    dock.review.accept.click()
    labels = dock.workspace.own("labels").data.copy()
    go(dock, finish)
    np.testing.assert_array_equal(dock.workspace.own("labels").data, labels)
    assert dock.through.result.text().endswith("Already accepted, unchanged: slice 12.")
    assert dock.masks.get(0, 12) is None
    wanted = shown.copy()
    wanted[12] = 0
    np.testing.assert_array_equal(preview(dock), wanted)
    # Of another object nothing was accepted there.
    dock.workspace.show_plane(0, 11)
    place(dock, 11, truth_box(truth, 0, 11, object_id=2))
    go(dock, finish)
    np.testing.assert_array_equal(preview(dock)[12] == 2, shown[12] == 1)
    assert "accepted" not in dock.through.result.text()


def test_smoothing_is_that_of_the_library_but_on_the_prompted_plane(
    dock: SegmentDock, truth: Any, finish: Finish
) -> None:
    box = truth_box(truth, 0, 11)
    place(dock, 11, box)
    dock.through.rules.smoothing.widget("smooth_along_axis_mm").set_value(4.0)
    go(dock, finish)
    image = dock.workspace.image()
    rough, _ = headless(image, [PlanePrompts(0, 11, (box,))], "compact-sam")
    wanted = smooth_along_axis(rough, 0, 4.0, image.geometry.spacing)
    assert np.count_nonzero(wanted != rough) > 20
    wanted[11] = rough[11]
    np.testing.assert_array_equal(preview(dock), wanted)
    changed = [i for i in range(24) if (wanted[i] != rough[i]).any() and wanted[i].any()]
    there = np.flatnonzero(wanted.any(axis=(1, 2)))
    span = f"Object 1: masks on slices {there[0]} to {there[-1]}"
    assert dock.through.result.text().startswith(span)
    assert {dock.masks.get(0, i).about for i in changed} <= {  # type: ignore[union-attr]
        "propagated from slice 11, smoothed", "filled in by smoothing",
    }  # fmt: skip


def test_evidence_of_the_heatmap_ends_it_where_there_is_a_heatmap(
    dock: SegmentDock, truth: Any, finish: Finish
) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    dock.through.rules.rule.set_value(PropagationParameters(min_contrast=None, min_evidence=0.3))
    assert "No heatmap along this axis" in dock.through.plan.text()
    assert not dock.through.go.isEnabled()
    heatmaps = dock.workspace.heatmaps
    layer = heatmaps.layer(0, create=True)
    note = HeatmapRecord("lesion", {}, None, {})
    for index, value in ((10, 0.9), (13, 0.1)):
        layer.data[index] = value
        heatmaps.set_record(layer, index, note)
    dock.through.refresh()
    go(dock, finish)
    assert min(dock.masks.planes(0)) < 10
    assert max(dock.masks.planes(0)) == 12
    reason = "the heatmap's evidence 0.10 is below 0.3"
    assert dock.through.ended(0, 13) == f"Ended here, coming from slice 11: {reason}."


def test_a_range_in_mm_and_in_planes(dock: SegmentDock, truth: Any, finish: Finish) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    spacing = dock.workspace.image().geometry.spacing[0]
    rules = PropagationParameters(min_contrast=None, max_distance_mm=2 * spacing)
    dock.through.rules.rule.set_value(rules)
    assert "in both directions through 5 slices" in dock.through.plan.text()
    go(dock, finish)
    assert dock.masks.planes(0) == [9, 10, 11, 12, 13]
    dock.through.rules.rule.set_value(PropagationParameters(max_planes=1))
    assert "in both directions through 3 slices" in dock.through.plan.text()
    go(dock, finish)
    assert dock.masks.planes(0) == [10, 11, 12]
    dock.through.rules.rule.set_value(PropagationParameters(max_area_ratio=1.5))
    dock.through.rules.rule.widget("max_area_ratio").inner.setValue(0.5)
    assert "max_area_ratio must be 1 or more" in dock.through.plan.text()
    assert not dock.through.go.isEnabled()


def test_a_cancel_in_the_middle_keeps_what_is_there(
    dock: SegmentDock, truth: Any, finish: Finish
) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    ended: list[bool] = []
    dock.segmented.connect(ended.append)

    def made() -> None:
        if len(dock.masks.planes(0)) == 3:
            dock.row.cancel.click()

    dock.masks.changed.connect(made)
    go(dock, finish)
    assert ended == [False]
    kept = dock.masks.planes(0)
    assert len(kept) == 3
    assert dock.through.result.text().startswith("Stopped. Masks so far are kept. Object 1: masks")
    assert dock.through.go.isEnabled()
    wanted, _ = headless(
        dock.workspace.image(), [PlanePrompts(0, 11, (truth_box(truth, 0, 11),))], "compact-sam"
    )
    for index in range(24):
        np.testing.assert_array_equal(preview(dock)[index], wanted[index] * (index in kept))


@pytest.mark.parametrize("why", ["no prompts", "no prompts here", "flat"])
def test_where_it_cannot_start_words_say_why(
    ct: ViewerModel, dock: SegmentDock, truth: Any, notices: list[str], why: str
) -> None:
    if why == "flat":
        open_sample(ct, ultrasound_sample)
        place(dock, 0, ObjectPrompt(1, (Point(50, 50),)))
        words = "is a single slice: propagation needs a volume."
    elif why == "no prompts":
        words = "No slice along this axis has prompts: place some (step 2), or draw a box."
    else:
        place(dock, 9, truth_box(truth, 0, 9))
        dock.through.start_from.set_value("shown")
        words = "This slice has no prompts: place some (step 2), or draw a box."
    dock.through.refresh()
    assert words in dock.through.plan.text()
    assert not dock.through.go.isEnabled()
    assert not dock.through.propagate()
    assert not dock.row.busy
    assert [words in notice for notice in notices] == [True]


def test_choices_are_part_of_the_session(dock: SegmentDock, ct: ViewerModel) -> None:
    rules = PropagationParameters("points", points=3, min_contrast=None, max_planes=4)
    dock.through.rules.rule.set_value(rules)
    dock.through.start_from.set_value("shown")
    dock.through.rules.smoothing.widget("smooth_along_axis_mm").set_value(1.5)
    state = dock.state()
    other = SegmentDock(ct)
    assert other.state() == state  # in the same window it goes on with the choices
    other.through.rules.rule.set_value(PropagationParameters())
    assert other.state() != state
    other.set_state(state)
    assert other.through.rules.rule.value() == rules
    assert other.state() == state


def test_masks_of_other_planes_stand_until_prompts_come(
    dock: SegmentDock, truth: Any, finish: Finish, qtbot: Any
) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    go(dock, finish)
    dock.workspace.show_plane(0, 12)
    before = preview(dock).copy()
    dock.live.decode()
    assert not dock.live.busy
    np.testing.assert_array_equal(preview(dock), before)
    with qtbot.waitSignal(dock.masks.changed, timeout=60_000):
        place(dock, 12, truth_box(truth, 0, 12))
    qtbot.waitUntil(lambda: dock.masks.get(0, 12).source == "prompted", timeout=60_000)


def test_a_candidate_of_another_segmenter_is_no_choice_of_this_one(
    dock: SegmentDock, truth: Any, finish: Finish
) -> None:
    place(dock, 11, truth_box(truth, 0, 11))
    dock.run.click()
    finish(dock.row)
    dock.review.after.click()
    dock.segmenter.choose("seeded")
    go(dock, finish)
    box = truth_box(truth, 0, 11)
    wanted, _ = headless(dock.workspace.image(), [PlanePrompts(0, 11, (box,))], "seeded")
    # The plane of the prompt shows the mask that its neighbours come from.
    np.testing.assert_array_equal(preview(dock), wanted)
