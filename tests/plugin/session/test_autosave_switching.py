"""A save belongs to the image that it was asked for: switching, closing, deleting, and threads."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.session import manager, save_queue
from napari_cam_sam.plugin.session.recovery import autosave_folder
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, single_candidate
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.session import Session, read_session
from napari_cam_sam.session.generations import generations, holdings

BOX = ObjectPrompt(1, (), Box(4, 5, 12, 15))
SHAPE = (6, 20, 24)
OTHERS = {
    "same shape": np.random.default_rng(1).random(SHAPE),
    "same pixels": np.random.default_rng(0).random(SHAPE),
    "other shape": np.zeros((4, 5, 6)),
    "flat": np.zeros((20, 24)),
    "series": np.zeros((2, *SHAPE)),
}


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save by itself only where something asks for it at once."""
    never = Preferences(autosave_seconds=600)
    monkeypatch.setattr(manager, "preferences", lambda: never)


@pytest.fixture
def words(workspace: ViewerWorkspace) -> list[str]:
    """Collect what the session manager says."""
    said: list[str] = []
    workspace.sessions.saved.connect(said.append)
    done()
    return said


def done() -> None:
    """Wait until all threads are done and heard."""
    for _ in range(3):
        QThreadPool.globalInstance().waitForDone()
        QApplication.processEvents()


def show(workspace: ViewerWorkspace, *indices: int) -> None:
    """Show a square on planes, as one that no prompt makes."""
    square = np.zeros(workspace.image().plane_shape(0), bool)
    square[4:12, 5:15] = True
    for index in indices:
        where, found = PlanePrompts(0, index), (single_candidate(1, square, 0.5),)
        workspace.masks.put(
            PlaneMasks(where, found, (0,), "seeded", "0" * 64, (0.0, 1.0), source="automatic")
        )


def work(workspace: ViewerWorkspace) -> None:
    """Place prompts, accept two masks, and leave one in the preview."""
    workspace.prompts.write([PlanePrompts(0, i, (BOX,)) for i in (1, 2, 3)])
    show(workspace, 1, 2, 3)
    workspace.masks.accept(0, [1, 2], "keep")
    workspace.prompts.settle()


def held(session: Session) -> tuple[list[int], list[int], list[int]]:
    """Give the planes with prompts, accepted masks and labels of a session."""
    labels = [] if session.labels is None else np.flatnonzero(session.labels.any(axis=(1, 2)))
    accepted = [one.prompts.index for one in session.accepted]
    return [p.index for p in session.prompts], accepted, [int(i) for i in labels]


def folders() -> list[Path]:
    return sorted(autosave_folder().glob("[!.]*"))


WHOLE = ([1, 2, 3], [1, 2], [1, 2])


@pytest.mark.parametrize("other", OTHERS)
def test_another_image_does_not_write_over_the_first_ones_autosave(
    workspace: ViewerWorkspace, words: list[str], other: str
) -> None:
    first = workspace.image_layer
    SegmentDock(workspace.viewer)
    work(workspace)
    workspace.sessions.autosave()
    done()
    (folder,) = folders()
    assert held(read_session(folder)) == WHOLE
    workspace.choose_image(workspace.viewer.add_image(OTHERS[other], name="other"))
    done()
    workspace.sessions.autosave()
    done()
    assert held(read_session(folder)) == WHOLE
    assert words == ["Autosaved."]
    # There and back again, it is one line of work: no second folder, nothing less.
    workspace.choose_image(first)
    done()
    workspace.prompts.write([PlanePrompts(0, 4, (BOX,))])
    workspace.sessions.flush()
    done()
    assert held(read_session(folder)) == ([1, 2, 3, 4], *WHOLE[1:])
    assert workspace.sessions.left is None


def test_what_lives_in_another_layer_is_not_offered_and_not_deleted(
    workspace: ViewerWorkspace, words: list[str]
) -> None:
    work(workspace)
    workspace.sessions.autosave()
    done()
    (folder,) = folders()
    twice = workspace.viewer.add_image(OTHERS["same pixels"], name="scan again")
    workspace.choose_image(twice)
    done()
    assert workspace.sessions.left is None
    workspace.prompts.write([PlanePrompts(0, 5, (BOX,))])
    workspace.sessions.flush()
    workspace.sessions.save(autosave_folder().with_name("by hand"))
    done()
    assert held(read_session(folder)) == WHOLE


@pytest.mark.parametrize("how", ["clear", "image first", "labels alone", "select all"])
def test_layers_that_are_deleted_are_in_the_autosave_as_they_were(
    workspace: ViewerWorkspace, words: list[str], how: str
) -> None:
    work(workspace)
    layers = workspace.viewer.layers
    if how == "clear":
        layers.clear()
    elif how == "image first":
        layers.remove(workspace.image_layer)
    elif how == "labels alone":
        layers.remove(workspace.own("labels"))
    else:
        layers.select_all()
        layers.remove_selected()
    done()
    (folder,) = folders()
    assert held(read_session(folder)) == WHOLE


def test_work_that_is_replaced_by_less_is_kept_beside_it_and_offered(
    workspace: ViewerWorkspace, words: list[str]
) -> None:
    work(workspace)
    workspace.sessions.autosave()
    done()
    (folder,) = folders()
    for index in (1, 2, 3):  # as many saves of less as generations are kept, and more
        for _ in range(2):
            workspace.prompts.clear(0, index)
            workspace.sessions.flush()
            done()
            show(workspace, 5)
            workspace.sessions._changed()
            workspace.sessions.autosave()
            done()
    assert held(read_session(folder))[0] == []
    assert len(generations(folder)) <= 4
    crashed(folder)
    second = workspace_of(again())
    row = SessionPanel(second, second.sessions)
    done()
    found = second.sessions.left
    assert found is not None
    assert [p.index for p in found.session.prompts] == []
    fullest = max(range(len(found.older)), key=lambda i: len(found.older[i].session.prompts))
    assert held(found.older[fullest].whole()) == WHOLE
    assert row.which.isVisibleTo(row)
    row.which.setCurrentIndex(1 + fullest)
    row.which.chosen.emit()
    assert "prompts on 3 slices" in row.question.text()
    row.restore.click()
    done()
    assert second.prompts.planes(0) == [1, 2, 3]
    assert np.flatnonzero(second.own("labels").data.any(axis=(1, 2))).tolist() == [1, 2]


@pytest.mark.parametrize("damage", ["half", "no labels", "gone"])
def test_the_newest_generation_that_is_whole_is_offered(
    workspace: ViewerWorkspace, words: list[str], damage: str
) -> None:
    work(workspace)
    workspace.sessions.autosave()
    done()
    show(workspace, 4)
    workspace.masks.accept(0, [4], "keep")
    workspace.sessions.flush()
    done()
    (folder,) = folders()
    newest = folder / "session.json"
    assert held(read_session(folder))[1] == [1, 2, 4]
    if damage == "half":
        newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    elif damage == "no labels":
        (folder / json.loads(newest.read_text())["labels"]["file"]).unlink()
    else:
        newest.unlink()
    crashed(folder)
    second = workspace_of(again())
    done()
    assert second.sessions.left is not None
    assert held(second.sessions.left.session) == WHOLE


def test_the_save_of_one_image_does_not_wait_behind_a_later_one_of_another(
    workspace: ViewerWorkspace, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    QThreadPool.globalInstance().setMaxThreadCount(4)
    real, written = save_queue.write_generation, threading.Event()
    name = workspace.image().name
    taken = save_queue.capture_session

    def slowly(space: ViewerWorkspace, image: Any, known: Any) -> Any:
        take = taken(space, image, known)

        def wait() -> Session:
            if image.name == name:
                assert written.wait(60)
            return take()

        return wait

    def write(folder: Path, session: Session, image: Any) -> None:
        real(folder, session, image)
        if image.name != name:
            written.set()

    monkeypatch.setattr(save_queue, "capture_session", slowly)
    monkeypatch.setattr(save_queue, "write_generation", write)
    work(workspace)
    workspace.choose_image(workspace.viewer.add_image(OTHERS["same shape"], name="other"))
    workspace.prompts.write([PlanePrompts(0, 5, (BOX,))])
    workspace.sessions.flush()
    done()
    found = [held(read_session(folder)) for folder in folders()]
    assert sorted(found) == sorted([WHOLE, ([5], [], [])])
    assert f"The work on {name} was autosaved." in words


def test_what_is_done_after_a_save_was_asked_for_is_not_in_it(
    workspace: ViewerWorkspace, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, may = save_queue.write_generation, threading.Event()

    def wait(*what: Any) -> None:
        assert may.wait(60)
        real(*what)

    monkeypatch.setattr(save_queue, "write_generation", wait)
    work(workspace)
    workspace.sessions.flush()
    workspace.own("labels").data[:] = 0
    workspace.own("labels").data[5, :3] = 9
    workspace.masks.drop(0, 3)
    may.set()
    done()
    (folder,) = folders()
    session = read_session(folder)
    assert held(session) == WHOLE
    assert [one["index"] for one in session.choices["masks"]] == [3]


def test_what_could_not_be_saved_of_an_image_is_saved_while_another_is_worked_on(
    workspace: ViewerWorkspace, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work(workspace)
    real = save_queue.write_generation

    def full(*_: Any) -> None:
        raise CamSamError("The disk is full.")

    monkeypatch.setattr(save_queue, "write_generation", full)
    workspace.choose_image(workspace.viewer.add_image(OTHERS["same shape"], name="other"))
    done()
    assert words == ["Not saved: The disk is full."]
    assert folders() == []
    monkeypatch.setattr(save_queue, "write_generation", real)
    workspace.sessions.autosave()
    done()
    (folder,) = folders()
    assert held(read_session(folder)) == WHOLE


def test_a_frame_that_was_left_a_moment_ago_is_saved_as_itself(qapp: Any, words_off: None) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((2, *SHAPE)), name="series")
    workspace = workspace_of(viewer)
    done()
    workspace.shown.look_at_plane()
    work(workspace)
    viewer.dims.set_point(0, 1)  # of which nobody has heard yet
    workspace.sessions.flush()
    done()
    (folder,) = folders()
    session = read_session(folder)
    assert session.image.frame == 0
    assert held(session) == WHOLE
    workspace.shown.look_at_plane()
    show(workspace, 5)
    workspace.masks.accept(0, [5], "keep")
    workspace.sessions.flush()
    done()
    assert sorted(read_session(f).image.frame or 0 for f in folders()) == [0, 1]
    assert held(read_session(folder)) == WHOLE


@pytest.mark.parametrize("unseen", ["just opened", "three dimensions"])
def test_a_frame_that_was_reached_unseen_is_worked_on_as_itself(
    qapp: Any, words_off: None, unseen: str
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((2, *SHAPE)), name="series")
    workspace = workspace_of(viewer)
    if unseen == "three dimensions":
        done()
        viewer.dims.ndisplay = 3
        done()
    viewer.dims.set_point(0, 1)
    done()
    viewer.dims.ndisplay = 2
    done()
    work(workspace)
    workspace.sessions.autosave()
    done()
    (folder,) = folders()
    assert read_session(folder).image.frame == 1
    assert held(read_session(folder)) == WHOLE
    viewer.dims.set_point(0, 0)
    done()
    assert workspace.masks.planes(0) == []
    assert workspace.prompts.read_all(0) == ()


@pytest.fixture
def words_off() -> None:
    """Stand in for words, where no workspace is there yet."""


def test_new_pixels_are_another_line_of_work(workspace: ViewerWorkspace, words: list[str]) -> None:
    work(workspace)
    workspace.sessions.autosave()
    done()
    (folder,) = folders()
    workspace.image_layer.data = workspace.image_layer.data + 1
    done()
    workspace.sessions.autosave()
    done()
    assert held(read_session(folder)) == WHOLE
    (new,) = set(folders()) - {folder}
    assert read_session(new).image.sha256 != read_session(folder).image.sha256


def test_choosing_an_image_is_no_edit_of_it(workspace: ViewerWorkspace, words: list[str]) -> None:
    SegmentDock(workspace.viewer)
    other = workspace.viewer.add_image(OTHERS["same shape"], name="other")
    done()
    for layer in (other, workspace.images()[0]) * 2:
        workspace.choose_image(layer)
        done()
        workspace.sessions.autosave()
        done()
    assert words == []
    assert folders() == []


# Masks that are not accepted


def test_masks_of_prompts_on_the_plane_shown_come_back_with_their_image(
    workspace: ViewerWorkspace, words: list[str], finish: Any
) -> None:
    first = workspace.image_layer
    dock = SegmentDock(workspace.viewer)
    dock.segmenter.choose("seeded")
    workspace.prompts.write([PlanePrompts(0, i, (BOX,)) for i in (2, 3)])
    dock.segment_all()
    finish(dock.row)
    show(workspace, 5)
    dock.live.setChecked(False)
    before = {i: workspace.masks.get(0, i) for i in workspace.masks.planes(0)}
    assert list(before) == [2, 3, 5]
    for other in OTHERS.values():
        workspace.choose_image(workspace.viewer.add_image(other))
        done()
        assert workspace.masks.held() == []
        workspace.choose_image(first)
        done()
        assert {i: workspace.masks.get(0, i) for i in workspace.masks.planes(0)} == before
        shown = workspace.own("preview").data.any(axis=(1, 2))
        assert np.flatnonzero(shown).tolist() == [2, 3, 5]


def test_masks_that_are_not_accepted_outlive_a_crash(
    workspace: ViewerWorkspace, words: list[str]
) -> None:
    work(workspace)
    workspace.sessions.flush()
    done()
    show(workspace, 5)  # nothing else changes
    before = workspace.masks.get(0, 3)
    assert before is not None
    workspace.sessions.autosave()
    done()
    (folder,) = folders()
    crashed(folder)
    second = workspace_of(again())
    done()
    found = second.sessions.left
    assert found is not None
    assert "masks on 2 not accepted" in found.words()
    second.sessions.take(found)
    done()
    after = second.masks.get(0, 3)
    assert after is not None
    np.testing.assert_array_equal(after.masks()[1], before.masks()[1])
    assert (after.prompts, after.source, after.window) == (before.prompts, "automatic", (0.0, 1.0))
    assert second.own("preview").data[3].any()
    # Odd ones are told of, and hinder nothing else.
    odd = found.session.choices | {"masks": [{"axis": 0}]}
    second.sessions.restore(
        Session(found.session.image, odd, found.session.prompts, saved_at="2026")
    )


def crashed(folder: Path) -> Path:
    """Name a folder as if its process, whose number no other has, were gone."""
    start = "-".join(folder.name.split("-")[:2])
    return folder.rename(folder.with_name(f"{start}-0123456789ab.4194304999.1-1-1"))


def again() -> ViewerModel:
    """Open the image of these tests in another viewer."""
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random(SHAPE), name="scan")
    return viewer


def test_what_a_session_holds_is_told_from_its_parts(workspace: ViewerWorkspace) -> None:
    work(workspace)
    workspace.sessions.flush()
    done()
    (folder,) = folders()
    assert holdings(read_session(folder)) == {
        *(("prompts", 0, i, 1) for i in (1, 2, 3)),
        *(("accepted", 0, i) for i in (1, 2)),
        *(("labels", i) for i in (1, 2)),
        *(("masks", 0, i) for i in (1, 2, 3)),
    }
