"""Which process owns an autosave, and whether it still runs: by a lock that it holds.

A process is named by the boot of the machine, its number, and the ticks of that boot at which it
began: no step of the clock changes these. While it runs it holds a lock on a file of that name,
which the system lets go of however the process ends.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

__all__ = ["hold", "is_alive", "me", "owner_in", "tidy"]

_NAME = re.compile(r"([0-9a-z]+)\.(\d+)\.(\d+)")
# Names as they were before: pid and start in seconds of the clock.
_OLD_NAME = re.compile(r"(\d+)-(\d+)")
_HELD: dict[Path, FileLock] = {}
_HOLDING = threading.Lock()


@cache
def _boot() -> str:
    """Return the name of the boot of the machine, where its clock may move a process's start."""
    if not sys.platform.startswith("linux"):
        return "0"  # there the start of a process is written down once
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return "0"
    return text.strip().replace("-", "")[:12]


def _start(pid: int) -> int:
    """Return the ticks since boot at which a process began; where there are none, its second.

    Raises
    ------
    psutil.Error
        If there is no such process.
    """
    if sys.platform.startswith("linux"):
        with suppress(OSError, IndexError, ValueError):
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            # The name of the program, in brackets, may hold anything.
            fields = text.rpartition(")")[2].split()
            if fields[0] in "ZX":  # ended, and nobody has asked how
                raise psutil.NoSuchProcess(pid)
            return int(fields[19])
    return int(psutil.Process(pid).create_time())


def me() -> str:
    """Return the name of this process.

    Returns
    -------
    str
        Boot, number and start, joined by dots.
    """
    return f"{_boot()}.{os.getpid()}.{_start(os.getpid())}"


def hold(folder: Path) -> None:
    """Hold the lock of this process in a folder, until it ends.

    Parameters
    ----------
    folder : Path
        Of the autosaves; made where it does not exist.
    """
    path = _lock_file(folder, me())
    with _HOLDING:
        if path in _HELD and path.exists():
            return
        # Where no lock can be had, as on some network drives, the name of the process tells.
        with suppress(OSError, NotImplementedError, Timeout):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=5)
            lock.acquire()
            _HELD[path] = lock


def owner_in(name: str) -> str | None:
    """Return the name of the process with which the rest of a folder's name begins.

    Parameters
    ----------
    name : str
        What follows the image in the name of a folder.

    Returns
    -------
    str or None
        None where the name is of another form than ours.
    """
    match = _NAME.match(name) or _OLD_NAME.match(name)
    return None if match is None else match[0]


def is_alive(folder: Path, owner: str) -> bool:
    """Check whether a process still runs: it holds its lock, or is seen to run.

    Parameters
    ----------
    folder : Path
        Of the autosaves.
    owner : str
        From `owner_in`.

    Returns
    -------
    bool
        True also for a name of another kind: what is not ours is left alone.
    """
    if owner == me() or _is_locked(_lock_file(folder, owner)):
        return True
    match = _NAME.fullmatch(owner)
    old = _OLD_NAME.fullmatch(owner)
    try:
        if match is not None:
            same_boot = match[1] == _boot()
            return same_boot and psutil.pid_exists(int(match[2])) and (
                _start(int(match[2])) == int(match[3])
            )  # fmt: skip
        if old is not None:
            return int(psutil.Process(int(old[1])).create_time()) == int(old[2])
    except (psutil.Error, OverflowError):
        return False
    return True  # none of ours


def tidy(folder: Path) -> None:
    """Delete what processes that are gone have begun to write, and their locks if they own nothing.

    Parameters
    ----------
    folder : Path
        Of the autosaves.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            begun = re.match(r"\.[0-9a-f]{16}-\d+-", path.name)
            owner = begun and owner_in(path.name[begun.end() :])
            if owner and not is_alive(folder, owner):
                shutil.rmtree(path, ignore_errors=True)
        left = list(folder.iterdir())
        for path in left:
            match = re.fullmatch(r"\.(.+)\.lock", path.name)
            owner = match and owner_in(match[1])
            owns = any(f"-{owner}-" in other.name for other in left)
            if owner and not owns and not is_alive(folder, owner):
                path.unlink(missing_ok=True)


def _lock_file(folder: Path, owner: str) -> Path:
    return folder / f".{owner}.lock"


def _is_locked(path: Path) -> bool:
    """Check whether a process holds a lock."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        # Whoever else looks holds it for a moment.
        lock.acquire(timeout=0.2, poll_interval=0.02)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False
