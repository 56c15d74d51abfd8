"""Embeddings on disk: found again by their pixels, never believed when damaged, never an error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import ObjectPrompt
from napari_cam_sam.sam.cache import store as store_module
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache, embed_planes, round_features
from napari_cam_sam.sam.cache.store import EmbeddingStore, embedding_folder, embedding_key
from napari_cam_sam.sam.registry import CACHE_VARIABLE
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates

PLANE = np.arange(35, dtype=np.uint8).reshape(5, 7)


class Tiny:
    """A segmenter whose features are random, but the same for the same plane."""

    device = "cpu"
    precision = "float32"

    def __init__(self, name: str = "tiny", digit: str = "a", shape: tuple[int, ...] = (4, 8, 8)):
        self.name = name
        self.model_hash = digit * 64
        self.shape = shape
        self.encoded = 0

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        self.encoded += 1
        random = np.random.default_rng(plane.ravel().tolist())
        features = torch.from_numpy(random.normal(size=(1, *self.shape)).astype(np.float32))
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


def planes(n: int) -> list[NDArray[np.uint8]]:
    return [np.full((3, 4), i, np.uint8) for i in range(n)]


def fill(store: EmbeddingStore, tiny: Tiny, n: int) -> list[Path]:
    """Write n entries, each used a second after the one before; give their files."""
    files = []
    for i, plane in enumerate(planes(n)):
        key = embedding_key(tiny, plane)
        assert store.put(tiny, key, tiny.encode(plane))
        files.append(store.folder / tiny.model_hash[:16] / f"{key}.zarr.zip")
        os.utime(files[-1], (1e9 + i, 1e9 + i))
    return files


def test_what_is_read_is_what_was_written_to_float16(tmp_path: Path) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 1 << 30)
    for i, dtype in enumerate((torch.float32, torch.float16, torch.bfloat16, torch.float64)):
        plane = np.full((6, 9, 3), i, np.uint8)
        key = embedding_key(tiny, plane)
        made = tiny.encode(plane)
        made = replace(made, features=made.features.to(dtype))
        assert store.get(tiny, key) is None
        assert not store.has(tiny, key)
        assert store.put(tiny, key, made)
        found = EmbeddingStore(tmp_path, 1 << 30).get(tiny, key)
        assert found is not None
        assert store.has(tiny, key)
        assert found.features.dtype == dtype
        assert torch.equal(found.features, made.features.half().to(dtype))
        assert (found.plane_shape, found.model_hash) == ((6, 9), tiny.model_hash)
        # What a session keeps in memory after encoding is what later sessions read.
        assert torch.equal(found.features, round_features(made).features)


def test_an_entry_is_plain_zarr_with_a_checksum_of_its_own(tmp_path: Path) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 1 << 30)
    (file,) = fill(store, tiny, 1)
    with zarr.storage.ZipStore(file, mode="r") as zipped:
        array = zarr.open_array(zipped, mode="r")
        assert array.metadata.zarr_format == 3
        np.testing.assert_array_equal(array[...], tiny.encode(planes(1)[0]).features.half())
        about = dict(array.attrs)
    assert about["model"] == "tiny"
    assert about["key"] == file.name.removesuffix(".zarr.zip")
    assert len(about["sha256"]) == 64
    assert list(file.parent.iterdir()) == [file]


@given(
    plane=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6)),
    data=st.data(),
)
def test_a_key_hangs_on_the_pixels_and_the_model_and_on_nothing_else(
    plane: NDArray[np.uint8], data: st.DataObject
) -> None:
    tiny = Tiny()
    key = embedding_key(tiny, plane)
    same = [plane.copy(), np.asfortranarray(plane), np.repeat(plane, 2, axis=0)[::2]]
    renamed = Tiny("another name")
    renamed.device = "cuda:1"
    assert {embedding_key(tiny, one) for one in same} | {embedding_key(renamed, plane)} == {key}

    pixel = tuple(data.draw(st.integers(0, n - 1)) for n in plane.shape)
    changed = plane.copy()
    changed[pixel] += data.draw(st.integers(1, 255))
    precise = Tiny()
    precise.precision = "bfloat16"
    others = [
        embedding_key(tiny, changed),
        embedding_key(tiny, plane.view(np.int8)),
        embedding_key(tiny, plane[None]),
        embedding_key(tiny, np.append(plane, plane[:1], axis=0)),
        embedding_key(Tiny(digit="b"), plane),
        embedding_key(precise, plane),
    ]
    if plane.T.shape != plane.shape:
        others.append(embedding_key(tiny, plane.reshape(plane.T.shape)))
    assert len({key, *others}) == 1 + len(others)


@given(st.lists(hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 3)))))
def test_different_planes_have_different_keys(some: list[NDArray[np.uint8]]) -> None:
    contents = {(plane.shape, plane.tobytes()) for plane in some}
    assert len({embedding_key(Tiny(), plane) for plane in some}) == len(contents)


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Alter the metadata of an entry, in a zip that is sound itself."""
    with zipfile.ZipFile(file) as zipped:
        parts = {name: zipped.read(name) for name in zipped.namelist()}
    about = json.loads(parts["zarr.json"])
    change(about)
    parts["zarr.json"] = json.dumps(about).encode()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in parts.items():
            zipped.writestr(name, content)


def swap_values(file: Path) -> None:
    with zarr.storage.ZipStore(file, mode="r") as zipped:
        array = zarr.open_array(zipped, mode="r")
        values, about = array[...], dict(array.attrs)
    values[0, 0, 0, 0] += 1
    with zarr.storage.ZipStore(file, mode="w") as zipped:
        zarr.create_array(zipped, data=values, attributes=about)


def attributes(**changes: Any) -> Callable[[Path], None]:
    return lambda file: rewrite(file, lambda about: about["attributes"].update(changes))


def claim_to_be_huge(file: Path) -> None:
    def change(about: dict[str, Any]) -> None:
        about["shape"] = about["chunk_grid"]["configuration"]["chunk_shape"] = [1 << 20, 1 << 20]

    rewrite(file, change)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "torn": lambda file: os.truncate(file, file.stat().st_size // 2),
    "one byte short": lambda file: os.truncate(file, file.stat().st_size - 1),
    "text": lambda file: file.write_text("this is no zip file"),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "zip of something else": lambda file: zipfile.ZipFile(file, "w").close(),
    "other values": swap_values,
    "other plane shape": attributes(plane_shape=[50, 70]),
    "other key": attributes(key="0" * 64),
    "other model": attributes(model_hash="b" * 64),
    "other version": attributes(format=0),
    "code for a type": attributes(dtype="load"),
    "no attributes": lambda file: rewrite(file, lambda about: about["attributes"].clear()),
    "no checksum": attributes(sha256=None),
    "huge": claim_to_be_huge,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_not_believed_and_is_written_anew(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 1 << 30)
    (file,) = fill(store, tiny, 1)
    damage(file)
    plane = planes(1)[0]
    key = embedding_key(tiny, plane)
    assert store.get(tiny, key) is None
    tiny.encoded = 0
    made = EmbeddingCache(store=store).encode(tiny, plane)
    assert tiny.encoded == 1
    found = store.get(tiny, key)
    assert found is not None
    assert torch.equal(found.features, made.features)
    assert store.trouble is None


def test_an_entry_in_the_place_of_another_is_not_believed(tmp_path: Path) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 1 << 30)
    first, second = fill(store, tiny, 2)
    shutil.copy(first, second)
    keys = [embedding_key(tiny, plane) for plane in planes(2)]
    assert store.get(tiny, keys[0]) is not None
    assert store.get(tiny, keys[1]) is None


def test_whichever_byte_is_altered_the_values_are_right_or_not_there(tmp_path: Path) -> None:
    tiny, store = Tiny(shape=(2, 4, 4)), EmbeddingStore(tmp_path, 1 << 30)
    (file,) = fill(store, tiny, 1)
    plane = planes(1)[0]
    key, right = embedding_key(tiny, plane), round_features(tiny.encode(plane)).features
    sound = file.read_bytes()
    missing = 0
    for i in range(0, len(sound), 5):
        altered = bytearray(sound)
        altered[i] ^= 0x55
        file.write_bytes(altered)
        found = store.get(tiny, key)
        missing += found is None
        assert found is None or torch.equal(found.features, right)
        assert found is None or found.plane_shape == (3, 4)
    # Most of the file is metadata and values, all of which the hash covers.
    assert missing > len(range(0, len(sound), 5)) / 2


def test_values_beyond_float16_are_kept_in_memory_as_they_are_and_not_on_disk(
    tmp_path: Path,
) -> None:
    class Wild(Tiny):
        def encode(self, plane: NDArray[np.uint8]) -> Embedding:
            made = super().encode(plane)
            made.features[0, 0, 0, 0] = self.value
            return made

    for value in (70_000.0, np.inf, np.nan):
        wild, store = Wild(), EmbeddingStore(tmp_path, 1 << 30)
        wild.value = value
        cache = EmbeddingCache(store=store)
        made = cache.encode(wild, PLANE)
        np.testing.assert_array_equal(made.features, wild.encode(PLANE).features)
        assert cache.get(wild, PLANE) is made
        assert not store.has(wild, embedding_key(wild, PLANE))
        assert store.trouble is None
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_the_entries_used_least_recently_are_deleted_first(tmp_path: Path) -> None:
    tiny, other, store = Tiny(), Tiny("other", "b"), EmbeddingStore(tmp_path, 1 << 30)
    files = fill(store, tiny, 6) + fill(store, other, 1)
    os.utime(files[6], (1e9 - 5, 1e9 - 5))  # used least recently, of another model
    assert store.get(tiny, embedding_key(tiny, planes(6)[0])) is not None  # used just now
    size = max(file.stat().st_size for file in files)
    limited = EmbeddingStore(tmp_path, int(4.5 * size))
    late = np.full((3, 4), 99, np.uint8)
    key = embedding_key(tiny, late)
    assert limited.put(tiny, key, tiny.encode(late))
    assert {file for file in files if file.exists()} == {files[0], files[4], files[5]}
    assert limited.has(tiny, key)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.zip")) <= limited.max_bytes


def test_a_limit_below_one_entry_keeps_none(tmp_path: Path) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 10)
    assert not store.put(tiny, embedding_key(tiny, PLANE), tiny.encode(PLANE))
    assert not list(tmp_path.rglob("*.zip"))
    assert store.trouble is not None
    assert store.trouble.endswith("allow more.")
    # Ahead of their use nothing more is encoded in vain.
    with pytest.raises(CamSamError, match=r"the limit on disk is 0\.0: allow more"):
        list(embed_planes(store, tiny, [PLANE, PLANE]))


def test_the_folder_is_listed_only_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Tiny()
    size = fill(EmbeddingStore(tmp_path, 1 << 30), tiny, 1)[0].stat().st_size
    listings = 0
    scandir = os.scandir

    def counted(folder: Any) -> Any:
        nonlocal listings
        listings += Path(folder) == tmp_path
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)
    store = EmbeddingStore(tmp_path, 50 * size)
    fill(store, tiny, 200)
    # Each look frees room for two or three more, of 50.
    assert listings <= 100
    monkeypatch.undo()
    assert sum(model.n_bytes for model in store.models()) <= store.max_bytes
    assert sum(model.entries for model in store.models()) > 40


def test_an_entry_that_another_deletes_at_once_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, tiny, store = store_module.write_atomically, Tiny(), EmbeddingStore(tmp_path, 1 << 30)

    def write_and_lose(path: Path, *rest: Any) -> None:
        write(path, *rest)
        path.unlink()

    monkeypatch.setattr(store_module, "write_atomically", write_and_lose)
    (plane,) = planes(1)
    assert not store.put(tiny, embedding_key(tiny, plane), tiny.encode(plane))
    assert store.trouble is None


def test_two_stores_that_delete_at_once_are_no_error(tmp_path: Path) -> None:
    tiny = Tiny()
    size = fill(EmbeddingStore(tmp_path, 1 << 30), tiny, 1)[0].stat().st_size
    errors: list[BaseException] = []
    stores = [EmbeddingStore(tmp_path, 5 * size) for _ in range(3)]

    def work(store: EmbeddingStore, first: int) -> None:
        try:
            for plane in planes(60)[first:] + planes(60)[:first]:
                key = embedding_key(tiny, plane)
                store.put(tiny, key, tiny.encode(plane))
                store.get(tiny, key)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(s, 20 * i)) for i, s in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(store.trouble is None for store in stores)
    fill(stores[0], tiny, 1)
    assert sum(model.entries for model in stores[0].models()) <= 5


def test_only_our_own_files_are_counted_and_deleted(tmp_path: Path) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 1 << 30)
    files = fill(store, tiny, 2)
    model = files[0].parent
    foreign = [tmp_path / "thesis.docx", tmp_path / "scans" / files[0].name, model / "notes.txt"]
    foreign += [model / f"{'e' * 63}.zarr.zip", tmp_path / ("c" * 16)]
    (tmp_path / "scans").mkdir()
    for path in foreign:
        path.write_text("mine")
    size = store_bytes(files)
    young, old = (model / f".{digit * 12}-{files[0].name}" for digit in "12")
    for path in (young, old):
        path.write_text("half an entry")
    os.utime(old, (time.time() - 7200,) * 2)
    assert [(one.name, one.entries) for one in store.models()] == [("tiny", 2)]
    assert not old.exists()
    assert store.clear() == (2, size)
    assert all(path.exists() for path in (*foreign, young))
    assert store.models() == []


def store_bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def test_entries_are_cleared_by_model_and_by_age(tmp_path: Path) -> None:
    tiny, other, store = Tiny(), Tiny("other", "b"), EmbeddingStore(tmp_path, 1 << 30)
    fill(store, tiny, 3)
    files = fill(store, other, 2)
    now = time.time()
    os.utime(files[0], (now - 3 * 86400,) * 2)
    os.utime(files[1], (now - 86400,) * 2)
    models = store.models()
    assert [(one.name, one.model_hash, one.entries) for one in models] == [
        ("other", "b" * 16, 2), ("tiny", "a" * 16, 3),
    ]  # fmt: skip
    assert models[0].last_used == pytest.approx(now - 86400, abs=1)
    assert models[0].n_bytes == store_bytes(files)
    with pytest.raises(CamSamError, match="Did you mean other"):
        store.clear("othre")
    with pytest.raises(CamSamError, match="tiny"):
        store.clear("bbbb")  # too few digits to be meant
    assert store.clear("other", older_than=2)[0] == 1
    assert not files[0].exists()
    assert store.clear("b" * 64, older_than=2)[0] == 0
    assert store.clear("BBBBBB")[0] == 1
    assert store.clear("tiny")[0] == 3


def broken_file(folder: Path) -> Path:
    (folder / "file").write_text("I am no folder")
    return folder / "file"


def broken_below_a_file(folder: Path) -> Path:
    return broken_file(folder) / "deeper" / "still"


def broken_dead_path(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "gone" / "gone")
    return folder / "link"


def broken_model_folder(folder: Path) -> Path:
    (folder / ("a" * 16)).write_text("in the way")
    return folder


def broken_entry(folder: Path) -> Path:
    tiny = Tiny()
    (folder / tiny.model_hash[:16] / f"{embedding_key(tiny, PLANE)}.zarr.zip").mkdir(parents=True)
    return folder


def broken_read_only(folder: Path) -> Path:
    if os.geteuid() == 0:
        # Not even root writes here.
        return Path("/proc/self/embeddings")
    (folder / "locked").mkdir(mode=0o555)
    return folder / "locked"


def broken_name(folder: Path) -> Path:
    return folder / ("long" * 100)


@pytest.mark.parametrize(
    "broken",
    [
        broken_file, broken_below_a_file, broken_dead_path, broken_model_folder, broken_entry,
        broken_read_only, broken_name,
    ],
)  # fmt: skip
def test_work_goes_on_without_the_disk_which_is_said_once(
    tmp_path: Path, broken: Callable[[Path], Path]
) -> None:
    tiny, folder = Tiny(), broken(tmp_path)
    store = EmbeddingStore(folder, 1 << 30)
    cache = EmbeddingCache(store=store)
    with pytest.warns(UserWarning, match="memory alone") as said:
        made = cache.encode(tiny, PLANE)
    assert len(said) == 1
    assert str(folder) in str(said[0].message)
    assert store.trouble == str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.encode(tiny, PLANE) is made
        assert tiny.encoded == 1
        for plane in planes(3):
            assert cache.encode(tiny, plane).features.isfinite().all()
            assert cache.ready(tiny, plane)
        assert EmbeddingCache(store=store).get(tiny, PLANE) is None
        assert store.models() == []
        assert store.clear() == (0, 0)


def test_a_folder_that_works_again_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, folder = Tiny(), tmp_path / "folder"
    folder.write_text("in the way")
    store = EmbeddingStore(folder, 1 << 30)
    key = embedding_key(tiny, PLANE)
    with pytest.warns(UserWarning, match="Make room"):
        assert not store.put(tiny, key, tiny.encode(PLANE))
    folder.unlink()
    assert not store.put(tiny, key, tiny.encode(PLANE))
    later = time.monotonic() + 100
    monkeypatch.setattr(store_module.time, "monotonic", lambda: later)
    assert store.put(tiny, key, tiny.encode(PLANE))


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_a_full_disk_loses_nothing_and_leaves_nothing_half(tmp_path: Path) -> None:
    script = """
import resource, signal, sys, warnings
sys.path.insert(0, sys.argv[2])
from test_store import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
tiny, store = Tiny(shape=(64, 32, 32)), EmbeddingStore(sys.argv[1], 1 << 30)
cache = EmbeddingCache(store=store)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    made = [cache.encode(tiny, plane) for plane in planes(3)]
assert [cache.encode(tiny, plane) for plane in planes(3)] == made and tiny.encoded == 3
assert ["too large" in str(one.message) for one in said] == [True], [str(s.message) for s in said]
"""
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), here], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.slow
def test_two_processes_fill_one_store_with_the_same_volume(tmp_path: Path) -> None:
    script = """
import sys
sys.path.insert(0, sys.argv[2])
from test_store import *
store = EmbeddingStore(sys.argv[1], 1 << 30)
cache, tiny = EmbeddingCache(0, store), Tiny(shape=(32, 16, 16))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2):
    for plane in planes(40):
        made = cache.encode(tiny, plane)
        assert torch.equal(made.features, round_features(Tiny.encode(tiny, plane)).features)
assert store.trouble is None
"""
    command = [sys.executable, "-W", "error::UserWarning", "-c", script, str(tmp_path)]
    command += [str(Path(__file__).parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    workers = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert (worker.returncode, err) == (0, "")
    tiny, store = Tiny(shape=(32, 16, 16)), EmbeddingStore(tmp_path, 1 << 30)
    for plane in planes(40):
        found = store.get(tiny, embedding_key(tiny, plane))
        assert found is not None
        assert torch.equal(found.features, round_features(tiny.encode(plane)).features)
    assert len(list((tmp_path / ("a" * 16)).iterdir())) == 40


@pytest.mark.parametrize("name", ["_write", "_read"])
def test_ctrl_c_waits_for_an_entry_to_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 1 << 30)
    fill(store, tiny, 1)
    work = getattr(store_module, name)
    ended = []

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        result = work(*arguments)
        ended.append(result)
        return result

    monkeypatch.setattr(store_module, name, interrupted)
    key = embedding_key(tiny, PLANE if name == "_write" else planes(1)[0])
    made = tiny.encode(PLANE)
    with pytest.raises(KeyboardInterrupt):
        store.put(tiny, key, made) if name == "_write" else store.get(tiny, key)
    assert len(ended) == 1
    monkeypatch.undo()
    assert store.get(tiny, key) is not None
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts files by /proc")
def test_no_file_is_left_open(tmp_path: Path) -> None:
    tiny, store = Tiny(), EmbeddingStore(tmp_path, 1 << 30)
    files = fill(store, tiny, 20)
    before = len(os.listdir("/proc/self/fd"))
    for i, damage in enumerate(DAMAGE.values()):
        damage(files[i])
    for _ in range(3):
        for plane in planes(20):
            store.get(tiny, embedding_key(tiny, plane))
    fill(store, tiny, 20)
    store.models()
    opened = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
              if os.path.exists(f"/proc/self/fd/{n}")]  # fmt: skip
    assert not [path for path in opened if str(tmp_path) in path]
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_folder_lies_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert embedding_folder() == tmp_path / "embeddings"
    assert embedding_folder(tmp_path / "own") == tmp_path / "own" / "embeddings"
