"""Near-duplicates: images that are the same picture again, cropped, marked or saved anew.

A copy that crosses a split makes every figure too good, and public sets hold many. Two planes
count as copies where their perceptual hash differs in at most 8 of 64 bits, or their difference
hash in at most 9, or their thumbnails of 64 × 64 correlate above .95. Of the 725 breast
ultrasound images of BUSI's classification set, where pairs were looked at, hashes alone miss
frames that are a few pixels apart, and correlation alone misses other crops; unlike pictures begin
at 12 bits and at .93.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

__all__ = ["Fingerprints", "find_copies", "fingerprint", "near"]

_HASH_BITS = 8
_DIFFERENCE_BITS = 9
_CORRELATION = 0.95
_SIDE = 64
# Planes without contrast look alike and teach nothing: black ends of volumes are no copies.
_LEAST_CONTRAST = 2.0
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What planes are compared by.

    Attributes
    ----------
    hashes : ndarray of uint64, shape (n, 2)
        Perceptual hash and difference hash.
    thumbnails : ndarray of uint8, shape (n, 64 · 64)
    """

    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: Sequence[Fingerprints]) -> Fingerprints:
        """Join the fingerprints of several planes in one object."""
        if not parts:
            return cls(np.empty((0, 2), np.uint64), np.empty((0, _SIDE**2), np.uint8))
        return cls(
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.thumbnails for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.hashes)


def fingerprint(plane: NDArray[np.uint8]) -> Fingerprints:
    """Compute the fingerprint of one plane.

    Parameters
    ----------
    plane : ndarray of uint8, shape (row, column) or (row, column, 3)

    Returns
    -------
    Fingerprints
        Of length 1.
    """
    import imagehash

    picture = PillowImage.fromarray(plane).convert("L")
    hashes = [
        int.from_bytes(np.packbits(found.hash.ravel()).tobytes(), "big")
        for found in (imagehash.phash(picture), imagehash.dhash(picture))
    ]
    small = picture.resize((_SIDE, _SIDE), PillowImage.Resampling.BILINEAR)
    return Fingerprints(np.array([hashes], dtype=np.uint64), np.asarray(small).reshape(1, -1))


def near(first: Fingerprints, second: Fingerprints) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find all pairs of copies between two lots of planes.

    Parameters
    ----------
    first, second : Fingerprints
        May be the same; a plane is then found with itself, too.

    Returns
    -------
    tuple of ndarray of int
        Indices into each, one a pair. Planes without contrast are in no pair.
    """
    rows, columns = [], []
    whole = _normalised(second.thumbnails)
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        thumbnails = _normalised(first.thumbnails[part])
        bits = np.bitwise_count(first.hashes[part, None] ^ second.hashes[None])
        alike = (bits[..., 0] <= _HASH_BITS) | (bits[..., 1] <= _DIFFERENCE_BITS)
        alike |= thumbnails @ whole.T > _CORRELATION
        alike &= _has_contrast(thumbnails)[:, None] & _has_contrast(whole)
        row, column = np.nonzero(alike)
        rows.append(row + start)
        columns.append(column)
    empty = np.empty(0, np.intp)
    return np.concatenate([empty, *rows]), np.concatenate([empty, *columns])


def _normalised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails whose products are correlations; zeros for those without contrast."""
    values: NDArray[np.float32] = thumbnails.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values[values.std(axis=1) < _LEAST_CONTRAST] = 0
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(norms > 0, norms, 1)
    return values


def _has_contrast(normalised: NDArray[np.float32]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.linalg.norm(normalised, axis=1) > 0
    return found


def find_copies(fingerprints: Fingerprints) -> NDArray[np.intp]:
    """Assign numbers to planes, so that copies, and copies of copies, share one.

    Parameters
    ----------
    fingerprints : Fingerprints

    Returns
    -------
    ndarray of int, shape (n,)
        Numbers from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(fingerprints)
    rows, columns = near(fingerprints, fingerprints)
    links = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(n, n))
    numbers: NDArray[np.intp] = connected_components(links, directed=False)[1].astype(np.intp)
    return numbers
