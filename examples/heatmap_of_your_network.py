"""Heatmap of your own network.

A network of your own comes from a *factory*: a function that builds it and puts a card beside it,
which says what the network sees and which layer to look at. The one here learns within seconds to
tell noise with a bright spot from noise without; yours would load its weights.
"""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

import napari_cam_sam as ncs
from napari_cam_sam.pipeline.overview import draw_heatmap


def draw(rng, spot):
    """Return noise of 64 × 64 pixels, with or without a bright spot."""
    pixels = rng.normal(90, 25, (64, 64))
    if spot:
        rows, columns = np.indices(pixels.shape)
        row, column = rng.uniform(14, 50, 2)
        pixels += 70 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 60)
    return pixels.clip(0, 255).astype(np.uint8)


def make_network():
    """Return a network with its card; napari-cam-sam calls this."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU()),
        *(nn.Conv2d(16, 16, 5, 1, 2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
    )
    rng = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(60):
        classes = torch.arange(32) % 2
        planes = np.stack([draw(rng, spot) for spot in classes.bool()])
        inputs = (torch.from_numpy(planes)[:, None] / 255 - 0.5) / 0.5
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs), classes).backward()
        optimiser.step()
    network.card = {
        "class_names": ["noise", "spot"],
        "input_size": [64, 64],
        "channels": 1,
        "mean": [0.5],
        "std": [0.5],
        "layers": ["2"],
        "output": "logits",
    }
    return network


if __name__ == "__main__":
    # As `--classifier heatmap_of_your_network:make_network` on the command line.
    classifier = ncs.load_classifier("heatmap_of_your_network:make_network")
    rng = np.random.default_rng(7)
    planes = [draw(rng, spot=True) for _ in range(3)]
    parameters = ncs.CamParameters("layer-cam", target="spot")
    heatmaps = list(ncs.compute_heatmaps(classifier, planes, parameters))

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, plane, heatmap in zip(figure.subplots(1, 3), planes, heatmaps, strict=True):
        row, column = np.unravel_index(heatmap.values.argmax(), heatmap.values.shape)
        print(f"spot: probability {heatmap.probability:.2f}, peak at row {row}, column {column}")
        axes.imshow(plane, cmap="gray")
        draw_heatmap(axes, heatmap.values)
        axes.axis("off")
    figure.savefig("heatmap_of_your_network.png")
