"""Masks as people have them, through the commands: soft edges, palettes, white and fractions."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from napari_cam_sam.cli import main
from napari_cam_sam.studies.cases import Case, read_case


@pytest.fixture
def crisp(tmp_path: Path) -> np.ndarray:
    picture = Pillow.new("L", (512, 512))
    ImageDraw.Draw(picture).ellipse((150, 120, 370, 300), fill=255)
    mask = np.asarray(picture)[::4, ::4]
    Pillow.fromarray(mask).save(tmp_path / "crisp.png")
    soft = picture.resize((128, 128), Pillow.Resampling.BOX)
    soft.save(tmp_path / "soft.png")
    swapped = Pillow.fromarray((mask == 0).astype(np.uint8), mode="P")
    swapped.putpalette([255, 255, 255, 0, 0, 0])
    swapped.save(tmp_path / "palette.png")
    Pillow.fromarray(np.where(mask, 200, 10).astype(np.uint8)).save(tmp_path / "two.png")
    return mask > 0


@pytest.mark.parametrize("name", ["soft", "palette", "two"])
def test_metrics_and_prompts_see_one_object(
    tmp_path: Path, crisp: np.ndarray, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--prediction", tmp_path / "crisp.png", "--truth", tmp_path / f"{name}.png"]
    assert main([str(a) for a in ("metrics", *files, "--json")]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["dice"] > 0.98
    assert len(found["notes"]) == 1
    assert found["notes"][0] in err
    assert main(["prompts", "--mask", str(tmp_path / f"{name}.png"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["planes"][0]["objects"]) == 1
    assert err.startswith(f"napari-cam-sam: note: {name}: ")


@pytest.mark.parametrize("name", ["crisp", "soft", "palette", "two"])
def test_a_case_of_a_study_has_one_object_and_its_notes(
    tmp_path: Path, crisp: np.ndarray, name: str
) -> None:
    case = Case("a", tmp_path / "crisp.png", (tmp_path / f"{name}.png",))
    _, truth = read_case(case)
    assert truth is not None
    assert len(np.unique(truth.data)) == 2
    assert ((np.asarray(truth.data) > 0) ^ crisp).mean() < 0.01
    assert bool(truth.notes) == (name != "crisp")
    both = Case("b", tmp_path / "crisp.png", (tmp_path / "soft.png", tmp_path / "two.png"))
    _, united = read_case(both)
    assert united is not None
    assert len(united.notes) == 2


def test_a_fraction_is_refused_with_its_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.zeros((4, 4, 4), np.float32)
    values[1] = 1.00003
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    files = ["--prediction", str(tmp_path / "a.nii"), "--truth", str(tmp_path / "a.nii")]
    assert main(["metrics", *files]) == 2
    assert "e.g. 1.00003: labels are whole numbers" in capsys.readouterr().err
