"""The protocols of papers on the command line."""

import json

import pytest
from PIL import Image as Picture

from napari_cam_sam.cli import main
from napari_cam_sam.demo.phantoms import ultrasound
from napari_cam_sam.studies.config.papers import PRESETS
from napari_cam_sam.studies.config.preset_parameters import PRESET_NAMES


def test_names():
    assert list(PRESETS) == list(PRESET_NAMES)


def test_points_on_shapes(tmp_path, capsys):
    command = [
        "study", "s2", "--data", str(tmp_path / "phantoms"), "--output", str(tmp_path / "out"),
        "--preset-images", "2", "--preset-methods", "layer-cam", "--no-cache",
    ]  # fmt: skip
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["strategy"] for row in found["paper"]] == ["s2-fg", "s2-fg-bg", "s2-adaptive"]
    assert found["paper"][0]["images"] == 2
    assert found["paper"][0]["iou, published"] == 0.86
    assert found["paper"][0]["bg_hit_rate"] is None
    # The second time there is nothing left to do, and the table is the same.
    assert main(command) == 0
    assert "distance_px, published" in capsys.readouterr().out


def test_heatmaps_against_masks_boxes_and_masks_of_boxes(tmp_path, capsys):
    phantom = ultrasound(5, lesion=True)
    (tmp_path / "busi/benign").mkdir(parents=True)
    Picture.fromarray(phantom.image).save(tmp_path / "busi/benign/x (1).png")
    Picture.fromarray(phantom.labels * 255).save(tmp_path / "busi/benign/x (1)_mask.png")
    (tmp_path / "busi/malignant").mkdir()
    command = [
        "study", "s0", "--data", str(tmp_path / "busi"), "--output", str(tmp_path / "out"),
        "--preset-segmenters", "seeded", "--preset-methods", "grad-cam", "--no-cache", "--json",
    ]  # fmt: skip
    for _ in range(2):  # the second time all is there
        assert main(command) == 0
        (row, *others) = json.loads(capsys.readouterr().out)["paper"]
        assert len(others) == 3
        assert (row["score"], row["boxes, published"]) == ("mean auprc", 0.2982)
        for name in ("masks", "SAM masks", "boxes"):
            assert 0 < row[f"{name}, chance"] < row[name] <= 1
            assert row[f"{name}, images"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s2"], "name their folder with --data"),
        (["s9", "--data", "."], "Unknown preset 's9'"),
        (["a.yaml", "--preset-images", "3"], "are for a paper's protocol"),
    ],
)
def test_wrong(arguments, message, capsys):
    assert main(["study", *arguments]) == 2
    assert message in capsys.readouterr().err
