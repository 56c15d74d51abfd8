"""What was accepted is not lost: opened over, in other layers, on other images, taken back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import image_of
from napari_cam_sam.plugin.session import capture, manager, save_queue
from napari_cam_sam.plugin.session.recovery import RecoverableSession, autosave_folder
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, single_candidate
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.session import Session, image_record, read_session, replay, write_session

BOX = ObjectPrompt(1, (), Box(4, 5, 12, 15))


def accept(workspace: ViewerWorkspace, index: int, object_id: int = 1) -> None:
    """Accept a square on a plane, kept as one that no prompt makes."""
    square = np.zeros((20, 24), bool)
    square[4:12, 5:15] = True
    found = (single_candidate(object_id, square, None),)
    where = PlanePrompts(0, index)
    masks = PlaneMasks(
        where, found, (0,), "seeded", "0" * 64, (0.0, 1.0), source="automatic"
    )  # fmt: skip
    workspace.masks.put(masks)
    assert workspace.masks.accept(0, [index], "keep") == 1


def done() -> None:
    """Wait until all threads are done and heard."""
    for _ in range(3):
        QThreadPool.globalInstance().waitForDone()
        QApplication.processEvents()


def saved(workspace: ViewerWorkspace, folder: Path) -> Session:
    """Save by hand; give what is on disk then."""
    workspace.sessions.save(folder)
    done()
    return read_session(folder)


def planes(labels: Any) -> list[int]:
    return [int(i) for i in np.flatnonzero(np.asarray(labels).any(axis=(1, 2)))]


def indices(session: Session) -> list[int]:
    return [one.prompts.index for one in session.accepted]


def left(workspace: ViewerWorkspace) -> RecoverableSession:
    assert workspace.sessions.left is not None
    return workspace.sessions.left


@pytest.fixture
def words(workspace: ViewerWorkspace) -> list[str]:
    """Collect what the session manager says."""
    said: list[str] = []
    workspace.sessions.saved.connect(said.append)
    done()
    return said


# Opened over work


def test_what_a_session_takes_the_place_of_is_kept_and_offered(
    workspace: ViewerWorkspace, tmp_path: Path, words: list[str]
) -> None:
    row = SessionPanel(workspace, workspace.sessions)
    workspace.prompts.write([PlanePrompts(0, 3, (BOX,))])
    saved(workspace, tmp_path / "session")
    accept(workspace, 2)
    workspace.prompts.write([PlanePrompts(0, 4, (BOX,))])
    workspace.sessions.open(tmp_path / "session")
    done()
    assert not workspace.own("labels").data.any()
    assert workspace.prompts.planes(0) == [3]
    kept = left(workspace)
    assert f"What was there is kept in {kept.folder}." in words[-1]
    assert row.offer.isVisibleTo(row)
    assert (indices(kept.session), planes(kept.session.labels)) == ([2], [2])
    # What is saved from now on leaves it alone.
    accept(workspace, 5)
    saved(workspace, tmp_path / "other")
    assert indices(read_session(kept.folder)) == [2]
    row.restore.click()
    done()
    assert planes(workspace.own("labels").data) == [2]
    assert [p.index for p in workspace.prompts.read_all(0)] == [3, 4]


def test_the_two_change_places_as_often_as_one_likes(
    workspace: ViewerWorkspace, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = Preferences(autosave_seconds=0)
    monkeypatch.setattr(manager, "preferences", lambda: soon)
    accept(workspace, 2)
    workspace.sessions.restore(
        Session(image_record(workspace.image()), saved_at="2025-03-01T09:30:00+00:00")
    )
    done()
    assert not workspace.own("labels").data.any()
    accept(workspace, 5)
    for there, away in ((2, 5), (5, 2)):
        workspace.sessions.take(left(workspace))
        done()
        workspace.sessions.autosave()
        done()
        assert planes(workspace.own("labels").data) == [there]
        assert indices(left(workspace).session) == [away]


def test_nothing_is_opened_where_what_is_there_cannot_be_saved(
    workspace: ViewerWorkspace, tmp_path: Path, words: list[str]
) -> None:
    saved(workspace, tmp_path / "session")
    accept(workspace, 2)
    autosave_folder().write_text("in the way")
    workspace.sessions.open(tmp_path / "session")
    done()
    assert words[-1].startswith("Not opened, as what is there cannot be saved first: ")
    assert planes(workspace.own("labels").data) == [2]
    # Saved elsewhere, it is safe.
    saved(workspace, tmp_path / "mine")
    workspace.sessions.open(tmp_path / "session")
    done()
    assert words[-1].startswith("Opened the session of ")
    assert not workspace.own("labels").data.any()


# Layers of the user's


def test_the_users_layer_stays_the_target_of_its_image(
    workspace: ViewerWorkspace, tmp_path: Path, words: list[str]
) -> None:
    first = workspace.image_layer
    other = workspace.viewer.add_image(np.zeros((4, 5, 6)), name="other")
    mine = workspace.layers.labels("labels")
    mine.metadata.clear()  # one of the user's, on the image's grid
    workspace.masks.target = mine
    accept(workspace, 2)
    workspace.choose_image(other)
    assert workspace.masks.target is None
    workspace.choose_image(first)
    assert workspace.masks.target is mine
    done()
    session = saved(workspace, tmp_path / "session")
    assert (indices(session), planes(session.labels)) == ([2], [2])


def test_what_is_accepted_into_two_layers_is_all_in_the_session(
    workspace: ViewerWorkspace, tmp_path: Path, words: list[str]
) -> None:
    accept(workspace, 2)
    ours = workspace.own("labels")
    mine = workspace.viewer.add_labels(
        np.zeros_like(ours.data), name="mine", **workspace.placement()
    )
    workspace.masks.target = mine
    accept(workspace, 3, object_id=2)
    ours.data_setitem((np.array([4]), np.array([4]), np.array([4])), 7)  # painted by hand
    session = saved(workspace, tmp_path / "session")
    assert indices(session) == [2, 3]
    assert session.labels is not None
    assert [np.unique(session.labels[i]).tolist() for i in (2, 3, 4)] == [[0, 1], [0, 2], [0, 7]]
    ours.undo()
    session = saved(workspace, tmp_path / "session")
    np.testing.assert_array_equal(replay(session, workspace.image()), session.labels)


def test_what_lies_in_a_layer_that_nothing_was_accepted_into_is_no_work(
    workspace: ViewerWorkspace, tmp_path: Path, words: list[str]
) -> None:
    accept(workspace, 2)
    truth = np.full_like(workspace.own("labels").data, 5)
    workspace.masks.target = workspace.viewer.add_labels(truth, **workspace.placement())
    session = saved(workspace, tmp_path / "session")
    assert planes(session.labels) == [2]


def test_what_is_accepted_while_a_session_is_saved_is_all_in_it(
    workspace: ViewerWorkspace, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(workspace, 2)
    accepted = threading.Event()
    real = capture._joined

    def later(parts: Any) -> Any:
        assert accepted.wait(60)
        return real(parts)

    monkeypatch.setattr(capture, "_joined", later)
    workspace.sessions.save(tmp_path / "session")
    accept(workspace, 3)
    accepted.set()
    done()
    session = read_session(tmp_path / "session")
    assert (indices(session), planes(session.labels)) == ([2, 3], [2, 3])
    assert [one for one in words if one.startswith("Saved to ")] == words


# Taken back


def test_acceptances_are_taken_back_after_another_image_was_shown(
    workspace: ViewerWorkspace, words: list[str], qtbot: Any
) -> None:
    first = workspace.image_layer
    other = workspace.viewer.add_image(np.zeros((4, 5, 6)), name="other")
    workspace.choose_image(first)
    accept(workspace, 2)
    workspace.choose_image(other)
    workspace.prompts.write([PlanePrompts(0, 1, (BOX,))])
    qtbot.waitUntil(lambda: workspace.prompts.edited_at > 0, timeout=10_000)
    assert workspace.masks.undo_accept() == 0
    workspace.choose_image(first)
    # What the key asks to know which undo is meant.
    assert workspace.masks.accepted_at > workspace.prompts.edited_at
    assert workspace.masks.undo_accept() == 1
    assert planes(workspace.own("labels").data) == []
    assert workspace.masks.planes(0) == [2]


def test_an_acceptance_that_labels_undo_took_back_on_return_does_not_stand(
    workspace: ViewerWorkspace, words: list[str]
) -> None:
    first = workspace.image_layer
    accept(workspace, 2)
    workspace.choose_image(workspace.viewer.add_image(np.zeros((4, 5, 6))))
    workspace.choose_image(first)
    assert len(workspace.masks.standing()) == 1
    workspace.own("labels").undo()
    assert workspace.masks.standing() == ()


def test_an_acceptance_of_a_session_that_is_erased_does_not_stand(
    workspace: ViewerWorkspace, tmp_path: Path, words: list[str]
) -> None:
    accept(workspace, 2)
    accept(workspace, 3)
    saved(workspace, tmp_path / "session")
    workspace.sessions.open(tmp_path / "session")
    done()
    assert [one.prompts.index for one in workspace.masks.standing()] == [2, 3]
    labels = workspace.own("labels")
    labels.data_setitem(np.nonzero(labels.data == 1), 0)
    assert workspace.masks.standing() == ()
    labels.undo()
    assert len(workspace.masks.standing()) == 2


def test_an_image_that_is_gone_leaves_nothing_behind(workspace: ViewerWorkspace) -> None:
    other = workspace.viewer.add_image(np.zeros((6, 20, 24)))
    accept(workspace, 2)
    first = workspace.image_layer
    workspace.viewer.layers.remove(first)
    assert workspace.image_layer is other
    workspace.viewer.layers.append(first)
    workspace.choose_image(first)
    assert workspace.masks.undo_accept() == 0
    # What was kept of it would never be let go.
    assert workspace.masks.accepted == []


def test_new_pixels_leave_no_undo_of_masks_of_the_old(workspace: ViewerWorkspace) -> None:
    accept(workspace, 2)
    workspace.image_layer.data = workspace.image_layer.data + 1
    assert workspace.masks.undo_accept() == 0
    assert len(workspace.masks.standing()) == 1


# Told without the dock that has the buttons


def left_behind(*names: str) -> tuple[ViewerModel, list[Path]]:
    """Leave autosaves of an image, as of processes whose numbers no other has; open the image."""
    viewer = ViewerModel()
    image = image_of(viewer.add_image(np.random.default_rng(0).random((6, 20, 24))))
    record = image_record(image)
    start = f"{record.sha256[:16]}-0-4194304999-1-1"
    folders = [autosave_folder() / f"{start}-{name}" for name in names]
    for folder in folders:
        write_session(folder, Session(record, prompts=(PlanePrompts(0, 3, (BOX,)),)), image)
    return viewer, folders


def test_the_next_that_was_left_is_offered_after_the_first(qapp: Any) -> None:
    viewer, folders = left_behind("1", "2")
    workspace = workspace_of(viewer)
    row = SessionPanel(workspace, workspace.sessions)
    done()
    first = left(workspace).folder
    row.discard.click()
    done()
    assert {first, left(workspace).folder} == set(folders)
    assert row.offer.isVisibleTo(row)
    row.discard.click()
    done()
    assert workspace.sessions.left is None
    assert not row.offer.isVisibleTo(row)


def test_what_was_brought_back_stays_on_disk_until_its_own_image_is_saved(
    qapp: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, (folder,) = left_behind("1")
    workspace = workspace_of(viewer)
    done()
    real = save_queue.write_session

    def full(*_: Any) -> None:
        raise CamSamError("The disk is full.")

    monkeypatch.setattr(save_queue, "write_session", full)
    workspace.sessions.take(left(workspace))
    saved_to = tmp_path / "session"
    workspace.sessions.save(saved_to)
    done()
    first = workspace.image_layer
    workspace.choose_image(viewer.add_image(np.zeros((4, 5, 6))))
    monkeypatch.setattr(save_queue, "write_session", real)
    saved(workspace, saved_to)
    assert folder.exists()
    workspace.choose_image(first)
    saved(workspace, tmp_path / "its own")
    assert not folder.exists()


@pytest.mark.parametrize("with_row", [False, True])
def test_what_was_left_is_told_where_no_dock_offers_it(
    qapp: Any, notices: list[str], with_row: bool
) -> None:
    viewer, _ = left_behind("1")
    workspace = workspace_of(viewer)
    row = SessionPanel(workspace, workspace.sessions) if with_row else None
    done()
    assert workspace.sessions.left is not None
    told = [one for one in notices if "Unsaved work on this image" in one]
    assert len(told) == (row is None)
    assert all(one.endswith('Plugins → CAM to SAM → "CAM → SAM" restores it.') for one in told)


def test_that_work_cannot_be_saved_is_told_once_where_no_dock_says_it(
    workspace: ViewerWorkspace,
    notices: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon = Preferences(autosave_seconds=60)
    monkeypatch.setattr(manager, "preferences", lambda: soon)
    autosave_folder().write_text("in the way")
    for index in (2, 3):
        accept(workspace, index)
        workspace.sessions.autosave()
        done()
    assert [one.startswith("Not saved: ") for one in words] == [True, True]
    assert [one for one in notices if one.startswith("Not saved: ")] == notices
    assert len(notices) == 1
    row = SessionPanel(workspace, workspace.sessions)
    autosave_folder().unlink()
    workspace.sessions.autosave()
    done()
    autosave_folder().rename(autosave_folder().with_name("away"))
    autosave_folder().write_text("in the way")
    accept(workspace, 4)
    workspace.sessions.autosave()
    done()
    assert row.words.text().startswith("Not saved: ")
    assert len(notices) == 1
