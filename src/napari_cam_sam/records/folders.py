"""Folders of results: written whole or not at all, and by one process at a time."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from napari_cam_sam.errors import CamSamError

__all__ = [
    "folder_lock",
    "give_usual_mode",
    "remove_leftovers",
    "remove_unfinished",
    "write_folder",
]

# A folder that is complete, and whose files take their places one by one.
_WHOLE = ".whole"
# What was in a folder that was exchanged.
_OLD = ".old"
_STALE = ".stale.json"


# One at a time


@contextmanager
def folder_lock(folder: Path, what: str = "run") -> Iterator[None]:
    """Hold a folder for this process and thread, which may ask for it again.

    The lock is a file that is held open, so it goes with its process, however that ends. It
    lies with the user's caches: it holds for the processes of one user that share these.

    Parameters
    ----------
    folder : Path
        It need not exist.
    what : str
        What writes into it, for the sentence: ``"run"``, ``"training"``, ``"study"``, …

    Yields
    ------
    None
        While the folder is held.

    Raises
    ------
    CamSamError
        If another process or thread holds it.
    """
    path = _lock_file(folder)
    if path is None:
        yield
        return
    lock = FileLock(path, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise CamSamError(
            f"Another {what} writes into this folder now: wait for its end, or name another folder "
            f"({folder})."
        ) from error
    except (OSError, NotImplementedError):  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _lock_file(folder: Path) -> Path | None:
    """Return the file that stands for a folder; None where no folder of ours can hold it."""
    name = f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.lock"
    uid = os.getuid() if hasattr(os, "getuid") else 0
    for place in (
        user_cache_path("napari-cam-sam") / "locks",
        Path(tempfile.gettempdir()) / f"napari-cam-sam-locks-{uid}",
    ):
        with suppress(OSError):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = place.lstat()
            own = not hasattr(os, "getuid") or owner.st_uid == uid
            if place.is_dir() and not place.is_symlink() and own and os.access(place, os.W_OK):
                return place / name
    return None


# Whole or not at all


def write_folder(
    folder: Path,
    writers: Mapping[str, Callable[[Path], object]],
    stale: Iterable[str] = (),
    *,
    manifest: str | None = None,
) -> None:
    """Write several files into a folder: all of them, or none.

    They are written into a hidden folder first. That takes the place of a folder that is not
    there. One that exists is exchanged for it in one step, with what else lies in it; so whenever
    the process is killed, the folder is the old one or the new one. Where that cannot be (a mount,
    folders of others inside, a file system without it), the files take their places one by one,
    and the next call ends what a kill left undone.

    What calls for this folder that were killed have left is removed.

    Parameters
    ----------
    folder : Path
        Made with its parents where it does not exist.
    writers : mapping of str to callable
        A file name to what writes it at a given path.
    stale : iterable of str
        Names of files of an earlier call that this one does not write: removed.
    manifest : str, optional
        The last of the names, for a file that names all others that count, by names of their own:
        they take their places one by one, and the old ones stay whole until that one is replaced.

    Raises
    ------
    CamSamError
        If the disk is full, something cannot be written, or another process writes there; nothing
        is left behind.
    """
    stale = [name for name in stale if name not in writers]
    with folder_lock(folder):
        made: list[Path] = []
        partial: Path | None = None
        try:
            remove_leftovers(folder, (*writers, *stale))
            for parent in reversed([p for p in folder.parents if not p.exists()]):
                parent.mkdir()
                made.append(parent)
            beside = not folder.exists() or (
                manifest is None and _may_exchange(folder, (*writers, *stale))
            )
            partial = _hidden(folder, folder.parent if beside else folder)
            partial.mkdir()
            for name, writer in writers.items():
                writer(partial / name)
            _take_place(partial, folder, list(writers), stale, manifest is None)
        except BaseException as error:
            for parent in reversed(made):
                shutil.rmtree(parent, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            raise CamSamError(
                f"The files could not be written ({error.strerror or error}), and nothing there "
                f"was changed ({folder})."
            ) from error
        finally:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)


def _take_place(
    partial: Path, folder: Path, names: list[str], stale: list[str], whole: bool
) -> None:
    """Move a complete folder to the place of one that is not there, or of what is in it."""
    if not folder.exists():
        os.replace(partial, folder)
        return
    if partial.parent != folder and _exchanged(partial, folder, (*names, *stale)):
        return
    if whole:
        (partial / _STALE).write_text(json.dumps(stale), encoding="utf-8")
        ready = folder / f"{partial.name}{_WHOLE}"
        os.replace(partial, ready)
        _finish(ready, folder)
        return
    for name in names:
        os.replace(partial / name, folder / name)
    for name in stale:
        (folder / name).unlink(missing_ok=True)


def _finish(ready: Path, folder: Path) -> None:
    """Move the files of a complete folder to their places; again, where a kill came between."""
    listed = ready / _STALE
    stale = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
    for path in sorted(ready.iterdir()):
        if path.name != _STALE:
            os.replace(path, folder / path.name)
    for name in stale:
        if Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
    shutil.rmtree(ready, ignore_errors=True)


def _may_exchange(folder: Path, ours: Collection[str]) -> bool:
    """Return whether a folder can be exchanged, and nothing in it be lost or miss it."""
    try:
        others = [entry for entry in folder.iterdir() if entry.name not in ours]
        return not (
            os.path.ismount(folder)
            or folder.is_symlink()
            or folder.samefile(Path.cwd())  # who stands in it would stand nowhere
            or not os.access(folder.parent, os.W_OK)
            or any(entry.is_dir() and not entry.is_symlink() for entry in others)
        )
    except OSError:
        return False


def _exchanged(partial: Path, folder: Path, ours: Collection[str]) -> bool:
    """Exchange a complete folder and the one that it replaces, with what else lies in that."""
    try:
        shutil.copystat(folder, partial)
        for entry in folder.iterdir():
            if entry.name not in ours:
                os.link(entry, partial / entry.name, follow_symlinks=False)
        if not _swap(partial, folder):
            raise OSError(errno.ENOTSUP, "no exchange")
    except OSError:
        for entry in partial.iterdir():
            if entry.name not in ours:
                entry.unlink()
        return False
    old = partial.with_name(partial.name + _OLD)
    os.replace(partial, old)
    _keep_others(old, folder, ours)
    shutil.rmtree(old, ignore_errors=True)
    return True


def _keep_others(old: Path, folder: Path, ours: Collection[str]) -> None:
    """Restore what came into a folder just before it was exchanged."""
    for entry in old.iterdir():
        if entry.name not in ours and not (folder / entry.name).exists():
            os.replace(entry, folder / entry.name)


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, where the system can."""
    libc: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    first, second = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    try:
        if sys.platform.startswith("linux"):
            result = libc.renameat2(-100, first, -100, second, 2)  # RENAME_EXCHANGE
        elif sys.platform == "darwin":
            result = libc.renamex_np(first, second, 2)  # RENAME_SWAP
        else:
            return False
    except AttributeError:  # an old C library
        return False
    return bool(result == 0)


# What a kill leaves


def _hidden(folder: Path, place: Path) -> Path:
    """Return the name of a hidden folder of this machine for a folder."""
    return place / f"{_prefix(folder)}{uuid.uuid4().hex[:8]}"


def _prefix(folder: Path) -> str:
    # Names have 255 bytes at most; a machine that shares the disk has leftovers of its own.
    where = f"{platform.node()} {folder.resolve()}".encode(errors="surrogateescape")
    start = os.fsdecode(os.fsencode(folder.name)[:100])
    return f".{start}-{hashlib.sha256(where).hexdigest()[:8]}-"


def remove_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Remove hidden files of writes that were killed before the files got their names.

    Call it only while the folder is held, as `remove_leftovers`.

    Parameters
    ----------
    folder : Path
    names : iterable of str
        That the files would have got.
    """
    ends = "|".join(map(re.escape, names))
    with suppress(OSError):
        for entry in folder.iterdir():
            if re.fullmatch(rf"\.[0-9a-f]{{12}}-(?:{ends})", entry.name):
                entry.unlink(missing_ok=True)


def give_usual_mode(path: Path) -> None:
    """Set the mode that the umask gives on a file that was made as a temporary one.

    Parameters
    ----------
    path : Path
    """
    probe = path.with_name(f".{uuid.uuid4().hex[:12]}-mode")
    with suppress(OSError):
        probe.touch()
        try:
            path.chmod(probe.stat().st_mode & 0o777)
        finally:
            probe.unlink()


def remove_leftovers(folder: Path, ours: Collection[str] = ()) -> None:
    """Remove what calls of `write_folder` for a folder have left that were killed.

    Call it only while the folder is held: then none of them still runs.

    Parameters
    ----------
    folder : Path
    ours : collection of str
        Names of files that are written there. What else is found goes back into the folder.
    """
    now = re.compile(re.escape(_prefix(folder)) + r"[0-9a-f]{8}(\.whole|\.old)?")
    # Of earlier versions, whose names say nothing of who made them.
    before = re.compile(re.escape(f".{folder.name}-") + r"[a-z0-9_]{8}")
    for place in (folder.parent, folder):
        try:
            found = [entry for entry in place.iterdir() if not entry.is_symlink()]
        except OSError:
            continue
        for entry in found:
            with suppress(OSError):
                if match := now.fullmatch(entry.name):
                    if match[1] == _WHOLE and place == folder:
                        _finish(entry, folder)
                    elif match[1] == _OLD and folder.is_dir():
                        _keep_others(entry, folder, ours)
                    shutil.rmtree(entry, ignore_errors=True)
                elif before.fullmatch(entry.name) and entry.is_dir():
                    inside = {one.name for one in entry.iterdir()}
                    if inside <= set(ours):
                        shutil.rmtree(entry, ignore_errors=True)
