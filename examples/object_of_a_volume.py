"""An object of a volume, from the slices that can be trusted.

Heatmaps are computed for every slice. The slice on which the classifier is surest gives the
prompts; its mask prompts the neighbours, both ways, until the object ends.
"""

import numpy as np
from matplotlib.figure import Figure

import napari_cam_sam as ncs
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.pipeline.overview import draw_contours, draw_heatmap

sample = make_sample("ct")
result = ncs.run_image(
    sample.image,
    ncs.load_segmenter("compact-sam"),
    ncs.load_classifier(sample.classifier),
    ncs.RunParameters(
        window=ncs.WindowParameters("ct-abdomen"),
        cam=ncs.CamParameters(target=sample.target),
        volume=ncs.VolumeParameters(),
    ),
    truth=sample.truth,
)

print(f"Dice of the volume: {result.volume.values['dice']:.3f}")
for index, objects in sorted(result.sources.items()):
    for one in objects:
        why = f", {one.stopped}" if one.stopped else ""
        print(f"slice {index}: {one.source} from slice {one.from_plane}{why}")

masked = np.flatnonzero(result.labels.any((1, 2)))
shown = masked[np.linspace(0, len(masked) - 1, 4).astype(int)]
figure = Figure(figsize=(10, 2.8), layout="constrained")
for axes, index in zip(figure.subplots(1, 4), shown, strict=True):
    axes.imshow(sample.image.plane(0, index), cmap="gray", vmin=-160, vmax=240)
    draw_heatmap(axes, result.heatmap[index])
    draw_contours(axes, result.labels[index] > 0, sample.truth.plane(0, index) > 0)
    axes.set_title(f"slice {index}")
    axes.axis("off")
figure.savefig("object_of_a_volume.png")
