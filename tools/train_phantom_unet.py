"""Train the phantom U-Net: where in a generated phantom is a lesion, or one of five shapes.

    python tools/train_phantom_unet.py --output weights-in-training

One gray network for all phantoms: class 0 is the background, 1 a lesion in an ultrasound-like
image or a plane of a CT-like volume, 2 to 6 are the shapes. Held-out figures come from seeds
below one million, which no training draws.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_cam_sam.demo.phantoms import SHAPE_CLASSES
from napari_cam_sam.models.segment.small_unet import SmallUNet
from train_demo_classifiers import BFLOAT16, FIRST_TRAINING_SEED, augment, lesion_data, shapes_data

CLASSES = ("background", "lesion", *SHAPE_CLASSES)
# ITU-R BT.601, as the plugin makes gray of colour.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)[:, None, None]
KINDS = ("ultrasound-like", "CT-like", "shapes")

Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def phantom_data(first: int, count: int) -> Data:
    """Draw images (N, 1, 128, 128), masks (N, 1, 128, 128), the class of each mask (N,).

    A quarter each are ultrasound-like and CT-like (in this order), the other half are shapes.
    """
    scans, where, lesions = lesion_data(first, count // 2)
    colour, objects, kinds = shapes_data(first, count - count // 2)
    gray = np.rint((colour * LUMA).sum(1, keepdims=True)).astype(np.uint8)
    return (
        np.concatenate([scans, gray]),
        np.concatenate([where, objects]).astype(np.uint8),
        np.concatenate([lesions, kinds + 2]),
    )


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, the background's less, and one minus the soft Dice of all that is not it.

    The Dice is of any class against none, so that finding an object need not wait for telling
    what it is; without either, the rare objects are given up for the background.
    """
    weights = torch.ones(logits.shape[1])
    weights[0] = 0.15
    entropy = F.cross_entropy(logits, labels, weights)
    found, truth = 1 - logits.softmax(1)[:, 0], (labels > 0).float()
    common, both = (found * truth).sum((1, 2)), found.sum((1, 2)) + truth.sum((1, 2))
    return entropy + (1 - (2 * common + 5) / (both + 5)).mean()


def held_out_figures(model: SmallUNet, count: int) -> dict[str, float]:
    """Mean Dice of the phantoms that show an object, and false alarms on those without."""
    images, masks, classes = phantom_data(0, count)
    with torch.inference_mode():
        pixels = torch.from_numpy(images).float() / 255 * 2 - 1
        guess = torch.cat([model(part).argmax(1) for part in pixels.split(50)]).numpy()
    group = np.repeat(KINDS, [count // 4, count // 2 - count // 4, count - count // 2])
    dice = np.full(count, np.nan)
    for i, (found, mask, value) in enumerate(zip(guess, masks[:, 0] > 0, classes, strict=True)):
        if mask.any():
            own = found == value
            dice[i] = 2 * (own & mask).sum() / (own.sum() + mask.sum())
    empty = ~masks.any((1, 2, 3))
    figures = {f"held-out Dice, {kind}": np.nanmean(dice[group == kind]) for kind in KINDS}
    for index, name in enumerate(CLASSES[2:], start=2):
        figures[f"held-out Dice of {name}"] = np.nanmean(dice[(classes == index)])
    figures["planes without a lesion on which none is found"] = (
        (guess[empty] == 0).all((1, 2)).mean()
    )
    return {name: round(float(value), 4) for name, value in figures.items()}


def main() -> None:
    """Train, report held-out figures, and save the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--minutes", type=float, default=600.0, help="train no longer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    begin = time.monotonic()
    images, masks, classes = phantom_data(FIRST_TRAINING_SEED, args.images)
    print(f"{len(images)} images drawn in {time.monotonic() - begin:.0f} s", flush=True)
    model = SmallUNet(len(CLASSES)).train().to(memory_format=torch.channels_last)
    if args.start:
        model.load_state_dict(torch.load(args.start, weights_only=True))
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.01)
    losses: list[float] = []
    start = time.monotonic()
    for step in range(args.steps):
        spent = (time.monotonic() - start) / 60 / args.minutes
        if spent > 1:
            break
        done = max(step / args.steps, spent)
        rate = min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = args.rate * rate
        chosen = rng.choice(len(images), args.batch, replace=False)
        pixels = torch.from_numpy(images[chosen]).float() / 255 * 2 - 1
        where = torch.from_numpy(masks[chosen]).float()
        pixels, where = augment(rng, pixels, where, upside_down=bool(rng.random() < 0.5))
        labels = (where[:, 0] > 0.5) * torch.from_numpy(classes[chosen])[:, None, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
            logits = model(pixels.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            spent = time.monotonic() - begin
            print(f"step {step + 1} loss {np.mean(losses[-100:]):.3f} {spent:.0f} s", flush=True)
    model.eval()
    figures: dict[str, object] = dict(held_out_figures(model, 800))
    figures |= {
        "images": len(images),
        "steps": len(losses),
        "images a step": args.batch,
        "start": args.start.name if args.start else "random",
        "minutes": round((time.monotonic() - begin) / 60, 1),
    }
    torch.save(model.state_dict(), args.output / "phantom-unet.pth")
    (args.output / "phantom-unet.json").write_text(json.dumps(figures, indent=2))
    print(figures)


if __name__ == "__main__":
    main()
