"""Compare our segmenter with segment-anything's own predictor, on random weights.

    python benchmarks/sam_equality.py vit-b vit-l vit-h

For each type it builds a model with random weights, saves a checkpoint, loads that with the type
detected from the file, and prints the greatest absolute differences of embedding, logits and
scores over six prompts. It exits 1 if any exceeds 1e-4.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from segment_anything import SamPredictor

from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam.loading import build_sam, load_segmenter

TYPES = ("vit-b", "vit-l", "vit-h", "compact")
TOLERANCE = 1e-4
PROMPTS = (
    ObjectPrompt(1, box=Box(100, 120, 300, 420)),
    ObjectPrompt(2, (Point(200, 250),)),
    ObjectPrompt(3, (Point(200, 250), Point(20, 500, positive=False)), Box(90, 90, 350, 400)),
    ObjectPrompt(4, (Point(200, 250), Point(20, 500, positive=False), Point(210.5, 260))),
    ObjectPrompt(5, box=Box(-5, -5, 200, 130)),
    ObjectPrompt(6, (Point(10, 10),)),
)


def compare(architecture: str, device: str, folder: Path) -> bool:
    """Compare one type, print its line, and tell whether it agrees."""
    torch.manual_seed(0)
    sam = build_sam(architecture)
    with torch.no_grad():
        # Positions start at zero, which would hide an error in them.
        for name, parameter in sam.named_parameters():
            if "pos" in name:
                parameter.normal_(std=0.02)
    path = folder / f"{architecture}.pth"
    torch.save(sam.state_dict(), path)

    plane = np.random.default_rng(0).integers(0, 256, (471, 562, 3), dtype=np.uint8)
    start = time.perf_counter()
    segmenter = load_segmenter(path, device, precision="float32")
    loaded = time.perf_counter()
    embedding = segmenter.encode(plane)
    encoded = time.perf_counter()
    decoded = [segmenter.decode(embedding, PROMPTS, multimask=m) for m in (True, False)]
    done = time.perf_counter()
    path.unlink()

    predictor = SamPredictor(sam.to(segmenter.device))
    predictor.set_image(plane)
    worst = {
        "embedding": float((embedding.features - predictor.features).abs().max()),
        "logits": 0.0,
        "scores": 0.0,
    }
    pixels = 0
    for multimask, candidates in zip((True, False), decoded, strict=True):
        for prompt, ours in zip(PROMPTS, candidates, strict=True):
            box, points = prompt.box, prompt.points
            masks, scores, logits = predictor.predict(
                np.array([(p.column, p.row) for p in points]) if points else None,
                np.array([int(p.positive) for p in points]) if points else None,
                np.array([box.column_min, box.row_min, box.column_max, box.row_max])
                if box
                else None,
                multimask_output=multimask,
            )
            worst["logits"] = max(worst["logits"], float(np.abs(ours.logits - logits).max()))
            worst["scores"] = max(worst["scores"], float(np.abs(ours.scores - scores).max()))
            pixels += int((ours.masks != masks).sum())
    agrees = all(value <= TOLERANCE for value in worst.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{architecture:<8} detected as {segmenter.name.split(' ')[0]:<8}"
        + "".join(f"  {name} {value:.1e}" for name, value in worst.items())
        + f"  mask pixels {pixels}"
        + f"  load {loaded - start:.1f} s  encode {encoded - loaded:.1f} s"
        + f"  decode 12 prompts {done - encoded:.1f} s  peak {peak:.1f} GiB"
        + ("" if agrees else "  DIFFERS"),
        flush=True,
    )
    return agrees and segmenter.name.startswith(architecture)


def main() -> int:
    """Compare each type that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("types", nargs="*", default=["vit-b"], metavar="TYPE", help=str(TYPES))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    unknown = sorted(set(options.types) - set(TYPES))
    if unknown:
        parser.error(f"unknown type {unknown[0]!r}; known are {', '.join(TYPES)}")
    with tempfile.TemporaryDirectory() as folder:
        agree = [compare(name, options.device, Path(folder)) for name in options.types]
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
