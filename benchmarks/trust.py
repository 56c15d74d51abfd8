"""How far the heatmaps of the shipped classifiers can be trusted, method by method, on phantoms.

    python benchmarks/trust.py

All seeds are below one million; training draws from one million up. Beside the tests stands what
they cannot tell, whether the map's maximum lies in the truth.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.parameters import TrustParameters
from napari_cam_sam.cam.trust import assess_trust
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.metrics.scoring import score_heatmap
from napari_cam_sam.models.classifiers import load_classifier

METHODS = (
    "grad-cam", "grad-cam++", "hires-cam", "layer-cam", "eigen-cam", "full-grad",
    "guided-grad-cam", "lrp",
)  # fmt: skip
SHOWN = (
    "trust_head_ssim", "trust_head_top_iou", "trust_randomisation_ssim",
    "trust_randomisation_top_iou", "trust_agreement_top_iou", "trust_road",
    "trust_shift_top_iou", "trust_noise_top_iou",
)  # fmt: skip


def main() -> None:
    """Print a table for each kind of phantom: means over the phantoms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantoms", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", default=["ct", "ultrasound", "shapes"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    arguments = parser.parse_args()
    parameters = TrustParameters(methods=("occlusion",))
    for kind in arguments.kinds:
        cases = []
        for seed in range(70_000, 70_000 + arguments.phantoms):
            sample = make_sample(kind, seed)
            truths = [np.asarray(plane) > 0 for plane in sample.truth.planes(0)]
            index = int(np.argmax([truth.sum() for truth in truths]))
            window = resolve_window(sample.image, parse_window(sample.window))
            plane = apply_window(sample.image.plane(0, index), window)
            cases.append((plane, truths[index], sample))
        classifier = load_classifier(cases[0][2].classifier, device="cpu")
        print(f"\n{kind}, {len(cases)} phantoms, {classifier.name}; means")
        print(
            "method",
            *(name.removeprefix("trust_") for name in SHOWN),
            "pointing_hit",
            "s",
            sep="\t",
        )
        for method in arguments.methods:
            rows, begin = [], time.process_time()
            for plane, truth, sample in cases:
                cam = CamParameters(method, target=sample.target)
                scores = assess_trust(classifier, plane, cam, parameters).scores()
                (heatmap,) = compute_heatmaps(classifier, [plane], cam)
                hit = score_heatmap(heatmap.values, truth).values["pointing_hit"]
                rows.append([*(scores[name] for name in SHOWN), hit])
            spent = (time.process_time() - begin) / len(cases)
            means = np.nanmean(np.array(rows, dtype=float), axis=0)
            print(method, *(f"{mean:.2f}" for mean in means), f"{spent:.1f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
