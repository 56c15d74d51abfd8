"""How long a reviewer of a large volume waits for the first mask, and for all that has evidence.

    python benchmarks/first_mask.py
    python benchmarks/first_mask.py --short

A volume of 512 planes of 512 × 512 pixels lies on disk as NIfTI. A heatmap fires on 20 of its
planes, each with a score of its own. What the viewer does, encoding the plane shown first and then
those with evidence, is measured until the masks are there; embedding the whole volume before, as
others do, is the measured time of a plane times the number of planes. ViT-B has random weights.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from embedding_cache import load
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.images.writing import write_image
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.cache.encoding_order import encoding_order, evidence_of


def make_volume(path: Path, n_planes: int, side: int) -> Image:
    """Write a volume of noise with a bright ball, uncompressed, and open it lazily."""
    rng = np.random.default_rng(0)
    values = rng.normal(40, 20, (n_planes, side, side)).astype(np.int16)
    grid = np.ogrid[:n_planes, :side, :side]
    middle = (n_planes / 2, side / 2, side / 2)
    distance = sum((x - m) ** 2 for x, m in zip(grid, middle, strict=True))
    values[distance < (side / 8) ** 2] += 60
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], range(4)] = (1, 0.7, 0.7, 1)
    geometry = Geometry((1.0, 0.7, 0.7), affine, "mm")
    write_image(path, image_from_array(values, geometry=geometry, name="volume"))
    return read_image(path)


def main() -> None:
    """Measure the waits, and print them with the order of the planes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenter", default="vit-b")
    parser.add_argument("--planes", type=int, default=512)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--evidence", type=int, default=20, help="planes with a heatmap")
    parser.add_argument("--short", action="store_true", help="compact-sam on a small volume")
    options = parser.parse_args()
    if options.short:
        options.segmenter, options.planes, options.side = "compact-sam", 64, 64
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    rng = np.random.default_rng(1)
    n, side = options.planes, options.side
    fires = sorted(int(i) for i in rng.choice(n, options.evidence, replace=False))
    corners = (side * 3 // 8, side * 3 // 8, side * 5 // 8, side * 5 // 8)
    prompts = [
        PlanePrompts(0, index, (ObjectPrompt(1, (), Box(*corners, "cam", float(score))),))
        for index, score in zip(fires, rng.uniform(0.3, 1, len(fires)), strict=True)
    ]
    shown = fires[len(fires) // 2]
    with tempfile.TemporaryDirectory() as folder:
        image = make_volume(Path(folder) / "volume.nii", n, side)
        segmenter = load(options.segmenter, "cpu", Path(folder))
        cache = EmbeddingCache()
        begin = time.perf_counter()
        window = resolve_window(image, parse_window("auto"))
        windowed = time.perf_counter() - begin
        order = list(encoding_order(n, shown, evidence_of(prompts), ahead=0))
        done, each = [], []
        by_plane = {one.index: one for one in prompts}
        begin = time.perf_counter()
        for index in order:
            start = time.perf_counter()
            plane = apply_window(image.plane(0, index), window)
            segmenter.decode(cache.encode(segmenter, plane), by_plane[index].objects)
            done.append(time.perf_counter() - begin)
            each.append(time.perf_counter() - start)
    plane_time = statistics.median(each)
    everything = plane_time * n
    print(f"\n{segmenter.name}, {segmenter.precision}, {n} planes of {side}²")
    print(f"the window, once a volume        {windowed:8.2f} s")
    print(f"first mask, plane {shown:<4} shown      {done[0]:8.2f} s")
    print(f"masks of all {len(order)} planes with evidence {done[-1]:6.1f} s")
    print(f"embedding the whole volume first {everything:8.0f} s, as {n} × {plane_time:.2f} s")
    print(f"first mask sooner by a factor of {everything / done[0]:8.0f}")
    print(f"encoded: {len(order)} planes, {n - len(order)} never; order {order}")
    scores = {one.index: one.objects[0].box.score or 0 for one in prompts if one.objects[0].box}
    print(f"scores in that order: {[round(scores[i], 2) for i in order]}")


if __name__ == "__main__":
    main()
