"""Pack trained weights as float16 safetensors with their cards, and write the page of cards.

python tools/pack_models.py weights-in-training
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from napari_cam_sam.demo.phantoms import SHAPE_CLASSES, ULTRASOUND_CLASSES

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "src" / "napari_cam_sam" / "demo" / "weights"

CLASSIFIER = {"architecture": "small-cnn", "input_size": [128, 128]}
CARDS: dict[str, dict[str, object]] = {
    "shapes": CLASSIFIER
    | {
        "num_classes": len(SHAPE_CLASSES),
        "class_names": list(SHAPE_CLASSES),
        "channels": 3,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    },
    "lesion": CLASSIFIER
    | {
        "num_classes": 2,
        "class_names": list(ULTRASOUND_CLASSES),
        "channels": 1,
        "mean": [0.5],
        "std": [0.5],
    },
    "phantom-unet": {
        "architecture": "small-unet",
        "spatial_dims": 2,
        "input_size": [128, 128],
        "num_classes": 2 + len(SHAPE_CLASSES),
        "class_names": ["background", "lesion", *SHAPE_CLASSES],
        "channels": 1,
        "mean": [0.5],
        "std": [0.5],
    },
    "compact-sam": {"architecture": "compact", "input_size": [256, 256]},
}
TEXTS = {
    "shapes": "Which of five geometric shapes is on a textured, noisy colour image. Trained by "
    "`tools/train_demo_classifiers.py shapes` on `phantoms.shapes`, with the class of the image "
    "and, on the grid of its last stage, the place of the shape.",
    "lesion": "Whether an ultrasound-like image or a plane of a CT-like volume shows a lesion. "
    "Trained by `tools/train_demo_classifiers.py lesion` on `phantoms.ultrasound` and on planes "
    "of `volumes.ct`, with the class and, on the grid of its last stage, the place of the lesion.",
    "phantom-unet": "Where a lesion is in an ultrasound-like image or a plane of a CT-like volume, "
    "or one of five shapes: a U-Net for heatmaps of segmentation networks. Trained by "
    "`tools/train_phantom_unet.py` on `phantoms.ultrasound`, planes of `volumes.ct` and "
    "`phantoms.shapes` in gray. Dice is the mean over planes that show the object, with 0 where it "
    "is missed or takes another class.",
    "compact-sam": "Masks from boxes, points and both: segment-anything's prompt encoder and mask "
    "decoder behind a small convolutional encoder. Trained by `tools/train_compact_sam.py` on "
    "`phantoms.ultrasound`, `phantoms.mixed` and `phantoms.shapes`.",
}


def main() -> None:
    """Pack what is in the folder; models that are not there stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    WEIGHTS.mkdir(exist_ok=True)
    for name, card in CARDS.items():
        trained = args.folder / f"{name}.pth"
        if not trained.exists():
            continue
        figures = args.folder / f"{name}.json"
        known = json.loads(figures.read_text()) if figures.exists() else {}
        state = torch.load(trained, weights_only=True, map_location="cpu")
        half = {
            key: (value.half() if value.is_floating_point() else value).contiguous()
            for key, value in state.items()
        }
        metadata = {"card": json.dumps(card), "figures": json.dumps(known), "format": "pt"}
        save_file(half, WEIGHTS / f"{name}.safetensors", metadata)
        (WEIGHTS / f"{name}.safetensors").chmod(0o644)
    write_cards()


def write_cards() -> None:
    """Write `docs/model-cards.md` from the metadata of the packed files."""
    from safetensors import safe_open

    lines = [
        "# Model cards",
        "",
        "The models inside the package. They learned from generated phantoms alone; no image of a",
        "patient, and no weights of others, went into them. **They are not for real images and not",
        "for any clinical use.** They were trained for minutes to two hours on one core each, so",
        "that anyone can repeat it; expect maps and masks to be worse than those of models made",
        "for a task.",
        "This page is written by `tools/pack_models.py`.",
    ]
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            parameters = sum(_count(file, key) for key in file.keys())  # noqa: SIM118
        card, figures = json.loads(metadata["card"]), json.loads(metadata["figures"])
        lines += ["", f"## {path.stem}", "", TEXTS[path.stem], ""]
        lines += ["| | |", "|---|---|"]
        lines += [
            f"| parameters | {parameters / 1e6:.2f} million, float16 |",
            f"| file | {path.stat().st_size / 1e6:.1f} MB |",
        ]
        lines += [f"| {key.replace('_', ' ')} | {_text(value)} |" for key, value in card.items()]
        lines += [f"| {key} | {value} |" for key, value in figures.items()]
    (ROOT / "docs" / "model-cards.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _count(file: object, key: str) -> int:
    count = 1
    for n in file.get_slice(key).get_shape():  # type: ignore[attr-defined]
        count *= n
    return count


def _text(value: object) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
