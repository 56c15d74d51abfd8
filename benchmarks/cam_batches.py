"""Heatmaps of many planes in batches, against pytorch-grad-cam called a plane at a time.

Both compute Grad-CAM of the predicted class at ``layer4`` of the same ResNet-18 (random
weights, 224×224) for the same planes, in the same process, taking turns; the fastest of the
repeats counts. Run it from the root of the repository:

    python benchmarks/cam_batches.py --planes 64
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.models.cards import merge_cards
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.classify.architectures import build
from napari_cam_sam.models.devices import choose_device


def main() -> None:
    """Time both, check that they agree, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planes", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    device = choose_device(arguments.device)
    card = merge_cards(
        [("the benchmark", {"architecture": "resnet18", "num_classes": 1000})], "it", (224, 224)
    )
    module = build("resnet18", num_classes=1000).to(device)
    classifier = Classifier(module, card, "resnet18", "", ("layer4.1",), device)
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, (224, 224), dtype=np.uint8) for _ in range(arguments.planes)]

    def ours() -> list[NDArray[np.float32]]:
        parameters = CamParameters(method="grad-cam", batch_size=arguments.batch_size)
        return [heatmap.values for heatmap in compute_heatmaps(classifier, planes, parameters)]

    def theirs() -> list[NDArray[np.float32]]:
        with GradCAM(model=module, target_layers=[module.layer4[-1]]) as cam:
            return [cam(classifier.prepare([plane])[0], targets=None)[0] for plane in planes]

    seconds, maps = time_in_turn({"ours": ours, "theirs": theirs}, arguments.repeats)
    alike = [
        float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
        for a, b in zip(maps["ours"], maps["theirs"], strict=True)
    ]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    print(f"machine            {name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(f"torch              {torch.__version__}, Python {platform.python_version()}")
    print(f"planes             {arguments.planes}, in batches of {arguments.batch_size}")
    print(f"napari-cam-sam     {seconds['ours']:.2f} s")
    print(f"pytorch-grad-cam   {seconds['theirs']:.2f} s, a plane at a time")
    print(f"ratio              {seconds['theirs'] / seconds['ours']:.2f}")
    print(f"correlation        {np.median(alike):.4f} (median over planes)")


def time_in_turn(
    tasks: dict[str, Callable[[], list[NDArray[np.float32]]]], repeats: int
) -> tuple[dict[str, float], dict[str, list[NDArray[np.float32]]]]:
    """Run each task once to warm up, then all of them in turn; give the fastest of each."""
    results = {name: task() for name, task in tasks.items()}
    seconds = dict.fromkeys(tasks, float("inf"))
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, results


def processor() -> str:
    """Name the processor, where the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
