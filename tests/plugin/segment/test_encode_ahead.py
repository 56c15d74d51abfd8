"""Planes are encoded ahead: which, in what order, and what stops it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.plugin.qt.plots import theme_colours
from napari_cam_sam.plugin.segment.encode_ahead import Readiness
from napari_cam_sam.plugin.segment.encoding_status import EncodedSlicesStrip
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.state import workspace as workspace_module
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.cache.store import EmbeddingStore
from napari_cam_sam.sam.segmenter import Cancelled, Embedding, MaskCandidates

TIMEOUT = 60_000
N = 512
BITS = 10
RANDOM = np.random.default_rng(7)
FIRING = {
    int(index): float(score)
    for index, score in zip(
        RANDOM.choice(200, 20, replace=False) + 200, RANDOM.permutation(20) / 40 + 0.4, strict=True
    )
}
BY_SCORE = sorted(FIRING, key=lambda index: -FIRING[index])


def volume(frames: int = N) -> Any:
    """Planes that hold their own index, in black and white."""
    pixels = np.zeros((frames, 8, 32), np.uint8)
    bits = (np.arange(frames)[:, None] >> np.arange(BITS)) & 1
    pixels[:, 0, :BITS] = 255 * bits
    pixels[:, 4:] = 255
    return pixels


def number(plane: Any) -> int:
    """Read the index of a windowed plane."""
    return int(((plane[0, :BITS] > 200) << np.arange(BITS)).sum())


class Slow:
    """A segmenter with 1 KiB of features that encodes when it is let, and tells which planes."""

    name = "slow"
    device = "cpu"
    precision = "float32"

    def __init__(self, model: str = "5") -> None:
        self.model_hash = model * 64
        self.started: list[int] = []
        self.gate = threading.Semaphore(0)
        self.error: Exception | None = None
        self.threads: set[int] = set()

    def let(self, planes: int = 10_000) -> None:
        for _ in range(planes):
            self.gate.release()

    def encode(self, plane: Any) -> Embedding:
        self.started.append(number(plane))
        self.threads.add(torch.get_num_threads())
        assert self.gate.acquire(timeout=60)
        if self.error is not None:
            raise self.error
        return self.embedding(plane)

    def embedding(self, plane: Any) -> Embedding:
        features = torch.full((1, 4, 8, 8), float(number(plane)))
        return Embedding(features, plane.shape[:2], self.model_hash)

    def decode(self, embedding: Embedding, prompts: Any, **_: Any) -> list[MaskCandidates]:
        masks = np.ones((1, *embedding.plane_shape), bool)
        scores, logits = np.ones(1, np.float32), np.ones((1, 4, 4), np.float32)
        return [MaskCandidates(one.object_id, masks, scores, logits) for one in prompts]


class Blocks(Slow):
    """One that can be stopped within a plane, as the vision transformers can."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled: list[int] = []
        self.waits = False

    def encode_many(self, planes: Any, *, cancelled: Any = None) -> Iterator[Embedding]:
        for plane in planes:
            self.started.append(number(plane))
            while not self.gate.acquire(timeout=0.01):
                self.waits = True
                stop = cancelled is not None and cancelled()
                self.waits = False
                if stop:
                    self.cancelled.append(number(plane))
                    raise Cancelled
            yield self.embedding(plane)


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.error = None
    made.let()


@pytest.fixture
def dock(qapp: Any, slow: Slow) -> Iterator[SegmentDock]:
    """Give a dock over 512 planes; a heatmap fired on 20 of them, and plane 100 is shown."""
    viewer = ViewerModel()
    viewer.add_image(volume(), name="scan")
    widget = SegmentDock(viewer)
    widget.segmenter.choose("compact-sam")
    widget.workspace.show_plane(0, 100)
    yield widget
    slow.let()
    widget.ahead.ahead.switch(False)


def prompt(dock: SegmentDock, scores: dict[int, float]) -> None:
    dock.workspace.prompts.write(
        PlanePrompts(0, i, (ObjectPrompt(1, (Point(5, 9, score=s),)),)) for i, s in scores.items()
    )


def load(dock: SegmentDock, segmenter: Slow) -> None:
    dock.segmenter.adopt(segmenter, "compact-sam", dock.workspace.device)


@pytest.fixture
def rest(qtbot: Any) -> Callable[[SegmentDock], Readiness]:
    """Wait until nothing is to be encoded any more, and give what is known then."""

    def wait(dock: SegmentDock) -> Readiness:
        ahead = dock.ahead.ahead
        qtbot.waitUntil(lambda: not ahead.busy, timeout=TIMEOUT)
        QApplication.processEvents()  # what the thread said last
        known = ahead.readiness
        assert known is not None
        assert known.encoding is None
        return known

    return wait


@pytest.fixture
def begun(qtbot: Any) -> Callable[[Slow, int], None]:
    """Wait until so many planes were begun."""

    def wait(slow: Slow, count: int) -> None:
        qtbot.waitUntil(lambda: len(slow.started) >= count, timeout=TIMEOUT)

    return wait


def test_of_512_planes_the_shown_the_20_with_prompts_and_the_next_are_encoded(
    dock: SegmentDock, slow: Slow, rest: Any
) -> None:
    slow.let()
    prompt(dock, FIRING)
    load(dock, slow)
    known = rest(dock)
    # The order in which the user came to plane 100 is not known.
    assert slow.started == [100, *BY_SCORE, 101, 99, 102, 98]
    assert known.prompted == set(FIRING)
    assert known.ready == {100, *FIRING, 101, 99, 102, 98}
    assert (known.n_planes, known.shown, known.full) == (N, 100, False)
    assert dock.ahead.words.text() == "20 of 20 slices with prompts ready."
    # Scrolling on, only what is new is encoded, and that in the direction of the scroll.
    told: list[str] = []
    dock.ahead.ahead.changed.connect(lambda: told.append(dock.ahead.words.text()))
    dock.workspace.show_plane(0, 101)
    dock.workspace.plane_changed.emit()
    rest(dock)
    assert slow.started[25:] == [103, 104, 105]
    dock.workspace.show_plane(0, 98)
    dock.workspace.plane_changed.emit()
    rest(dock)
    assert slow.started[28:] == [97, 96, 95, 94]
    # What was known stays known while the thread begins anew.
    assert told
    assert all(words.startswith("20 of 20 slices with prompts ready") for words in told)
    assert {100, 103, 105, 94} <= rest(dock).ready


def test_masks_do_not_wait_for_what_is_encoded_and_the_window_keeps_a_thread(
    dock: SegmentDock, slow: Slow, rest: Any, finish: Any
) -> None:
    slow.let()
    prompt(dock, FIRING)
    load(dock, slow)
    rest(dock)
    before = len(slow.started)
    dock.run_all.click()
    finish(dock.row)
    assert len(slow.started) == before
    assert all(dock.masks.get(0, index) is not None for index in FIRING)
    assert slow.threads == {max(1, torch.get_num_threads() - 1)}


def test_while_a_prompt_is_moved_the_other_planes_wait_between_two_blocks(
    dock: SegmentDock, begun: Any, qtbot: Any, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_cam_sam.plugin.segment.encode_worker._HAND_SECONDS", 60.0)
    blocks = Blocks()
    prompt(dock, FIRING)
    load(dock, blocks)
    begun(blocks, 1)
    # The plane shown goes on: its masks are what the hand wants to see.
    dock.workspace.prompts.moving.emit()
    blocks.let(1)
    begun(blocks, 2)
    qtbot.waitUntil(lambda: blocks.waits, timeout=TIMEOUT)
    blocks.let(2)
    qtbot.wait(100)
    assert blocks.waits
    assert blocks.started == [100, BY_SCORE[0]]
    # What the user starts wants it at once.
    blocks.let()
    dock.run_all.click()
    finish(dock.row)
    assert set(blocks.started) == {100, *FIRING}
    assert blocks.cancelled == []


def test_the_scroll_reorders_what_is_left(
    dock: SegmentDock, slow: Slow, begun: Any, rest: Any
) -> None:
    prompt(dock, FIRING)
    load(dock, slow)
    slow.let(2)
    begun(slow, 3)
    assert slow.started == [100, *BY_SCORE[:2]]
    dock.workspace.show_plane(0, 40)
    dock.workspace.plane_changed.emit()
    ahead = dock.ahead.ahead
    assert ahead.busy
    # The plane under way has prompts: it is finished, and then the shown one is first.
    slow.let()
    rest(dock)
    begun(slow, 25)
    rest(dock)
    at = slow.started.index(40)
    assert set(slow.started[:at]) <= {100, *FIRING}
    assert slow.started[at + 1 :] == [
        *(i for i in BY_SCORE if i not in slow.started[:at]), 39, 38, 37, 36,
    ]  # fmt: skip
    assert len(slow.started) == len(set(slow.started))


@pytest.mark.parametrize("other", ["image", "data", "segmenter", "window", "off"])
def test_another_image_window_or_segmenter_stops_it(
    dock: SegmentDock, slow: Slow, begun: Any, rest: Any, qtbot: Any, other: str
) -> None:
    prompt(dock, FIRING)
    load(dock, slow)
    slow.let(1)
    begun(slow, 2)
    workspace, ahead = dock.workspace, dock.ahead.ahead
    second = Slow("6")
    second.let()
    if other == "image":
        workspace.choose_image(workspace.viewer.add_image(volume(30), name="other"))
    elif other == "data":
        workspace.image_layer.data = 255 - workspace.image_layer.data
    elif other == "segmenter":
        load(dock, second)
    elif other == "window":
        workspace.choose_window(parse_window("limits:-255,255"))
    else:
        dock.ahead.switch.setChecked(False)
    before = list(slow.started)
    slow.let()
    qtbot.waitUntil(lambda: not ahead.busy, timeout=TIMEOUT)
    if other == "image":
        # Of another image nothing was prompted, and nobody looks.
        assert slow.started == before
    elif other == "segmenter":
        assert slow.started == before
        assert second.started == [100, *BY_SCORE, 101, 99, 102, 98]
    elif other == "off":
        assert slow.started == before
        assert rest(dock).ready == set(before)
        assert dock.ahead.words.text() == "1 of 20 slices with prompts ready."
        dock.ahead.switch.setChecked(True)
        assert len(rest(dock).ready) == 25
        assert len(slow.started) == 25
    else:
        # The one under way is finished, as nothing of it can be kept apart; then all anew.
        flip = 1023 if other == "data" else 0
        assert slow.started[2:] == [
            index ^ flip for index in (100, *BY_SCORE, 101, 99, 102, 98)
        ]  # fmt: skip


def test_what_the_user_starts_comes_first_and_shares_the_plane_under_way(
    dock: SegmentDock, slow: Slow, begun: Any, rest: Any, finish: Any, qtbot: Any
) -> None:
    prompt(dock, FIRING)
    load(dock, slow)
    begun(slow, 1)
    slow.let(1)
    begun(slow, 2)
    assert slow.started == [100, BY_SCORE[0]]
    last = BY_SCORE[-1]
    dock.workspace.show_plane(0, last)
    dock.run.click()
    begun(slow, 3)
    # It did not wait for the other plane, of which there were two at once.
    assert slow.started == [100, BY_SCORE[0], last]
    slow.let(2)
    finish(dock.row)
    assert dock.masks.get(0, last) is not None
    # Again, for the very plane that is being encoded: it is encoded once.
    begun(slow, 4)
    under_way = slow.started[3]
    dock.workspace.show_plane(0, under_way)
    dock.run.click()
    slow.let()
    finish(dock.row)
    assert dock.masks.get(0, under_way) is not None
    rest(dock)
    assert len(slow.started) == len(set(slow.started))
    assert set(FIRING) <= set(slow.started)


def test_a_segmenter_that_can_is_stopped_within_the_plane(
    dock: SegmentDock, begun: Any, rest: Any, finish: Any, qtbot: Any
) -> None:
    blocks = Blocks()
    first, last = BY_SCORE[0], BY_SCORE[-1]
    prompt(dock, FIRING)
    load(dock, blocks)
    blocks.let(1)
    begun(blocks, 2)
    assert blocks.started == [100, first]
    # A scroll elsewhere leaves a plane with prompts at work: else a reader would end none.
    dock.workspace.show_plane(0, last)
    dock.workspace.plane_changed.emit()
    dock.ahead.ahead.plan_soon()
    assert blocks.cancelled == []
    # Masks of another plane do not.
    dock.run.click()
    qtbot.waitUntil(lambda: bool(blocks.cancelled), timeout=TIMEOUT)
    assert blocks.cancelled == [first]
    begun(blocks, 3)
    assert blocks.started[2] == last
    blocks.let(1)
    finish(dock.row)
    # It is taken up again, and dropped for good with the image.
    begun(blocks, 4)
    assert blocks.started[3] == first
    dock.workspace.viewer.layers.remove(dock.workspace.image_layer)
    qtbot.waitUntil(lambda: not dock.ahead.ahead.busy, timeout=TIMEOUT)
    assert blocks.cancelled == [first, first]
    assert len(blocks.started) == 4


def test_while_a_task_runs_nothing_is_begun(
    dock: SegmentDock, slow: Slow, rest: Any, finish: Any, qtbot: Any
) -> None:
    prompt(dock, FIRING)
    go = threading.Event()

    def steps() -> Iterator[Any]:
        assert go.wait(60)
        yield None

    dock.row.start(steps, 1, "another task", lambda _: None)
    load(dock, slow)
    slow.let()
    qtbot.waitUntil(lambda: not dock.ahead.ahead.busy, timeout=TIMEOUT)
    assert slow.started == []
    assert dock.ahead.words.text() == "0 of 20 slices with prompts ready."
    go.set()
    finish(dock.row)
    rest(dock)
    assert len(slow.started) == 25


def test_memory_for_few_planes_and_no_disk_ends_it(
    dock: SegmentDock, slow: Slow, rest: Any
) -> None:
    dock.workspace.embeddings = EmbeddingCache(6 << 10)
    slow.let()
    prompt(dock, FIRING)
    load(dock, slow)
    known = rest(dock)
    assert slow.started == [100, *BY_SCORE[:5]]
    assert known.full
    assert known.ready == set(slow.started)
    assert dock.ahead.words.text() == (
        "5 of 20 slices with prompts ready. Cache full: raise the limit in Preferences."
    )
    # However often it is asked, only planes that are shown are encoded again.
    for shown in (101, 100, 101, 100, 101):
        dock.workspace.show_plane(0, shown)
        dock.workspace.plane_changed.emit()
        assert shown in rest(dock).ready
        dock.ahead.ahead.plan_soon()
        rest(dock)
    assert set(slow.started[6:]) == {100, 101}
    assert len(slow.started) <= 6 + 5
    # What was thrown out does not count as ready.
    assert len(rest(dock).ready) <= 6
    # The best of those with prompts stay, though planes that came later were seen.
    assert set(BY_SCORE[:4]) <= rest(dock).ready


def test_with_a_disk_all_are_kept_and_found_by_the_next_session(
    dock: SegmentDock, slow: Slow, rest: Any, tmp_path: Path
) -> None:
    store = EmbeddingStore(tmp_path / "disk", 1 << 30)
    dock.workspace.embeddings = EmbeddingCache(6 << 10, store)
    slow.let()
    prompt(dock, FIRING)
    load(dock, slow)
    assert len(rest(dock).ready) == 25
    assert len(slow.started) == 25
    later = Slow()
    dock.workspace.embeddings = EmbeddingCache(6 << 10, store)
    load(dock, later)
    assert len(rest(dock).ready) == 25
    assert later.started == []


@pytest.mark.filterwarnings("ignore:Embeddings are kept in memory alone")
def test_a_disk_that_fails_is_told_once_and_in_words(
    dock: SegmentDock, slow: Slow, rest: Any, tmp_path: Path, notices: list[str]
) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("not a folder")
    dock.workspace.embeddings = EmbeddingCache(6 << 10, EmbeddingStore(in_the_way, 1 << 30))
    slow.let()
    prompt(dock, FIRING)
    load(dock, slow)
    assert rest(dock).full
    assert slow.started == [100, *BY_SCORE[:5]]
    rest(dock)
    dock.ahead.ahead.plan_soon()
    rest(dock)
    assert len(notices) == 1
    assert notices[0].startswith("Embeddings are kept in memory alone: ")
    assert notices[0] in dock.ahead.words.text()


@pytest.mark.parametrize("error", [CamSamError("No memory left."), RuntimeError("a shape")])
def test_what_fails_is_said_and_not_tried_at_every_scroll(
    dock: SegmentDock, slow: Slow, rest: Any, notices: list[str], error: Exception
) -> None:
    slow.error = error
    slow.let()
    prompt(dock, FIRING)
    load(dock, slow)
    rest(dock)
    for shown in (101, 102):
        dock.workspace.show_plane(0, shown)
        dock.workspace.plane_changed.emit()
        rest(dock)
    assert slow.started == [100]
    assert dock.ahead.words.text() == (
        f"0 of 20 slices with prompts ready. Encoding ahead failed: {error}"
    )
    assert len(notices) == (0 if isinstance(error, CamSamError) else 1)
    # Switched off and on, it is tried again.
    slow.error = None
    dock.ahead.switch.setChecked(False)
    dock.ahead.switch.setChecked(True)
    assert len(rest(dock).ready) == 25
    assert "Nothing" not in dock.ahead.words.text()


def test_without_prompts_the_dock_must_be_seen(
    dock: SegmentDock, slow: Slow, rest: Any, qtbot: Any
) -> None:
    slow.let()
    load(dock, slow)
    rest(dock)
    assert slow.started == []
    dock.show()
    rest(dock)
    assert slow.started == [100, 101, 99, 102, 98]
    assert dock.ahead.words.text() == "This slice is ready."
    dock.hide()


def test_a_prompt_on_a_plane_that_is_being_encoded_is_decoded_as_soon_as_it_is(
    dock: SegmentDock, slow: Slow, begun: Any, qtbot: Any
) -> None:
    prompt(dock, {100: 0.9})
    load(dock, slow)
    begun(slow, 1)
    prompt(dock, {100: 0.8})
    assert dock.masks.get(0, 100) is None
    slow.let()
    qtbot.waitUntil(lambda: dock.masks.get(0, 100) is not None, timeout=TIMEOUT)
    assert slow.started.count(100) == 1


def test_seeded_is_instant_and_nothing_is_encoded_or_shown(
    dock: SegmentDock, finish: Any, qtbot: Any
) -> None:
    prompt(dock, {100: 0.9, 120: 0.5})
    dock.segmenter.choose("seeded")
    dock.run.click()
    finish(dock.row)
    qtbot.waitUntil(lambda: not dock.ahead.ahead.busy, timeout=TIMEOUT)
    assert dock.ahead.ahead.readiness is None
    for widget in (dock.ahead.switch, dock.ahead.strip, dock.ahead.words):
        assert not widget.isVisibleTo(dock)
    dock.segmenter.choose("compact-sam")
    qtbot.waitUntil(lambda: dock.ahead.switch.isVisibleTo(dock), timeout=TIMEOUT)


def test_prompts_dragged_off_the_image_do_not_end_it(
    dock: SegmentDock, slow: Slow, rest: Any
) -> None:
    prompt(dock, {500: 0.9, 120: 0.5})
    points = dock.workspace.prompts.points
    points.data = points.data + np.array([20, 0, 0])
    slow.let()
    load(dock, slow)
    assert rest(dock).prompted == {140}
    assert slow.started[:2] == [100, 140]


def test_nothing_of_it_outlives_the_window(
    make_napari_viewer: Any, slow: Slow, begun: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(volume(40), name="scan")
    _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", "Segment")
    dock.segmenter.choose("compact-sam")
    prompt(dock, {3: 0.5, 7: 0.6, 30: 0.7})
    load(dock, slow)
    begun(slow, 1)
    viewer.close()
    del dock, viewer
    qtbot.wait(1)
    gc.collect()
    slow.let()
    assert QThreadPool.globalInstance().waitForDone(TIMEOUT)
    assert len(slow.started) == 1
    assert QThreadPool.globalInstance().activeThreadCount() == 0


def test_the_state_goes_with_the_session(dock: SegmentDock) -> None:
    assert dock.state()["ahead"] is True
    dock.set_state({"ahead": False})
    assert not dock.ahead.ahead.on
    assert dock.state()["ahead"] is False
    dock.set_state({})
    assert dock.ahead.ahead.on


def test_the_cache_is_that_of_the_preferences(
    qapp: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def embeddings(chosen: Preferences) -> EmbeddingCache:
        monkeypatch.setattr(workspace_module, "preferences", lambda: chosen)
        return workspace_module.Workspace(ViewerModel()).embeddings

    made = embeddings(Preferences(cache_folder=str(tmp_path), disk_mb=7, memory_mb=3))
    assert made.store is not None
    assert made.store.folder == tmp_path / "embeddings"
    assert made.store.max_bytes == 7 << 20
    assert not made.store.folder.exists()
    features = SimpleNamespace(features=np.zeros(1 << 20, np.uint8))
    assert made.capacity(features) == 7
    made = embeddings(Preferences(disk_mb=0, memory_mb=3))
    assert made.store is None
    assert made.capacity(features) == 3


def test_the_strip_shows_each_kind_of_plane_in_the_colours_of_the_theme(qtbot: Any) -> None:
    viewer = ViewerModel()
    strip = EncodedSlicesStrip(viewer)
    qtbot.addWidget(strip)
    strip.resize(400, 18)
    strip.show_readiness(
        Readiness(100, 10, frozenset({20, 30, 40}), frozenset({20, 50}), encoding=40)
    )
    for theme in ("dark", "light"):
        viewer.theme = theme
        colours = theme_colours(theme)
        picture = strip.grab().toImage()
        ratio = picture.width() / 400

        def colour(index: int, y: int, of: Any = picture, by: float = ratio) -> str:
            return str(of.pixelColor(int((index * 4 + 1) * by), int(y * by)).name())

        above = {index: colour(index, 4) for index in (20, 30, 40, 50, 70)}
        below = {index: colour(index, 14) for index in (20, 30, 40, 50, 70)}
        prompted, none = colours.second.lower(), above[70]
        assert above == {20: prompted, 30: prompted, 40: prompted, 50: none, 70: none}
        ready = colours.first.lower()
        assert (below[20], below[50], below[30], below[70]) == (ready, ready, none, none)
        line = {picture.pixelColor(int(x * ratio), int(9 * ratio)).name() for x in range(39, 45)}
        assert len(line) > 1
    assert strip.words_at(82).startswith("Slice 20, with prompts, ready.")
    assert strip.words_at(162).startswith("Slice 40, with prompts, being encoded.")
    assert strip.words_at(42).startswith("Slice 10, shown, not ready.")
    assert strip.words_at(282).startswith("Slices along this axis")
