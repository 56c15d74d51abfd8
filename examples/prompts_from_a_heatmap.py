"""Prompts from a heatmap, and a mask from the prompts.

The four steps one by one, on an ultrasound-like phantom: a window, a heatmap, prompts by several
strategies, and the mask that a small SAM makes of them, scored against the truth.
"""

from matplotlib.figure import Figure

import napari_cam_sam as ncs
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.windows import apply_window, resolve_window
from napari_cam_sam.pipeline.overview import draw_contours, draw_heatmap, draw_prompts

sample = make_sample("ultrasound")
plane = apply_window(sample.image.plane(), resolve_window(sample.image))
truth = sample.truth.plane() > 0

classifier = ncs.load_classifier(sample.classifier)
heatmap = next(ncs.compute_heatmaps(classifier, [plane], ncs.CamParameters(target="lesion")))
print(f"lesion: probability {heatmap.probability:.2f}")

segmenter = ncs.load_segmenter("compact-sam")
embedding = segmenter.encode(plane)  # once a plane, however many prompts follow

strategies = ("ours", "s1", "s2-fg-bg")
figure = Figure(figsize=(9, 3.3), layout="constrained")
for axes, strategy in zip(figure.subplots(1, 3), strategies, strict=True):
    prompts = ncs.prompts_from_heatmap(heatmap.values, strategy)
    candidates = segmenter.decode(embedding, prompts.objects)[0]
    mask = candidates.masks[candidates.scores.argmax()]
    dice = ncs.score_masks(mask, truth, spacing=(1, 1)).values["dice"]
    print(f"{strategy}: Dice {dice:.3f}")

    axes.imshow(plane, cmap="gray")
    draw_heatmap(axes, heatmap.values)
    draw_contours(axes, mask, truth)
    draw_prompts(axes, prompts)
    axes.set_title(f"{strategy}: Dice {dice:.2f}")
    axes.axis("off")
figure.savefig("prompts_from_a_heatmap.png")
