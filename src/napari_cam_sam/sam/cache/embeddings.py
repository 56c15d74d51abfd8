"""Embeddings of planes, kept in memory and on disk so that a plane is encoded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.cache.store import EmbeddingStore, embedding_folder, embedding_key
from napari_cam_sam.sam.segmenter import Cancelled, Embedding, Segmenter, encode_planes
from napari_cam_sam.schemas import check_fields

__all__ = [
    "CacheParameters",
    "EmbeddingCache",
    "embed_planes",
    "open_cache",
    "open_store",
    "round_features",
]


# How often a thread that waits for another one's plane asks whether it is still to wait.
_WAIT_SECONDS = 0.1


@dataclass(frozen=True)
class CacheParameters:
    """Where embeddings are kept, and how many.

    Attributes
    ----------
    folder : str
        Folder on disk; empty for ``embeddings`` in the cache folder.
    disk_mb : int
        Limit on disk in MiB, beyond which those used least recently are deleted; 0 keeps none.
    memory_mb : int
        Limit in memory in MiB.

    Raises
    ------
    CamSamError
        If a limit is negative.

    Examples
    --------
    >>> ncs.CacheParameters(disk_mb=0)  # memory alone
    CacheParameters(folder='', disk_mb=0, memory_mb=1024)
    """

    folder: str = ""
    disk_mb: int = 10_240
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("disk_mb", "memory_mb"):
            if getattr(self, name) < 0:
                raise CamSamError(f"{name} must be 0 or more, not {getattr(self, name)}.")


def open_store(parameters: CacheParameters) -> EmbeddingStore | None:
    """Return the store that the parameters describe.

    Parameters
    ----------
    parameters : CacheParameters

    Returns
    -------
    EmbeddingStore or None
        None where nothing is kept on disk.
    """
    if parameters.disk_mb == 0:
        return None
    return EmbeddingStore(parameters.folder or embedding_folder(), parameters.disk_mb << 20)


def open_cache(parameters: CacheParameters) -> EmbeddingCache:
    """Make the cache that the parameters describe.

    Parameters
    ----------
    parameters : CacheParameters

    Returns
    -------
    EmbeddingCache

    Examples
    --------
    >>> cache = ncs.open_cache(ncs.CacheParameters(disk_mb=0))
    >>> cache.store is None  # nothing is kept on disk
    True
    """
    return EmbeddingCache(parameters.memory_mb << 20, open_store(parameters))


class EmbeddingCache:
    """The embeddings used last, in memory up to a number of bytes, and on disk; for threads.

    What it gives is rounded to float16, also where there is no disk: so masks are the same in the
    session that encoded a plane, in a later one that finds it on disk, and when a saved session
    is run again elsewhere.

    Parameters
    ----------
    max_bytes : int
        Of all features in memory together. The last one is kept whatever its size.
    store : EmbeddingStore, optional
        Where embeddings are looked for, and kept, beyond this session.

    Attributes
    ----------
    encoded, from_disk : int
        Planes that were encoded so far, and that were found on disk instead.

    Examples
    --------
    >>> cache = ncs.EmbeddingCache()
    >>> segmenter, plane = ncs.load_segmenter("seeded"), np.zeros((32, 32), np.uint8)
    >>> cache.encode(segmenter, plane) is cache.encode(segmenter, plane)
    True
    >>> cache.encoded
    1
    """

    def __init__(self, max_bytes: int = 1 << 30, store: EmbeddingStore | None = None) -> None:
        self.store = store
        self.encoded = 0
        self.from_disk = 0
        self._max_bytes = max_bytes
        self._total = 0
        self._kept: OrderedDict[str, Embedding] = OrderedDict()
        self._under_way: dict[str, Future[Embedding]] = {}
        self._lock = threading.Lock()

    def ready(self, segmenter: Segmenter, plane: NDArray[np.uint8]) -> bool:
        """Return whether a plane need not be encoded, reading nothing from disk.

        An entry on disk may still prove damaged; :meth:`encode` then encodes.
        """
        return self.has(segmenter, embedding_key(segmenter, plane))

    def has(self, segmenter: Segmenter, key: str) -> bool:
        """Return the same of a key, see :func:`embedding_key`.

        In memory it counts as a use: what is asked for is what will be needed.
        """
        if self._recall(key) is not None:
            return True
        return self.store is not None and self.store.has(segmenter, key)

    def capacity(self, embedding: Embedding) -> int:
        """Return how many embeddings of this size are kept at once, in memory or on disk.

        To encode more of them ahead of their use would be in vain. On disk, where they are packed,
        there may be room for more.
        """
        limit = self._max_bytes
        if self.store is not None and self.store.trouble is None:
            limit = max(limit, self.store.max_bytes)
        return max(1, limit // max(1, _bytes(embedding.features)))

    def get(self, segmenter: Segmenter, plane: NDArray[np.uint8]) -> Embedding | None:
        """Return the embedding of a windowed plane, or None if it is kept nowhere.

        A plane is known by its pixels, so whatever brings the same pixels finds it again.
        """
        return self._get(segmenter, embedding_key(segmenter, plane))

    def encode(
        self,
        segmenter: Segmenter,
        plane: NDArray[np.uint8],
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Embedding:
        """Return the embedding of a windowed plane, encoding it where it is kept nowhere.

        Threads that ask for the same plane at once get what the first of them encodes.

        Parameters
        ----------
        segmenter : Segmenter
        plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        cancelled : callable, optional
            Asked before the plane is encoded, and by segmenters that can meanwhile.

        Raises
        ------
        CamSamError
            As the segmenter's ``encode``.
        Cancelled
            If ``cancelled`` says so; another thread that waits for the plane encodes it then.
        """
        key = embedding_key(segmenter, plane)
        mine: Future[Embedding] = Future()
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
                first = self._under_way.setdefault(key, mine)
            if first is mine:
                return self._encode(segmenter, plane, key, mine, cancelled)
            try:
                return first.result(timeout=_WAIT_SECONDS)
            except CancelledError:
                continue  # it failed there; here the reason will show
            except TimeoutError:
                if cancelled is not None and cancelled():
                    raise Cancelled from None

    def _encode(
        self,
        segmenter: Segmenter,
        plane: NDArray[np.uint8],
        key: str,
        promise: Future[Embedding],
        cancelled: Callable[[], bool] | None,
    ) -> Embedding:
        try:
            embedding = self._get(segmenter, key)
            if embedding is not None:
                promise.set_result(embedding)
                return embedding
            (encoded,) = encode_planes(segmenter, [plane], cancelled=cancelled)
            embedding = round_features(encoded)
            with self._lock:
                self.encoded += 1
            self._keep(key, embedding)
            promise.set_result(embedding)
        finally:
            with self._lock:
                del self._under_way[key]
            promise.cancel()  # does nothing to what has a result
        # In memory first: whatever the disk does, and whoever stops it, nothing is lost.
        if self.store is not None:
            self.store.put(segmenter, key, embedding)
        return embedding

    def _recall(self, key: str) -> Embedding | None:
        """Return an embedding from memory, as the one that was used last."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _get(self, segmenter: Segmenter, key: str) -> Embedding | None:
        embedding = self._recall(key)
        if embedding is None and self.store is not None:
            embedding = self.store.get(segmenter, key)
            if embedding is not None:
                with self._lock:
                    self.from_disk += 1
                self._keep(key, embedding)
        return embedding

    def _keep(self, key: str, embedding: Embedding) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self._total -= 0 if before is None else _bytes(before.features)
            self._kept[key] = embedding
            self._total += _bytes(embedding.features)
            while self._total > self._max_bytes and len(self._kept) > 1:
                self._total -= _bytes(self._kept.popitem(last=False)[1].features)


def round_features(embedding: Embedding) -> Embedding:
    """Round an embedding to what the disk keeps of it.

    Parameters
    ----------
    embedding : Embedding

    Returns
    -------
    Embedding
        The features rounded to float16, in the type that they had. The embedding as it is where
        the features are no tensor of real numbers, or are too large for float16.
    """
    import torch

    features = embedding.features
    if not isinstance(features, torch.Tensor) or not features.is_floating_point():
        return embedding
    half = features.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        return embedding
    return replace(embedding, features=half.to(features.dtype))


def embed_planes(
    store: EmbeddingStore, segmenter: Segmenter, planes: Iterable[NDArray[np.uint8]]
) -> Iterator[Literal["found", "encoded", "not kept"]]:
    """Fill a store with the embeddings of planes, ahead of their use.

    Parameters
    ----------
    store : EmbeddingStore
    segmenter : Segmenter
    planes : iterable of ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Windowed; read one at a time.

    Yields
    ------
    {"found", "encoded", "not kept"}
        For each plane, once it is on disk: whether it was there whole, was encoded now, or was
        encoded and has features that float16 cannot hold.

    Raises
    ------
    CamSamError
        If the segmenter's features are not kept on disk, or the folder cannot be written.
    """
    import torch

    for plane in planes:
        key = embedding_key(segmenter, plane)
        if store.get(segmenter, key) is not None:
            yield "found"
            continue
        embedding = segmenter.encode(plane)
        if not isinstance(embedding.features, torch.Tensor):
            raise CamSamError(
                f"Embeddings of {segmenter.name} are not kept on disk, as they are made at once: "
                "take another segmenter."
            )
        if store.put(segmenter, key, embedding):
            yield "encoded"
        elif store.trouble is not None:
            raise CamSamError(store.trouble)
        else:
            yield "not kept"


def _bytes(features: Any) -> int:
    """Bytes of a tensor or an array, or of all in a collection or a data class."""
    if hasattr(features, "nbytes"):
        return int(features.nbytes)
    if isinstance(features, list | tuple):
        return sum(_bytes(part) for part in features)
    if is_dataclass(features):
        return sum(_bytes(getattr(features, field.name)) for field in fields(features))
    return 0
