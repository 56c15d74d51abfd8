"""Point strategies on held-out shapes phantoms: hit rate, distance to the centre, mIoU.

    python benchmarks/shapes.py --images 500

The figures of Paradowski's study (his own five-shape data, Segment Anything) stand beside. The
seeds are below one million; training draws from one million up.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.demo.phantoms import SHAPE_CLASSES, shapes
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.metrics.prompt_quality import score_prompts
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.pipeline import RunParameters, run_image
from napari_cam_sam.sam.loading import load_segmenter

PUBLISHED = {"s2-fg": (0.815, None, 3.848, 0.860), "s2-fg-bg": (0.815, 1.0, 3.848, 0.831)}


def main() -> None:
    """Run the strategies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=10_000)
    parser.add_argument("--sam", default="compact-sam")
    parser.add_argument("--method", default="layer-cam")
    parser.add_argument("--layer", action="append")
    parser.add_argument("--mask-choice", default="best")
    parser.add_argument("--strategies", default="s2-fg,s2-fg-bg,s2-adaptive,ours")
    args = parser.parse_args()
    classifier, segmenter = load_classifier("shapes"), load_segmenter(args.sam)
    phantoms = [shapes(args.first_seed + i) for i in range(args.images)]
    cam = CamParameters(method=args.method, layers=tuple(args.layer or ()))
    predicted = [
        h.target_index for h in compute_heatmaps(classifier, (p.image for p in phantoms), cam)
    ]
    right = np.mean([i == p.class_index for i, p in zip(predicted, phantoms, strict=True)])
    print(f"{args.images} phantoms, {segmenter.name}; classifier right on {right:.3f}")
    print(
        f"{'strategy':<12} {'fg hit':>7} {'bg hit':>7} {'distance px':>12} {'mIoU':>7} {'ms':>6}"
        "   published"
    )
    table = {}
    for strategy in args.strategies.split(","):
        found: dict[str, list[float]] = {"hit": [], "bg": [], "distance": [], "iou": []}
        begin = time.perf_counter()
        for phantom in phantoms:
            parameters = RunParameters(
                cam=CamParameters(
                    method=args.method,
                    layers=tuple(args.layer or ()),
                    target=SHAPE_CLASSES[phantom.class_index],
                ),
                strategy=strategy,
                mask_choice=args.mask_choice,
            )
            image = image_from_array(phantom.image, rgb=True)
            truth = image_from_array(phantom.labels)
            result = run_image(image, segmenter, classifier, parameters, truth)
            prompts = result.prompts[0]
            quality = score_prompts(prompts, phantom.labels) if prompts.objects else {}
            # An image without prompts counts as missed, not as absent.
            found["hit"].append(quality.get("fg_hit_rate", 0.0))
            found["bg"].append(quality.get("bg_hit_rate", np.nan))
            found["distance"].append(quality.get("distance_px", np.nan))
            found["iou"].append(next(iter(result.scores.values())).values["iou"])
        spent = (time.perf_counter() - begin) / args.images * 1000
        row = {
            "hit": float(np.mean(found["hit"])),
            "bg": float(np.nanmean(found["bg"])) if np.isfinite(found["bg"]).any() else None,
            "distance": float(np.nanmean(found["distance"])),
            "miou": float(np.mean(found["iou"])),
        }
        table[strategy] = row
        published = PUBLISHED.get(strategy, "")
        bg = "–" if row["bg"] is None else f"{row['bg']:.3f}"
        print(
            f"{strategy:<12} {row['hit']:7.3f} {bg:>7} {row['distance']:12.3f} {row['miou']:7.3f} "
            f"{spent:6.0f}   {published}",
            flush=True,
        )
    print(json.dumps(table))


if __name__ == "__main__":
    main()
