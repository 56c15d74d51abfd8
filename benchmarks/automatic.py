"""Masks chosen by a heatmap against prompts from it, with the same segmenter, on phantoms.

    python benchmarks/automatic.py

The settings of everything mode and the ranking rule were chosen on seeds 30000 to 30023. All
seeds are below one million; training draws from one million up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.demo.samples import SAMPLES, make_sample
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.pipeline import segment_plane
from napari_cam_sam.prompts.parameters import PRESETS
from napari_cam_sam.prompts.strategies import prompts_from_heatmap
from napari_cam_sam.sam.everything.automatic import (
    AutomaticMask,
    AutomaticParameters,
    automatic_masks,
)
from napari_cam_sam.sam.everything.ranking import (
    RANKING_RULES,
    RankingParameters,
    choose_by_heatmap,
)
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.segmenter import Embedding, Segmenter


@dataclass(frozen=True, eq=False)
class Case:
    """A plane with its truth and all that the ways to a mask start from."""

    plane: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    heatmap: NDArray[np.float32]
    embedding: Embedding
    masks: tuple[AutomaticMask, ...]
    seconds: float


Way = Callable[[Case], NDArray[np.bool_]]


def make_case(kind: str, seed: int, segmenter: Segmenter, everything: AutomaticParameters) -> Case:
    """Draw a phantom; of a volume, the plane where the lesion is largest."""
    sample = make_sample(kind, seed)
    truths = [np.asarray(plane) > 0 for plane in sample.truth.planes(0)]
    index = int(np.argmax([truth.sum() for truth in truths]))
    window = resolve_window(sample.image, parse_window(sample.window))
    plane = apply_window(sample.image.plane(0, index), window)
    cam = CamParameters(target=sample.target)
    heatmap = next(iter(compute_heatmaps(load_classifier(sample.classifier), [plane], cam)))
    embedding = segmenter.encode(plane)
    begin = time.process_time()
    masks = automatic_masks(segmenter, plane, everything, embedding)
    spent = time.process_time() - begin
    return Case(plane, truths[index], heatmap.values, embedding, masks, spent)


def ways(segmenter: Segmenter) -> dict[str, Way]:
    """Each way from a case to a mask, by name."""

    def prompted(kind: str) -> Way:
        rule = replace(PRESETS["ours"], kind=kind)

        def way(case: Case) -> NDArray[np.bool_]:
            prompts = prompts_from_heatmap(case.heatmap, rule, axis=0, index=0)
            return segment_plane(segmenter, case.embedding, prompts)[0] > 0

        return way

    def ranked(parameters: RankingParameters) -> Way:
        return lambda case: (
            choose_by_heatmap([found.mask for found in case.masks], case.heatmap, parameters).mask
        )

    def oracle(case: Case) -> NDArray[np.bool_]:
        found = [one.mask for one in case.masks] or [np.zeros_like(case.truth)]
        return max(found, key=lambda mask: iou(mask, case.truth))

    table: dict[str, Way] = {f"CAM {kind}": prompted(kind) for kind in ("box", "point")}
    table["CAM box + point"] = prompted("box-point")
    for rule in RANKING_RULES:
        for union in (1.0, 0.9):
            name = f"everything, {rule}" + ("" if union == 1 else f", union {union}")
            table[name] = ranked(RankingParameters(rule, union))
    return table | {"everything, oracle": oracle}


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


def main(arguments: list[str] | None = None) -> None:
    """Run the ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=15, help="of each kind")
    parser.add_argument("--first-seed", type=int, default=40_000)
    parser.add_argument("--sam", default="compact-sam")
    parser.add_argument("--points", type=int, default=12, help="along a side")
    parser.add_argument("--predicted-iou", type=float, default=0.5)
    parser.add_argument("--stability", type=float, default=0.5)
    parser.add_argument("--short", action="store_true", help="two images with few points")
    args = parser.parse_args(arguments)
    if args.short:
        args.images, args.points = 1, 4
    kinds = ("shapes", "ultrasound") if args.short else SAMPLES
    everything = AutomaticParameters(
        points_per_side=args.points, predicted_iou=args.predicted_iou, stability=args.stability
    )
    segmenter = load_segmenter(args.sam)
    cases = {
        kind: [
            make_case(kind, args.first_seed + i, segmenter, everything) for i in range(args.images)
        ]
        for kind in kinds
    }
    flat = [case for group in cases.values() for case in group]
    print(
        f"{args.images} of each kind from seed {args.first_seed}, {segmenter.name}, "
        f"{args.points} × {args.points} points; {np.mean([len(c.masks) for c in flat]):.0f} masks "
        f"a plane in {np.mean([c.seconds for c in flat]):.1f} s of CPU time, encoded already"
    )
    print(f"{'mean IoU':<28}" + "".join(f"{kind:>12}" for kind in kinds) + f"{'mean':>9}")
    table = {}
    for name, way in ways(segmenter).items():
        row = {
            kind: float(np.mean([iou(way(case), case.truth) for case in group]))
            for kind, group in cases.items()
        }
        table[name] = row
        shown = "".join(f"{value:12.3f}" for value in row.values())
        print(f"{name:<28}{shown}{np.mean(list(row.values())):9.3f}", flush=True)
    print(json.dumps(table))


if __name__ == "__main__":
    main()
