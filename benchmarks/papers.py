"""The tables of the papers, each from one study, our figures beside the published ones.

    python benchmarks/papers.py s1-published --data ../shared/data/busi/images
    python benchmarks/papers.py s2 --data runs/phantoms
    python benchmarks/papers.py s4 --data ../shared/data/busi/images
    python benchmarks/papers.py s4 --layout ultrasound --images 100 --data runs/phantoms
    python benchmarks/papers.py s0 --data ../shared/data/busi/images --segmenter compact-sam

For ``s0`` the segmenter makes masks of the boxes, as Segment Anything does in the paper. A study
that was stopped goes on where it was. The command ``study`` does the same, but for ``--layout``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.studies.config.papers import (
    PRESETS,
    PresetParameters,
    paper_table,
    preset_study,
)
from napari_cam_sam.studies.config.plan import DatasetSource
from napari_cam_sam.studies.data.box_masks import write_box_masks
from napari_cam_sam.studies.data.datasets import read_dataset
from napari_cam_sam.studies.run.runner import run_study


def markdown(table: pd.DataFrame) -> str:
    """Write a table as Markdown, numbers with three decimals."""

    def cell(value: Any) -> str:
        if pd.isna(value):
            return ""
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    rows = [list(table.columns), ["---"] * len(table.columns)]
    rows += [[cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    """Run a preset and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the images")
    parser.add_argument(
        "--layout", choices=("busi", "shapes", "ultrasound"),
        help="what the images are, where not those of the paper; phantoms are drawn",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, help="folder of the study; runs/PRESET by default")
    parser.add_argument("--classifier", action="append", default=[])
    parser.add_argument("--segmenter", action="append", default=[])
    parser.add_argument("--method", action="append", default=[])
    parser.add_argument("--layer", action="append", default=[])
    parser.add_argument("--images", type=int, default=500, help="how many phantoms")
    parser.add_argument("--digits", action="store_true", help="all digits, as CSV")
    args = parser.parse_args()
    output = args.output or Path("runs") / args.preset
    parameters = PresetParameters(
        classifiers=tuple(args.classifier),
        segmenters=tuple(args.segmenter),
        methods=tuple(args.method),
        layers=tuple(args.layer),
        images=args.images,
    )
    data: Path | DatasetSource = args.data
    if args.layout == "busi":
        data = DatasetSource("busi", args.data, {"classes": ["benign", "malignant"]})
    elif args.layout:
        options = {"kind": args.layout, "count": args.images, "first_seed": 10_000}
        data = DatasetSource("phantoms", args.data, options)
    try:
        study = preset_study(args.preset, data, parameters)
        if args.preset == "s0" and args.segmenter:
            source = study.dataset
            dataset = read_dataset(source.layout, source.path, **source.options)
            listed = write_box_masks(
                dataset, load_segmenter(args.segmenter[0]), output / "box-masks"
            ).resolve()
            study = preset_study("s0", DatasetSource("csv", listed), parameters)
        begin = time.perf_counter()
        result = run_study(study, output)
        spent = time.perf_counter() - begin
        table = paper_table(args.preset, result.table, args.data.parent)
    except CamSamError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{args.preset}: {len(study.settings)} settings, {spent:.0f} s, {output}")
    print(table.to_csv(index=False) if args.digits else markdown(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
