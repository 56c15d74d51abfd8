"""Seconds and memory of encoding and decoding, beside segment-anything's predictor and micro-sam.

    python benchmarks/sam_speed.py
    python benchmarks/sam_speed.py --micro-sam-python /path/to/its/bin/python
    python benchmarks/sam_speed.py --short

Every figure of a program comes from a process of its own, on one checkpoint of random weights, so
that the peak of memory is that program's alone, Python and PyTorch included.
``--short`` runs in seconds, on the model that ships, and is a smoke test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from napari_cam_sam.sam.loading import build_sam
from napari_cam_sam.sam.models.precision import choose_precision

# What each process runs: SETUP defines encode(), one() and many() for a plane, `boxes` and `path`.
MEASURE = """
import json, resource, statistics, sys, time
import numpy as np
import torch

path, architecture, precision, side, count, repeats, threads = json.loads(sys.argv[1])
if threads:
    torch.set_num_threads(threads)
rng = np.random.default_rng(0)
plane = rng.integers(0, 256, (side, side), dtype=np.uint8)
starts = rng.integers(0, side - side // 8, (count, 2))
boxes = np.concatenate([starts, starts + side // 8], axis=1)  # x0, y0, x1, y1

{setup}

def seconds(call):
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)

found = {{"encode": seconds(encode)}}
found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
if count:
    one()
    found["one"] = seconds(one)
    found["many"] = seconds(many)
print(json.dumps(found))
"""

OURS = """
from napari_cam_sam.prompts.data import Box, ObjectPrompt
from napari_cam_sam.sam.loading import load_segmenter

segmenter = load_segmenter(path or "compact-sam", "cpu", precision=precision)
prompts = [
    ObjectPrompt(i, box=Box(y0, x0, y1, x1))
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist(), start=1)
]

def encode():
    global embedding
    embedding = segmenter.encode(plane)

def one():
    segmenter.decode(embedding, prompts[:1])

def many():
    segmenter.decode(embedding, prompts)
"""

# Batches are how its authors decode many boxes; of more than 16 the masks would fill the memory.
SEGMENT_ANYTHING = """
from segment_anything import SamPredictor, sam_model_registry

if path:
    sam = sam_model_registry[architecture.replace("-", "_")](path)
else:
    from napari_cam_sam.demo import shipped_models
    from napari_cam_sam.models.checkpoints import load_into, read_checkpoint
    from napari_cam_sam.sam.models.compact import build_compact_sam

    sam = build_compact_sam()
    load_into(sam, read_checkpoint(shipped_models()["compact-sam"]), what="SAM")
predictor = SamPredictor(sam)
rgb = np.stack([plane] * 3, axis=2)

def encode():
    predictor.set_image(rgb)

def one():
    predictor.predict(box=boxes[0])

def many():
    at_once = predictor.transform.apply_boxes_torch(torch.from_numpy(boxes).float(), plane.shape)
    for i in range(0, count, 16):
        masks, _, _ = predictor.predict_torch(None, None, at_once[i : i + 16])
        masks.numpy()
"""

MICRO_SAM = """
from micro_sam.inference import batched_inference
from micro_sam.util import get_sam_model, precompute_image_embeddings, set_precomputed

predictor = get_sam_model(architecture.replace("-", "_"), device="cpu", checkpoint_path=path)

def encode():
    global embeddings
    embeddings = precompute_image_embeddings(predictor, plane, verbose=False)
    set_precomputed(predictor, embeddings)

def decode(some):
    batched_inference(
        predictor, None, 16, boxes=some, multimasking=True, return_instance_segmentation=False
    )

def one():
    decode(boxes[:1])

def many():
    decode(boxes)
"""


def main() -> None:
    """Measure each program on each model, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["vit-b", "vit-h"], metavar="TYPE")
    parser.add_argument("--micro-sam-python", metavar="PATH", help="with micro-sam installed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=1024, help="pixels of the square plane")
    parser.add_argument("--boxes", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; its own by default")
    parser.add_argument("--short", action="store_true", help="the model that ships, in seconds")
    options = parser.parse_args()
    if options.short:
        options.models, options.side, options.boxes, options.repeats = ["compact"], 256, 8, 1
    print(f"machine  {_processor()}, {os.cpu_count()} cores, PyTorch {torch.__version__}")
    automatic = str(choose_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    print(f"         precision auto is {automatic} here for a vision transformer")
    with tempfile.TemporaryDirectory() as folder:
        for architecture in options.models:
            path = None
            if architecture != "compact":
                path = Path(folder) / f"sam_{architecture.replace('-', '_')}.pth"
                torch.manual_seed(0)
                torch.save(build_sam(architecture).state_dict(), path)
            _table(architecture, path, options)
            if path is not None:
                path.unlink()


def _table(architecture: str, path: Path | None, options: argparse.Namespace) -> None:
    runs = [("segment-anything 1.0", SEGMENT_ANYTHING, sys.executable, "float32")]
    if options.micro_sam_python and path is not None:
        runs.append(("micro-sam", MICRO_SAM, options.micro_sam_python, "float32"))
    runs.append(("ours, float32", OURS, sys.executable, "float32"))
    if path is not None:
        runs.append(("ours, bfloat16", OURS, sys.executable, "bfloat16"))
    print(
        f"\n{architecture}, a plane of {options.side}², median of {options.repeats}\n"
        f"{'':<22}{'encode':>10}{'ratio':>7}{'peak':>10}{'one box':>10}{'ratio':>7}"
        f"{f'{options.boxes} boxes':>12}{'ratio':>7}{'of one':>8}"
    )
    base: dict[str, float] = {}
    for name, setup, python, precision in runs:
        given = [
            str(path or ""), architecture, precision, options.side, options.boxes,
            options.repeats, options.threads,
        ]  # fmt: skip
        done = subprocess.run(
            [python, "-c", MEASURE.format(setup=setup), json.dumps(given)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"{name:<22}failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        base = base or found
        ratio = {key: found[key] / base[key] for key in found}
        print(
            f"{name:<22}{found['encode']:>8.2f} s{ratio['encode']:>7.2f}{found['peak']:>6.2f} GiB"
            f"{found['one'] * 1000:>7.0f} ms{ratio['one']:>7.2f}"
            f"{found['many']:>10.2f} s{ratio['many']:>7.2f}{found['many'] / found['one']:>8.1f}",
            flush=True,
        )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
