"""What it costs to keep embeddings on disk, and what it saves.

For each segmenter it prints the bytes of a plane on disk, packed in several ways, the time to
encode, name, write and read a plane, and the time from a box to its masks with the features on
disk and in memory. Planes are those of a real MR image beside the project, or of a phantom:

    python benchmarks/embedding_cache.py compact-sam vit-b
    python benchmarks/embedding_cache.py --short

``vit-b``, ``vit-l`` and ``vit-h`` have random weights, so their times are right and their sizes
only near those of trained ones.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.storage import ZipStore

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.prompts.data import Box, ObjectPrompt
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache, round_features
from napari_cam_sam.sam.cache.store import EmbeddingStore, embedding_key
from napari_cam_sam.sam.loading import build_sam, load_segmenter
from napari_cam_sam.sam.segmenter import Segmenter

DATA = Path(__file__).resolve().parents[2] / "shared/data/brain_mri/brain1_image.nii.gz"
PACKINGS = (
    ("as it is", None),
    ("lz4, bits", BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="bitshuffle")),
    ("zstd 1, bytes", BloscCodec(typesize=2, cname="zstd", clevel=1, shuffle="shuffle")),
    ("zstd 5, bytes", BloscCodec(typesize=2, cname="zstd", clevel=5, shuffle="shuffle")),
    ("zstd 1, bits", BloscCodec(typesize=2, cname="zstd", clevel=1, shuffle="bitshuffle")),
    ("zstd 5, bits", BloscCodec(typesize=2, cname="zstd", clevel=5, shuffle="bitshuffle")),
)


def some_planes(path: Path, most: int) -> list[NDArray[np.uint8]]:
    """Take planes around the middle of the real image, or of the phantom where it is absent."""
    image = read_image(path) if path.exists() else make_sample("ct").image
    window = resolve_window(image, parse_window("auto"))
    n = min(most, image.n_planes())
    first = (image.n_planes() - n) // 2
    return [apply_window(image.plane(0, first + i), window) for i in range(n)]


def load(name: str, device: str, folder: Path) -> Segmenter:
    """Load a segmenter by name, or one with random weights by its type."""
    if name not in ("vit-b", "vit-l", "vit-h"):
        return load_segmenter(name, device)
    torch.manual_seed(0)
    sam = build_sam(name)  # type: ignore[arg-type]
    with torch.no_grad():
        # Positions start at zero. So all of an empty background would have the same features,
        # which pack better than trained ones.
        for key, parameter in sam.named_parameters():
            if "pos" in key:
                parameter.normal_(std=0.02)
    path = folder / f"{name}.pth"
    torch.save(sam.state_dict(), path)
    segmenter = load_segmenter(path, device)
    path.unlink()
    return segmenter


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Time some work, and give the median."""
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - begin))
    return statistics.median(found)


def compare_packings(values: list[NDArray[np.float16]], folder: Path, repeats: int) -> None:
    """Print size and times of each way to pack features."""
    path = folder / "packed.zarr.zip"
    print(f"  {'packed':<16}{'MiB a plane':>12}{'write ms':>10}{'read ms':>10}")
    for name, codec in PACKINGS:

        def write(array: NDArray[np.float16], codec: BloscCodec | None = codec) -> None:
            with ZipStore(path, mode="w") as store:
                zarr.create_array(
                    store, data=array, chunks=array.shape, filters=None, compressors=codec
                )

        def read() -> object:
            with ZipStore(path, mode="r") as store:
                return zarr.open_array(store, mode="r")[...]

        sizes, writing, reading = [], [], []
        for array in values:
            writing.append(milliseconds(lambda array=array: write(array), repeats))
            reading.append(milliseconds(read, repeats))
            sizes.append(path.stat().st_size / 2**20)
        print(
            f"  {name:<16}{statistics.mean(sizes):>12.2f}{statistics.median(writing):>10.1f}"
            f"{statistics.median(reading):>10.1f}"
        )


def measure(segmenter: Segmenter, planes: list[NDArray[np.uint8]], repeats: int) -> None:
    """Print the table of one segmenter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = EmbeddingStore(folder / "store", 1 << 40)
        plane, rows, columns = planes[0], *planes[0].shape[:2]
        prompt = ObjectPrompt(1, box=Box(rows * 0.3, columns * 0.3, rows * 0.6, columns * 0.6))
        segmenter.encode(plane)  # the first is slow: libraries get ready
        made, encoding = [], []
        for one in planes:
            encoding.append(milliseconds(lambda one=one: made.append(segmenter.encode(one)), 1))
        keys = [embedding_key(segmenter, one) for one in planes]
        pairs = list(zip(keys, map(round_features, made), strict=True))
        store.put(segmenter, *pairs[0])
        writing = [milliseconds(lambda p=p: store.put(segmenter, *p), repeats) for p in pairs]
        reading = [milliseconds(lambda k=k: store.get(segmenter, k), repeats) for k in keys]
        size = statistics.mean(path.stat().st_size for path in folder.rglob("*.zarr.zip"))
        memory = EmbeddingCache(store=store)
        memory.get(segmenter, plane)

        def masks(cache: EmbeddingCache) -> None:
            segmenter.decode(cache.encode(segmenter, plane), [prompt])

        rows_of_table = {
            "encode a plane": statistics.median(encoding),
            "name it by its pixels": milliseconds(lambda: embedding_key(segmenter, plane), 20),
            "tell whether it is ready": milliseconds(
                lambda: EmbeddingCache(store=store).ready(segmenter, plane), 20
            ),
            "write it": statistics.median(writing),
            "read it": statistics.median(reading),
            "box to masks, from disk": milliseconds(
                lambda: masks(EmbeddingCache(store=store)), repeats
            ),
            "box to masks, from memory": milliseconds(lambda: masks(memory), repeats),
        }
        shape = " × ".join(map(str, made[0].features.shape))
        print(f"\n{segmenter.name} on {segmenter.device}, {segmenter.precision}, {shape}")
        in_memory = made[0].features.nbytes / 2**20
        print(f"  {size / 2**20:.2f} MiB a plane on disk, {in_memory:.2f} in memory")
        print(f"  {len(planes)} planes of {rows} × {columns}")
        for what, ms in rows_of_table.items():
            print(f"  {what:<28}{ms:>10.2f} ms")
        values = [one.features.to("cpu", torch.float16).numpy() for one in made]
        compare_packings(values, folder, repeats)


def main() -> None:
    """Measure each segmenter that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("segmenters", nargs="*", default=["compact-sam", "vit-b"])
    parser.add_argument("--planes", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA, help="image to take planes of")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--short", action="store_true", help="compact-sam, two planes, once each")
    options = parser.parse_args()
    if options.short:
        options.segmenters, options.planes = ["compact-sam"], 2
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, zarr {zarr.__version__}"
    )
    planes = some_planes(options.data, options.planes)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.segmenters:
            segmenter = load(name, options.device, Path(folder))
            measure(segmenter, planes, 1 if options.short else 7)


if __name__ == "__main__":
    main()
