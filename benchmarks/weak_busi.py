"""From labels of whole images to masks of lesions: the weakly supervised chain on BUSI.

    python benchmarks/weak_busi.py --models FOLDER

Nothing is downloaded, and no mask is trained on. Three classifiers are trained from scratch on
the images of ``busi_classification`` that are not near one of the 81 reported ones. Their averaged
heatmaps, of the log odds of a lesion, seed random walks, which give a mask for each training
image; a small U-Net is trained on these. What was trained is kept in the folder and taken from
there the next time.

The images of ``busi_classification`` were stretched to 256 × 256; the reported ones are, too, for
classifiers and networks, and their maps are brought back. Segmenters see them as they are.

The 51 lesions with masks are the only ones with a truth, so settings are chosen by repeated
two-fold cross-fitting: on one half of the lesions the best of each row's settings is taken, the
other half is reported, and the other way round; the mean over 50 stratified splits is printed,
with the settings that were taken most often. Near-copies among the lesions stay in one half. The
rows themselves, and what is trained, are fixed.
"""

from __future__ import annotations

import argparse
import csv
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from napari_cam_sam.cam.averaging import average_heatmaps
from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.predictions import predict_planes
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier, load_classifier
from napari_cam_sam.models.segment.mask_training import save_network, train_on_masks
from napari_cam_sam.models.segmentation import SegmentationNetwork, load_network
from napari_cam_sam.models.training.copies import Fingerprints, find_copies, fingerprint
from napari_cam_sam.models.training.parameters import AugmentationParameters, TrainingParameters
from napari_cam_sam.models.training.run import leave_out_near, train
from napari_cam_sam.models.training.samples import Sample, SampleSet, samples_from_folder
from napari_cam_sam.pipeline.pseudo_masks import pseudo_masks
from napari_cam_sam.prompts.strategies import prompts_from_heatmap, strategy_parameters
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.mask_choice import choose_mask
from napari_cam_sam.sam.seeded.segmenter import SeededParameters, SeededSegmenter
from napari_cam_sam.sam.voting import vote_masks

DATA = Path(__file__).resolve().parents[2] / "shared/data"
Plane = NDArray[np.uint8]
Map = NDArray[np.float32]
Masks = list[NDArray[np.bool_]]
Options = dict[str, Masks]
# From which lesions may choose (a mask of bool) to the name of the best settings and their Dice.
Fit = Callable[[NDArray[np.bool_]], tuple[str, NDArray[np.float64]]]

_BASE = TrainingParameters(
    start="scratch", channels=1, fine_grid=False, learning_rate=2e-3, validation_part=0.0,
    test_part=0.0, classes=("benign", "malignant", "normal"),
)  # fmt: skip
CLASSIFIERS: dict[str, tuple[TrainingParameters, tuple[str, ...]]] = {
    "small-cnn": (
        replace(_BASE, architecture="small-cnn"),
        ("stage3", "stage4"),
    ),
    "narrow-1": (
        replace(
            _BASE, architecture="resnet18-narrow", seed=1, epochs=45,
            augmentation=AugmentationParameters(erase=0.2),
        ),
        ("layer2", "layer3"),
    ),
    "narrow-2": (
        replace(_BASE, architecture="resnet18-narrow", seed=2, epochs=45),
        ("layer2", "layer3"),
    ),
}  # fmt: skip
"""Classifiers by name: how each is trained, and the layers that are looked into."""

# What seeds the walk from a network's prediction, which is near 0 or 1 almost everywhere.
_FROM_NETWORK = SeededParameters(heatmap_high=(0.9, 0.8, 0.7), heatmap_low=(0.1, 0.15, 0.1))
_QUICK = 64
# Side of the images of busi_classification, which were stretched to it.
_SQUARE = 256
_CUTS = (0.3, 0.4, 0.5, 0.6)
_OURS = strategy_parameters("ours")
_STRATEGIES = {
    **{name: strategy_parameters(name) for name in ("ours", "s1", "s4-mode1", "s4-mode3")},
    "ours at .4": replace(_OURS, threshold=0.4),
    "ours at .5": replace(_OURS, threshold=0.5),
}
"""What prompts are taken from a map; ``ours`` cuts it at .3 of its maximum."""


@dataclass(frozen=True)
class Lesion:
    """One reported image with its truth."""

    name: str
    malignant: bool
    plane: Plane
    truth: NDArray[np.bool_]


def read_lesions(data: Path) -> list[Lesion]:
    """Read every image that has a mask; several masks are united."""
    lesions = []
    for kind in ("benign", "malignant"):
        for path in sorted((data / "busi/images" / kind).glob("*.png")):
            if "_mask" in path.stem:
                continue
            masks = sorted(path.parent.glob(f"{path.stem}_mask*.png"))
            truth = np.any([_gray(mask) > 0 for mask in masks], axis=0)
            lesions.append(Lesion(path.stem, kind == "malignant", _gray(path), truth))
    return lesions


def _gray(path: Path) -> Plane:
    return np.asarray(Image.open(path).convert("L"))


def training_samples(data: Path) -> SampleSet:
    """Take the images that are not near a reported one, lesion or normal."""
    held_out = samples_from_folder(data / "busi/images")
    images = tuple(s for s in held_out.samples if "_mask" not in Path(s.name).stem)
    everything = samples_from_folder(data / "busi_classification")
    return leave_out_near(everything, SampleSet(images), _BASE)


def trained_classifiers(samples: SampleSet, folder: Path) -> list[tuple[Classifier, CamParameters]]:
    """Train each classifier, or take it from the folder, with what its heatmaps explain."""
    found = []
    for name, (parameters, layers) in CLASSIFIERS.items():
        path = folder / name / "model.safetensors"
        if not path.exists():
            begin = time.monotonic()
            train(samples, parameters, folder / name, resume=True)
            print(f"{name}: trained in {time.monotonic() - begin:.0f} s", flush=True)
        cam = CamParameters(
            "layer-cam", "benign+malignant", layers, batch_size=8, odds=True, mirrored=True
        )
        found.append((load_classifier(path), cam))
    return found


def averaged(
    models: list[tuple[Classifier, CamParameters]], planes: list[Plane]
) -> tuple[list[Map], list[list[Heatmap]]]:
    """Give the averaged heatmap of each plane, and each model's own."""
    each = [list(compute_heatmaps(model, planes, cam)) for model, cam in models]
    return [average_heatmaps(maps) for maps in zip(*each, strict=True)], each


def trained_network(
    samples: tuple[Sample, ...],
    models: list[tuple[Classifier, CamParameters]],
    folder: Path,
) -> SegmentationNetwork:
    """Train the second stage, or take it from the folder."""
    path = folder / "network.safetensors"
    if not path.exists():
        begin = time.monotonic()
        planes = [_gray(Path(sample.name)) for sample in samples]
        lesion = [sample.label != "normal" for sample in samples]
        inside = [plane for plane, has in zip(planes, lesion, strict=True) if has]
        pairs = [(p, np.zeros(p.shape, np.float32)) for p in planes]
        pairs = [pair for pair, has in zip(pairs, lesion, strict=True) if not has]
        maps, _ = averaged(models, inside)
        walker = SeededSegmenter(SeededParameters(heatmap_side=_QUICK))
        for plane, mask in zip(inside, pseudo_masks(inside, maps, walker), strict=True):
            if mask is not None:
                pairs.append((plane, mask))
        network = train_on_masks([plane for plane, _ in pairs], [mask for _, mask in pairs])
        save_network(network, path)
        seconds = time.monotonic() - begin
        print(f"network: trained on {len(pairs)} planes in {seconds:.0f} s", flush=True)
    return load_network(path)


def squared(plane: Plane) -> Plane:
    """Stretch a plane to a square, as the images that were trained on have been."""
    return np.asarray(Image.fromarray(plane).resize((_SQUARE, _SQUARE), Image.Resampling.BILINEAR))


def stretched_back(values: Map, plane: Plane) -> Map:
    """Bring a map of the square back to the plane's own pixels."""
    rows, columns = plane.shape
    back = Image.fromarray(values).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(back), 0, 1)


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks of which one is not empty."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def scores_of(masks: Masks, lesions: list[Lesion]) -> NDArray[np.float64]:
    """Give the Dice of a mask a lesion."""
    return np.array([dice(m, lesion.truth) for m, lesion in zip(masks, lesions, strict=True)])


def cuts(maps: list[Map]) -> Options:
    """Cut maps at each of some values."""
    return {f"> {cut}": [m > cut for m in maps] for cut in _CUTS}


def scaled(maps: list[Map]) -> list[Map]:
    """Divide each map by its maximum."""
    return [m / max(float(m.max()), 1e-6) for m in maps]


def walked(maps: list[Map], lesions: list[Lesion], settings: SeededParameters) -> list[Map]:
    """Walk from each map, divided by its maximum."""
    walker = SeededSegmenter(replace(settings, heatmap_side=_QUICK))
    return [
        walker.heatmap_probability(walker.encode(le.plane), m)
        for m, le in zip(scaled(maps), lesions, strict=True)
    ]


def prompted(name: str, maps: list[Map], lesions: list[Lesion]) -> Options:
    """Give a segmenter points and boxes from the maps, by each strategy."""
    segmenter = load_segmenter(name)
    embeddings = [segmenter.encode(lesion.plane) for lesion in lesions]
    found: Options = {}
    for strategy, parameters in _STRATEGIES.items():
        masks = []
        for values, lesion, embedding in zip(maps, lesions, embeddings, strict=True):
            objects = prompts_from_heatmap(values, parameters).objects
            if not objects:
                masks.append(np.zeros(lesion.truth.shape, bool))
                continue
            candidates = segmenter.decode(embedding, objects[:1])[0]
            masks.append(candidates.masks[choose_mask(candidates, "best")])
        found[strategy] = masks
    return found


def best_settings(options: Options, lesions: list[Lesion]) -> Fit:
    """Choose the settings with the highest mean Dice."""
    scores = {name: scores_of(masks, lesions) for name, masks in options.items()}

    def fit(half: NDArray[np.bool_]) -> tuple[str, NDArray[np.float64]]:
        best = max(scores, key=lambda name: float(scores[name][half].mean()))
        return best, scores[best]

    return fit


def best_vote(rows: dict[str, Options], fits: dict[str, Fit], lesions: list[Lesion]) -> Fit:
    """Choose the settings of each row, then how many of the rows must agree."""
    known: dict[tuple[str, ...], list[NDArray[np.float64]]] = {}

    def fit(half: NDArray[np.bool_]) -> tuple[str, NDArray[np.float64]]:
        taken = tuple(fits[row](half)[0] for row in rows)
        if taken not in known:
            each = [rows[row][setting] for row, setting in zip(rows, taken, strict=True)]
            known[taken] = [
                scores_of([vote_masks(m, least) for m in zip(*each, strict=True)], lesions)
                for least in range(1, len(rows) + 1)
            ]
        least = int(np.argmax([scores[half].mean() for scores in known[taken]]))
        return f"{least + 1} of {len(rows)}", known[taken][least]

    return fit


def best_row(fits: dict[str, Fit]) -> Fit:
    """Choose the row, too."""

    def fit(half: NDArray[np.bool_]) -> tuple[str, NDArray[np.float64]]:
        found = {row: one(half)[1] for row, one in fits.items()}
        best = max(found, key=lambda row: float(found[row][half].mean()))
        return best, found[best]

    return fit


def pictures_of(lesions: list[Lesion]) -> NDArray[np.intp]:
    """Give lesions numbers so that near-copies, which are of one picture, share a number."""
    return find_copies(Fingerprints.joined([fingerprint(lesion.plane) for lesion in lesions]))


def cross_fitted(
    fit: Fit, malignant: NDArray[np.bool_], pictures: NDArray[np.intp], splits: int = 50
) -> tuple[NDArray[np.float64], Counter[str]]:
    """Report each lesion by settings that were chosen without it and its near-copies.

    Parameters
    ----------
    fit : callable
    malignant : ndarray of bool, shape (lesions,)
    pictures : ndarray of int, shape (lesions,)
        From `pictures_of`.
    splits : int

    Returns
    -------
    scores : ndarray of float64, shape (splits, lesions)
    taken : Counter
        How often each settings were the best of a half.
    """
    rng = np.random.default_rng(0)
    out, taken = np.zeros((splits, len(malignant))), Counter[str]()
    for split in range(splits):
        half = np.zeros(len(malignant), bool)
        for kind in (True, False):
            own = rng.permutation(np.unique(pictures[malignant == kind]))
            half |= np.isin(pictures, own[: (len(own) + split % 2) // 2])
        for chosen in (half, ~half):
            name, scores = fit(chosen)
            out[split, ~chosen] = scores[~chosen]
            taken[name] += 1
    return out, taken


def published(data: Path, lesions: list[Lesion]) -> dict[str, NDArray[np.float64]]:
    """Read the published Dice of S1's CAM prompts (ImageNet start, SAM ViT-L) on these images."""
    with (data / "busi/published_cam_prompts/metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = {}
    for prompt in ("box", "box_point", "point"):
        by_name = {r["image"]: float(r["dice"]) for r in rows if r["prompt"] == prompt}
        found[prompt] = np.array([by_name[lesion.name] for lesion in lesions])
    return found


def print_row(name: str, scores: NDArray[np.float64], malignant: NDArray[np.bool_]) -> None:
    """Print the mean Dice of all, benign and malignant lesions."""
    kinds = (np.ones_like(malignant), ~malignant, malignant)
    cells = "".join(f"{scores[..., kind].mean():>10.3f}" for kind in kinds)
    print(f"{name:<50}{cells}", flush=True)


def print_accuracy(models: list[tuple[Classifier, CamParameters]], lesions: list[Lesion]) -> None:
    """Print how often benign and malignant are told apart, by each classifier and by all."""
    malignant = np.array([lesion.malignant for lesion in lesions])
    chances = [model.probabilities([squared(le.plane) for le in lesions]) for model, _ in models]
    right = [(c.argmax(axis=1) == malignant).mean() for c in [*chances, np.mean(chances, axis=0)]]
    print("accuracy on the lesions, each and all: " + ", ".join(f"{r:.3f}" for r in right))


def main() -> int:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of what is trained")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"There is no data at {options.data}: give --data.", file=sys.stderr)
        return 2
    options.models.mkdir(parents=True, exist_ok=True)
    try:
        report(options.data, options.models)
    except CamSamError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def report(data: Path, folder: Path) -> None:
    """Run the chain and print how each way does on the lesions."""
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}")
    samples = training_samples(data)
    labels = Counter(sample.label for sample in samples.samples)
    near = sum("near" in left.reason for left in samples.left_out)
    print(f"training images: {dict(labels)}; {near} near a reported one left out", flush=True)
    models = trained_classifiers(samples, folder)
    network = trained_network(samples.samples, models, folder)
    lesions = read_lesions(data)
    malignant = np.array([lesion.malignant for lesion in lesions])
    pictures = pictures_of(lesions)
    print(f"{len(lesions)} lesions, {len(np.unique(pictures))} pictures")
    planes = [squared(lesion.plane) for lesion in lesions]
    print_accuracy(models, lesions)

    def back(values: list[Map]) -> list[Map]:
        return [stretched_back(v, le.plane) for v, le in zip(values, lesions, strict=True)]

    maps, each = averaged(models, planes)
    maps = back(maps)
    predicted = back(list(predict_planes(network, planes, 0, mirrored=True)))
    for name, found in [
        *zip(CLASSIFIERS, [back([h.values for h in one]) for one in each], strict=True),
        ("averaged", maps),
        ("network", predicted),
    ]:
        hits = [le.truth.flat[m.argmax()] for m, le in zip(found, lesions, strict=True)]
        print(f"peak in the lesion, {name}: {np.mean(hits):.3f}")
    heated = walked(maps, lesions, SeededParameters())
    walked_on = walked(predicted, lesions, _FROM_NETWORK)
    joined = [(a + b) / 2 for a, b in zip(scaled(maps), scaled(predicted), strict=True)]
    rows: dict[str, Options] = {
        "heatmap": cuts(maps),
        "heatmap: walk": cuts(heated),
        "heatmap: prompts to compact-sam": prompted("compact-sam", maps, lesions),
        "heatmap: prompts to seeded": prompted("seeded", maps, lesions),
        "network": cuts(predicted),
        "network: walk": cuts(walked_on),
        "network: prompts to compact-sam": prompted("compact-sam", predicted, lesions),
        "network: prompts to seeded": prompted("seeded", predicted, lesions),
        "both: prompts to compact-sam": prompted("compact-sam", joined, lesions),
        "both: prompts to seeded": prompted("seeded", joined, lesions),
    }
    fits = {name: best_settings(options, lesions) for name, options in rows.items()}
    single = [name for name in rows if ":" in name and "both" not in name]
    for what, members in (
        ("vote of heatmap's and network's prompts", [n for n in single if "prompts" in n]),
        ("vote of these and the walks", single),
    ):
        fits[what] = best_vote({name: rows[name] for name in members}, fits, lesions)
    print(f"{'mean Dice, settings cross-fitted':<50}{'all':>10}{'benign':>10}{'malignant':>10}")
    for name, fit in list(fits.items()):
        scores, taken = cross_fitted(fit, malignant, pictures)
        print_row(f"{name} ({taken.most_common(1)[0][0]})", scores, malignant)
    scores, taken = cross_fitted(best_row(fits), malignant, pictures)
    print_row("the best of all rows, chosen likewise", scores, malignant)
    # The settings of seeded were chosen with the masks of the even-numbered images.
    odd = np.array([int(le.name.split("(")[1].rstrip(")")) % 2 == 1 for le in lesions])
    print_row(f"  of these, the {odd.sum()} with odd numbers", scores[:, odd], malignant[odd])
    print("  taken: " + ", ".join(f"{name} ×{n}" for name, n in taken.most_common(4)))
    print(f"  standard deviation over splits: {scores.mean(axis=1).std():.3f}")
    for prompt, values in published(data, lesions).items():
        print_row(f"published, CAM prompts of S1, {prompt}", values, malignant)


if __name__ == "__main__":
    sys.exit(main())
