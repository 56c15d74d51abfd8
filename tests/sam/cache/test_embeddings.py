"""Embeddings are made once, whoever asks, and give the same masks wherever they were kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam.cache.embeddings import (
    CacheParameters,
    EmbeddingCache,
    embed_planes,
    open_cache,
    open_store,
)
from napari_cam_sam.sam.cache.store import EmbeddingStore, embedding_key
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.registry import CACHE_VARIABLE
from napari_cam_sam.sam.seeded.segmenter import SeededSegmenter
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates, Segmenter

PLANE = np.arange(35, dtype=np.uint8).reshape(5, 7)


class Slow:
    """A segmenter of 1 KiB of features that says when it encodes, and may fail at first."""

    name = "slow"
    device = "cpu"
    precision = "float32"
    model_hash = "5" * 64

    def __init__(self, seconds: float = 0.0, failures: Sequence[BaseException] = ()) -> None:
        self.seconds = seconds
        self.failures = list(failures)
        self.encoded = 0

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        self.encoded += 1
        time.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop()
        features = torch.full((1, 4, 8, 8), float(plane.mean()) + 0.12345)
        return Embedding(features, (plane.shape[0], plane.shape[1]), self.model_hash)

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[ObjectPrompt],
        *,
        multimask: bool = True,
        previous_logits: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> list[MaskCandidates]:
        raise NotImplementedError


def in_threads(n: int, cache: EmbeddingCache, segmenter: Segmenter) -> list[object]:
    """Ask for one plane from n threads at once; give what each got, or its error."""
    barrier = threading.Barrier(n)
    got: list[object] = []

    def ask() -> None:
        barrier.wait()
        try:
            got.append(cache.encode(segmenter, PLANE.copy()))
        except BaseException as error:
            got.append(error)

    threads = [threading.Thread(target=ask) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def sample_planes() -> list[NDArray[np.uint8]]:
    found = []
    for name in ("ct", "ultrasound", "shapes"):
        sample = make_sample(name)
        window = resolve_window(sample.image, parse_window(sample.window))
        middle = sample.image.n_planes() // 2
        found.append(apply_window(sample.image.plane(0, middle), window))
    return found


def many_prompts(plane: NDArray[np.uint8], n: int) -> list[ObjectPrompt]:
    random = np.random.default_rng(3)
    rows, columns = plane.shape[:2]
    found = []
    for i in range(n):
        top, left = random.uniform(0, 0.7, 2) * (rows, columns)
        height, width = random.uniform(0.1, 0.3, 2) * (rows, columns)
        box = Box(top, left, top + height, left + width)
        point = Point(top + height / 2, left + width / 2)
        away = Point(top, left, positive=False)
        kinds = [((), box), ((point,), None), ((point, away), box), ((point, away), None)]
        points, some_box = kinds[i % len(kinds)]
        found.append(ObjectPrompt(i + 1, points, some_box))
    return found


def test_masks_agree_with_those_of_the_full_features_and_of_later_sessions(tmp_path: Path) -> None:
    segmenter = load_segmenter("compact-sam", "cpu")
    overlaps = []
    for plane in sample_planes():
        prompts = many_prompts(plane, 40)
        full = segmenter.decode(segmenter.encode(plane), prompts)
        first_session = EmbeddingCache(store=EmbeddingStore(tmp_path, 1 << 30))
        first = segmenter.decode(first_session.encode(segmenter, plane), prompts)
        later_session = EmbeddingCache(store=EmbeddingStore(tmp_path, 1 << 30))
        found = later_session.get(segmenter, plane)
        assert found is not None
        later = segmenter.decode(found, prompts)
        # A saved session is run again without a disk.
        without = segmenter.decode(EmbeddingCache().encode(segmenter, plane), prompts)
        for a, b, c, d in zip(full, first, later, without, strict=True):
            np.testing.assert_array_equal(b.masks, c.masks)
            np.testing.assert_array_equal(b.logits, c.logits)
            np.testing.assert_array_equal(b.masks, d.masks)
            for exact, rounded in zip(a.masks, b.masks, strict=True):
                if exact.sum() >= 200:  # of which one pixel is not the whole tolerance
                    overlaps.append((exact & rounded).sum() / (exact | rounded).sum())
    assert len(overlaps) > 200
    assert min(overlaps) >= 0.99


def test_a_plane_is_encoded_once_whoever_asks(tmp_path: Path) -> None:
    slow, store = Slow(), EmbeddingStore(tmp_path, 1 << 30)
    cache = EmbeddingCache(store=store)
    assert cache.get(slow, PLANE) is None
    assert not cache.ready(slow, PLANE)
    made = cache.encode(slow, PLANE)
    assert cache.encode(slow, PLANE.copy()) is made
    assert cache.get(slow, np.asfortranarray(PLANE)) is made
    assert cache.ready(slow, PLANE)
    next_session = EmbeddingCache(store=EmbeddingStore(tmp_path, 1 << 30))
    assert next_session.ready(slow, PLANE)
    found = next_session.encode(slow, PLANE)
    assert torch.equal(found.features, made.features)
    assert slow.encoded == 1
    # From memory, now: the disk may go.
    store.clear()
    assert next_session.get(slow, PLANE) is found
    assert not EmbeddingCache(store=store).ready(slow, PLANE)


def test_threads_that_ask_at_once_share_one_encoding(tmp_path: Path) -> None:
    for cache in (EmbeddingCache(), EmbeddingCache(0, EmbeddingStore(tmp_path, 1 << 30))):
        slow = Slow(seconds=0.3)
        got = in_threads(6, cache, slow)
        assert slow.encoded == 1
        assert len({id(one) for one in got}) == 1
        assert isinstance(got[0], Embedding)


def test_when_encoding_fails_in_one_thread_the_others_try(tmp_path: Path) -> None:
    failures = [CamSamError("no memory"), KeyboardInterrupt()]
    slow = Slow(seconds=0.1, failures=failures)
    got = in_threads(5, EmbeddingCache(), slow)
    assert slow.encoded == 3
    assert {type(one) for one in got if isinstance(one, BaseException)} == {
        CamSamError, KeyboardInterrupt,
    }  # fmt: skip
    assert len({id(one) for one in got if isinstance(one, Embedding)}) == 1


def test_memory_holds_the_planes_used_last(tmp_path: Path) -> None:
    slow, cache = Slow(), EmbeddingCache(3 * 1024)
    planes = [np.full((4, 4), i, np.uint8) for i in range(4)]
    for plane in planes[:3]:
        cache.encode(slow, plane)
    assert cache.get(slow, planes[0]) is not None
    cache.encode(slow, planes[3])
    assert [cache.ready(slow, plane) for plane in planes] == [True, False, True, True]
    # The last one is kept whatever its size.
    tight = EmbeddingCache(10)
    tight.encode(slow, planes[0])
    made = tight.encode(slow, planes[1])
    assert tight.get(slow, planes[1]) is made
    assert tight.get(slow, planes[0]) is None


def test_nothing_is_lost_when_the_user_stops_while_the_disk_is_written(tmp_path: Path) -> None:
    class Stopped(EmbeddingStore):
        def put(self, segmenter: Segmenter, key: str, embedding: Embedding) -> bool:
            raise KeyboardInterrupt

    slow = Slow()
    cache = EmbeddingCache(store=Stopped(tmp_path, 1 << 30))
    with pytest.raises(KeyboardInterrupt):
        cache.encode(slow, PLANE)
    assert cache.encode(slow, PLANE).plane_shape == (5, 7)
    assert slow.encoded == 1


def test_seeded_is_kept_in_memory_alone(tmp_path: Path) -> None:
    seeded, store = SeededSegmenter(), EmbeddingStore(tmp_path / "none", 1 << 30)
    cache = EmbeddingCache(store=store)
    plane = sample_planes()[1]
    made = cache.encode(seeded, plane)
    assert cache.get(seeded, plane) is made
    assert cache.ready(seeded, plane)
    assert EmbeddingCache(store=store).get(seeded, plane) is None
    assert not (tmp_path / "none").exists()
    assert store.trouble is None
    with pytest.raises(CamSamError, match="seeded"):
        list(embed_planes(store, seeded, [plane]))


def test_a_volume_is_filled_where_it_lacks_planes(tmp_path: Path) -> None:
    slow, store = Slow(), EmbeddingStore(tmp_path, 1 << 30)
    planes = [np.full((4, 4), i, np.uint8) for i in range(6)]
    planes[5] = planes[1]
    store.put(slow, embedding_key(slow, planes[3]), slow.encode(planes[3]))
    steps = embed_planes(store, slow, iter(planes))
    assert [next(steps), next(steps)] == ["encoded", "encoded"]
    steps.close()
    outcomes = list(embed_planes(store, slow, iter(planes)))
    assert outcomes == ["found", "found", "encoded", "found", "encoded", "found"]
    huge = Slow()
    huge.model_hash = "6" * 64
    huge.encode = lambda plane: Embedding(torch.full((1, 1), 1e6), (4, 4), "6" * 64)  # type: ignore[method-assign]
    assert list(embed_planes(store, huge, planes[:1])) == ["not kept"]


def test_parameters_say_where_and_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    store = open_store(CacheParameters())
    assert store is not None
    assert (store.folder, store.max_bytes) == (tmp_path / "embeddings", 10 << 30)
    own = open_cache(CacheParameters(folder=str(tmp_path / "own"), disk_mb=3)).store
    assert own is not None
    assert (own.folder, own.max_bytes) == (tmp_path / "own", 3 << 20)
    assert open_cache(CacheParameters(disk_mb=0)).store is None
    for wrong in ({"disk_mb": -1}, {"memory_mb": -5}):
        with pytest.raises(CamSamError, match="0 or more"):
            CacheParameters(**wrong)
    assert not list(tmp_path.iterdir())
