"""One study on 1, 2 and 4 worker processes and in one: the same bytes, who dies, what it costs.

    python benchmarks/study_scaling.py

Prints three tables. The first compares `results.parquet` and `results.csv` of each way with those
of one process; one of two workers is killed with SIGKILL after a third of the images. The second
kills the whole study with SIGKILL again and again, and counts in a log of every encoding how many
were kept twice. The third takes images that need next to no work: what is left is what a task
costs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.sam.cache import embeddings
from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.sam.cache.store import EmbeddingStore, embedding_key
from napari_cam_sam.sam.segmenter import Embedding, Segmenter
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, Study
from napari_cam_sam.studies.run.runner import read_cases, run_study

TRUTH = RunParameters(strategy="truth-box")
CAM = RunParameters(cam=CamParameters(target="lesion"))
FILES = ("results.parquet", "results.csv")


def lesions(folder: Path, images: int, settings: tuple[Setting, ...]) -> Study:
    """Ultrasound phantoms of seeds that no training saw."""
    source = DatasetSource(
        "phantoms",
        folder / "images",
        {"kind": "ultrasound", "count": images, "first_seed": 50_000},
    )
    return Study("scaling", source, settings)


def whole_study(folder: Path, images: int) -> Study:
    """Prompts from heatmaps and truth, two segmenters, two preprocessings."""
    clahe = replace(CAM.preprocessing, clahe=True)
    return lesions(
        folder,
        images,
        (
            Setting("cam", "lesion", "compact-sam", CAM),
            Setting("clahe", "lesion", "compact-sam", replace(CAM, preprocessing=clahe)),
            Setting("seeded", "lesion", "seeded", replace(CAM, mask_from="heatmap")),
            Setting("truth", None, "compact-sam", TRUTH),
        ),
    )


def kill_one_after(images: int) -> Callable[[int, int], None]:
    """Make what kills one worker of this process once as many images are done."""
    killed: list[int] = []

    def told(done: int, total: int) -> None:
        if done < images or killed:
            return
        workers = [
            child
            for child in psutil.Process().children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        killed.append(workers[0].pid)
        workers[0].kill()

    return told


def scaling(folder: Path, images: int) -> None:
    """Print time and equality of each way to run one study."""
    study = whole_study(folder, images)
    read_cases(study)
    ways: list[tuple[str, int, Callable[[int, int], None] | None]] = [
        ("one process", 0, None),
        ("1 worker", 1, None),
        ("2 workers", 2, None),
        ("4 workers", 4, None),
        ("2 workers, one killed", 2, kill_one_after(images // 3)),
    ]
    print(f"{images} images, {len(study.settings)} settings, {os.cpu_count()} cores")
    reference: list[bytes] = []
    for name, workers, told in ways:
        output = folder / name
        cache = CacheParameters(folder=str(folder / f"{name} embeddings"))
        begin = time.perf_counter()
        result = run_study(study, output, workers=workers, progress=told, cache=cache)
        spent = time.perf_counter() - begin
        found = [(output / file).read_bytes() for file in FILES]
        reference = reference or found
        same = "identical" if found == reference else "DIFFERENT"
        encodes, cases = result.record["encodes"], result.record["cases"]
        print(
            f"{name:<24}{spent:8.1f} s  {cases['done']} images, {cases['failed']} failed, "
            f"{encodes['done']} encoded, {encodes['found']} found  {same}"
        )


def one_run(folder: Path, images: int) -> None:
    """Run a study of compact-sam and note each plane that is encoded."""
    encode = embeddings.encode_planes

    def note(name: str, segmenter: Segmenter, plane: NDArray[np.uint8]) -> None:
        with (folder / name).open("a") as log:
            log.write(embedding_key(segmenter, plane) + "\n")

    def noted(
        segmenter: Segmenter,
        planes: Iterable[NDArray[np.uint8]],
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Embedding]:
        for plane in planes:
            note("begun.txt", segmenter, plane)
            yield from encode(segmenter, [plane], cancelled=cancelled)

    class Store(EmbeddingStore):
        def put(self, segmenter: Segmenter, key: str, embedding: Embedding) -> bool:
            kept = super().put(segmenter, key, embedding)
            with (folder / "kept.txt").open("a") as log:
                log.write(key + "\n")
            return kept

    embeddings.encode_planes = noted
    embeddings.EmbeddingStore = Store
    study = whole_study(folder, images)
    sams = tuple(one for one in study.settings if one.segmenter != "seeded")
    cache = CacheParameters(folder=str(folder / "embeddings"))
    run_study(replace(study, settings=sams), folder / "killed", cache=cache)


def resumed(folder: Path, images: int, seed: int) -> None:
    """Kill a study at random moments until it is done, and count what was encoded twice."""
    rng, kills = random.Random(seed), 0
    command = [sys.executable, __file__, "--one-run", str(folder), "--images", str(images)]
    while True:
        process = subprocess.Popen(command)
        before = len(list(folder.glob("killed/cases/[!.]*.parquet")))
        # From the first image of this run on, so that every run gets somewhere.
        while process.poll() is None:
            if len(list(folder.glob("killed/cases/[!.]*.parquet"))) > before:
                break
            time.sleep(0.01)
        try:
            process.wait(rng.uniform(0, 3))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        break
    begun, kept = ((folder / f"{name}.txt").read_text().split() for name in ("begun", "kept"))
    print(
        f"killed {kills} times: {len(set(kept))} planes encoded and kept, "
        f"{len(kept) - len(set(kept))} of them twice; {len(begun) - len(kept)} encodings were cut "
        "off by a kill"
    )


def cpu_seconds() -> float:
    """CPU time of this process, in which dask's scheduler is, and of its workers."""
    here = psutil.Process()
    parts = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(part.user + part.system for part in parts)


def overhead(folder: Path, images: int) -> None:
    """Print what a task costs beyond its work."""
    study = lesions(folder, images, (Setting("prompts", None, "", TRUTH),))
    read_cases(study)
    for name, workers in (("one process", 0), ("1 worker", 1)):
        clocks: list[tuple[float, float]] = []

        def told(done: int, total: int, clocks: list[tuple[float, float]] = clocks) -> None:
            if done in (1, total):
                clocks.append((time.perf_counter(), cpu_seconds()))

        run_study(
            study,
            folder / f"overhead {name}",
            workers=workers,
            progress=told,
            cache=CacheParameters(disk_mb=0),
        )
        # From the first result on: before it workers start and import PyTorch.
        wall, cpu = ((b - a) / (images - 1) for a, b in zip(*clocks, strict=True))
        print(f"{name:<16}{1e3 * wall:8.1f} ms an image, {1e3 * cpu:.1f} ms of CPU")


def main() -> None:
    """Run what the options name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="scaling, resume, overhead; by default all")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one-run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_run is not None:
        one_run(arguments.one_run, arguments.images)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, parts = Path(name), arguments.parts or ("scaling", "resume", "overhead")
        if "scaling" in parts:
            scaling(folder, arguments.images)
        if "resume" in parts:
            resumed(folder, arguments.images, arguments.seed)
        if "overhead" in parts:
            overhead(folder, arguments.tasks)


if __name__ == "__main__":
    main()
