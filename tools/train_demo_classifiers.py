"""Train the two demo classifiers on generated phantoms.

    python tools/train_demo_classifiers.py shapes --output weights-in-training
    python tools/train_demo_classifiers.py lesion --output weights-in-training

The classifiers are taught the class of an image and, on the 16 × 16 grid of their last stage,
where it shows: phantoms know both. From the labels of images alone the small net needs many
times as long until its maps point at anything. Held-out figures come from seeds below one
million, which no training draws.
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

from napari_cam_sam.demo import phantoms
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.models.classify.small_cnn import SmallCNN

FIRST_TRAINING_SEED = 1_000_000
SIDE = 128
# A lesion may cover a hundredth of the plane: its few cells must outweigh the others.
EXPONENT = {"shapes": 1.0, "lesion": 4.0}
# Where the processor only emulates bfloat16, it is three times slower than float32.
BFLOAT16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def resize(image: np.ndarray) -> np.ndarray:
    """Bring an image to (channels, 128, 128) uint8."""
    planes = torch.from_numpy(np.atleast_3d(image).transpose(2, 0, 1).astype(np.float32))[None]
    if planes.shape[-1] != SIDE:
        planes = F.interpolate(planes, (SIDE, SIDE), mode="bilinear", antialias=True)
    return planes[0].round().clamp(0, 255).numpy().astype(np.uint8)


Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def shapes_data(first: int, count: int) -> Data:
    """Draw shapes phantoms: images (N, 3, 128, 128), masks (N, 1, 128, 128), classes (N,)."""
    drawn = [phantoms.shapes(first + i, objects=1 if i % 4 else 2) for i in range(count)]
    return (
        np.stack([resize(p.image) for p in drawn]),
        np.stack([resize(p.labels > 0) for p in drawn]),
        np.array([p.class_index for p in drawn]),
    )


def lesion_data(first: int, count: int) -> Data:
    """Draw ultrasound-like images and planes of CT-like volumes, gray, and classes 0 or 1."""
    rng = np.random.default_rng(first)
    images, masks, classes = [], [], []
    for i in range(count // 2):
        size = int(rng.choice([128, 160, 256], p=[0.6, 0.25, 0.15]))
        phantom = phantoms.ultrasound(first + i, size=size)
        images.append(resize(phantom.image))
        masks.append(resize(phantom.labels > 0))
        classes.append(phantom.class_index)
    seed = first
    while len(images) < count:
        volume = ct(seed, shape=(20, SIDE, SIDE), lesion=seed % 8 != 0)
        low, high = [(-160, 240), (-60, 160), (-100, 200), (-1000, 500)][
            int(rng.choice(4, p=[0.45, 0.25, 0.2, 0.1]))
        ]
        pixels = volume.labels.sum((1, 2))
        found, empty = np.flatnonzero(pixels > 40), np.flatnonzero(pixels == 0)
        chosen = list(rng.permutation(found)[:5]) + list(rng.permutation(empty)[:5])
        for index in chosen:
            gray = np.clip((volume.hounsfield[index] - low) / (high - low), 0, 1) * 255
            images.append(np.rint(gray).astype(np.uint8)[None])
            masks.append(volume.labels[index][None])
            classes.append(int(pixels[index] > 0))
        seed += 1
    return np.stack(images[:count]), np.stack(masks[:count]), np.array(classes[:count])


def augment(
    rng: np.random.Generator, batch: Tensor, masks: Tensor, *, upside_down: bool
) -> tuple[Tensor, Tensor]:
    """Flip, turn and shift; change gain, offset and noise of the images."""
    both = torch.cat([batch, masks], 1)
    if rng.random() < 0.5:
        both = both.flip(-1)
    if upside_down:
        both = torch.rot90(both, int(rng.integers(4)), (2, 3))
    if rng.random() < 0.5:
        # Zoom by cropping: the same part for the whole batch, which resizes it at once.
        side = int(rng.integers(int(0.75 * SIDE), SIDE))
        top, left = rng.integers(SIDE - side + 1, size=2)
        both = both[:, :, top : top + side, left : left + side]
        both = F.interpolate(both, (SIDE, SIDE), mode="bilinear", align_corners=False)
    out, where = both[:, :-1], both[:, -1:]
    n = len(out)
    gain = torch.from_numpy(rng.uniform(0.75, 1.3, (n, 1, 1, 1)).astype(np.float32))
    offset = torch.from_numpy(rng.uniform(-0.3, 0.3, (n, 1, 1, 1)).astype(np.float32))
    return out * gain + offset + torch.randn_like(out) * float(rng.uniform(0, 0.1)), where


def both_logits(model: SmallCNN, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Class logits of the images (B, classes), and of each cell of the last stage's grid."""
    features = model.stage4(model.stage3(model.stage2(model.stage1(model.stem(batch)))))
    whole = model.head(model.dropout(model.pool(features)))
    return whole, F.conv2d(features, model.head.weight[:, :, None, None], model.head.bias)


def loss_of(whole: Tensor, grid: Tensor, where: Tensor, target: Tensor, first: int) -> Tensor:
    """Loss of the image's class, and of where on the grid there is evidence for it.

    Classes below `first` are the absence of the others and have no place. A cell's evidence
    shall be above 2 inside the object for its class; elsewhere, and for other classes, it only
    must not be positive: the output pools all cells, and were the many empty ones pushed far
    below zero, a small object could not lift it.
    """
    decided = F.cross_entropy(whole, target, label_smoothing=0.02)
    evidence = grid[:, first:] - (grid[:, :1] if first else 0)
    inside = F.adaptive_avg_pool2d(where, grid.shape[-2:])
    own = F.one_hot(target, grid.shape[1])[:, first:, None, None] * inside
    hit = own * F.softplus(2 - evidence)
    stray = (1 - own) * F.softplus(4 * (F.relu(evidence) - 1))
    return decided + 3 * hit.sum() / (own.sum() + 1) + stray.mean()


def main() -> None:
    """Train one classifier, report held-out figures, and save weights with their card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["shapes", "lesion"])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--minutes", type=float, default=600.0, help="train no longer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from, of either task")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    data = shapes_data if args.task == "shapes" else lesion_data
    names = phantoms.SHAPE_CLASSES if args.task == "shapes" else phantoms.ULTRASOUND_CLASSES
    begin = time.monotonic()
    images, masks, classes = data(FIRST_TRAINING_SEED, args.images)
    print(f"{len(images)} images drawn in {time.monotonic() - begin:.0f} s", flush=True)
    model = SmallCNN(len(names), images.shape[1], exponent=EXPONENT[args.task]).train()
    model = model.to(memory_format=torch.channels_last)
    if args.start:
        known, own = torch.load(args.start, weights_only=True), model.state_dict()
        fits = {k: v for k, v in known.items() if v.shape == own[k].shape and k != "pool.p"}
        model.load_state_dict(own | fits)
        print(f"{len(fits)} of {len(own)} tensors start from {args.start}", flush=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.01)
    steps = args.epochs * (len(images) // args.batch)
    step, start = 0, time.monotonic()
    for epoch in range(args.epochs):
        if (time.monotonic() - start) / 60 > args.minutes:
            break
        right = []
        order = rng.permutation(len(images))[: len(images) // args.batch * args.batch]
        for chosen in order.reshape(-1, args.batch):
            spent = (time.monotonic() - start) / 60 / args.minutes
            done = min(1.0, max(step / steps, spent))
            rate = args.rate * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * done))
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = torch.from_numpy(images[chosen]).float() / 255 * 2 - 1
            where = torch.from_numpy(masks[chosen]).float()
            batch, where = augment(rng, batch, where, upside_down=args.task == "shapes")
            target = torch.from_numpy(classes[chosen])
            with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
                whole, grid = both_logits(
                    model, batch.contiguous(memory_format=torch.channels_last)
                )
            whole, grid = whole.float(), grid.float()
            loss = loss_of(whole, grid, where, target, first=int(args.task == "lesion"))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            right.append(float((whole.argmax(1) == target).float().mean()))
            step += 1
            if step % 20 == 0:
                print(
                    f"step {step} of {steps}, loss {loss:.3f}, accuracy {np.mean(right[-20:]):.3f}",
                    flush=True,
                )
        print(
            f"epoch {epoch + 1} accuracy {np.mean(right):.3f} {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        torch.save(model.state_dict(), args.output / f"{args.task}.pth")
    model.eval()
    held_out, _, truth = data(0, 600)
    with torch.inference_mode():
        pixels = torch.from_numpy(held_out).float() / 255 * 2 - 1
        guess = torch.cat([model(part).argmax(1) for part in pixels.split(100)]).numpy()
    figures: dict[str, object] = {"held-out accuracy": round(float((guess == truth).mean()), 4)}
    for index, name in enumerate(names):
        figures[f"recall of {name}"] = round(float((guess[truth == index] == index).mean()), 4)
    if args.task == "lesion":
        figures["accuracy, ultrasound-like"] = round(float((guess == truth)[:300].mean()), 4)
        figures["accuracy, CT-like"] = round(float((guess == truth)[300:].mean()), 4)
    figures |= {
        "images": len(images),
        "steps": step,
        "images a step": args.batch,
        "start": str(args.start.name) if args.start else "random",
        "minutes": round((time.monotonic() - begin) / 60, 1),
    }
    (args.output / f"{args.task}.json").write_text(json.dumps(figures, indent=2))
    print(figures)


if __name__ == "__main__":
    main()
