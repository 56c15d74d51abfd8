"""Studies on files: the same numbers as a run, every image with its reason, and nothing twice."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cam.parameters import TrustParameters
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cam.trust import assess_trust
from napari_cam_sam.demo import shipped_models
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.hashing import file_hash
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.segment.small_unet import SmallUNet
from napari_cam_sam.pipeline import RunParameters, VolumeParameters, run_image
from napari_cam_sam.prompts.annotator import AnnotatorParameters
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.studies import table
from napari_cam_sam.studies.cases import read_case
from napari_cam_sam.studies.config.plan import PREDICTION, DatasetSource, Setting, Study, read_study
from napari_cam_sam.studies.report.page import read_results
from napari_cam_sam.studies.run import planner, runner
from napari_cam_sam.studies.run.runner import read_cases, run_study

LESION = RunParameters(cam=CamParameters(target="lesion"))
TRUTH = RunParameters(strategy="truth-box")
ON_TRUTH = CamParameters("grad-cam", "lesion", pixel_set=PixelSet("truth"))


def values(rows: pd.DataFrame, **where: Any) -> dict[str, float]:
    """Metric to value of the rows that have some values in their columns."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert rows["metric"].is_unique
    return dict(zip(rows["metric"], rows["value"], strict=True))


def said(*scores: Scores) -> dict[str, float]:
    """What the table must say of scores: all that is a number."""
    return {k: v for one in scores for k, v in one.values.items() if not math.isnan(v)}


def lesions(path: Path, *settings: Setting, count: int = 2) -> Study:
    source = DatasetSource("phantoms", path / "images", {"kind": "ultrasound", "count": count})
    return Study("lesions", source, settings)


def test_a_study_of_one_image_is_a_run_of_it(tmp_path: Path) -> None:
    network = tmp_path / "unet.safetensors"
    torch.manual_seed(0)
    card = {
        "architecture": "small-unet",
        "class_names": ["background", "lesion"],
        "input_size": [32, 32],
    }
    save_file(SmallUNet(2).state_dict(), network, metadata={"card": json.dumps(card)})
    settings = (
        Setting("cam", "lesion", "compact-sam", LESION),
        Setting("heatmap", "lesion", "seeded", replace(LESION, mask_from="heatmap")),
        Setting("single", "lesion", "seeded", replace(LESION, strategy="s1", mask_choice="single")),
        Setting("oracle", None, "compact-sam", replace(TRUTH, mask_choice="oracle")),
        Setting("network", str(network), "compact-sam", RunParameters(cam=ON_TRUTH)),
    )
    study = lesions(tmp_path, *settings, count=1)
    result = run_study(study, tmp_path / "out")
    (case,) = read_cases(study).cases
    image, truth = read_case(case)
    for setting in settings:
        classifier = setting.classifier and load_model(setting.classifier, device="cpu")
        segmenter = load_segmenter(setting.segmenter, "cpu")
        run = run_image(image, segmenter, classifier or None, setting.run, truth)
        (scores,) = run.scores.values()
        found = values(result.table, setting=setting.name)
        if setting.classifier is not None:
            name = setting.columns()["classifier"]
            found |= values(result.table, source="heatmap", classifier=name)
            assert found.pop("probability") == run.probabilities[0]
        assert found == said(scores)
        assert set(result.table[result.table["setting"] == setting.name]["status"]) == {"ok"}
    # Three settings share a heatmap, and two of them the encoding by their segmenter.
    assert set(result.table[result.table["source"] == "heatmap"]["setting"]) == {
        "heatmap/lesion/layer-cam/default/lesion",
        "heatmap/unet/grad-cam/default/lesion on truth",
    }
    assert result.record["encodes"] == {"done": 2, "found": 0}


@pytest.fixture
def volume(tmp_path: Path) -> DatasetSource:
    """A CT-like volume of two labels, with a truth for each."""
    phantom = ct(5, shape=(6, 48, 48))
    labels = np.asarray(phantom.labels, np.uint8)
    labels[1:5, 5:15, 8:20] = 2
    for name, data in (("images", phantom.hounsfield), ("masks", labels)):
        (tmp_path / "ct" / name).mkdir(parents=True)
        path = tmp_path / "ct" / name / "scan.nii.gz"
        nib.save(nib.Nifti1Image(data.transpose(2, 1, 0), phantom.affine[:, [2, 1, 0, 3]]), path)
    return DatasetSource("folders", tmp_path / "ct")


def test_a_volume_is_scored_by_plane_by_label_and_as_a_whole(
    volume: DatasetSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = RunParameters(
        strategy="truth-box", planes=range(2, 4), volume=VolumeParameters(), mask_choice="single"
    )
    settings = (
        Setting("cam", "lesion", "seeded", LESION),
        Setting("truth", None, "seeded", TRUTH),
        Setting("through", None, "seeded", through),
    )
    study = Study("volume", volume, settings)
    result = run_study(study, tmp_path / "out")
    (case,) = read_cases(study).cases
    image, truth = read_case(case)
    lesion, seeded = load_classifier("lesion", device="cpu"), load_segmenter("seeded", "cpu")
    for setting in settings:
        run = run_image(image, seeded, setting.classifier and lesion, setting.run, truth)
        rows = result.table[result.table["setting"] == setting.name]
        heat = result.table[result.table["source"] == "heatmap"]
        for (index, label), scores in run.scores.items():
            found = values(rows, plane=index, object=label)
            if setting.classifier is not None:
                found |= values(heat, plane=index)
                found.pop("probability")
            assert found == said(scores)
        assert run.volume is not None
        whole = values(rows, plane=-1, object=0)
        if setting.classifier is not None:
            whole |= values(heat, plane=-1)
        assert whole == said(run.volume)
        for label, scores in run.volume_labels.items():
            assert values(rows, plane=-1, object=label) == said(scores)
    # A plane on which there is nothing is there, but counts for nothing.
    empty = result.table[(result.table["setting"] == "truth") & (result.table["metric"] == "")]
    assert set(empty["status"]) == {"no-truth"}
    # Where the memory does not take all settings at once they are run a few at a time.
    monkeypatch.setattr(planner, "_MOST_BYTES", 1)
    few = run_study(study, tmp_path / "few")
    pd.testing.assert_frame_equal(few.table, result.table)


def test_every_image_is_in_the_table_with_its_reason(tmp_path: Path) -> None:
    study = lesions(
        tmp_path,
        Setting("cam", "lesion", "seeded", LESION),
        Setting("sure", "lesion", "seeded", replace(
            LESION, cam=CamParameters(target="lesion", min_probability=1.0)
        )),
        Setting("truth", None, "seeded", TRUTH),
        Setting("given", None, PREDICTION, RunParameters()),
        count=1,
    )  # fmt: skip
    (drawn,) = read_cases(study).cases
    data = tmp_path / "data"
    for folder in ("images", "masks", "theirs"):
        (data / folder).mkdir(parents=True)
    for name in ("good", "without", "empty", "shape", "torn"):
        shutil.copy(drawn.image, data / "images" / f"{name}.png")
    for name in ("good", "torn"):
        shutil.copy(drawn.truths[0], data / "masks" / f"{name}.png")
    (data / "images" / "torn.png").write_bytes(drawn.image.read_bytes()[:500])
    size = Picture.open(drawn.image).size
    Picture.fromarray(np.zeros(size[::-1], np.uint8)).save(data / "masks" / "empty.png")
    Picture.fromarray(np.ones((5, 5), np.uint8)).save(data / "masks" / "shape.png")
    shutil.copy(drawn.truths[0], data / "theirs" / "good.png")
    source = DatasetSource("folders", data, {"predictions": "theirs"})
    result = run_study(replace(study, dataset=source), tmp_path / "out")
    rows = result.table
    assert set(rows["case"]) == {"good", "without", "empty", "shape", "torn"}
    assert (rows.groupby("case")["setting"].nunique() >= 4).all()
    status = {
        (case, setting): (one["status"].iloc[0], one["reason"].iloc[0])
        for (case, setting), one in rows.groupby(["case", "setting"])
    }
    assert status["good", "cam"] == ("ok", "")
    assert status["good", "sure"][0] == "no-prompt"
    assert "below the cut-off" in status["good", "sure"][1]
    assert values(rows, case="good", setting="sure")["dice"] == 0
    assert values(rows, case="good", setting="given")["dice"] == 1
    assert status["without", "given"] == ("failed", "There is no prediction of this image.")
    assert status["without", "cam"] == ("no-truth", "There is no truth.")
    assert status["without", "truth"][0] == "failed"
    assert "give one" in status["without", "truth"][1]
    assert status["empty", "truth"][0] == "no-truth"
    assert values(rows, case="empty", setting="cam")["dice"] == 0
    assert {status[case, "cam"][0] for case in ("shape", "torn")} == {"failed"}
    assert "5" in status["shape", "cam"][1]
    assert "torn.png" in status["torn", "truth"][1]
    assert status["torn", "heatmap/lesion/layer-cam/default/lesion"] == status["torn", "cam"]
    assert result.record["cases"] == {"all": 5, "done": 5, "failed": 2}
    assert (rows["value"].isna() == (rows["metric"] == "")).all()
    assert list(rows.columns) == list(table.COLUMNS)
    assert set(rows["status"]) <= set(table.STATUSES)
    csv = pd.read_csv(
        tmp_path / "out" / "results.csv", keep_default_na=False, na_values={"value": ""}
    )
    pd.testing.assert_frame_equal(csv, rows, check_dtype=False)


def test_the_annotators_curve_is_a_row_a_click(tmp_path: Path) -> None:
    clicks = AnnotatorParameters(points=3)
    study = lesions(tmp_path, Setting("clicks", None, "seeded", RunParameters(), clicks), count=1)
    rows = run_study(study, tmp_path / "out").table
    assert set(rows["source"]) == {"annotator"}
    assert sorted(set(rows["step"])) == [1, 2, 3]
    dice = [values(rows, step=step)["dice"] for step in (1, 2, 3)]
    assert min(dice) > 0.5
    assert [values(rows, step=step)["fg_hit_rate"] for step in (1, 2, 3)] == [1, 1, 1]


def test_a_heatmap_is_put_to_the_test_once_for_all_its_settings(tmp_path: Path) -> None:
    tests = TrustParameters(stages=2, draws=1, methods=(), removed=(50,))
    settings = [
        Setting(name, "lesion", "", replace(LESION, strategy=name)) for name in ("ours", "s1")
    ]
    study = replace(lesions(tmp_path, *settings, count=1), trust=tests)
    rows = run_study(study, tmp_path / "out").table
    image, _ = read_case(read_cases(study).cases[0])
    lesion = load_classifier("lesion", device="cpu")
    found = values(rows, source="heatmap")
    told = assess_trust(lesion, image.plane(0, 0), LESION.cam, tests).scores()
    # A study adds in one thread, and this in as many as there are.
    assert {k: v for k, v in found.items() if k.startswith("trust_")} == pytest.approx(
        {k: v for k, v in told.items() if not math.isnan(v)}, abs=1e-5
    )
    assert "trust_road" in found


def test_nothing_is_encoded_where_there_is_nothing_to_click_on(tmp_path: Path) -> None:
    clicks = Setting("clicks", None, "compact-sam", RunParameters(), AnnotatorParameters(points=1))
    study = lesions(tmp_path, clicks, count=1)
    (drawn,) = read_cases(study).cases
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    shutil.copy(drawn.image, tmp_path / "data" / "images" / "a.png")
    empty = np.zeros(Picture.open(drawn.image).size[::-1], np.uint8)
    Picture.fromarray(empty).save(tmp_path / "data" / "masks" / "a.png")
    source = DatasetSource("folders", tmp_path / "data")
    result = run_study(replace(study, dataset=source), tmp_path / "out")
    assert result.table["status"].tolist() == ["no-truth"]
    assert result.record["encodes"]["done"] == 0


def test_what_is_finished_is_not_run_again(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, ran = read_study(study_file), []
    task = runner.run_case

    def noted(study: Study, case: Any, *rest: Any) -> Any:
        ran.append(case.image_id)
        return task(study, case, *rest)

    monkeypatch.setattr(runner, "run_case", noted)
    told: list[tuple[int, int]] = []
    first = run_study(study, tmp_path / "out", limit=2, progress=lambda *one: told.append(one))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert first.record["state"] == "finished"
    whole = run_study(study, tmp_path / "out")
    assert ran == ["ultrasound-000000", "ultrasound-000001", "ultrasound-000002"]
    assert whole.record["encodes"] == {"done": 6, "found": 0}
    assert len(whole.record["runs"]) == 2
    before = (tmp_path / "out" / "results.parquet").read_bytes()
    # An image that is another one now, and a file that is damaged, are run again.
    cases = read_cases(study).cases
    pixels = np.array(Picture.open(cases[1].image))
    Picture.fromarray(255 - pixels).save(cases[1].image)
    os.utime(cases[0].image, (1, 1))  # this one is the same
    table.case_file(tmp_path / "out" / "cases", cases[2].image_id).write_bytes(b"torn")
    run_study(study, tmp_path / "out")
    assert ran[3:] == ["ultrasound-000001", "ultrasound-000002"]
    Picture.fromarray(pixels).save(cases[1].image)
    again = run_study(study, tmp_path / "out")
    assert ran[5:] == ["ultrasound-000001"]
    assert again.record["again"] == {"its image or truth is another one": 1}
    assert (tmp_path / "out" / "results.parquet").read_bytes() == before


def test_weights_that_are_others_now_are_run_again(tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "mine.safetensors"
    weights.parent.mkdir()
    shutil.copy(shipped_models()["lesion"], weights)
    study = lesions(tmp_path, Setting("cam", str(weights), "", LESION), count=1)
    before = run_study(study, tmp_path / "out").record["models"]
    state = load_file(weights)
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    save_file({name: value / 2 for name, value in state.items()}, weights, metadata)
    after = run_study(study, tmp_path / "out")
    (old,), (new,) = before[str(weights)], after.record["models"][str(weights)]
    assert old["sha256"] != new["sha256"] == file_hash(weights)


def test_a_network_sees_the_window_that_it_was_trained_with(tmp_path: Path) -> None:
    card = {"architecture": "small-unet", "num_classes": 2, "input_size": [32, 32]}
    state, found = SmallUNet(2).state_dict(), []
    for name, more in (("own", {"window": "limits:20,60"}), ("none", {})):
        save_file(state, tmp_path / f"{name}.safetensors", {"card": json.dumps(card | more)})
    for name, window in (("own", "auto"), ("none", "limits:20,60"), ("none", "auto")):
        run = RunParameters(window=parse_window(window))
        network = str(tmp_path / f"{name}.safetensors")
        study = lesions(tmp_path, Setting("map", network, "", run), count=1)
        rows = run_study(study, tmp_path / f"{name}-{window}").table
        found.append(values(rows, source="heatmap")["probability"])
    assert found[0] == found[1] != found[2]


def test_another_study_in_the_folder_is_refused(study_file: Path, tmp_path: Path) -> None:
    study = read_study(study_file)
    run_study(study, tmp_path / "out", limit=1)
    with pytest.raises(CamSamError, match=r"seed was 0 and is 5.*--output"):
        run_study(replace(study, seed=5), tmp_path / "out")
    run_study(replace(study, compare=((study.settings[0].name,) * 2,)), tmp_path / "out", limit=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.json").write_text('{"study": 3}')
    with pytest.raises(CamSamError, match=r"study should be .*, not 3 \(.*study\.json\)"):
        run_study(study, tmp_path / "other")
    with pytest.raises(CamSamError, match="is a file"):
        run_study(study, study_file)


def test_a_missing_layer_or_class_is_said_before_the_first_image(tmp_path: Path) -> None:
    for cam, message in (
        (CamParameters(layers=("stage9",)), "Unknown layer 'stage9'"),
        (CamParameters(target="tumour"), "Unknown class 'tumour'"),
    ):
        study = lesions(tmp_path, Setting("one", "lesion", "", RunParameters(cam=cam)))
        with pytest.raises(CamSamError, match=message):
            run_study(study, tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_full_disk_stops_the_study_and_what_is_finished_stays(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, write, written = read_study(study_file), table.pq.write_table, []

    def full(*arguments: Any, **options: Any) -> None:
        if len(written) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(write(*arguments, **options))

    monkeypatch.setattr(table.pq, "write_table", full)
    with pytest.raises(CamSamError, match=r"could not be written: No space left.*parquet"):
        run_study(study, tmp_path / "out")
    assert len(list((tmp_path / "out" / "cases").iterdir())) == 1
    monkeypatch.undo()
    assert run_study(study, tmp_path / "out").record["cases"]["done"] == 3


def test_a_study_without_its_whole_table_is_not_called_finished(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, replaced = read_study(study_file), os.replace
    run_study(study, tmp_path / "out", limit=1)

    def full(source: Path, target: Path) -> None:
        if target.name == "results.parquet":
            raise OSError(errno.ENOSPC, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CamSamError, match=r"could not be written: No space left.*results.parquet"):
        run_study(study, tmp_path / "out")
    # The table is of one image still, and the report reads the files of all three.
    found = read_results(tmp_path / "out")
    assert not found.finished
    assert found.table["case"].nunique() == 3


KILLED = """
import sys
from pathlib import Path
from napari_cam_sam.sam.cache import embeddings
from napari_cam_sam.studies.config.plan import read_study
from napari_cam_sam.studies.run.runner import run_study

folder = Path(sys.argv[1])

class Noted(embeddings.EmbeddingStore):
    def put(self, segmenter, key, embedding):
        kept = super().put(segmenter, key, embedding)
        with (folder / "kept.txt").open("a") as log:
            log.write(key + "\\n")
        return kept

embeddings.EmbeddingStore = Noted
run_study(read_study(folder / "study.yaml"), folder / "out",
          cache=embeddings.CacheParameters(folder=str(folder / "embeddings")))
"""


@pytest.mark.slow
def test_a_killed_study_goes_on_and_encodes_nothing_twice(study_file: Path, tmp_path: Path) -> None:
    # Kept on disk are the embeddings of SAMs alone; seeded makes none.
    study_file.write_text(study_file.read_text().replace("[compact-sam, seeded]", "compact-sam"))
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tmp_path)]
    process = subprocess.Popen(command)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("out/cases/[!.]*.parquet")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(tmp_path.glob("out/cases/[!.]*.parquet")))
    assert 1 <= finished < 3
    kept = (tmp_path / "kept.txt").read_text().split()
    assert subprocess.run(command).returncode == 0
    again = (tmp_path / "kept.txt").read_text().split()
    assert again[: len(kept)] == kept
    assert sorted(again) == sorted(set(again))
    assert len(again) == 3
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    assert record["state"] == "finished"
    # An image that was encoded, but not finished, found its embedding on disk.
    assert record["encodes"] == {"done": 3 - (len(kept) - finished), "found": len(kept) - finished}
    run_study(read_study(study_file), tmp_path / "whole")
    for name in ("results.parquet", "results.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_record_says_what_was_done(study_file: Path, tmp_path: Path) -> None:
    study = read_study(study_file)
    run_study(study, tmp_path / "out", limit=1, command=["study", "study.yaml"])
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    assert record["command"] == ["study", "study.yaml"]
    assert set(record["study"]["settings"]) == {setting.name for setting in study.settings}
    assert record["models"]["lesion"][0]["sha256"] == load_classifier("lesion").sha256
    assert {"heatmap", "encode", "decode", "scores", "total"} <= record["seconds"].keys()
    assert record["packages"]["torch"]
    assert record["state"] == "finished"
    assert record["started"] <= record["finished"]


def test_a_study_can_be_cancelled_between_images(study_file: Path, tmp_path: Path) -> None:
    study = read_study(study_file)
    result = run_study(study, tmp_path / "out", cancelled=lambda: True)
    assert result.record["state"] == "stopped"
    assert result.table["case"].nunique() == 1


def test_results_do_not_depend_on_what_the_cache_holds(study_file: Path, tmp_path: Path) -> None:
    study = read_study(study_file)
    cases = read_cases(study, 1).cases
    image, _ = read_case(cases[0])
    segmenter = load_segmenter("compact-sam")
    run_study(study, tmp_path / "one", limit=1)
    again = run_study(study, tmp_path / "two", limit=1)
    assert again.record["encodes"]["found"] == 1
    assert EmbeddingCache(store=None).get(segmenter, np.asarray(image.data)) is None
    one, two = ((tmp_path / name / "results.csv").read_bytes() for name in ("one", "two"))
    assert one == two
