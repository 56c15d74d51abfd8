"""Truth prompts to the pixel, against what Dhamale and Pawar published for 51 lesions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_cam_sam.prompts.strategies import prompts_from_mask

BUSI = Path(__file__).resolve().parents[2].parent / "shared/data/busi"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not BUSI.exists(), reason="the BUSI images are not beside the project"),
]


def truth_mask(label, name):
    """Union of all mask files of an image."""
    paths = sorted((BUSI / "images" / label).glob(f"{name}_mask*.png"))
    assert paths
    masks = [np.asarray(Image.open(path).convert("L")) > 0 for path in paths]
    return np.logical_or.reduce(masks)


@pytest.mark.parametrize("strategy", ["s1", "truth-box-point"])
def test_published_boxes_and_points(strategy):
    rows = pd.read_csv(BUSI / "published_sam_vit_l" / "metrics.csv")
    assert len(rows) == 153
    made = {
        image: prompts_from_mask(truth_mask(label, image), strategy)
        for label, image in sorted(set(zip(rows.label, rows.image, strict=True)))
    }
    assert len(made) == 51
    for row in rows.itertuples():
        (prompt,) = made[row.image].objects
        box, (point,) = prompt.box, prompt.points
        assert box is not None
        assert (box.column_min, box.row_min, box.column_max, box.row_max) == (
            row.x_min,
            row.y_min,
            row.x_max,
            row.y_max,
        ), row.image
        assert (point.column, point.row) == (row.point_x, row.point_y), row.image
