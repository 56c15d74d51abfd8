"""The command ``study``: counts, asks, resumes, and says what failed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image as Pillow

from napari_cam_sam.cli import main
from napari_cam_sam.sam.registry import CACHE_VARIABLE
from napari_cam_sam.studies.config import plan
from napari_cam_sam.studies.report.statistics import summarise
from napari_cam_sam.studies.run import runner

STUDY = """\
dataset: {layout: phantoms, path: images, kind: ultrasound, count: 3}
grid:
  classifiers: lesion
  targets: lesion
  strategies: [ours, truth-box]
  segmenters: [seeded]
  mask_from: [prompts, heatmap]
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "lesions.yaml"
    path.write_text(STUDY)
    return path


def test_a_dry_run_counts_and_keeps_nothing(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(study), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "3 images × 3 settings = 9\n" in out
    assert "1 left out: masks from 'heatmap' need a heatmap" in out
    assert "s for the image that was measured, so about" in out
    assert not study.with_name("lesions-study").exists()
    assert main(["study", str(study), "--dry-run", "--limit", "2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["images"], data["runs"], data["done"]) == (2, 6, 0)
    assert data["seconds"] == pytest.approx(2 * data["image_seconds"])


@pytest.mark.parametrize(
    ("option", "least"),
    [("study --limit=0", 1), ("study --workers=-1", 1), ("report --seed=-1", 0)],
)
def test_a_number_that_is_too_small_is_refused(
    option: str, least: int, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, flag = option.split()
    assert main([command, str(study), flag]) == 2
    assert f"invalid whole number of {least} or more value" in capsys.readouterr().err


def test_a_study_is_run_resumed_and_reported(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(study), "--limit", "1"]) == 0
    (study.parent / "images" / "ultrasound" / "ultrasound-000002.png").write_bytes(b"torn")
    capsys.readouterr()
    assert main(["study", str(study)]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 finished, 1 failed" in out
    assert "1 failed: " in out
    assert "ultrasound-000002.png" in out
    assert out.splitlines()[0].split() == ["setting", "Dice", "images", "without", "prompts"]
    folder = study.with_name("lesions-study")
    record = json.loads((folder / "study.json").read_text())
    assert record["command"] == ["study", str(study)]
    assert [one["command"][2:] for one in record["runs"]] == [["--limit", "1"], []]
    assert main(["study", str(study), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["cases"] == {"all": 3, "done": 3, "failed": 1}
    assert set(data["dice"]) == set(record["study"]["settings"])


def test_ctrl_c_says_how_far_it_is(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, ran = runner.run_case, []

    def stopped(*arguments: object) -> object:
        if ran:
            raise KeyboardInterrupt
        ran.append(arguments)
        return task(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run_case", stopped)
    assert main(["study", str(study)]) == 130
    assert "stopped; 1 of 3 images are finished in" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv(CACHE_VARIABLE, str(study.parent / "cache"))
    assert main(["study", str(study)]) == 0


def test_bad_studies_are_refused_in_one_line(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*argv: str) -> str:
        assert main(["study", *argv]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        return err

    assert "could not be read" in refused(str(study.with_name("none.yaml")))
    assert "whole number of 1 or more" in refused(str(study), "--limit", "0")
    assert "not both" in refused(str(study), "--workers", "2", "--scheduler", "tcp://x:1")
    monkeypatch.setattr(plan, "MANY_RUNS", 8)
    said = refused(str(study))
    assert "3 images × 3 settings = 9 runs" in said
    assert "--yes" in said
    assert main(["study", str(study), "--yes"]) == 0
    capsys.readouterr()
    study.write_text(STUDY.replace("grid", "gird"))
    said = refused(str(study))
    assert "Unknown section 'gird'. Did you mean grid? (" in said
    assert "lesions.yaml:2)" in said
    study.write_text(STUDY.replace("count: 3", "count: 3, first_seed: 9"))
    said = refused(str(study), "--yes")
    assert "This folder holds another study: dataset.options.first_seed" in said


def test_the_mean_of_volumes_is_that_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "volumes.yaml"
    path.write_text(
        "dataset: {layout: phantoms, path: images, kind: ct, count: 1}\n"
        "run: {truth_label: 1}\n"
        "grid: {strategies: truth-box, segmenters: seeded}\n"
    )
    assert main(["study", str(path), "--json"]) == 0
    (mean,) = json.loads(capsys.readouterr().out)["dice"].values()
    table = pd.read_parquet(tmp_path / "volumes-study" / "results.parquet")
    assert mean == summarise(table, "dice")["mean"].item()
    whole = table[(table["metric"] == "dice") & (table["plane"] == -1)]
    assert mean == whole["value"].item()


def test_a_channel_of_files_that_hold_several(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study.parent / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    disc = np.hypot(*np.mgrid[-24:24, -24:24]) < 9
    channels = np.stack([np.zeros_like(disc), disc]).astype(np.uint8) * 200
    tifffile.imwrite(folder / "images/a.tif", channels, photometric="minisblack",
                     metadata={"axes": "CYX"})  # fmt: skip
    Pillow.fromarray(disc.astype(np.uint8) * 255).save(folder / "masks/a.png")
    study.write_text(
        "dataset: {layout: folders, path: data, images: images, masks: masks}\n"
        "grid: {strategies: truth-box, segmenters: seeded}\n"
    )
    assert main(["study", str(study), "--json", "--output", str(folder / "without")]) == 0
    (reason,) = json.loads(capsys.readouterr().out)["failures"]
    assert "2 channels" in reason
    command = ["study", str(study), "--channel", "1", "--json", "--output", str(folder / "with")]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["failures"]
    assert found["dice"]["truth-box/seeded"] > 0.9
    assert main([*command[:2], "--channel", "two"]) == 2
    assert "--channel" in capsys.readouterr().err
