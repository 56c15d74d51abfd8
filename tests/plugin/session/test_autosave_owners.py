"""Whose an autosave is, generations whatever step a write is killed at, and the undo's budget."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.session import owners
from napari_cam_sam.plugin.session.recovery import (
    RecoverableSession,
    autosave_folder,
    find_recoverable,
    forget,
    forget_untouched,
    work_folder,
)
from napari_cam_sam.plugin.state import image_masks
from napari_cam_sam.plugin.state.kept_masks import keep_plane
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.plugin.state.workspace import Workspace
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.segmenter import MaskCandidates
from napari_cam_sam.session import Session, image_record, read_session, write_session
from napari_cam_sam.session.generations import generations, write_generation

TOOL = Path(__file__).parents[3] / "tools" / "autosave_sequences.py"
HOLDS = """
import sys
from pathlib import Path
from napari_cam_sam.plugin.session import owners
owners.hold(Path(sys.argv[1]))
print(owners.me(), flush=True)
sys.stdin.read()
"""


def image() -> Image:
    return Image(np.zeros((4, 20, 24)), False, Geometry((1.0, 1.0, 1.0)), "scan")


def session(*indices: int) -> Session:
    one = ObjectPrompt(1, (), Box(4, 5, 12, 15))
    labels = np.zeros((4, 20, 24), np.uint8)
    labels[list(indices), 2:5] = 1
    prompts = tuple(PlanePrompts(0, i, (one,)) for i in indices)
    choices = {"labelled": [[i] for i in indices]}
    return Session(image_record(image()), choices, prompts, labels=labels)


def planes(found: Session) -> list[int]:
    return [p.index for p in found.prompts]


@pytest.mark.parametrize("step", ["none", "hours ahead", "hours back", "another boot"])
def test_a_living_window_is_known_whatever_the_clock_says(
    autosaves: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    autosaves.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(autosaves)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    owner = process.stdout.readline().strip()
    record = session(1).image
    folder = autosaves / f"{record.sha256[:16]}-0-{owner}-1-1"
    write_session(folder, session(1), image())
    if step == "another boot":
        # Of another machine's, that shares the folder: its lock alone tells.
        monkeypatch.setattr(owners, "_boot", lambda: "ffffffffffff")
    elif step != "none":
        real, by = psutil.Process.create_time, 7200 if step == "hours ahead" else -7200
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + by)
        monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    try:
        assert find_recoverable(record, 1, ()) is None
        forget(RecoverableSession(folder, session(1)), 1, ())
        assert folder.exists()
    finally:
        process.kill()
        process.wait()
    found = find_recoverable(record, 1, ())
    assert found is not None
    assert planes(found.session) == [1]
    forget(found, 1, ())
    assert not folder.exists()
    owners.tidy(autosaves)
    assert [path.name for path in autosaves.iterdir() if owner in path.name] == []


def test_a_number_that_another_process_has_now_is_not_the_owner(autosaves: Path) -> None:
    boot, pid, start = owners.me().split(".")
    assert owners.is_alive(autosaves, owners.me())
    assert not owners.is_alive(autosaves, f"{boot}.{pid}.{int(start) - 1}")
    assert not owners.is_alive(autosaves, f"0123456789ab.{pid}.{start}")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", range(1, 9))
def test_whatever_step_a_write_is_killed_at_the_generations_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    folder = tmp_path / "autosave"
    for indices in ((1,), (1, 2), (1, 2, 3), (3,)):
        write_generation(folder, session(*indices), image())
    left = step

    def counted(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink"):
            patched.setattr(os, name, counted(getattr(os, name)))
        with suppress(Killed):
            write_generation(folder, session(2), image())
    newest = planes(read_session(folder))
    assert newest in ([3], [2])
    there = [planes(read_session(folder, name)) for name in generations(folder)]
    # What was replaced by less is there, and what stood last.
    assert [1, 2, 3] in there
    assert [3] in there
    write_generation(folder, session(0), image())
    there = [planes(read_session(folder, name)) for name in generations(folder)]
    assert there[0] == [0]
    assert [1, 2, 3] in there
    assert len(there) <= 4
    named = {p.name for p in folder.iterdir() if p.name.startswith("labels-")}
    assert len(named) <= 5


def candidates(count: int) -> PlaneMasks:
    """Make three candidates each of many objects, with logits."""
    rng = np.random.default_rng(0)
    masks = rng.random((count, 3, 20, 24)) > 0.5
    found = tuple(
        MaskCandidates(i + 1, masks[i], np.array([0.5, np.nan, 0.7], np.float32),
                       np.ones((3, 64, 64), np.float32))
        for i in range(count)
    )  # fmt: skip
    prompts = tuple(ObjectPrompt(i + 1, (), Box(4, 5, 12, 15)) for i in range(count))
    return PlaneMasks(
        PlanePrompts(0, 2, prompts), found, (1,) * count, "seeded", "0" * 64, (0.0, 1.0)
    )


def test_undo_brings_all_candidates_back_and_keeps_to_its_budget(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, whole = workspace.masks, candidates(5)
    one = keep_plane(whole).bytes
    monkeypatch.setattr(image_masks, "UNDO_BYTES", int(2.5 * one))
    for _ in range(4):
        masks.put(whole)
        masks.accept(0, [2], "overwrite")
    taken = [masks.undo_accept() for _ in range(4)]
    assert taken == [1, 1, 0, 0]
    back = masks.get(0, 2)
    assert back is not None
    for found, was in zip(back.found, whole.found, strict=True):
        np.testing.assert_array_equal(found.masks, was.masks)
        np.testing.assert_array_equal(found.scores, was.scores)
    assert sum(found.logits.nbytes for found in back.found) < 100
    assert (back.chosen, back.prompts) == (whole.chosen, whole.prompts)
    # What was accepted and is not taken back stays in the labels.
    assert len(masks.accepted) == 2


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("autosave_sequences", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sequences_tell_a_loss() -> None:
    def state(*indices: int) -> dict[str, Any]:
        return {"prompts": {f"0 {i}": "x" for i in indices}, "accepted": [], "labels": {},
                "masks": []}  # fmt: skip

    at = {"at": "0.1 volume None", "kind": "volume", "frame": None}
    rest = {"rest": True, "life": 0}
    lines = [at | {"state": state(1, 2)}, rest, at | {"state": state(1)}, rest]
    losses = tool().losses
    both = [state(1), state(1, 2)]
    assert losses(lines, {"volume None": both}, True) == []
    assert len(losses(lines, {"volume None": both[:1]}, True)) == 1
    assert len(losses(lines, {}, True)) == 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_windows_that_are_killed_in_the_middle_of_work_lose_nothing_saved(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "--sequences", "2", "--operations", "12", "--first", "2"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "losses       0" in done.stdout
    assert autosave_folder().parent == tmp_path


@pytest.mark.parametrize("by_hand", ["", "edited", "painted", "tagged"])
def test_only_what_was_done_by_hand_outlives_a_demo(autosaves: Path, by_hand: str) -> None:
    made = session(1)
    made = replace(made, choices={"masks": [{"axis": 0, "index": 1}], "labelled": []}, labels=None)
    if by_hand == "edited":
        made = replace(made, touched=((0, 1),))
    elif by_hand == "painted":
        made = replace(session(1), prompts=())
    elif by_hand == "tagged":
        made.choices["docks"] = {"plane tags": {"planes": [[0, 1, "lesion"]]}}
    folder = work_folder(1, made.image, 1)
    write_generation(folder, made, image())
    forget_untouched(made.image)
    assert folder.exists() == bool(by_hand)
