"""Results of a study are of what made them, or are made again: models, code, data, and bytes."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Picture
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.demo import shipped_models
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.factory_sources import factory_sources
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.studies import table
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, Study
from napari_cam_sam.studies.report.page import read_results
from napari_cam_sam.studies.run import runner, stamps
from napari_cam_sam.studies.run.runner import read_cases, run_study
from napari_cam_sam.studies.table import case_file, read_about, read_rows

BOX = Setting("box", None, "seeded", RunParameters(strategy="truth-box"))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that were run."""
    found: list[str] = []
    task = runner.run_case

    def noted(study: Study, case: Any, *rest: Any) -> Any:
        found.append(case.image_id)
        return task(study, case, *rest)

    monkeypatch.setattr(runner, "run_case", noted)
    return found


def study_of(folder: Path, *settings: Setting, count: int = 2) -> Study:
    options = {"kind": "ultrasound", "count": count}
    return Study("s", DatasetSource("phantoms", folder / "images", options), settings)


def of_model(name: str, layers: tuple[str, ...] = ()) -> Setting:
    return Setting("cam", name, "", RunParameters(cam=CamParameters(layers=layers)))


def test_a_card_that_is_another_one_makes_results_again(tmp_path: Path, ran: list[str]) -> None:
    weights = tmp_path / "mine.safetensors"
    with safe_open(shipped_models()["lesion"], "pt") as file:
        card = json.loads(file.metadata()["card"])
    save_file(load_file(shipped_models()["lesion"]), weights)
    beside = weights.with_suffix(".json")
    beside.write_text(json.dumps(card))
    study = study_of(tmp_path, of_model(str(weights)))
    before = run_study(study, tmp_path / "out", device="cpu").table
    assert run_study(study, tmp_path / "out", device="cpu").record["again"] == {}
    assert len(ran) == 2
    state = beside.stat()
    changed = card | {"mean": [0.1] * len(card.get("mean") or [0.0])}
    beside.write_text(json.dumps(changed))
    os.utime(beside, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = run_study(study, tmp_path / "out", device="cpu")
    assert after.record["again"] == {
        f"{weights} is another model now, by its weights, card or code": 2
    }
    assert len(ran) == 4
    assert not after.table.equals(before)


CODE = """\
import torch
from torch import nn
from helper_of_stamps import scale

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(4, 2)
        self.card = {
            "class_names": ["no", "lesion"], "input_size": [64, 64], "layers": ["net"],
            "channels": 3,
        }

    def forward(self, x):
        return self.fc(self.net(x).mean((2, 3))) * scale

def make():
    return Net()
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A factory of the user's own that imports a neighbour, for which a new Python is acted."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model_of_stamps.py").write_text(CODE)
    (folder / "helper_of_stamps.py").write_text("scale = 1.0\n")
    (folder / "not_imported.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    forget()
    yield folder
    forget()


def forget() -> None:
    for name in ("model_of_stamps", "helper_of_stamps"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def test_a_factorys_code_that_is_another_one_makes_results_again(
    tmp_path: Path, mine: Path, ran: list[str]
) -> None:
    study = study_of(tmp_path, of_model("model_of_stamps:make"))
    first = run_study(study, tmp_path / "out", device="cpu").table
    forget()
    assert run_study(study, tmp_path / "out", device="cpu").record["again"] == {}
    (mine / "not_imported.py").write_text("x = 2\n")
    forget()
    assert run_study(study, tmp_path / "out", device="cpu").record["again"] == {}
    assert len(ran) == 2
    for path, old, new in (
        (mine / "helper_of_stamps.py", "1.0", "3.0"),
        (mine / "model_of_stamps.py", "self.net(x).mean", "self.net(x).amax"),
        (mine / "model_of_stamps.py", "manual_seed(0)", "manual_seed(1)"),
    ):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        forget()
        count = len(ran)
        last = run_study(study, tmp_path / "out", device="cpu")
        assert len(ran) == count + 2
        assert "another model now" in next(iter(last.record["again"]))
    assert not last.table.equals(first)


def test_the_source_of_a_factory_is_read_and_not_run(tmp_path: Path, mine: Path) -> None:
    (mine / "helper_of_stamps.py").write_text("raise SystemExit('run')\n")
    assert set(factory_sources("model_of_stamps:make")) == {
        "model_of_stamps.py", "helper_of_stamps.py",
    }  # fmt: skip
    package = mine / "package_of_stamps"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('run')\n")
    (package / "deep" / "__init__.py").write_text("from .net import make\n")
    (package / "deep" / "net.py").write_text("from ..other import x\n")
    (package / "other.py").write_text("x = 1\n")
    importlib.invalidate_caches()
    assert set(factory_sources("package_of_stamps.deep:make")) == {
        "package_of_stamps/__init__.py", "package_of_stamps/deep/__init__.py",
        "package_of_stamps/deep/net.py", "package_of_stamps/other.py",
    }  # fmt: skip
    (mine / "broken_of_stamps.py").write_text("def make(:\n")
    importlib.invalidate_caches()
    assert "broken_of_stamps.py" in factory_sources("broken_of_stamps:make")
    installed = factory_sources("torchvision.models.resnet:resnet18")
    assert set(installed) == {"torchvision/models/resnet.py", "torchvision"}
    assert factory_sources("there_is_no_such_module:make") == {}


def test_an_image_is_known_by_its_content(tmp_path: Path, ran: list[str]) -> None:
    study = study_of(tmp_path, BOX)
    run_study(study, tmp_path / "out", device="cpu")
    case = read_cases(study).cases[1]
    # Copied anew, it is the same; with one other pixel and the old time of change it is not.
    state = case.image.stat()
    shutil.copy(case.image, tmp_path / "copy.png")
    os.replace(tmp_path / "copy.png", case.image)
    assert run_study(study, tmp_path / "out", device="cpu").record["again"] == {}
    pixels = np.array(Picture.open(case.truths[0]))
    pixels[:8, :8] = pixels.max()
    Picture.fromarray(pixels).save(case.truths[0])
    os.utime(case.truths[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    again = run_study(study, tmp_path / "out", device="cpu")
    assert again.record["again"] == {"its image or truth is another one": 1}
    assert ran == ["ultrasound-000000", "ultrasound-000001", "ultrasound-000001"]


def test_another_version_of_what_computes_makes_results_again(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path, BOX)
    run_study(study, tmp_path / "out", device="cpu")
    now = stamps.package_versions()
    monkeypatch.setattr(stamps, "package_versions", lambda: now | {"numpy": "9.9"})
    again = run_study(study, tmp_path / "out", device="cpu")
    assert again.record["again"] == {f"numpy was {now['numpy']} and is 9.9": 2}
    assert len(ran) == 4


def test_other_rules_of_scores_make_results_again(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path, BOX)
    run_study(study, tmp_path / "out", device="cpu")
    monkeypatch.setattr(stamps, "SCORING_RULES", stamps.SCORING_RULES + 1)
    again = run_study(study, tmp_path / "out", device="cpu")
    assert again.record["again"] == {"the rules of scores are others now": 2}
    assert len(ran) == 4


def test_any_damaged_byte_of_a_case_is_found_and_made_again(tmp_path: Path, ran: list[str]) -> None:
    study = study_of(tmp_path, BOX, count=1)
    first = run_study(study, tmp_path / "out", device="cpu")
    path = case_file(tmp_path / "out" / "cases", read_cases(study).cases[0].image_id)
    whole, about = path.read_bytes(), read_about(path)
    rows = read_rows(path)
    assert about is not None
    rng, caught = np.random.default_rng(0), 0
    for position in rng.choice(len(whole), 400, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        found = read_about(path)
        if found is None:
            caught += 1
            with pytest.raises(CamSamError, match="damaged"):
                read_rows(path)
        else:  # a byte that means nothing
            assert found == about
            assert read_rows(path).equals(rows)
    assert caught > 200
    for torn in (b"", whole[:-1], whole[:40], b"PAR1" * 8):
        path.write_bytes(torn)
        assert read_about(path) is None
    again = run_study(study, tmp_path / "out", device="cpu")
    assert again.record["again"] == {"the file of its results is damaged": 1}
    assert len(ran) == 2
    assert again.table.equals(first.table)


def test_rows_are_checked_where_the_name_of_their_digest_is_damaged(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path, BOX, count=1)
    run_study(study, tmp_path / "out", device="cpu")
    path = case_file(tmp_path / "out" / "cases", read_cases(study).cases[0].image_id)
    whole = path.read_bytes()
    monkeypatch.setattr(table, "_DIGEST", b"another name")
    assert read_about(path) is not None  # as of an earlier version
    rows = read_rows(path)
    for position in range(4, 600):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(bytes(damaged))
        assert read_about(path) is None or read_rows(path).equals(rows)


def test_a_damaged_table_is_said_and_mended(tmp_path: Path, ran: list[str]) -> None:
    study = study_of(tmp_path, BOX)
    result = run_study(study, tmp_path / "out", device="cpu")
    path = tmp_path / "out" / "results.parquet"
    whole = path.read_bytes()
    right, said = result.table, 0
    for position in range(4, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(bytes(damaged))
        try:
            found = read_results(tmp_path / "out").table
        except CamSamError as error:
            said += "run the study again" in str(error)
        else:  # a byte that means nothing
            assert found["value"].tolist() == right["value"].tolist()
    assert said > 20
    path.write_bytes(whole[:-40])
    with pytest.raises(CamSamError, match="run the study again"):
        _ = replace(result).table
    run_study(study, tmp_path / "out", device="cpu")
    assert path.read_bytes() == whole
    assert len(read_results(tmp_path / "out").table) == len(result.table)
    assert len(ran) == 2


def test_what_an_earlier_version_left_is_read_and_made_again(
    tmp_path: Path, ran: list[str]
) -> None:
    study = study_of(tmp_path, BOX)
    first = run_study(study, tmp_path / "out", device="cpu")
    for case in read_cases(study).cases:
        path = case_file(tmp_path / "out" / "cases", case.image_id)
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"napari-cam-sam"])
        about["stamp"] = "0" * 64
        del about["states"]
        pq.write_table(table.replace_schema_metadata({"napari-cam-sam": json.dumps(about)}), path)
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    del record["rows_sha256"], record["again"]
    (tmp_path / "out" / "study.json").write_text(json.dumps(record))
    assert read_results(tmp_path / "out").table["value"].tolist() == first.table["value"].tolist()
    again = run_study(study, tmp_path / "out", device="cpu")
    assert again.record["again"] == {"an earlier version had not recorded what made it": 2}
    assert len(ran) == 4
    assert again.table.equals(first.table)
