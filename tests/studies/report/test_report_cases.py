"""A study with real models, its cases run again for pictures, and its report from the shell."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_cam_sam.cli import main
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.pipeline.parameters import RunParameters
from napari_cam_sam.studies.config.plan import (
    DatasetSource,
    Study,
    plan_data,
    plan_hash,
    read_study,
)
from napari_cam_sam.studies.config.settings import Setting
from napari_cam_sam.studies.report import statistics
from napari_cam_sam.studies.report.cases import case_renderer, restore_study
from napari_cam_sam.studies.report.page import write_report
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


@pytest.mark.parametrize(
    ("planes", "sentence"),
    [
        ({"start": 2, "stop": 4}, ""),
        (None, "of another version"),
        ({"start": 2, "stop": 5}, "of another version"),
        ({"start": 2}, "cannot be made again"),
        ({}, "cannot be made again"),
        ({"start": "2", "stop": 4}, "cannot be made again"),
        ({"start": 2.0, "stop": 4}, "cannot be made again"),
        ({"start": None, "stop": 4}, "cannot be made again"),
        ({"start": [], "stop": {}}, "cannot be made again"),
        ({"start": 2, "stop": 10**400}, "of another version"),
        ({"start": True, "stop": 4}, "cannot be made again"),
        ({"start": 2, "stop": 4, "step": 2}, "cannot be made again"),
        ([2, 3], "cannot be made again"),
        ("2:4", "cannot be made again"),
        (2, "cannot be made again"),
        (True, "cannot be made again"),
    ],
)
def test_a_range_of_slices_comes_back_whole_or_not_at_all(tmp_path, planes, sentence):
    run = RunParameters(strategy="truth-box", planes=range(2, 4))
    source = DatasetSource("folders", tmp_path)
    study = Study("slices", source, (Setting("truth", None, "seeded", run),))
    record = json.loads(json.dumps({"study": plan_data(study), "plan": plan_hash(study)}))
    where = record["study"]["settings"]["truth"]["run"]
    assert where["planes"] == {"start": 2, "stop": 4}
    where["planes"] = planes
    if sentence:
        with pytest.raises(CamSamError, match=sentence):
            restore_study(record)
        return
    (again,) = restore_study(record).settings
    assert again.run == run


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


def test_each_bootstrap_of_a_report_is_drawn_once(study, capsys, tmp_path, monkeypatch):
    asked = []
    for name in ("summarise", "compare_settings"):
        inner = getattr(statistics, name)

        def counted(table, metric, by=("setting",), *, seed, name=name, inner=inner):
            asked.append((name, metric, tuple(map(str, by)), len(table)))
            return inner(table, metric, by, seed=seed)

        monkeypatch.setattr(statistics, name, counted)
    argv = ["report", str(study.folder), "--output", str(tmp_path / "a.html"), "--pictures", "0"]
    assert main([*argv, "--json", "--seed", "3"]) == 0
    assert len(asked) == len(set(asked)) > 5
    said = json.loads(capsys.readouterr().out)
    # What is printed is what the page shows, and both are what Python gives.
    whole = statistics.summarise(study.table, "dice", seed=3)
    assert [one["ci_low"] for one in said["settings"]] == whole["ci_low"].to_list()
    asked.clear()
    page = write_report(study.folder, output=tmp_path / "b.html", seed=3)
    assert len(asked) == len(set(asked)) > 5
    assert page.read_bytes() == (tmp_path / "a.html").read_bytes()


def test_images_that_moved_leave_the_report_without_pictures(study, capsys, tmp_path):
    record = json.loads(json.dumps(study.record))
    record["study"]["dataset"] |= {"layout": "busi", "path": str(tmp_path / "gone")}
    (tmp_path / "study.json").write_text(json.dumps(record), encoding="utf-8")
    study.table.to_parquet(tmp_path / "results.parquet")
    assert main(["report", str(tmp_path)]) == 0
    assert "The report has no pictures" in capsys.readouterr().err
    assert "image/png" not in (tmp_path / "report.html").read_text(encoding="utf-8")
