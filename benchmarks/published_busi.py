"""The published scores and prompts of 51 real lesions, made again by the command line.

    python benchmarks/published_busi.py --data ../shared/data/busi

Dhamale and Pawar published masks, scores and prompts for images of the BUSI set. `metrics` must
give their IoU, Dice and pixel accuracy, and `prompts --strategy s1` their boxes and points.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

import pandas as pd

from napari_cam_sam.cli import main as command


def run(*argv: object) -> dict[str, object]:
    """Run a command of napari-cam-sam and give the JSON object that it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if command([*map(str, argv), "--json"]):
            sys.exit(1)
    return dict(json.loads(printed.getvalue()))


def main() -> None:
    """Compare and print the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/busi"))
    args = parser.parse_args()
    for table in ("published_sam_vit_l", "published_cam_prompts"):
        rows = pd.read_csv(args.data / table / "metrics.csv")
        worst = dict.fromkeys(("iou", "dice", "pixel_accuracy"), 0.0)
        for row in rows.itertuples():
            truth = args.data / "images" / row.label / f"{row.image}_mask.png"
            mask = args.data / table / row.prompt / f"{row.image}.png"
            found = run("metrics", "--prediction", mask, "--truth", truth)
            for name in worst:
                worst[name] = max(worst[name], abs(found[name] - getattr(row, name)))
        print(f"{table}: {len(rows)} masks, largest differences {worst}")
    rows = pd.read_csv(args.data / "published_sam_vit_l" / "metrics.csv")
    same = 0
    for row in rows.itertuples():
        truth = args.data / "images" / row.label / f"{row.image}_mask.png"
        found = run("prompts", "--mask", truth, "--strategy", "s1")
        prompt = found["planes"][0]["objects"][0]
        box, point = prompt["box"], prompt["points"][0]
        ours = (
            box["column_min"], box["row_min"], box["column_max"], box["row_max"],
            point["column"], point["row"],
        )  # fmt: skip
        theirs = (row.x_min, row.y_min, row.x_max, row.y_max, row.point_x, row.point_y)
        same += ours == theirs
    print(f"prompts --strategy s1: {same} of {len(rows)} rows identical")


if __name__ == "__main__":
    main()
