"""Folders of results: whole or not at all, by one process at a time, with the umask's mode."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.records import folders
from napari_cam_sam.records.folders import folder_lock, give_usual_mode, write_folder

NAMES = ("a.txt", "b.txt", "run.json")
OLD = dict.fromkeys(("a.txt", "b.txt", "old.txt", "run.json"), "old")
NEW = dict.fromkeys(NAMES, "new")

# Writes a folder, and is killed by the n-th thing that it does to the disk.
KILLED = """\
import os, signal, sys
from pathlib import Path
from napari_cam_sam.records import folders
folder, place, left, manifest = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
count = 0

def hook(event, arguments):
    global count
    if event not in {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "open", "swap"}:
        return
    inside = event in {"os.remove", "os.rmdir"}  # of a folder that is open, by the name alone
    paths = [os.fsdecode(one) for one in arguments if isinstance(one, (str, bytes, os.PathLike))]
    if not inside and not any(place in path for path in paths):
        return
    count += 1
    if count == left:
        os.kill(os.getpid(), signal.SIGKILL)

def swap(one, other):
    sys.audit("swap", str(one))
    done = real(one, other)
    sys.audit("swap", str(one))
    return done

real, folders._swap = folders._swap, swap
sys.addaudithook(hook)
writers = {name: lambda path: path.write_text("new") for name in ("a.txt", "b.txt", "run.json")}
folders.write_folder(folder, writers, ["old.txt"], manifest=manifest or None)
print("STEPS", count)
"""


def content(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob(".*"))


def old_folder(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in OLD.items():
        (folder / name).write_text(text)
    (folder / "notes.md").write_text("mine")


def killed_at(folder: Path, step: int, manifest: str = "") -> int:
    """Write the folder in a process that is killed at a step; give the steps that it took, or 0."""
    pid = os.fork()
    if pid == 0:  # a new Python takes half a second, and there are many steps
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["", str(folder), str(folder.parent), str(step), manifest]
        try:
            exec(compile(KILLED, "killed", "exec"), {})
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return 0
    assert os.WEXITSTATUS(status) == 0
    return step


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9 here")
def test_a_folder_is_the_old_one_or_the_new_one_wherever_it_is_killed(tmp_path: Path) -> None:
    seen = set()
    for step in range(1, 200):
        folder = tmp_path / str(step) / "out"
        old_folder(folder)
        done = killed_at(folder, step)
        found = content(folder)
        assert found.pop("notes.md") == "mine"
        assert found in (OLD, NEW), step
        seen.add(found["a.txt"])
        # The next one cleans up.
        write_folder(folder, {n: lambda p: p.write_text("next") for n in NAMES}, ["old.txt"])
        assert content(folder) == {**dict.fromkeys(NAMES, "next"), "notes.md": "mine"}
        assert hidden(folder.parent) == []
        if done:
            break
    else:
        raise AssertionError("it never came to its end")
    assert seen == {"old", "new"}
    assert step > 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9 here")
@pytest.mark.parametrize("there", [False, True])
def test_a_new_folder_is_whole_or_not_there(tmp_path: Path, there: bool) -> None:
    for step in range(1, 200):
        folder = tmp_path / str(step) / "out"
        folder.parent.mkdir()
        if there:
            folder.mkdir()
        done = killed_at(folder, step)
        assert (content(folder) if folder.exists() else {}) in ({}, NEW), step
        write_folder(folder, {"a.txt": lambda p: p.write_text("next")}, ["b.txt", "run.json"])
        assert content(folder) == {"a.txt": "next"}
        assert hidden(folder.parent) == []
        if done:
            return
    raise AssertionError("it never came to its end")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9 here")
def test_where_it_cannot_be_exchanged_the_next_call_ends_what_was_begun(tmp_path: Path) -> None:
    for step in range(1, 200):
        folder = tmp_path / str(step) / "out"
        old_folder(folder)
        (folder / "theirs").mkdir()
        (folder / "theirs" / "x").write_text("mine")
        done = killed_at(folder, step)
        with folder_lock(folder):
            folders.remove_leftovers(folder, NAMES)
        found = content(folder)
        assert found.pop("notes.md") == "mine"
        assert found in (OLD, NEW), step
        assert (folder / "theirs" / "x").read_text() == "mine"
        assert hidden(folder.parent) == []
        if done:
            assert found == NEW
            return
    raise AssertionError("it never came to its end")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9 here")
def test_a_manifest_takes_its_place_last(tmp_path: Path) -> None:
    for step in range(1, 200):
        folder = tmp_path / str(step) / "out"
        old_folder(folder)
        done = killed_at(folder, step, "run.json")
        found = content(folder)
        if found["run.json"] == "new":
            assert (found["a.txt"], found["b.txt"]) == ("new", "new"), step
        if done:
            return
    raise AssertionError("it never came to its end")


def test_what_fails_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    old_folder(folder)

    def full(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CamSamError, match="No space left"):
        write_folder(folder, {"a.txt": lambda p: p.write_text("new"), "b.txt": full})
    assert content(folder) == {**OLD, "notes.md": "mine"}
    assert hidden(tmp_path) == []
    with pytest.raises(CamSamError, match="No space left"):
        write_folder(tmp_path / "x" / "y", {"b.txt": full})
    assert not (tmp_path / "x").exists()


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    old_folder(folder)
    # As one of ours of earlier versions may be called; what is in it is not ours.
    for name in (".out-original", ".out-backup_1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("mine")
    (tmp_path / ".out-abcd_123").mkdir()
    (tmp_path / ".out-abcd_123" / "a.txt").write_text("half")
    write_folder(folder, {n: lambda p: p.write_text("new") for n in NAMES}, ["old.txt"])
    assert hidden(tmp_path) == [".out-backup_1", ".out-original"]
    assert content(folder) == {**NEW, "notes.md": "mine"}


def test_links_and_the_mode_of_a_folder_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    old_folder(folder)
    folder.chmod(0o750)
    (folder / "link").symlink_to("nowhere")
    write_folder(folder, {"a.txt": lambda p: p.write_text("new")})
    assert os.readlink(folder / "link") == "nowhere"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_the_folder_that_somebody_stands_in_stays_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    old_folder(folder)
    monkeypatch.chdir(folder)
    number = folder.stat().st_ino
    write_folder(Path(), {"a.txt": lambda p: p.write_text("new")}, ["old.txt"])
    assert folder.stat().st_ino == number
    left = {name: text for name, text in OLD.items() if name != "old.txt"}
    assert content(folder) == {**left, "a.txt": "new", "notes.md": "mine"}
    assert hidden(tmp_path) == []


def test_two_into_one_folder_are_told(tmp_path: Path) -> None:
    folder, found = tmp_path / "out", []

    def other() -> None:
        try:
            with folder_lock(folder, "training"):
                found.append("in")
        except CamSamError as error:
            found.append(str(error))

    with folder_lock(folder), folder_lock(tmp_path / "x" / ".." / "out"):  # the same, once more
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        code = (
            "import sys\nfrom pathlib import Path\nfrom napari_cam_sam.records.folders import *\n"
            "from napari_cam_sam.errors import CamSamError\n"
            "try:\n    write_folder(Path(sys.argv[1]), {})\n"
            "except CamSamError as error:\n    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120
        )
        found.append(done.stdout.strip())
    assert found[0].startswith("Another training writes into this folder now")
    assert found[1].startswith("Another run writes into this folder now")
    assert found[1].endswith(f"({folder}).")
    other()
    assert found[2] == "in"


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o002])
def test_folders_and_files_have_the_mode_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = tmp_path / "deep" / "out"
        for text in ("one", "two"):
            write_folder(folder, {"a.txt": lambda p, text=text: p.write_text(text)})  # type: ignore[misc]
        modes = {stat.S_IMODE(p.stat().st_mode) for p in (folder, folder.parent)}
        assert modes == {0o777 & ~umask}
        assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o666 & ~umask
        made = tmp_path / "made"
        made.touch(0o600)
        give_usual_mode(made)
        assert stat.S_IMODE(made.stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


def test_a_run_honours_the_umask_and_takes_the_place_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_cam_sam.cli import main

    plane = np.full((48, 48), 40, np.uint8)
    plane[12:30, 14:34] = 200
    Picture.fromarray(plane).save(tmp_path / "a.png")
    Picture.fromarray((plane > 100) * np.uint8(255)).save(tmp_path / "truth.png")
    run = ["run", str(tmp_path / "a.png"), "--truth", str(tmp_path / "truth.png")]
    run += ["--prompts", "truth-box", "--sam", "seeded", "--output", str(tmp_path / "out")]
    before = os.umask(0o077)
    try:
        assert main(run) == 0
    finally:
        os.umask(before)
    made = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert len(made) > 4
    assert not [p for p in made if p.stat().st_mode & 0o077]
    (tmp_path / "out" / "notes.md").write_text("mine")
    assert main(run) == 0
    assert (tmp_path / "out" / "notes.md").read_text() == "mine"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["image"]["name"] == "a"
    with folder_lock(tmp_path / "out"):
        thread = threading.Thread(target=lambda: codes.append(main(run)))
        codes: list[int] = []
        thread.start()
        thread.join()
    assert codes == [2]
    assert "Another run writes into this folder" in capsys.readouterr().err
