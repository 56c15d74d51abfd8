"""Train the compact SAM on generated phantoms alone, and write its weights and figures.

    python tools/train_compact_sam.py --minutes 75 --output weights-in-training

The schedule follows the larger of the share of steps and of minutes that are done, so a run
ends with its learning rate at zero whichever limit it meets first. A generator process fills a
pool of phantoms and then replaces one every `REST` seconds, which leaves the processor to the
training; each phantom is used several times under other augmentations.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from napari_cam_sam.demo import phantoms
from napari_cam_sam.sam.models.compact import COMPACT_INPUT_SIZE as SIDE
from napari_cam_sam.sam.models.compact import build_compact_sam

FIRST_TRAINING_SEED = 1_000_000
REST = 0.4
# Where the processor only emulates bfloat16, it is three times slower than float32.
BFLOAT16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the phantom of a seed: image (3, 256, 256) and labels (256, 256), uint8."""
    family = seed % 10
    if family < 4:
        phantom = phantoms.ultrasound(seed, lesion=True)
    elif family < 8:
        phantom = phantoms.mixed(seed)
    else:
        phantom = phantoms.shapes(seed, size=SIDE, objects=1 + seed % 3)
    image = phantom.image if phantom.image.ndim == 3 else np.stack([phantom.image] * 3, -1)
    return image.transpose(2, 0, 1), phantom.labels


def fill_pool(images: Tensor, labels: Tensor, filled: Tensor) -> None:
    """Draw phantoms for ever into the shared pool, slot after slot."""
    torch.set_num_threads(1)
    for count in itertools.count():
        image, label = draw(FIRST_TRAINING_SEED + count)
        slot = count % len(images)
        images[slot] = torch.from_numpy(np.ascontiguousarray(image))
        labels[slot] = torch.from_numpy(label)
        filled[slot] = 1
        if count >= len(images):
            time.sleep(REST)


def augment(rng: np.random.Generator, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Flip, transpose, zoom, change contrast and polarity, and letterbox at random."""
    image = image.float()
    if rng.random() < 0.5:
        image, label = image.flip(-1), label.flip(-1)
    if rng.random() < 0.2:
        image, label = image.flip(-2), label.flip(-2)
    if rng.random() < 0.2:
        image, label = image.transpose(-1, -2), label.transpose(-1, -2)
    height, width = SIDE, SIDE
    if rng.random() < 0.6:
        side = float(rng.uniform(0.6, 1))
        if rng.random() < 0.75:
            height = int(SIDE * side)
        else:
            width = int(SIDE * side)
    zoom = float(rng.uniform(0.55, 1)) if rng.random() < 0.5 else 1.0
    rows, columns = int(SIDE * zoom), int(SIDE * zoom)
    top, left = rng.integers(SIDE - rows + 1), rng.integers(SIDE - columns + 1)
    image = image[:, top : top + rows, left : left + columns]
    label = label[top : top + rows, left : left + columns]
    image = F.interpolate(image[None], (height, width), mode="bilinear", align_corners=False)[0]
    label = F.interpolate(label[None, None].float(), (height, width), mode="nearest")[0, 0]
    if rng.random() < 0.15:
        image = 255 - image
    gain, offset = float(rng.uniform(0.6, 1.4)), float(rng.uniform(-30, 30))
    image = ((image - 110) * gain + 110 + offset).clamp(0, 255)
    image = 255 * (image / 255) ** float(np.exp(rng.uniform(-0.35, 0.35)))
    image = (image - 110) / 55
    pad = (0, SIDE - width, 0, SIDE - height)
    return F.pad(image, pad), F.pad(label, pad).to(torch.uint8)


def draw_prompts(
    rng: np.random.Generator, masks: np.ndarray, kind: str, points: int
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Draw boxes (P, 4), points (P, N, 2) as x, y and their signs (P, N) for P masks."""
    boxes, coordinates, signs = [], [], []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        if kind != "point":
            y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
            h, w = y1 - y0, x1 - x0
            margin = rng.uniform(0, 4) if rng.random() < 0.7 else rng.uniform(0, 10)
            jitter = rng.normal(0, 0.03, 4) * (h, w, h, w)
            box = (
                np.array([x0, y0, x1, y1])
                + margin * np.array([-1, -1, 1, 1])
                + jitter[[1, 0, 3, 2]]
            )
            boxes.append(box)
        if kind != "box":
            spots, sign = [], []
            inner = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
            for k in range(points):
                if k == 0 or rng.random() < 0.5:
                    if k == 0 and rng.random() < 0.6:
                        deep = np.argwhere(inner > rng.uniform(0.3, 0.95) * inner.max())
                    else:
                        deep = np.stack([rows, columns], 1)
                    y, x = deep[rng.integers(len(deep))]
                    sign.append(1)
                else:
                    reach = max(8.0, 0.6 * math.sqrt(mask.sum()))
                    for _ in range(20):
                        y, x = rows[0], columns[0]
                        pick = rng.integers(len(rows))
                        y = int(np.clip(rows[pick] + rng.normal(0, reach), 0, SIDE - 1))
                        x = int(np.clip(columns[pick] + rng.normal(0, reach), 0, SIDE - 1))
                        if not mask[y, x]:
                            break
                    sign.append(int(mask[y, x]))
                spots.append((x, y))
            coordinates.append(spots)
            signs.append(sign)
    return (
        np.array(boxes, np.float32) if boxes else None,
        np.array(coordinates, np.float32) if coordinates else None,
        np.array(signs, np.int64) if signs else None,
    )


def objects_of(rng: np.random.Generator, label: Tensor, count: int) -> np.ndarray | None:
    """Choose `count` object masks of a label plane, with repetition: (count, 256, 256) bool."""
    array = label.numpy()
    sizes = np.bincount(array.ravel(), minlength=2)[1:]
    known = [i + 1 for i, n in enumerate(sizes) if n >= 40]
    if not known:
        return None
    # Every object once before any twice: several objects on a plane teach what one object is.
    order = [known[i % len(known)] for i in range(count)]
    rng.shuffle(order)
    return np.stack([array == value for value in order])


def decode(
    sam: torch.nn.Module,
    features: Tensor,
    boxes: Tensor | None,
    points: tuple | None,
    previous: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Decode all four mask tokens: logits (P, 4, 128, 128) and scores (P, 4)."""
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=previous)
    return sam.mask_decoder.predict_masks(
        image_embeddings=features,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )


def losses(logits: Tensor, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of four candidates against soft targets (P, 128, 128), and the single mask's IoU."""
    logits, scores = logits.float(), scores.float()
    wanted = target[:, None].expand_as(logits)
    # Binary cross-entropy counted around the object, not over the plane: objects are small.
    area = wanted.sum((2, 3)) + 60
    bce = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum((2, 3)) / area
    probability = logits.sigmoid()
    overlap = (probability * wanted).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    fit = bce.clamp(max=6) + 2 * dice
    with torch.no_grad():
        hard, truth = logits > 0, wanted > 0.5
        iou = (hard & truth).sum((2, 3)) / (hard | truth).sum((2, 3)).clamp(min=1)
    guess = F.mse_loss(scores, iou)
    multi = fit[:, 1:].min(1).values + 0.05 * fit[:, 1:].mean(1)
    return (fit[:, 0] + 0.5 * multi).mean() + guess, iou[:, 0].mean()


def step_loss(
    sam: torch.nn.Module,
    rng: np.random.Generator,
    pool: tuple[Tensor, Tensor],
    batch: int,
    prompts: int,
) -> tuple[Tensor, dict[str, list[float]]]:
    """Loss of one step over `batch` images with `prompts` prompts each."""
    images, planes = [], []
    while len(images) < batch:
        slot = int(rng.integers(len(pool[0])))
        image, label = augment(rng, pool[0][slot], pool[1][slot])
        masks = objects_of(rng, label, prompts)
        if masks is not None:
            images.append(image)
            planes.append(masks)
    stack = torch.stack(images).contiguous(memory_format=torch.channels_last)
    total, report = torch.zeros(()), {}
    with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
        features = sam.image_encoder(stack)
        for k, masks in enumerate(planes):
            kind = str(rng.choice(["box", "point", "box+point"], p=[0.5, 0.37, 0.13]))
            count = 1 if rng.random() < 0.5 else int(rng.integers(2, 7))
            boxes, spots, signs = draw_prompts(rng, masks, kind, count)
            b = torch.from_numpy(boxes) if boxes is not None else None
            p = (torch.from_numpy(spots), torch.from_numpy(signs)) if spots is not None else None
            target = F.avg_pool2d(torch.from_numpy(masks).float()[None], 2)[0]
            logits, scores = decode(sam, features[k : k + 1], b, p, None)
            loss, iou = losses(logits, scores, target)
            total = total + loss / batch
            report.setdefault(kind if count == 1 or kind == "box" else kind + "s", []).append(
                float(iou)
            )
            if rng.random() < 0.3:
                total = (
                    total
                    + refine(sam, rng, features[k : k + 1], masks, logits, b, p, target) / batch
                )
    return total, report


def refine(
    sam: torch.nn.Module,
    rng: np.random.Generator,
    features: Tensor,
    masks: np.ndarray,
    logits: Tensor,
    boxes: Tensor | None,
    points: tuple | None,
    target: Tensor,
) -> Tensor:
    """Loss of a second round: a click on the largest error, with the first round's logits."""
    previous = logits[:, :1].detach().float()
    guess = (F.interpolate(previous, (SIDE, SIDE), mode="bilinear")[:, 0] > 0).numpy()
    clicks, signs = [], []
    for found, mask in zip(guess, masks, strict=True):
        error = found ^ mask
        if not error.any():
            error = mask
        depth = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        clicks.append([(x, y)])
        signs.append([int(mask[y, x])])
    click = torch.tensor(clicks, dtype=torch.float32)
    sign = torch.tensor(signs)
    if points is not None:
        click, sign = torch.cat([points[0], click], 1), torch.cat([points[1], sign], 1)
    logits, scores = decode(sam, features, boxes, (click, sign), previous.clamp(-20, 20))
    return losses(logits, scores, target)[0]


@torch.inference_mode()
def evaluate(sam: torch.nn.Module, seeds: range) -> dict[str, float]:
    """Mean IoU on phantoms no training saw, for tight boxes with margin 2 and for deep points."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        image, label = draw(seed)
        family = ("ultrasound", "mixed", "shapes")[
            0 if seed % 10 < 4 else 1 if seed % 10 < 8 else 2
        ]
        features = sam.image_encoder((torch.from_numpy(image.astype(np.float32))[None] - 110) / 55)
        for value in np.unique(label)[1:]:
            mask = label == value
            rows, columns = np.nonzero(mask)
            if len(rows) < 40:
                continue
            box = torch.tensor(
                [[columns.min() - 2, rows.min() - 2, columns.max() + 3, rows.max() + 3]]
            )
            depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            point = (torch.tensor([[[float(x), float(y)]]]), torch.tensor([[1]]))
            for name, b, p in (("box", box.float(), None), ("point", None, point)):
                logits, _ = decode(sam, features, b, p, None)
                guess = (
                    F.interpolate(logits[:, :1], (SIDE, SIDE), mode="bilinear")[0, 0].numpy() > 0
                )
                iou = (guess & mask).sum() / max((guess | mask).sum(), 1)
                found.setdefault(f"{family} {name}", []).append(float(iou))
    return {
        f"held-out IoU, {name}": round(float(np.mean(values)), 4)
        for name, values in sorted(found.items())
    }


def main() -> None:
    """Train, evaluate on held-out seeds, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--pool", type=int, default=1600)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    images = torch.zeros(args.pool, 3, SIDE, SIDE, dtype=torch.uint8).share_memory_()
    labels = torch.zeros(args.pool, SIDE, SIDE, dtype=torch.uint8).share_memory_()
    filled = torch.zeros(args.pool, dtype=torch.uint8).share_memory_()
    worker = mp.get_context("spawn").Process(
        target=fill_pool, args=(images, labels, filled), daemon=True
    )
    worker.start()
    sam = build_compact_sam().train().to(memory_format=torch.channels_last)
    if args.start:
        sam.load_state_dict(torch.load(args.start, weights_only=True))
    average = copy.deepcopy(sam).eval()
    print(sum(p.numel() for p in sam.parameters()) / 1e6, "million parameters", flush=True)
    optimiser = torch.optim.AdamW(
        sam.parameters(), lr=args.rate, weight_decay=0.02, betas=(0.9, 0.98)
    )
    while int(filled.sum()) < 100:
        time.sleep(1)
    begin = last = time.monotonic()
    report: dict[str, list[float]] = {}
    for step in range(args.steps):
        done = max(step / args.steps, (time.monotonic() - begin) / 60 / args.minutes)
        if done >= 1:
            break
        rate = args.rate * min(1, (step + 1) / 150) * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate
        known = int(filled.sum())
        loss, found = step_loss(
            sam, rng, (images[:known], labels[:known]), args.batch, args.prompts
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimiser.step()
        decay = min(0.998, (step + 1) / (step + 20))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), sam.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        for name, values in found.items():
            report.setdefault(name, []).extend(values)
        if step % 100 == 99:
            now = time.monotonic()
            means = {name: round(float(np.mean(v)), 3) for name, v in sorted(report.items())}
            print(
                f"{step + 1} {now - begin:.0f}s {(now - last) / 100:.2f}s/step", means, flush=True
            )
            last, report = now, {}
        if step % 200 == 199:
            torch.save(average.state_dict(), args.output / "compact-sam.pth")
    torch.save(average.state_dict(), args.output / "compact-sam.pth")
    figures = evaluate(average, range(200))
    figures |= {
        "steps": step,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "images a step": args.batch,
        "prompts an image": args.prompts,
    }
    (args.output / "compact-sam.json").write_text(json.dumps(figures, indent=2))
    print(figures)


if __name__ == "__main__":
    main()
