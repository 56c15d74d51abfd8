"""A study with real models, its cases run again for pictures, and its report from the shell."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_cam_sam.cli import main
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.studies.config.plan import plan_data, read_study
from napari_cam_sam.studies.report.cases import case_renderer, restore_study
from napari_cam_sam.studies.run.runner import run_study

STUDY = """
name: phantoms
dataset: {layout: phantoms, path: images, kind: ultrasound, count: 3}
grid:
  - classifiers: [lesion]
    methods: [layer-cam]
    strategies: [ours, mine]
    segmenters: [seeded]
    preprocessing: [none, smooth]
  - strategies: [truth-box]
    segmenters: [seeded]
strategies:
  mine: {base: s1, margin: 3}
preprocessing:
  smooth: {clahe: true}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    path = folder / "phantoms.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return run_study(read_study(path), folder / "out", limit=3, device="cpu")


def test_a_study_is_made_again_from_its_record(study):
    again = restore_study(study.record)
    assert plan_data(again) == study.record["study"]
    assert {one.name: one.run for one in again.settings}
    changed = json.loads(json.dumps(study.record))
    next(iter(changed["study"]["settings"].values()))["run"]["strategy"] = "s2-fg"
    with pytest.raises(CamSamError, match="of another version"):
        restore_study(changed)
    del changed["study"]["settings"]
    with pytest.raises(CamSamError, match="cannot be made again"):
        restore_study(changed)


@pytest.mark.parametrize("value", [10**400, [], "x", None, True])
def test_a_record_with_odd_values_is_refused(study, value):
    for place in (("seed",), ("name",), ("run", "prompts", "margin"), ("run", "cam", "method")):
        changed = json.loads(json.dumps(study.record))
        where = changed["study"]
        if place[0] == "run":
            where = next(iter(where["settings"].values()))
        for key in place[:-1]:
            where = where[key]
        where[place[-1]] = value
        with pytest.raises(CamSamError):
            restore_study(changed)


def test_a_picture_shows_the_mask_that_was_scored(study):
    render = case_renderer(study.record, "cpu")
    table = study.table
    dice = table[(table["metric"] == "dice") & (table["object"] == 0)]
    assert dice["setting"].nunique() == 5
    for row in dice.itertuples():
        view = render(row.case, row.setting)
        assert overlap(view.mask, view.truth).dice == row.value
        assert view.plane.dtype == np.uint8
        assert view.prompts.objects or row.status == "no-prompt"
        assert (view.heatmap is None) == (row.source == "truth")
    heat = table[table["source"] == "heatmap"]["setting"].iloc[0]
    assert render(dice["case"].iloc[0], heat).heatmap.max() <= 1
    with pytest.raises(CamSamError, match="no longer among the images"):
        render("another", dice["setting"].iloc[0])


def test_report_from_the_shell(study, capsys, tmp_path):
    output = tmp_path / "page.html"
    argv = ["report", str(study.folder), "--output", str(output), "--pictures", "1"]
    assert main([*argv, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "dice"
    assert found["finished"] is True
    assert [row["n_cases"] for row in found["settings"]] == [3] * 5
    table = study.table
    for row in found["settings"]:
        own = table[(table["setting"] == row["setting"]) & (table["metric"] == "dice")]
        assert row["mean"] == pytest.approx(own[own["object"] == 0]["value"].mean())
    assert len(found["differences"]) == 10
    text = Path(found["report"]).read_text(encoding="utf-8")
    assert text.count("image/png") == 3
    assert "No picture" not in text
    assert main([*argv, "--metric", "iou", "--pictures", "0"]) == 0
    out = capsys.readouterr().out
    assert "iou, mean" in out
    assert f"Written to {output}" in out
    assert main([*argv, "--metric", "dyce"]) == 2
    assert "no score 'dyce'" in capsys.readouterr().err


def test_images_that_moved_leave_the_report_without_pictures(study, capsys, tmp_path):
    record = json.loads(json.dumps(study.record))
    record["study"]["dataset"] |= {"layout": "busi", "path": str(tmp_path / "gone")}
    (tmp_path / "study.json").write_text(json.dumps(record), encoding="utf-8")
    study.table.to_parquet(tmp_path / "results.parquet")
    assert main(["report", str(tmp_path)]) == 0
    assert "The report has no pictures" in capsys.readouterr().err
    assert "image/png" not in (tmp_path / "report.html").read_text(encoding="utf-8")
