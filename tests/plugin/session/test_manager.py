"""Sessions in the viewer: saved, opened, saved by themselves, and found again after a crash."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QThreadPool, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.writing import write_image
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.io.reader import get_reader
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.session import manager, save_queue
from napari_cam_sam.plugin.session.recovery import FOLDER_VARIABLE
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.session import read_session, replay

Finish = Callable[[Any], None]
FROM_CAM = ObjectPrompt(
    1, (Point(50, 60, True, "cam", 0.75), Point(20, 30, False, "cam", 0.0)),
    Box(40, 48, 64, 76, "cam", 0.5),
)  # fmt: skip
FROM_TRUTH = ObjectPrompt(7, (), Box(8, 30, 14, 52, "truth"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    write_image(path, make_sample("ct").image)
    return path


@pytest.fixture
def quick(autosaves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save by itself at once, but for viewers of earlier tests."""
    gc.collect()
    soon = Preferences(autosave_seconds=0.05)
    monkeypatch.setattr(manager, "preferences", lambda: soon)


def opened(path: Path) -> ViewerWorkspace:
    """Open a file in a new viewer."""
    viewer = ViewerModel()
    reader = get_reader(str(path))
    assert reader is not None
    ((data, meta, _),) = reader(str(path))
    viewer.add_image(data, **meta)
    # The workspace lives as long as the viewer, which it holds.
    return workspace_of(viewer)


def looked(workspace: ViewerWorkspace) -> Any:
    """Wait until all threads are done and heard; give what was left behind."""
    QThreadPool.globalInstance().waitForDone()
    QApplication.processEvents()
    return workspace.sessions.left


def run_script(code: str, scan: Path, autosaves: Path) -> subprocess.CompletedProcess[str]:
    """Run a script on a file in a process of its own, with the autosaves of this test."""
    return subprocess.run(
        [sys.executable, "-c", code, str(scan)],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {FOLDER_VARIABLE: str(autosaves)},
    )  # fmt: skip


def edit(workspace: ViewerWorkspace) -> None:
    """Place prompts along two axes, and add a point by hand."""
    workspace.prompts.write(
        [PlanePrompts(0, 11, (FROM_CAM,)), PlanePrompts(0, 9, (FROM_CAM,)),
         PlanePrompts(1, 60, (FROM_TRUTH,))]
    )  # fmt: skip
    workspace.show_plane(0, 11)
    workspace.prompts.points.add(np.array([[11.0, 90, 33.5]]))


def all_prompts(workspace: ViewerWorkspace) -> list[tuple[PlanePrompts, ...]]:
    return [workspace.prompts.read_all(axis) for axis in range(3)]


def save(workspace: ViewerWorkspace, folder: Path, qtbot: Any) -> str:
    """Save by hand; give what was said."""
    with qtbot.waitSignal(workspace.sessions.saved, timeout=60_000) as saved:
        workspace.sessions.save(folder)
    return str(saved.args[0])


def open_session(workspace: ViewerWorkspace, folder: Path, qtbot: Any) -> str:
    """Open a session; give what was said at the end."""
    with qtbot.waitSignal(
        workspace.sessions.saved, timeout=60_000, check_params_cb=lambda words: "…" not in words
    ) as said:
        workspace.sessions.open(folder)
    return str(said.args[0])


def test_a_session_is_the_same_in_another_viewer(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    first = opened(scan)
    heatmap, prompts, segment = (
        kind(first.viewer) for kind in (HeatmapDock, PromptsDock, SegmentDock)
    )
    edit(first)
    heatmap.method.set_value("grad-cam")
    heatmap.planes.scope.set_value("range")
    heatmap.planes.first.setValue(3)
    heatmap.planes.last.setValue(14)
    heatmap.least.set_value(0.25)
    prompts.choose_strategy("s4-mode4")
    prompts.truth.rule.set_value("truth-point")
    segment.segmenter.choose("seeded")
    segment.review.overlap.set_value("overwrite")
    segment.segment()
    finish(segment.row)
    segment.review.accept_masks()
    first.image_layer.contrast_limits = (-120, 200)
    first.show_plane(1, 60)
    assert save(first, tmp_path / "session", qtbot) == f"Saved to {tmp_path / 'session'}."

    second = opened(scan)
    others = [kind(second.viewer) for kind in (HeatmapDock, PromptsDock, SegmentDock)]
    assert open_session(second, tmp_path / "session", qtbot).startswith("Opened the session of ")
    assert all_prompts(second) == all_prompts(first)
    assert [len(planes) for planes in all_prompts(second)] == [2, 1, 0]
    assert second.prompts.touched() == {(0, 11)}
    labels = first.own("labels").data
    assert labels.any()
    np.testing.assert_array_equal(second.own("labels").data, labels)
    assert second.plane() == (1, 60)
    assert list(second.image_layer.contrast_limits) == [-120, 200]
    assert [dock.state() for dock in others] == [d.state() for d in (heatmap, prompts, segment)]
    assert others[0].state()["range"] == [3, 14]
    assert [a.prompts.index for a in second.masks.accepted] == [11]
    # What was there before comes back by undo.
    assert second.prompts.undo()
    assert all_prompts(second) == [(), (), ()]


def test_what_was_accepted_is_made_again_without_a_viewer(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    workspace = opened(scan)
    segment = SegmentDock(workspace.viewer)
    for name, index in (("seeded", 11), ("compact-sam", 9), ("seeded", 12)):
        workspace.prompts.write([PlanePrompts(0, index, (FROM_CAM,))])
        workspace.show_plane(0, index)
        segment.segmenter.choose(name)
        segment.segment()
        finish(segment.row)
        segment.review.flip(1)
        segment.review.accept_masks()
    save(workspace, tmp_path / "session", qtbot)
    session = read_session(tmp_path / "session")
    assert len(session.accepted) == 3
    assert session.labels is not None
    assert np.flatnonzero(session.labels.any(axis=(1, 2))).tolist() == [9, 11, 12]
    np.testing.assert_array_equal(session.labels, workspace.own("labels").data)
    assert session.image.path == str(scan)
    assert session.image.sha256 == hashlib.sha256(scan.read_bytes()).hexdigest()
    np.testing.assert_array_equal(replay(session, read_image(scan)), session.labels)
    # On the grid of the file, with its header.
    (file,) = (tmp_path / "session").glob("labels-*.nii.gz")
    np.testing.assert_array_equal(nibabel.load(file).affine, nibabel.load(scan).affine)


def test_undo_takes_acceptances_back_one_after_the_other(
    qapp: Any, scan: Path, finish: Finish, qtbot: Any
) -> None:
    workspace = opened(scan)
    segment = SegmentDock(workspace.viewer)
    segment.segmenter.choose("seeded")
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        workspace.prompts.write([PlanePrompts(0, i, (FROM_CAM,)) for i in (9, 11)])
    for index in (9, 11):
        workspace.show_plane(0, index)
        segment.segment()
        finish(segment.row)
        segment.review.accept_masks()
    assert workspace.own("labels").data[[9, 11]].any(axis=(1, 2)).all()
    for index in (11, 9):
        # What the key asks to know which undo is meant.
        assert workspace.masks.accepted_at > workspace.prompts.edited_at
        assert workspace.masks.undo_accept() == 1
        assert not workspace.own("labels").data[index].any()
    assert workspace.masks.accepted_at == 0
    assert workspace.prompts.planes(0) == [9, 11]


def test_what_the_layers_own_undo_took_back_is_not_made_again(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any, finish: Finish
) -> None:
    workspace = opened(scan)
    segment = SegmentDock(workspace.viewer)
    segment.segmenter.choose("seeded")
    for index in (11, 9):
        workspace.prompts.write([PlanePrompts(0, index, (FROM_CAM,))])
        workspace.show_plane(0, index)
        segment.segment()
        finish(segment.row)
        segment.review.accept_masks()
    labels = workspace.own("labels")
    labels.undo()  # as Ctrl-Z does while the labels layer is active
    save(workspace, tmp_path / "session", qtbot)
    session = read_session(tmp_path / "session")
    assert [one.prompts.index for one in session.accepted] == [11]
    assert session.labels is not None
    assert not session.labels[9].any()
    np.testing.assert_array_equal(replay(session, read_image(scan)), session.labels)
    labels.redo()
    save(workspace, tmp_path / "session", qtbot)
    session = read_session(tmp_path / "session")
    assert [one.prompts.index for one in session.accepted] == [11, 9]
    np.testing.assert_array_equal(replay(session, read_image(scan)), session.labels)


def test_a_session_of_another_image_is_refused_in_words(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(scan)
    edit(first)
    save(first, tmp_path / "session", qtbot)
    other = tmp_path / "other.nii.gz"
    write_image(other, make_sample("ct", seed=12).image)
    second = opened(other)
    row = SessionPanel(second, second.sessions)
    for folder, words in (
        (tmp_path / "session", "is not the image of the session"),
        (tmp_path, "holds no session"),
        (scan, "is a file"),
    ):
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, f=folder: str(f))
        row.open.click()
        qtbot.waitUntil(lambda w=words: w in row.words.text(), timeout=60_000)
    assert all_prompts(second) == [(), (), ()]
    assert second.own("labels") is None


def test_a_folder_that_cannot_be_written_is_said(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any, quick: None, autosaves: Path
) -> None:
    workspace = opened(scan)
    edit(workspace)
    said = save(workspace, scan, qtbot)
    assert said.startswith("Not saved: ")
    assert str(scan) in said
    # The same where autosaves should lie: a file is in their place.
    autosaves.write_text("in the way")
    with qtbot.waitSignal(workspace.sessions.saved, timeout=60_000) as saved:
        workspace.prompts.clear(0, 9)
    assert saved.args[0].startswith("Not saved: ")
    assert autosaves.read_text() == "in the way"
    assert workspace.prompts.planes(0) == [11]


def test_an_edit_is_saved_by_itself_and_gone_once_saved_by_hand(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any, quick: None, autosaves: Path
) -> None:
    workspace = opened(scan)
    with qtbot.waitSignal(workspace.sessions.saved, timeout=60_000) as saved:
        edit(workspace)
    assert saved.args == ["Autosaved."]
    (folder,) = autosaves.glob("[!.]*")
    session = read_session(folder)
    assert {(p.axis, p.index): p for p in session.prompts} == {
        (p.axis, p.index): p for planes in all_prompts(workspace) for p in planes
    }
    assert session.touched == ((0, 11),)
    # This process lives: what it saved is nobody else's to take.
    assert looked(opened(scan)) is None
    save(workspace, tmp_path / "session", qtbot)
    assert list(autosaves.glob("[!.]*")) == []


def test_work_without_a_pause_is_saved_by_itself(
    qapp: Any, scan: Path, autosaves: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = opened(scan)
    looked(workspace)
    soon = Preferences(autosave_seconds=0.2)
    monkeypatch.setattr(manager, "preferences", lambda: soon)
    steadily = QTimer()
    steadily.timeout.connect(workspace.prompts.settled)
    with qtbot.waitSignal(workspace.sessions.saved, timeout=10_000):
        steadily.start(10)
    steadily.stop()


def test_without_autosave_nothing_is_written(
    qapp: Any, scan: Path, autosaves: Path, qtbot: Any
) -> None:
    # As set in the Preferences, here by the fixture of all these tests.
    workspace = opened(scan)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        edit(workspace)
    looked(workspace)
    workspace.sessions.autosave()
    looked(workspace)
    assert not autosaves.exists()


KILLED = """
import os, signal, sys
import napari, numpy as np
from napari_cam_sam.plugin.session import manager, save_queue
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point

manager.preferences = lambda: Preferences(autosave_seconds=0.05)
viewer = napari.Viewer(show=False)
viewer.open(sys.argv[1], plugin="napari-cam-sam")
workspace = workspace_of(viewer)
one = ObjectPrompt(2, (Point(50, 60, True, "cam", 0.75),), Box(40, 48, 64, 76, "cam", 0.5))
workspace.prompts.write([PlanePrompts(0, 5, (one,))])
workspace.show_plane(0, 11)
workspace.prompts.points.add(np.array([[11.0, 90, 33.5]]))
labels = workspace.layers.labels("labels")
labels.data[11, 3:9, 4:8] = 2

def end(said):
    # PyTorch, imported beside Mesa without care, ends a process by itself.
    assert "torch" not in sys.modules
    os.kill(os.getpid(), signal.SIGKILL)

workspace.sessions.saved.connect(end)
napari.run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_work_of_a_killed_process_is_offered_and_taken(
    qapp: Any, scan: Path, tmp_path: Path, autosaves: Path, qtbot: Any, quick: None
) -> None:
    done = run_script(KILLED, scan, autosaves)
    assert done.returncode == -9, done.stderr[-2000:]
    (left,) = autosaves.glob("[!.]*")

    workspace = opened(scan)
    row = SessionPanel(workspace, workspace.sessions)
    assert looked(workspace).folder == left
    assert row.offer.isVisibleTo(row)
    assert "prompts on 2 slices, 1 edited" in row.question.text()
    with qtbot.waitSignal(workspace.sessions.saved, timeout=60_000):
        row.restore.click()
    assert not row.offer.isVisibleTo(row)
    one = ObjectPrompt(2, (Point(50, 60, True, "cam", 0.75),), Box(40, 48, 64, 76, "cam", 0.5))
    assert workspace.prompts.read_all(0) == (
        PlanePrompts(0, 5, (one,)),
        PlanePrompts(0, 11, (ObjectPrompt(1, (Point(90, 33.5),)),)),
    )
    assert workspace.prompts.touched() == {(0, 11)}
    assert workspace.plane() == (0, 11)
    painted = np.zeros((24, 128, 128), int)
    painted[11, 3:9, 4:8] = 2
    np.testing.assert_array_equal(workspace.own("labels").data, painted)
    # It lies on disk until this process has saved the same.
    qtbot.waitUntil(lambda: not left.exists(), timeout=60_000)
    (mine,) = autosaves.glob("[!.]*")
    assert read_session(mine).touched == ((0, 11),)


CLOSED = """
import sys
import napari, numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_cam_sam.plugin.session import manager, save_queue
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import workspace_of

manager.preferences = lambda: Preferences(autosave_seconds=600)
viewer = napari.Viewer(show=False)
viewer.open(sys.argv[1], plugin="napari-cam-sam")
workspace = workspace_of(viewer)
workspace.show_plane(0, 11)
workspace.prompts.create()[0].add(np.array([[11.0, 90, 33.5]]))

def end():
    viewer.close()
    QApplication.quit()  # a window that was never shown does not end the program by its closing

workspace.prompts.settled.connect(lambda: QTimer.singleShot(0, end))
napari.run()
"""


def test_what_was_done_just_before_the_window_closes_is_not_lost(
    qapp: Any, scan: Path, tmp_path: Path, autosaves: Path, qtbot: Any
) -> None:
    done = run_script(CLOSED, scan, autosaves)
    assert done.returncode == 0, done.stderr[-2000:]
    found = looked(opened(scan))
    assert [p.index for p in found.session.prompts] == [11]


def test_what_was_done_just_before_another_image_is_not_lost(
    qapp: Any, scan: Path, autosaves: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = opened(scan)
    looked(workspace)
    late = Preferences(autosave_seconds=600)
    monkeypatch.setattr(manager, "preferences", lambda: late)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        edit(workspace)
    first = workspace.image_layer
    other = workspace.viewer.add_image(np.zeros((4, 5, 6)))
    workspace.choose_image(other)
    looked(workspace)
    (folder,) = autosaves.glob("[!.]*")
    assert [p.index for p in read_session(folder).prompts] == [9, 11, 60]
    # Back on the first image nothing is offered: the work is in the layers.
    workspace.choose_image(first)
    assert looked(workspace) is None
    assert [p.index for p in read_session(folder).prompts] == [9, 11, 60]


@pytest.mark.parametrize("how", ["layers", "image"])
def test_an_edit_that_is_not_over_is_not_lost(
    qapp: Any, scan: Path, autosaves: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    workspace = opened(scan)
    looked(workspace)
    late = Preferences(autosave_seconds=600)
    monkeypatch.setattr(manager, "preferences", lambda: late)
    edit(workspace)
    if how == "layers":
        workspace.viewer.layers.clear()
    else:
        workspace.choose_image(workspace.viewer.add_image(np.zeros((4, 5, 6))))
    looked(workspace)
    (folder,) = autosaves.glob("[!.]*")
    session = read_session(folder)
    assert [p.index for p in session.prompts] == [9, 11, 60]
    assert session.touched == ((0, 11),)


def test_a_layer_that_goes_in_the_middle_of_an_edit_comes_back_by_undo(
    qapp: Any, scan: Path, autosaves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = opened(scan)
    looked(workspace)
    late = Preferences(autosave_seconds=600)
    monkeypatch.setattr(manager, "preferences", lambda: late)
    edit(workspace)
    before = all_prompts(workspace)
    workspace.viewer.layers.remove(workspace.prompts.points)
    assert all_prompts(workspace) != before
    assert workspace.prompts.undo()
    assert all_prompts(workspace) == before


CLOSED_AFTER_SCORES = """
import sys
import napari, numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_cam_sam.plugin.session import manager, save_queue
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import workspace_of

manager.preferences = lambda: Preferences(autosave_seconds=600)
viewer = napari.Viewer()
viewer.open(sys.argv[1], plugin="napari-cam-sam")
_, scores = viewer.window.add_plugin_dock_widget("napari-cam-sam", "Scores")
workspace = scores.workspace
for name in ("mine", "truth"):
    empty = np.zeros((24, 128, 128), np.uint8)
    layer = viewer.add_labels(empty, name=name, **workspace.placement())
    layer.data[11, 40:60, 40:60] = 1

def scored():
    workspace.show_plane(0, 11)
    workspace.prompts.create()[0].add(np.array([[11.0, 90, 33.5]]))
    workspace.prompts.settled.connect(lambda: QTimer.singleShot(0, end))

def end():
    viewer.window._qt_window.close()  # as by its button
    QTimer.singleShot(0, QApplication.quit)

scores.scored.connect(scored)
QTimer.singleShot(0, scores.score)
napari.run()
"""


@pytest.mark.slow
def test_choices_and_scores_outlive_the_docks_of_a_window_that_closes(
    qapp: Any, scan: Path, tmp_path: Path, autosaves: Path, qtbot: Any
) -> None:
    done = run_script(CLOSED_AFTER_SCORES, scan, autosaves)
    assert done.returncode == 0, done.stderr[-2000:]
    session = looked(opened(scan)).session
    assert [p.index for p in session.prompts] == [11]
    assert [row["kind"] for row in session.scores] == ["volume", "object", "plane"]


def test_a_save_by_hand_leaves_an_autosave_that_is_newer(
    qapp: Any, scan: Path, tmp_path: Path, autosaves: Path, qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    workspace = opened(scan)
    looked(workspace)
    late = Preferences(autosave_seconds=600)
    monkeypatch.setattr(manager, "preferences", lambda: late)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        edit(workspace)
    written, may_write = threading.Event(), threading.Event()
    real = save_queue.write_session

    def slowly(folder: Path, *what: Any) -> None:
        if folder == tmp_path / "session":
            written.set()
            assert may_write.wait(60)
        real(folder, *what)

    monkeypatch.setattr(save_queue, "write_session", slowly)
    workspace.sessions.save(tmp_path / "session")
    assert written.wait(60)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        workspace.prompts.clear(0, 9)
    workspace.sessions.flush()
    may_write.set()
    looked(workspace)
    assert [p.index for p in read_session(tmp_path / "session").prompts] == [9, 11, 60]
    (folder,) = autosaves.glob("[!.]*")
    assert [p.index for p in read_session(folder).prompts] == [11, 60]


def test_the_labels_own_undo_is_saved_by_itself(
    qapp: Any, scan: Path, autosaves: Path, qtbot: Any, quick: None, finish: Finish
) -> None:
    workspace = opened(scan)
    segment = SegmentDock(workspace.viewer)
    segment.segmenter.choose("seeded")
    workspace.prompts.write([PlanePrompts(0, 11, (FROM_CAM,))])
    workspace.show_plane(0, 11)
    segment.segment()
    finish(segment.row)
    with qtbot.waitSignal(workspace.sessions.saved, timeout=60_000):
        segment.review.accept_masks()
    (folder,) = autosaves.glob("[!.]*")
    qtbot.waitUntil(lambda: len(read_session(folder).accepted) == 1, timeout=60_000)
    workspace.own("labels").undo()
    qtbot.waitUntil(lambda: len(read_session(folder).accepted) == 0, timeout=60_000)


def test_the_work_on_one_frame_is_saved_when_another_is_shown(
    qapp: Any, autosaves: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((2, 6, 20, 24)), name="series")
    workspace = workspace_of(viewer)
    looked(workspace)
    late = Preferences(autosave_seconds=600)
    monkeypatch.setattr(manager, "preferences", lambda: late)
    with qtbot.waitSignal(workspace.prompts.settled, timeout=10_000):
        workspace.prompts.write([PlanePrompts(0, 3, (ObjectPrompt(1, (Point(4, 5),)),))])
    workspace.shown.look_at_plane()
    viewer.dims.set_point(0, 1)
    workspace.shown.look_at_plane()
    looked(workspace)
    (folder,) = autosaves.glob("[!.]*")
    session = read_session(folder)
    assert (session.image.frame, [p.index for p in session.prompts]) == (0, [3])
    # Back on it nothing is offered: the work is in the layers.
    viewer.dims.set_point(0, 0)
    workspace.shown.look_at_plane()
    assert looked(workspace) is None
    assert workspace.prompts.planes(0) == [3]


@pytest.mark.parametrize("pyramid", [False, True])
def test_labels_that_take_no_masks_do_not_hinder_saving(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any, pyramid: bool
) -> None:
    workspace = opened(scan)
    edit(workspace)
    whole = np.zeros((24, 128, 128), int)
    data = [whole, whole[:, ::2, ::2]] if pyramid else np.zeros((3, 5, 5), int)
    workspace.masks.target = workspace.viewer.add_labels(data)
    assert save(workspace, tmp_path / "session", qtbot).startswith("Saved to ")
    assert read_session(tmp_path / "session").labels is None


def test_what_comes_back_goes_into_our_own_labels(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any
) -> None:
    first = opened(scan)
    labels = first.layers.labels("labels")
    labels.data[11, 3:9, 4:8] = 2
    edit(first)
    save(first, tmp_path / "session", qtbot)
    second = opened(scan)
    segment = SegmentDock(second.viewer)
    mine = second.viewer.add_labels(np.zeros((24, 128, 128), int), name="mine")
    segment.review.target.set_value(mine)
    second.masks.target = mine
    open_session(second, tmp_path / "session", qtbot)
    assert segment.review.target.value() is None
    save(second, tmp_path / "again", qtbot)
    found = read_session(tmp_path / "again").labels
    assert found is not None
    assert np.count_nonzero(found) == 24


def test_choices_that_are_not_known_leave_the_rest_of_a_session_alone(
    qapp: Any, scan: Path, tmp_path: Path, qtbot: Any
) -> None:
    first = opened(scan)
    heatmap, _ = HeatmapDock(first.viewer), PromptsDock(first.viewer)
    first.show_plane(1, 60)
    heatmap.planes.scope.set_value("range")
    heatmap.planes.first.setValue(20)
    heatmap.planes.last.setValue(40)
    edit(first)
    first.show_plane(1, 60)
    first.shown.look_at_plane()
    heatmap.planes.first.setValue(20)
    heatmap.planes.last.setValue(40)
    save(first, tmp_path / "session", qtbot)
    file = tmp_path / "session" / "session.json"
    data = json.loads(file.read_text())
    data["choices"]["docks"]["prompts"]["rule"] = {"of a later version": 1}
    file.write_text(json.dumps(data))
    second = opened(scan)
    docks = HeatmapDock(second.viewer), PromptsDock(second.viewer)
    words = open_session(second, tmp_path / "session", qtbot)
    assert "Choices that this version does not know stayed out: prompts." in words
    assert all_prompts(second) == all_prompts(first)
    # A range of planes along the axis that the session shows, not the one shown before.
    assert docks[0].state()["range"] == [20, 40]


@pytest.mark.parametrize("answer", ["image", "discard"])
def test_what_is_left_behind_is_of_its_image_alone_and_may_be_discarded(
    qapp: Any, scan: Path, tmp_path: Path, autosaves: Path, qtbot: Any, quick: None, answer: str
) -> None:
    first = opened(scan)
    with qtbot.waitSignal(first.sessions.saved, timeout=60_000):
        edit(first)
    (folder,) = autosaves.glob("[!.]*")
    hash_and_frame = "-".join(folder.name.split("-")[:2])
    # As if its process, whose number no other has, were gone.
    dead = folder.rename(autosaves / f"{hash_and_frame}-4194304999-1-1")
    if answer == "image":
        other = tmp_path / "other.nii.gz"
        write_image(other, make_sample("ct", seed=12).image)
        assert looked(opened(other)) is None
        return
    second = opened(scan)
    row = SessionPanel(second, second.sessions)
    assert looked(second).folder == dead
    row.discard.click()
    assert not dead.exists()
    assert not row.offer.isVisibleTo(row)
    assert second.sessions.left is None
