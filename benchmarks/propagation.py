"""Volume Dice of objects propagated from one box, against a ceiling and two floors.

    python benchmarks/propagation.py --brain ../shared/data/brain_mri

The box is the truth's on the middle of the planes that it has. Ceiling: a box from the truth on
every such plane. Floors: the first mask repeated over the planes that the truth has, which no
method can know, and over the planes that the propagation gave a mask. The CT-like phantoms are of
seeds that no training and no choice of settings saw. Last come prompts from heatmaps of the
shipped classifier instead of the truth, for the phantoms alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.prompts.strategies import prompts_from_heatmap
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.mask_choice import choose_mask
from napari_cam_sam.sam.segmenter import Embedding, Segmenter
from napari_cam_sam.sam.volume.consensus import find_consensus
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.sam.volume.propagation import propagate
from napari_cam_sam.sam.volume.seed_slices import trusted_planes
from napari_cam_sam.sam.volume.smoothing import smooth_along_axis

FIRST_SEED = 700_000
SEGMENTERS = ("compact-sam", "seeded")
# What boxes from the truth are wider on each side: the margin that suits each segmenter here.
MARGIN = 2.0

DEFAULT = PropagationParameters()
PLAIN = replace(DEFAULT, follow_brightness=False, min_contrast=None)
CASES: dict[str, PropagationParameters] = {
    "default": DEFAULT,
    "mask+box": replace(DEFAULT, rule="mask+box"),
    "points": replace(DEFAULT, rule="points"),
    "points, negatives": replace(DEFAULT, rule="points", negatives=True),
    "mask": replace(DEFAULT, rule="mask"),
    "box, no brightness": replace(PLAIN, margin=1.0),
    "box, contrast alone": replace(DEFAULT, follow_brightness=False, margin=1.0),
}
SMOOTHING = (0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Case:
    """A volume, its truth, and how to read its windowed planes."""

    image: Image
    truth: NDArray[np.bool_]
    read_plane: Callable[[int, int], NDArray[np.uint8]]


def make_case(image: Image, truth: NDArray[np.bool_], window: str) -> Case:
    """Put a volume with its axis of thick planes first and its window together."""
    chosen = resolve_window(image, parse_window(window))
    return Case(image, truth, lambda axis, index: apply_window(image.plane(axis, index), chosen))


def phantoms(first: int, count: int) -> Iterator[Case]:
    """Draw the CT-like phantoms."""
    for seed in range(first, first + count):
        sample = make_sample("ct", seed)
        yield make_case(sample.image, np.asarray(sample.truth.data) > 0, sample.window)


def brain(folder: Path) -> Case:
    """Read the MR volume with its tumour, thick planes first."""
    image = read_image(folder / "brain1_image.nii.gz")
    truth = read_labels(folder / "brain1_label.nii.gz")
    thick = int(np.argmax(image.geometry.spacing))
    order = [thick, *(axis for axis in range(3) if axis != thick)]
    turned = replace(
        image,
        data=np.transpose(np.asarray(image.data), order),
        geometry=replace(
            image.geometry, spacing=tuple(image.geometry.spacing[a] for a in order), affine=None
        ),
    )
    return make_case(turned, np.transpose(np.asarray(truth.data), order) > 0, "auto")


def truth_box(mask: NDArray[np.bool_]) -> Box:
    """Box of a mask with the margin."""
    found = np.argwhere(mask)
    (top, left), (bottom, right) = found.min(axis=0).tolist(), (found.max(axis=0) + 1).tolist()
    return Box(top - MARGIN, left - MARGIN, bottom + MARGIN, right + MARGIN, "truth")


def dice(labels: NDArray[np.generic], case: Case) -> float:
    """Dice of a whole volume."""
    return overlap(labels != 0, case.truth).dice


def propagated(
    case: Case,
    segmenter: Segmenter,
    parameters: PropagationParameters,
    encode: Callable[[NDArray[np.uint8]], Embedding],
    axis: int = 0,
) -> NDArray[np.uint8]:
    """Labels from one box of the truth on the middle plane that it has along an axis."""
    truth = np.moveaxis(case.truth, axis, 0)
    used = np.flatnonzero(truth.any(axis=(1, 2))).tolist()
    middle = used[len(used) // 2]
    prompts = [PlanePrompts(axis, middle, (ObjectPrompt(1, box=truth_box(truth[middle])),))]
    labels = np.zeros(truth.shape, np.uint8)
    read_plane = partial(case.read_plane, axis)
    for plane in propagate(case.image, segmenter, prompts, read_plane, parameters, encode=encode):
        labels[plane.index] = plane.labels
    return np.moveaxis(labels, 0, axis)


def score(case: Case, segmenter: Segmenter) -> dict[str, float]:
    """Dice of every row of the table on one volume."""
    encode = partial(EmbeddingCache().encode, segmenter)
    used = np.flatnonzero(case.truth.any(axis=(1, 2))).tolist()
    middle = used[len(used) // 2]

    def boxed(index: int) -> NDArray[np.bool_]:
        prompt = ObjectPrompt(1, box=truth_box(case.truth[index]))
        found = segmenter.decode(encode(case.read_plane(0, index)), [prompt])[0]
        return found.masks[choose_mask(found, "best")]

    rows = {}
    ceiling = np.zeros_like(case.truth)
    for index in used:
        ceiling[index] = boxed(index)
    rows["ceiling: box from truth on every plane"] = dice(ceiling, case)
    first = boxed(middle)
    floor = np.zeros_like(case.truth)
    floor[used] = first
    rows["floor: first mask, planes of the truth"] = dice(floor, case)
    for name, parameters in CASES.items():
        labels = propagated(case, segmenter, parameters, encode)
        rows[name] = dice(labels, case)
        if name == "default":
            given = labels.any(axis=(1, 2))
            floor[:] = given[:, None, None] & first
            rows["floor: first mask, planes propagated to"] = dice(floor, case)
            within = labels * case.truth.any(axis=(1, 2))[:, None, None]
            rows["default, cut to the planes of the truth"] = dice(within, case)
            spacing = case.image.geometry.spacing
            for planes in SMOOTHING:
                smooth = smooth_along_axis(labels, 0, planes * spacing[0], spacing)
                rows[f"default, smoothed by {planes:g} planes"] = dice(smooth, case)
            others = [propagated(case, segmenter, parameters, encode, axis) for axis in (1, 2)]
            for axis, along in enumerate(others, start=1):
                rows[f"default, along axis {axis}"] = dice(along, case)
            for rule in ("majority", "mean-distance"):
                both = find_consensus([labels, *others], rule, spacing)
                rows[f"default, consensus of three axes, {rule}"] = dice(both.labels, case)
    return rows


def score_heatmaps(case: Case, segmenter: Segmenter, classifier: Classifier) -> dict[str, float]:
    """Dice of volumes prompted by heatmaps of the class lesion on every plane."""
    encode = partial(EmbeddingCache().encode, segmenter)
    read_plane = partial(case.read_plane, 0)
    planes = (read_plane(index) for index in range(len(case.truth)))
    heatmaps = list(compute_heatmaps(classifier, planes, CamParameters(target="lesion")))
    prompts = [prompts_from_heatmap(h.values, index=i) for i, h in enumerate(heatmaps)]
    trust = {i: h.probability for i, h in enumerate(heatmaps)}
    likely = [p for p in prompts if trust[p.index] >= 0.5]
    alone = PropagationParameters(max_planes=0, fill_gaps=False)
    rows = {}
    for name, given, parameters in (
        ("heatmaps: every plane alone", prompts, alone),
        ("heatmaps: likely planes alone", likely, alone),
        ("heatmaps: likely planes, propagated", likely, DEFAULT),
        ("heatmaps: trusted planes, propagated", trusted_planes(prompts, trust), DEFAULT),
    ):
        labels = np.zeros(case.truth.shape, np.uint8)
        if any(plane.objects for plane in given):
            for plane in propagate(
                case.image, segmenter, given, read_plane, parameters, encode=encode
            ):
                labels[plane.index] = plane.labels
        rows[name] = dice(labels, case)
    return rows


def main() -> int:
    """Score the phantoms and the real volume, and print a table a segmenter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenters", nargs="+", default=SEGMENTERS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=20, help="how many phantoms")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--brain", type=Path, help="folder of brain1_image.nii.gz and its label")
    parser.add_argument("--short", action="store_true", help="one phantom, seeded alone")
    options = parser.parse_args()
    if options.short:
        options.seeds, options.segmenters = 1, ("seeded",)
    classifier = load_classifier("lesion")
    for name in options.segmenters:
        try:
            segmenter = load_segmenter(name)
            real = score(brain(options.brain), segmenter) if options.brain else None
        except CamSamError as error:
            print(error, file=sys.stderr)
            return 2
        start = time.process_time()
        found = [
            score(case, segmenter) | score_heatmaps(case, segmenter, classifier)
            for case in phantoms(options.first_seed, options.seeds)
        ]
        print(f"{name}: volume Dice, {options.seeds} phantoms from seed {options.first_seed}")
        print(f"{'':<48}{'mean':>8}{'least':>8}{'brain1' if real else '':>8}")
        for row in found[0]:
            values = [rows[row] for rows in found]
            print(
                f"{row:<48}{np.mean(values):>8.3f}{min(values):>8.3f}"
                + (f"{real[row]:>8.3f}" if real and row in real else "")
            )
        print(f"CPU time: {time.process_time() - start:.0f} s\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
