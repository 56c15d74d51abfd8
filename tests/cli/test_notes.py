"""What reading an image decided stands on standard error and in the record of a run."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage
from torchvision.models import resnet18

from napari_cam_sam.cli import main
from napari_cam_sam.images.reading import read_image, read_labels

ROW, COLUMN = np.mgrid[:48, :64]
MASK = (((ROW - 15) / 9) ** 2 + ((COLUMN - 20) / 12) ** 2 <= 1).astype(np.uint8) * 255
PICTURE = (60 + MASK // 2 + np.random.default_rng(0).integers(0, 9, MASK.shape)).astype(np.uint8)
HOW = ("--prompts", "truth-box", "--sam", "seeded")


def test_a_picture_that_is_turned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = PillowImage.Exif()
    exif[274] = 6
    PillowImage.fromarray(np.rot90(PICTURE)).save(tmp_path / "a.png", exif=exif)
    PillowImage.fromarray(MASK).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    paths = (str(tmp_path / "a.png"), "--truth", str(tmp_path / "mask.png"), "--output", str(out))
    assert main(["run", *paths, *HOW, "--json"]) == 0
    printed = capsys.readouterr()
    assert "napari-cam-sam: note: a: It is turned by 90° clockwise" in printed.err
    assert json.loads(printed.out)["scores"]["planes"][0]["dice"] > 0.85
    assert "upright grid" in json.loads((out / "run.json").read_text())["image"]["notes"][0]
    (labels,) = out.glob("labels*")
    assert read_labels(labels).spatial_shape == MASK.shape


def test_axes_and_channel_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = np.stack([np.stack([PICTURE // 9, PICTURE])] * 2, axis=1)  # (channel, slice, …)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "mask.tif", np.stack([MASK] * 2), photometric="minisblack")
    paths = [str(tmp_path / "a.tif"), "--truth", str(tmp_path / "mask.tif")]
    assert main(["run", *paths, *HOW]) == 2
    assert "do not say which are slices, time and channels" in capsys.readouterr().err
    chosen = ["--axes", "czyx", "--channel", "1", "--output", str(tmp_path / "out")]
    assert main(["run", *paths, *HOW, *chosen, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["volume"]["dice"] > 0.85
    image = read_image(tmp_path / "a.tif", axes="CZYX", channel=1)
    np.testing.assert_array_equal(image.data, np.stack([PICTURE] * 2))


def test_warnings_are_notes_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody at a command line is helped by the line of our code that warns."""
    weights = resnet18(num_classes=2).state_dict()
    torch.save({"model": weights, "model_ema": weights}, tmp_path / "net.pth")
    PillowImage.fromarray(PICTURE).save(tmp_path / "a.png")
    paths = [str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    model = ["--classifier", str(tmp_path / "net.pth"), "--architecture", "resnet18"]
    before = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest records warnings; here they are shown as they are to a user.
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", _shown)
        assert main(["run", *paths, *model, "--sam", "seeded"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("napari-cam-sam: note: The weights under 'model' are used, not their")
    assert line.endswith("net.pth).")
    assert warnings.formatwarning is before


def _shown(message: warnings.WarningMessage) -> None:
    text = warnings.formatwarning(
        message.message, message.category, message.filename, message.lineno, message.line
    )
    sys.stderr.write(text)


@pytest.mark.parametrize(
    ("size", "inside", "share"),
    [(8, 4, "100.0%"), (32, 16, "66.0%"), (1, 1, "100.0%"), (32, 32, "100.0%")],
)
def test_boxes_cover_no_more_than_the_plane(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, inside: int, share: str
) -> None:
    """The margin of 5 pixels may leave a plane; what lies outside covers nothing of it."""
    start = (size - inside) // 2
    mask = np.zeros((size, size), np.uint8)
    mask[start : start + inside, start : start + inside] = 255
    PillowImage.fromarray(mask).save(tmp_path / "mask.png")
    PillowImage.fromarray(mask // 2 + 60).save(tmp_path / "a.png")
    paths = (str(tmp_path / "a.png"), "--truth", str(tmp_path / "mask.png"))
    assert main(["run", *paths, *HOW, "--output", str(tmp_path / "out")]) == 0
    assert f"boxes of {share} of the slice" in capsys.readouterr().out
