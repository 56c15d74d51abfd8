"""Embeddings of planes, kept in memory so that a plane is encoded once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = ["EmbeddingCache"]


class EmbeddingCache:
    """The embeddings used last, up to a number of bytes; may be shared by threads.

    Parameters
    ----------
    max_bytes : int
        Of all features together. The last one is kept whatever its size.
    """

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, str], Embedding] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, segmenter: Segmenter, plane: NDArray[np.uint8]) -> Embedding | None:
        """Give the embedding of a windowed plane, or None if it is not kept.

        A plane is known by its pixels, so whatever brings the same pixels finds it again.
        """
        key = _key(segmenter, plane)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def encode(self, segmenter: Segmenter, plane: NDArray[np.uint8]) -> Embedding:
        """Give the embedding of a windowed plane, encoding it where it is not kept.

        Raises
        ------
        CamSamError
            As the segmenter's ``encode``.
        """
        found = self.get(segmenter, plane)
        if found is not None:
            return found
        embedding = segmenter.encode(plane)
        with self._lock:
            self._kept[_key(segmenter, plane)] = embedding
            total = sum(_bytes(one.features) for one in self._kept.values())
            while total > self._max_bytes and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                total -= _bytes(oldest.features)
        return embedding


def _key(segmenter: Segmenter, plane: NDArray[np.uint8]) -> tuple[str, str]:
    digest = hashlib.sha1(str(plane.shape).encode(), usedforsecurity=False)
    digest.update(np.ascontiguousarray(plane).data)
    return segmenter.model_hash, digest.hexdigest()


def _bytes(features: Any) -> int:
    """Bytes of a tensor or an array, or of all in a collection or a data class."""
    if hasattr(features, "nbytes"):
        return int(features.nbytes)
    if isinstance(features, list | tuple):
        return sum(_bytes(part) for part in features)
    if is_dataclass(features):
        return sum(_bytes(getattr(features, field.name)) for field in fields(features))
    return 0
