"""A segmenter of your own.

Whatever turns prompts into masks can take the place of Segment Anything: a class with four
attributes and two methods. This one takes what is darker than Otsu's threshold in the box.
"""

import numpy as np
from matplotlib.figure import Figure
from skimage.filters import threshold_otsu

import napari_cam_sam as ncs
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.pipeline.overview import draw_contours
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates


class DarkInBox:
    """Mark what is dark in the box of each object."""

    name, device, precision = "dark-in-box", "cpu", "float32"
    model_hash = "0" * 64  # of its weights, if it had any

    def encode(self, plane):
        """Return what is kept of a plane: here the plane itself."""
        return Embedding(plane, plane.shape[:2], self.model_hash)

    def decode(self, embedding, prompts, *, multimask=True, previous_logits=None):
        """Return the candidate masks of each object: here one, with a score of 1."""
        found = []
        for prompt in prompts:
            mask = np.zeros(embedding.plane_shape, bool)
            box = prompt.box
            top, left = max(0, round(box.row_min)), max(0, round(box.column_min))
            inside = np.s_[top : round(box.row_max), left : round(box.column_max)]
            crop = embedding.features[inside]
            mask[inside] = crop < threshold_otsu(crop)
            score, logits = np.ones(1, np.float32), np.where(mask, 8, -8)[None]
            found.append(
                MaskCandidates(prompt.object_id, mask[None], score, logits.astype(np.float32))
            )
        return found


sample = make_sample("ultrasound")
figure = Figure(figsize=(7, 3.6), layout="constrained")
ways = (DarkInBox(), ncs.load_segmenter("compact-sam"))
for axes, segmenter in zip(figure.subplots(1, 2), ways, strict=True):
    result = ncs.run_image(
        sample.image,
        segmenter,
        parameters=ncs.RunParameters(strategy="truth-box"),
        truth=sample.truth,
    )
    dice = result.summary["dice"].mean
    print(f"{segmenter.name}: Dice {dice:.3f}")
    axes.imshow(sample.image.plane(), cmap="gray")
    draw_contours(axes, result.labels > 0, sample.truth.plane() > 0)
    axes.set_title(f"{segmenter.name}: Dice {dice:.2f}")
    axes.axis("off")
figure.savefig("your_own_segmenter.png")
