"""The segment dock: masks as the library makes them, shown, chosen, and written as labels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.pipeline import segment_plane
from napari_cam_sam.plugin.io.sample_data import ct_sample
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.session import place_masks

Finish = Callable[[Any], None]
ONE = ObjectPrompt(1, (Point(50, 60),), Box(40, 48, 64, 76))
TWO = ObjectPrompt(2, (Point(80, 40), Point(70, 40, False)), Box(74, 30, 92, 52))


def open_sample(viewer: Any, sample: Callable[[], Any]) -> Any:
    """Add a sample as the viewer does, the truth too; give its image layer."""
    (data, meta, _), (truth, truth_meta, _) = sample()
    image = viewer.add_image(data, **meta)
    viewer.add_labels(truth, **truth_meta)
    workspace_of(viewer).choose_image(image)
    return image


@pytest.fixture
def ct(qapp: Any) -> Any:
    """Give a viewer without a window with the CT sample, at plane 11."""
    viewer = ViewerModel()
    open_sample(viewer, ct_sample)
    workspace_of(viewer).show_plane(0, 11)
    return viewer


@pytest.fixture
def dock(ct: Any, finish: Finish) -> Iterator[SegmentDock]:
    widget = SegmentDock(ct)
    widget.segmenter.choose("seeded")
    yield widget
    finish(widget.row)


def place(dock: SegmentDock, *objects: ObjectPrompt, axis: int = 0, index: int = 11) -> None:
    dock.workspace.prompts.write([PlanePrompts(axis, index, objects)], "replace")


def expected(image: Image, window: str, name: str, axis: int, index: int, *objects: Any) -> Any:
    """Masks of a plane as the library makes them."""
    segmenter = load_segmenter(name, "cpu")
    plane = apply_window(image.plane(axis, index), resolve_window(image, parse_window(window)))
    prompts = PlanePrompts(axis, index, objects)
    return segment_plane(segmenter, segmenter.encode(plane), prompts)[0]


def preview(dock: SegmentDock) -> Any:
    return dock.workspace.own("preview")


@pytest.mark.parametrize("name", ["seeded", "compact-sam"])
@pytest.mark.parametrize(("axis", "index"), [(0, 11), (1, 60)])
def test_masks_are_those_of_the_library(
    dock: SegmentDock, finish: Finish, name: str, axis: int, index: int
) -> None:
    scale = 1 if axis == 0 else 24 / 128
    one, two = (_squeezed(o, scale) for o in (ONE, TWO))
    dock.segmenter.choose(name)
    dock.workspace.show_plane(axis, index)
    place(dock, one, two, axis=axis, index=index)
    dock.run.click()
    finish(dock.row)
    image = dock.workspace.image()
    wanted = expected(image, "ct-abdomen", name, axis, index, one, two)
    assert set(np.unique(wanted)) == {0, 1, 2}
    shown = preview(dock).data
    np.testing.assert_array_equal(np.take(shown, index, axis=axis), wanted)
    assert np.count_nonzero(shown) == np.count_nonzero(wanted)
    source = dock.workspace.image_layer
    for point in np.random.default_rng(0).uniform(0, 20, (4, 3)):
        np.testing.assert_allclose(preview(dock).data_to_world(point), source.data_to_world(point))


def _squeezed(prompt: ObjectPrompt, rows: float) -> ObjectPrompt:
    box = prompt.box
    assert box is not None
    points = tuple(Point(p.row * rows, p.column, p.positive) for p in prompt.points)
    return ObjectPrompt(
        prompt.object_id,
        points,
        Box(round(box.row_min * rows), box.column_min, round(box.row_max * rows), box.column_max),
    )


def test_every_prompted_plane_in_one_run(dock: SegmentDock, finish: Finish) -> None:
    for index in (9, 11, 14):
        place(dock, ONE, index=index)
    dock.run_all.click()
    finish(dock.row)
    assert np.flatnonzero(preview(dock).data.any(axis=(1, 2))).tolist() == [9, 11, 14]
    image = dock.workspace.image()
    for index in (9, 14):
        wanted = expected(image, "ct-abdomen", "seeded", 0, index, ONE)
        np.testing.assert_array_equal(preview(dock).data[index], wanted)


@pytest.mark.parametrize(
    "objects",
    [(ObjectPrompt(1, ONE.points),), (ObjectPrompt(1, (), ONE.box),)],
    ids=["points alone", "a box alone"],
)
@pytest.mark.parametrize("name", ["seeded", "compact-sam"])
def test_points_or_boxes_alone_do(
    dock: SegmentDock, finish: Finish, name: str, objects: Any
) -> None:
    dock.segmenter.choose(name)
    place(dock, *objects)
    dock.run.click()
    finish(dock.row)
    image = dock.workspace.image()
    wanted = expected(image, "ct-abdomen", name, 0, 11, *objects)
    assert wanted.any()
    np.testing.assert_array_equal(preview(dock).data[11], wanted)
    dock.review.accept.click()
    np.testing.assert_array_equal(dock.workspace.own("labels").data[11], wanted)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (ObjectPrompt(1, (Point(50, 60, False),)), "no box and no positive point"),
        (ObjectPrompt(3, (Point(500, 60),)), "point (row 500, column 60) of object 3 lies outside"),
        (ObjectPrompt(1, (), Box(-30, -30, -5, -5)), "has no part on the slice 11 of axis 0"),
    ],
    ids=["negative alone", "point outside", "box outside"],
)
def test_prompts_that_cannot_be_segmented_are_refused_in_words(
    dock: SegmentDock, finish: Finish, notices: list[str], prompt: ObjectPrompt, words: str
) -> None:
    place(dock, prompt)
    dock.run.click()
    finish(dock.row)
    assert any(words in notice for notice in notices)
    assert preview(dock) is None
    # The dock goes on.
    place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    assert preview(dock).data[11].any()


def test_prompts_off_any_plane_are_refused_in_words(
    dock: SegmentDock, finish: Finish, notices: list[str]
) -> None:
    place(dock, ONE)
    prompts = dock.workspace.prompts
    prompts.boxes.data = [np.asarray(prompts.boxes.data[0]) + np.array([40, 0, 0])]
    prompts.points.data = prompts.points.data + np.array([40, 0, 0])
    assert not dock.segment()
    assert "This slice has no prompts" in dock.row.words.text()
    dock.segment_all()
    finish(dock.row)
    assert notices == [
        "This slice has no prompts: place some (step 2), or draw a box.",
        "CT-like phantom has no slice 51 along axis 0: its slices are 0 to 23.",
    ]
    assert preview(dock) is None


def test_the_other_candidates_are_a_click_away(dock: SegmentDock, finish: Finish) -> None:
    place(dock, ONE, TWO)
    dock.run.click()
    finish(dock.row)
    masks = dock.masks.get(0, 11)
    assert masks is not None
    (first, second), (a, b) = masks.found, masks.chosen
    assert len(first.masks) == 3

    def drawn(one: int, two: int) -> Any:
        chosen = {1: first.masks[one % 3], 2: second.masks[two % 3]}
        return place_masks(np.zeros((128, 128), np.uint16), chosen, "overwrite")

    assert dock.review.shown.text().startswith("Preview (C accepts): object 1")
    assert f"mask {a + 1} of 3" in dock.review.shown.text()
    seen = [preview(dock).data[11].copy()]
    for step in (1, 2):
        dock.review.after.click()
        seen.append(preview(dock).data[11].copy())
        np.testing.assert_array_equal(seen[-1], drawn(a + step, b + step))
    assert len({one.tobytes() for one in seen}) == 3
    dock.review.after.click()
    np.testing.assert_array_equal(preview(dock).data[11], seen[0])
    assert dock.review.which.set_value(2)
    dock.review.before.click()
    np.testing.assert_array_equal(preview(dock).data[11], drawn(a, b - 1))
    dock.review.accept.click()
    np.testing.assert_array_equal(dock.workspace.own("labels").data[11], drawn(a, b - 1))
    assert not preview(dock).data.any()


@pytest.mark.parametrize("name", ["seeded", "compact-sam"])
def test_a_box_that_moves_is_decoded_at_once_as_from_scratch(
    dock: SegmentDock, finish: Finish, qtbot: Any, name: str
) -> None:
    dock.segmenter.choose(name)
    with qtbot.waitSignal(dock.workspace.prompts.settled, timeout=10_000):
        place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    boxes = dock.workspace.prompts.boxes
    for shift in (3, 6):
        boxes.data = [np.asarray(boxes.data[0]) + np.array([0, shift, -shift])]
    moved = dock.workspace.prompts.read(0, 11)
    assert moved.objects[0].box is not None
    assert moved.objects[0].box.row_min == 49
    wanted = expected(dock.workspace.image(), "ct-abdomen", name, 0, 11, *moved.objects)
    before = preview(dock).data[11].copy()
    assert not np.array_equal(before, wanted)
    qtbot.waitUntil(lambda: np.array_equal(preview(dock).data[11], wanted), timeout=60_000)
    # Undo of the prompt brings the mask back; without prompts there is none.
    dock.workspace.prompts.undo()
    wanted = expected(dock.workspace.image(), "ct-abdomen", name, 0, 11, ONE)
    qtbot.waitUntil(lambda: np.array_equal(preview(dock).data[11], wanted), timeout=60_000)
    dock.workspace.prompts.clear(0, 11)
    qtbot.waitUntil(lambda: not preview(dock).data.any(), timeout=60_000)


@pytest.mark.parametrize("limit", [60.0, 0.0])
def test_the_window_waits_for_a_mask_where_that_is_known_to_be_short(
    dock: SegmentDock, finish: Finish, qtbot: Any, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    monkeypatch.setattr("napari_cam_sam.plugin.segment.live_masks._WAIT_SECONDS", limit)
    dock.segmenter.choose("compact-sam")
    with qtbot.waitSignal(dock.workspace.prompts.settled, timeout=10_000):
        place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    boxes = dock.workspace.prompts.boxes
    for shift in (2, 4):
        # The first tells how long it takes; from then on no event loop is needed in between.
        boxes.data = [np.asarray(boxes.data[0]) + np.array([0, shift, -shift])]
        objects = dock.workspace.prompts.read(0, 11).objects
        wanted = expected(dock.workspace.image(), "ct-abdomen", "compact-sam", 0, 11, *objects)
        there = np.array_equal(preview(dock).data[11], wanted)
        assert there == (shift == 4 and limit > 0)
        qtbot.waitUntil(lambda: not dock.live.busy, timeout=60_000)
        qtbot.waitUntil(
            lambda wanted=wanted: np.array_equal(preview(dock).data[11], wanted), timeout=60_000
        )


@pytest.fixture
def in_order() -> Iterator[None]:
    """Let whoever asks for pixels of a lazy volume read these himself."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.usefixtures("in_order")
def test_no_pixel_is_read_while_the_window_waits(
    qapp: Any, finish: Finish, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_cam_sam.plugin.segment.live_masks._WAIT_SECONDS", 60.0)
    readers: list[threading.Thread] = []

    def read(block: Any) -> Any:
        readers.append(threading.current_thread())
        return block

    viewer = ViewerModel()
    pixels = ct_sample()[0][0]
    lazy = da.from_array(pixels, chunks=(1, -1, -1)).map_blocks(read, meta=pixels[:0])
    viewer.add_image(lazy, contrast_limits=(-100, 200))
    dock = SegmentDock(viewer)
    dock.segmenter.choose("compact-sam")
    dock.workspace.show_plane(0, 11)
    with qtbot.waitSignal(dock.workspace.prompts.settled, timeout=10_000):
        place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    boxes = dock.workspace.prompts.boxes
    for shift in (2, 4):
        readers.clear()
        before = preview(dock).data[11].copy()
        boxes.data = [np.asarray(boxes.data[0]) + np.array([0, shift, -shift])]
        qtbot.waitUntil(lambda: not dock.live.busy, timeout=60_000)
        qtbot.waitUntil(
            lambda before=before: not np.array_equal(preview(dock).data[11], before),
            timeout=60_000,
        )
        assert threading.main_thread() not in readers
    # Through another window it is another plane, which a thread encodes.
    dock.workspace.choose_window(parse_window("minmax"))
    readers.clear()
    boxes.data = [np.asarray(boxes.data[0]) + np.array([0, 1, 1])]
    assert dock.live.busy
    qtbot.waitUntil(lambda: not dock.live.busy, timeout=60_000)
    assert readers
    assert threading.main_thread() not in readers
    finish(dock.row)


def test_accepted_masks_go_away_by_the_labels_own_undo(dock: SegmentDock, finish: Finish) -> None:
    place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    mask = preview(dock).data[11].copy()
    dock.review.accept.click()
    labels = dock.workspace.own("labels")
    np.testing.assert_array_equal(labels.data[11], mask)
    assert np.count_nonzero(labels.data) == np.count_nonzero(mask)
    labels.undo()
    assert not labels.data.any()
    labels.redo()
    np.testing.assert_array_equal(labels.data[11], mask)
    assert not dock.review.accept.isEnabled()
    truth = dock.workspace.truth().data[11] > 0
    dice = 2 * np.count_nonzero(mask.astype(bool) & truth) / (np.count_nonzero(mask) + truth.sum())
    assert dock.review.shown.text() == (
        f"Mask accepted on this slice, Dice with the ground truth {dice:.3f}; "
        "press S for a new one."
    )
    dock.review.accept_masks()
    assert "No mask to accept" in dock.row.words.text()


@pytest.mark.parametrize("overlap", ["keep", "overwrite"])
def test_labels_that_are_there_stay_or_go(
    ct: Any, dock: SegmentDock, finish: Finish, overlap: str
) -> None:
    image = dock.workspace.image_layer
    mine = np.zeros(image.data.shape, np.uint8)
    mine[11, :52] = 9
    own = ct.add_labels(
        mine.copy(), name="mine", scale=image.scale, affine=image.affine, units="mm"
    )
    assert dock.review.target.set_value(own)
    dock.review.target.chosen.emit()
    assert dock.review.overlap.set_value(overlap)
    place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    mask = preview(dock).data[11] == 1
    assert (mask & (mine[11] == 9)).any()
    dock.review.accept.click()
    wanted = mine[11].copy()
    wanted[mask & (mine[11] == 0) if overlap == "keep" else mask] = 1
    np.testing.assert_array_equal(own.data[11], wanted)
    assert dock.workspace.own("labels") is None
    own.undo()
    np.testing.assert_array_equal(own.data, mine)


@pytest.mark.parametrize("why", ["editable", "shape", "place", "dask"])
def test_labels_that_cannot_be_written_into_are_refused_in_words(
    ct: Any, dock: SegmentDock, finish: Finish, why: str
) -> None:
    image = dock.workspace.image_layer
    data: Any = np.zeros((24, 128, 128 - (why == "shape")), np.uint8)
    if why == "dask":
        data = da.from_array(data)
    where = {"scale": image.scale, "affine": image.affine, "units": "mm"}
    if why == "place":
        where["scale"] = np.asarray(image.scale) * 2
    own = ct.add_labels(data, name="mine", **where)
    own.editable = why != "editable"
    dock.masks.target = own
    place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    dock.review.accept.click()
    words = {"shape": "must be of one grid", "place": "does not lie where",
             "dask": "not a plain array", "editable": "mine is not editable"}[why]  # fmt: skip
    assert words in dock.row.words.text()
    assert not np.asarray(own.data).any()
    # The mask is not lost.
    assert preview(dock).data[11].any()


def test_an_acceptance_is_taken_back_and_the_mask_is_there_again(
    dock: SegmentDock, finish: Finish
) -> None:
    place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    shown = preview(dock).data.copy()
    dock.review.accept.click()
    labels = dock.workspace.own("labels")
    assert np.array_equal(labels.data, shown)
    assert not preview(dock).data.any()
    labels.data_setitem((np.array([11]), np.array([0]), np.array([0])), 5)
    dock.review.undo.click()
    # What was painted since then stays.
    assert labels.data[11, 0, 0] == 5
    assert np.count_nonzero(labels.data) == 1
    assert np.array_equal(preview(dock).data, shown)
    assert dock.masks.accepted == []
    dock.review.accept.click()
    assert np.count_nonzero(labels.data == 1) == np.count_nonzero(shown)


def test_masks_of_one_axis_lie_over_no_other(dock: SegmentDock, finish: Finish, qtbot: Any) -> None:
    place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    shown = preview(dock).data.copy()
    dock.workspace.show_plane(1, 60)
    qtbot.waitUntil(lambda: not preview(dock).data.any())
    assert not dock.workspace.prompts.points.shown.any()
    dock.workspace.show_plane(0, 11)
    qtbot.waitUntil(lambda: np.array_equal(preview(dock).data, shown))
    assert dock.workspace.prompts.points.shown.all()


def test_a_plane_is_left_in_the_middle_of_its_encoding(
    ct: Any, dock: SegmentDock, finish: Finish, notices: list[str], endless: Any
) -> None:
    dock.ahead.switch.setChecked(False)
    workspace = dock.workspace
    workspace.prompts.write([PlanePrompts(0, 11, (ONE,))])
    dock.segmenter.adopt(endless, "seeded", workspace.device)
    dock.live.setChecked(False)
    assert dock.segment()
    assert endless.begun.wait(60)
    dock.stop()
    finish(dock.row)
    assert dock.masks.get(0, 11) is None
    assert notices == []


def test_the_device_is_not_named_before_it_is_known(dock: SegmentDock, finish: Finish) -> None:
    def words() -> str:
        dock.workspace.segmenter_changed.emit()
        return dock.row.words.text()

    assert words().startswith("seeded on the GPU if available, else the CPU.")
    # What auto is on this machine, a classifier that was loaded tells.
    dock.workspace.classifier = SimpleNamespace(device="cuda:0")
    assert words().startswith("seeded on the cuda:0.")
    place(dock, ONE)
    dock.run.click()
    finish(dock.row)
    assert words().startswith("seeded on the CPU;")
    dock.workspace.device = "cuda:1"
    assert words().startswith("seeded on the cuda:1;")
