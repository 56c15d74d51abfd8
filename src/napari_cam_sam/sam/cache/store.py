"""Embeddings of planes on disk, so that a plane is encoded once for all sessions and users.

An entry is one zarr v3 array of float16 in a zip file, written beside its place and moved there,
so that it is there whole or not at all. Its name is a hash of all that the features depend on, and
it is believed only if the hash of its content agrees: whatever else lies in the folder, be it
torn, altered or of another version, counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.sam.registry import cache_folder
from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["EmbeddingStore", "StoredModel", "embedding_folder", "embedding_key"]

T = TypeVar("T")

# Raise it when an entry is written otherwise, or when the same weights would encode otherwise.
_FORMAT = 1

_SUFFIX = ".zarr.zip"
_MODEL = re.compile(r"[0-9a-f]{16}")
# An entry, or one that is being written.
_ENTRY = re.compile(r"(\.[0-9a-f]{12}-)?[0-9a-f]{64}\.zarr\.zip")
_DTYPES = ("float16", "bfloat16", "float32", "float64")

# An entry that says it is larger is not unpacked: the largest known features have 2 MiB.
_MOST_BYTES = 1 << 28
# Share of the limit that is written between two looks at the whole folder, and freed at once.
_SLACK = 0.05
# How long a folder that could not be written is left alone.
_PAUSE_SECONDS = 60.0
# A hidden file older than this is of a process that was killed.
_UNFINISHED_SECONDS = 3600.0


def embedding_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of embeddings inside the cache folder of checkpoints.

    Parameters
    ----------
    folder : str or Path, optional
        The cache folder, see :func:`napari_cam_sam.sam.registry.cache_folder`.

    Returns
    -------
    Path
        Which need not exist.
    """
    return cache_folder(folder) / "embeddings"


def embedding_key(segmenter: Segmenter, plane: NDArray[Any]) -> str:
    """Return a name for an embedding, made of all that it depends on.

    Parameters
    ----------
    segmenter : Segmenter
        Counts by the hash of its weights, its precision and its input frame, not by name or
        device.
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        The windowed plane: counts by shape, type and values, wherever it comes from.

    Returns
    -------
    str
        SHA-256, hexadecimal. It takes 0.2 ms for 512 × 512 pixels.
    """
    about = [
        _FORMAT, segmenter.model_hash, segmenter.precision, list(plane.shape), plane.dtype.str,
    ]  # fmt: skip
    if getattr(segmenter, "frame", "sam") != "sam":
        about.append(segmenter.frame)  # type: ignore[attr-defined]
    # A line of JSON holds no newline, so that no plane can continue another one's header.
    digest = hashlib.sha256(json.dumps(about).encode() + b"\n")
    digest.update(np.ascontiguousarray(plane).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class StoredModel:
    """What a store holds of one model.

    Attributes
    ----------
    name : str or None
        The segmenter's, as its entry used last has it; None if that cannot be read.
    model_hash : str
        The first 16 digits of the hash of its weights.
    entries : int
        Planes.
    n_bytes : int
        On disk.
    last_used : float
        Seconds since 1970.
    """

    name: str | None
    model_hash: str
    entries: int
    n_bytes: int
    last_used: float


@dataclass(frozen=True)
class _Entry:
    path: Path
    n_bytes: int
    used_ns: int


class EmbeddingStore:
    """A folder of embeddings, which threads, processes and users may share.

    Making one touches no disk, and no method fails because of the disk: what cannot be read is
    not there, and what cannot be written is not kept, which is said once by a warning and stays
    in `trouble`. The folder is then left alone for a minute.

    Only tensors of real numbers are kept; ``seeded`` has none and is quick without.

    Parameters
    ----------
    folder : str or Path
        Is made when something is written.
    max_bytes : int
        Beyond it the entries used least recently are deleted, those of all models together.
        Each of several processes may exceed it by a twentieth.
    """

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.folder = Path(folder).expanduser()
        self.max_bytes = max_bytes
        self.trouble: str | None = None
        self._paused_until = 0.0
        self._listed: int | None = None
        self._written = 0
        self._lock = threading.Lock()

    def has(self, segmenter: Segmenter, key: str) -> bool:
        """Return whether there is an entry, without reading it: it may still prove damaged."""
        return os.path.isfile(self._path(segmenter, key))

    def get(self, segmenter: Segmenter, key: str) -> Embedding | None:
        """Read an entry, and mark it as used.

        Parameters
        ----------
        segmenter : Segmenter
        key : str
            See :func:`embedding_key`.

        Returns
        -------
        Embedding or None
            Features of the type that the segmenter made, on its device. None if there is no
            entry, or none that is whole and of this key.
        """
        path = self._path(segmenter, key)
        if not os.path.isfile(path):
            return None
        try:
            values, about = _to_the_end(lambda: _read(path))
            if about["key"] != key or about["model_hash"] != segmenter.model_hash:
                return None
            embedding = _embedding(values, about, segmenter.device)
        except Exception:
            # Damaged bytes fail in zip, JSON, zarr or a codec, each with errors of its own.
            return None
        with suppress(OSError):  # of another user, or in a folder that is read-only
            os.utime(path)
        return embedding

    def put(self, segmenter: Segmenter, key: str, embedding: Embedding) -> bool:
        """Write an entry, and delete old ones where there are too many.

        Parameters
        ----------
        segmenter : Segmenter
        key : str
            See :func:`embedding_key`.
        embedding : Embedding
            Its features are written as float16.

        Returns
        -------
        bool
            Whether the entry is there now. Not if the features are no tensor of real numbers or
            float16 cannot hold them, or if the folder cannot be written.
        """
        import torch

        features = embedding.features
        if not isinstance(features, torch.Tensor) or not features.is_floating_point():
            return False
        values = features.detach().to("cpu", torch.float16).numpy()
        if values.nbytes > _MOST_BYTES or not np.isfinite(values).all():
            return False
        with self._lock:
            if time.monotonic() < self._paused_until:
                return False
        about = {
            "format": _FORMAT,
            "key": key,
            "model": segmenter.name,
            "model_hash": segmenter.model_hash,
            "precision": segmenter.precision,
            "dtype": str(features.dtype).removeprefix("torch."),
            "plane_shape": list(embedding.plane_shape),
        }
        path = self._path(segmenter, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _to_the_end(
                lambda: write_atomically(path, lambda hidden: _write(hidden, values, about))
            )
        except (CamSamError, OSError, ValueError) as error:
            # On Windows a file that another process reads cannot be replaced: it is there.
            if self.get(segmenter, key) is not None:
                return True
            self._pause(error)
            return False
        try:
            size = path.stat().st_size
        except OSError:  # another process made room meanwhile
            return False
        if size > self.max_bytes:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self.trouble = (
                f"Embeddings are kept in memory alone: one takes {size / 2**20:.1f} MiB, and the "
                f"limit on disk is {self.max_bytes / 2**20:.1f}: allow more."
            )
            return False
        self._account(size)
        return os.path.isfile(path)

    def models(self) -> list[StoredModel]:
        """Return what there is of each model, the one used last first."""
        found = []
        for model, entries in self._by_model().items():
            n_bytes = sum(one.n_bytes for one in entries)
            last_used = max(one.used_ns for one in entries) / 1e9
            name = _model_name(entries)
            found.append(StoredModel(name, model, len(entries), n_bytes, last_used))
        return sorted(found, key=lambda one: -one.last_used)

    def clear(self, model: str | None = None, older_than: float = 0.0) -> tuple[int, int]:
        """Delete entries, and nothing else that lies in the folder.

        Parameters
        ----------
        model : str, optional
            Only those of a model: its name, or the first 6 or more digits of its hash.
        older_than : float
            Only those not used for as many days.

        Returns
        -------
        entries, n_bytes : int
            That are gone.

        Raises
        ------
        CamSamError
            If nothing of such a model is kept, or an entry cannot be deleted.
        """
        chosen = self._by_model()
        if model is not None:
            names = {key: _model_name(entries) for key, entries in chosen.items()}
            digits = model.lower()[:16] if re.fullmatch("[0-9a-fA-F]{6,64}", model) else None
            chosen = {
                key: entries
                for key, entries in chosen.items()
                if names[key] == model or (digits is not None and key.startswith(digits))
            }
            if not chosen:
                known = {name or key for key, name in names.items()}
                raise unknown_name("model with embeddings on disk", model, sorted(known))
        limit = time.time() - older_than * 86_400
        every = [one for entries in chosen.values() for one in entries]
        gone = [one for one in every if not older_than or one.used_ns / 1e9 <= limit]
        for entry in gone:
            try:
                entry.path.unlink(missing_ok=True)
            except OSError as error:
                raise CamSamError(
                    f"An embedding could not be deleted: {error.strerror or error} ({entry.path})."
                ) from error
        with self._lock:
            self._listed = None
        return len(gone), sum(entry.n_bytes for entry in gone)

    def _path(self, segmenter: Segmenter, key: str) -> Path:
        return self.folder / segmenter.model_hash[:16] / f"{key}{_SUFFIX}"

    def _by_model(self) -> dict[str, list[_Entry]]:
        found: defaultdict[str, list[_Entry]] = defaultdict(list)
        for entry in self._entries():
            found[entry.path.parent.name].append(entry)
        return found

    def _entries(self) -> Iterator[_Entry]:
        """List the entries, and delete what killed processes have left half written."""
        too_old = time.time_ns() - int(_UNFINISHED_SECONDS * 1e9)
        for model in _listing(self.folder, _MODEL):
            for file in _listing(model, _ENTRY):
                with suppress(OSError):  # another process has just deleted it
                    status = file.stat()
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    if not file.name.startswith("."):
                        yield _Entry(Path(file.path), status.st_size, status.st_mtime_ns)
                    elif status.st_mtime_ns < too_old:
                        os.unlink(file)

    def _account(self, n_bytes: int) -> None:
        """Count what was written, and look at the whole folder only now and then.

        What other processes write is seen at the next look.
        """
        with self._lock:
            self._written += n_bytes
            seldom = self._written <= self.max_bytes * _SLACK
            if self._listed is None or not seldom or self._listed + self._written > self.max_bytes:
                self._listed, self._written = self._make_room(), 0

    def _make_room(self) -> int:
        """Delete the entries used least recently if there are too many; give the bytes left."""
        entries = sorted(self._entries(), key=lambda one: -one.used_ns)
        total = sum(one.n_bytes for one in entries)
        if total <= self.max_bytes:
            return total
        # A little more than must be, so that the next write need not look again.
        while entries and (
            total > self.max_bytes or (total > self.max_bytes * (1 - _SLACK) and len(entries) > 1)
        ):
            oldest = entries.pop()
            total -= oldest.n_bytes
            with suppress(OSError):  # deleted by another process, or being read on Windows
                oldest.path.unlink(missing_ok=True)
        return total

    def _pause(self, error: Exception) -> None:
        """Leave the folder alone for a while; say why, the first time."""
        cause = error.__cause__ if isinstance(error, CamSamError) else error
        reason = (isinstance(cause, OSError) and cause.strerror) or str(error)
        text = (
            f"Embeddings are kept in memory alone: their folder cannot be written, {reason}. "
            f"Make room there or choose another folder ({self.folder})."
        )
        with self._lock:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            first = self.trouble is None
            self.trouble = text
        if first:
            warnings.warn(text, stacklevel=3)


def _listing(folder: str | Path | os.DirEntry[str], name: re.Pattern[str]) -> list[Any]:
    try:
        with os.scandir(folder) as found:
            return [one for one in found if name.fullmatch(one.name)]
    except OSError:
        return []


def _model_name(entries: list[_Entry]) -> str | None:
    newest = max(entries, key=lambda one: one.used_ns)
    try:
        return str(_to_the_end(lambda: _read(newest.path))[1]["model"])
    except Exception:  # as in EmbeddingStore.get
        return None


def _to_the_end(work: Callable[[], T]) -> T:
    """Do work that takes milliseconds to its end before Ctrl-C is heeded; a second one stops it.

    zarr works in a thread of its own. Where Ctrl-C stops the wait for it, it is left with half an
    entry, and the interrupt may come out as another error.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is None:
        return work()  # Ctrl-C raises nothing here
    pressed = False

    def remember(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        return work()
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def _write(path: Path, values: NDArray[np.float16], about: dict[str, Any]) -> None:
    import zarr
    from zarr.codecs import BloscCodec
    from zarr.storage import ZipStore

    with ZipStore(path, mode="w") as store:
        zarr.create_array(
            store,
            data=values,
            chunks=values.shape,
            filters=None,
            # benchmarks/embedding_cache.py compares; sign and exponent are what can be packed.
            compressors=BloscCodec(typesize=2, cname="zstd", clevel=5, shuffle="bitshuffle"),
            attributes={**about, "sha256": _checksum(values, about)},
        )


def _read(path: Path) -> tuple[NDArray[np.float16], dict[str, Any]]:
    """Read an entry whole; whatever is wrong with it raises an error of some kind."""
    import zarr
    from zarr.storage import ZipStore

    with ZipStore(path, mode="r") as store:
        array = zarr.open_array(store, mode="r", zarr_format=3)
        about = dict(array.attrs)
        expected = about.pop("sha256")
        if about["format"] != _FORMAT or array.dtype != np.float16 or array.nbytes > _MOST_BYTES:
            raise ValueError("not an entry of this version")
        values = np.asarray(array[...])
    if _checksum(values, about) != expected:
        raise ValueError("altered")
    return values, about


def _checksum(values: NDArray[np.float16], about: dict[str, Any]) -> str:
    text = json.dumps([about, list(values.shape)], sort_keys=True)
    digest = hashlib.sha256(text.encode() + b"\n")
    digest.update(np.ascontiguousarray(values, dtype="<f2").tobytes())
    return digest.hexdigest()


def _embedding(values: NDArray[np.float16], about: dict[str, Any], device: str) -> Embedding:
    import torch

    if about["dtype"] not in _DTYPES:
        raise ValueError(f"features of type {about['dtype']}")
    features = torch.from_numpy(values).to(device, getattr(torch, about["dtype"]))
    rows, columns = about["plane_shape"]
    return Embedding(features, (int(rows), int(columns)), about["model_hash"])
