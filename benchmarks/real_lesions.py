"""Mean IoU of a segmenter on the 51 real breast ultrasound lesions, with prompts from the truth.

    python benchmarks/real_lesions.py --segmenter seeded --prompts truth-box

The settings of ``seeded`` were chosen on the even-numbered images (the tuning half); the other
half chose nothing. Beside it stand the ellipse inscribed in the box and the published figures of
SAM ViT-L (single mask). Prompts follow the rule of the publication: the largest 8-connected
component of the truth, its box 5 pixels larger on each side, the point at the box's centre.
``random-point`` is a random pixel of the truth instead, one an image from ``--seed``.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.mask_choice import MASK_CHOICES, choose_mask, needs_multimask

DATA = Path(__file__).resolve().parents[2] / "shared/data/busi"
MARGIN = 5


@dataclass(frozen=True)
class Lesion:
    """One image with its truth and the prompts that follow from it."""

    name: str
    malignant: bool
    tuning: bool
    plane: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    box: Box
    point: Point


def read_lesions(data: Path) -> list[Lesion]:
    """Read every image that has a mask, in the order of the names."""
    lesions = []
    for path in sorted(data.glob("images/*/*.png")):
        masks = sorted(path.parent.glob(f"{path.stem}_mask*.png"))
        if "_mask" in path.stem or not masks or path.parent.name == "normal":
            continue
        truth = np.any([np.asarray(Image.open(m).convert("L")) > 0 for m in masks], axis=0)
        parts, _ = ndimage.label(truth, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        found = np.argwhere(parts == sizes.argmax())
        (r0, c0), (r1, c1) = found.min(axis=0).tolist(), (found.max(axis=0) + 1).tolist()
        lesions.append(
            Lesion(
                path.stem,
                path.parent.name == "malignant",
                int(path.stem.split("(")[1].rstrip(")")) % 2 == 0,
                np.asarray(Image.open(path).convert("L")),
                truth,
                Box(r0 - MARGIN, c0 - MARGIN, r1 + MARGIN, c1 + MARGIN, "truth"),
                Point(r0 + (r1 - r0) // 2, c0 + (c1 - c0) // 2, source="truth"),
            )
        )
    return lesions


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of which one is not empty."""
    return float((mask & truth).sum() / (mask | truth).sum())


def ellipse(lesion: Lesion) -> NDArray[np.bool_]:
    """Ellipse inscribed in the lesion's box."""
    rows, columns = np.indices(lesion.truth.shape) + 0.5
    box = lesion.box
    y = (2 * rows - box.row_min - box.row_max) / box.height
    x = (2 * columns - box.column_min - box.column_max) / box.width
    return np.asarray(y**2 + x**2 < 1)


def published(data: Path, lesions: list[Lesion], prompts: str) -> list[float]:
    """Read the published IoU of SAM ViT-L for the same images and the nearest prompt."""
    kind = {"truth-box": "box", "truth-box-point": "box_point"}.get(prompts, "point")
    with (data / "published_sam_vit_l/metrics.csv").open(newline="") as stream:
        found = {r["image"]: float(r["iou"]) for r in csv.DictReader(stream) if r["prompt"] == kind}
    return [found[lesion.name] for lesion in lesions]


def print_row(name: str, scores: list[float], lesions: list[Lesion]) -> None:
    """Print mean IoU benign / malignant of the tuning half, the other half and all."""
    values = np.array(scores)
    malignant = np.array([lesion.malignant for lesion in lesions])
    tuning = np.array([lesion.tuning for lesion in lesions])
    cells = [
        f"{values[half & ~malignant].mean():.3f} / {values[half & malignant].mean():.3f}"
        for half in (tuning, ~tuning, np.ones_like(tuning))
    ]
    print(f"{name:<34}" + "".join(f"{cell:>18}" for cell in cells))


def prompt_of(lesion: Lesion, prompts: str, rng: np.random.Generator) -> ObjectPrompt:
    """Make the named prompt of a lesion."""
    if prompts == "random-point":
        inside = np.argwhere(lesion.truth)
        row, column = inside[rng.integers(len(inside))].tolist()
        return ObjectPrompt(1, (Point(row, column, source="truth"),))
    points = (lesion.point,) if "point" in prompts else ()
    return ObjectPrompt(1, points, lesion.box if "box" in prompts else None)


def main() -> int:
    """Run the segmenter over the lesions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenter", default="seeded", help="a name or a checkpoint's path")
    choices = ("truth-box", "truth-point", "truth-box-point", "random-point")
    parser.add_argument("--prompts", default="truth-box", choices=choices)
    parser.add_argument("--mask-choice", default="single", choices=MASK_CHOICES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of random-point")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the lesions")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"There are no real lesions at {options.data}: give --data.", file=sys.stderr)
        return 2
    try:
        segmenter = load_segmenter(options.segmenter, options.device)
    except CamSamError as error:
        print(error, file=sys.stderr)
        return 2
    lesions = read_lesions(options.data)
    rng = np.random.default_rng(options.seed)
    multimask = needs_multimask(options.mask_choice)
    scores, encoding, decoding = [], 0.0, 0.0
    for lesion in lesions:
        start = time.process_time()
        embedding = segmenter.encode(lesion.plane)
        encoded = time.process_time()
        prompt = prompt_of(lesion, options.prompts, rng)
        found = segmenter.decode(embedding, [prompt], multimask=multimask)[0]
        decoding += time.process_time() - encoded
        encoding += encoded - start
        chosen = choose_mask(found, options.mask_choice, lesion.truth)
        scores.append(iou(found.masks[chosen], lesion.truth))

    n = len(lesions)
    print(f"Mean IoU benign / malignant, {n} lesions, {options.prompts}")
    print(" " * 34 + "".join(f"{h:>18}" for h in ("tuning half", "other half", "all")))
    print_row(f"{segmenter.name} ({segmenter.device})", scores, lesions)
    print_row("inscribed ellipse", [iou(ellipse(le), le.truth) for le in lesions], lesions)
    print_row("published SAM ViT-L", published(options.data, lesions, options.prompts), lesions)
    if options.prompts == "random-point":
        print("(the published figures are for the point at the box's centre)")
    per_image = f"encode {encoding / n * 1e3:.0f} ms, decode {decoding / n * 1e3:.0f} ms"
    print(f"CPU time an image: {per_image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
