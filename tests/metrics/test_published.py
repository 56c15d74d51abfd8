"""IoU, Dice and pixel accuracy against what Dhamale and Pawar published: 51 images × 6 masks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_cam_sam.metrics.overlap import overlap

BUSI = Path(__file__).resolve().parents[2].parent / "shared/data/busi"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not BUSI.exists(), reason="the BUSI images are not beside the project"),
]


def read_mask(path):
    return np.asarray(Image.open(path).convert("L")) > 0


@pytest.mark.parametrize("table", ["published_sam_vit_l", "published_cam_prompts"])
def test_published_scores(table):
    rows = pd.read_csv(BUSI / table / "metrics.csv")
    assert len(rows) == 153
    for row in rows.itertuples():
        truths = sorted((BUSI / "images" / row.label).glob(f"{row.image}_mask*.png"))
        truth = np.logical_or.reduce([read_mask(path) for path in truths])
        found = overlap(read_mask(BUSI / table / row.prompt / f"{row.image}.png"), truth)
        for name in ("iou", "dice", "pixel_accuracy"):
            assert abs(getattr(found, name) - getattr(row, name)) < 1e-9, (row.image, name)
