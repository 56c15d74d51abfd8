"""No file has code of its own run: factories are named by people alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.models.factories import call_factory
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.session import Session, image_record, write_session
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, Study, plan_hash, read_study
from napari_cam_sam.studies.data.datasets import read_dataset
from napari_cam_sam.studies.report import cases as report_cases
from napari_cam_sam.studies.report.cases import restore_study
from napari_cam_sam.studies.run.models import Models
from napari_cam_sam.studies.run.runner import run_study

Shell = Callable[..., subprocess.CompletedProcess[str]]
Check = Callable[[], None]

YAML = """\
dataset: {layout: folders, path: data}
grid: {classifiers: [NAME], strategies: [ours], segmenters: [seeded]}
"""
LISTED = """\
dataset:
  layout: folders
  path: data
grid:
  - classifiers: NAME
    strategies: ours
    segmenters: seeded
"""


@pytest.fixture
def data(received: Path) -> Path:
    """Two images with truths."""
    for name, level in (("a", 200), ("b", 180)):
        plane = np.full((64, 64), 40, np.uint8)
        plane[20:40, 22:44] = level
        for folder, values in (("images", plane), ("masks", (plane > 100) * np.uint8(255))):
            (received / "data" / folder).mkdir(parents=True, exist_ok=True)
            Picture.fromarray(values).save(received / "data" / folder / f"{name}.png")
    return received / "data"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["helpers:make", "mymodel:make", "torch:make"])
@pytest.mark.parametrize(("suffix", "text"), [("yaml", YAML), ("yml", LISTED)])
def test_a_study_runs_no_code_that_its_file_names(
    received: Path,
    data: Path,
    command: Shell,
    nothing_ran: Check,
    name: str,
    suffix: str,
    text: str,
) -> None:
    if (name, suffix) not in (("helpers:make", "yaml"), ("mymodel:make", "yml")):
        # A process takes seconds: the rest is asked here.
        (received / f"study.{suffix}").write_text(text.replace("NAME", name))
        with pytest.raises(CamSamError, match="--allow-factory"):
            read_study(received / f"study.{suffix}", allowed=["other:make"])
        nothing_ran()
        return
    (received / f"study.{suffix}").write_text(text.replace("NAME", name))
    for more in ((), ("--dry-run",)):
        done = command("study", f"study.{suffix}", *more)
        assert done.returncode == 2, done.stderr
        assert f"--allow-factory {name}" in done.stderr
        nothing_ran()
    assert not (received / "study-study").exists()


@pytest.mark.slow
def test_a_factory_that_is_allowed_is_not_looked_for_beside_the_file(
    received: Path, data: Path, command: Shell, nothing_ran: Check
) -> None:
    (received / "study.yaml").write_text(YAML.replace("NAME", "mymodel:make"))
    allowed = ("study", "study.yaml", "--allow-factory", "mymodel:make")
    done = command(*allowed)
    assert done.returncode == 2
    assert "PYTHONPATH" in done.stderr
    nothing_ran()
    # Where the user says that it is to be found there, it runs.
    (received / "yours").mkdir()
    (received / "mymodel.py").rename(received / "yours" / "mymodel.py")
    done = command(*allowed, "--json", path=str(received / "yours"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cases"] == {"all": 2, "done": 2, "failed": 0}
    assert (received / "yours" / "RAN").exists()
    nothing_ran()


@pytest.mark.slow
def test_a_report_imports_nothing_that_its_record_names(
    received: Path, data: Path, command: Shell, nothing_ran: Check
) -> None:
    settings = (
        Setting("cam", "lesion", "seeded", RunParameters()),
        Setting("box", None, "seeded", RunParameters(strategy="truth-box")),
    )
    folder = received / "study"
    run_study(Study("s", DatasetSource("folders", data), settings), folder, device="cpu")
    record = json.loads((folder / "study.json").read_text())
    record["study"]["settings"]["cam"]["classifier"] = "helpers:make"
    # As whoever sends it would: the plan fits what the record says.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_cases, "plan_hash", lambda study: record["plan"])
        record["plan"] = "0" * 64
        study = restore_study(record)
    record["plan"] = plan_hash(study)
    (folder / "study.json").write_text(json.dumps(record))
    done = command("report", "study")
    assert done.returncode == 0, done.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "--allow-factory helpers:make" in page
    nothing_ran()


def test_a_report_draws_no_phantoms_where_its_record_says(tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match="None of the images"):
        read_dataset("phantoms", tmp_path / "elsewhere", draw=False, kind="ultrasound", count=2)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(CamSamError, match="Unknown option"):
        read_dataset("phantoms", tmp_path / "elsewhere", kind="ct", options=1)


@pytest.mark.slow
def test_replaying_a_session_imports_nothing_that_it_names(
    received: Path, data: Path, command: Shell, nothing_ran: Check
) -> None:
    session_of(data / "images" / "a.png", received / "session", "helpers:make")
    done = command("replay", "session", "--image", "data/images/a.png")
    assert done.returncode == 0, done.stderr
    nothing_ran()
    # A segmenter is a name or a file, and never code.
    with pytest.raises(CamSamError, match="Unknown segmenter"):
        load_segmenter("helpers:make", "cpu")
    nothing_ran()


def session_of(image: Path, folder: Path, classifier: str) -> None:
    """Save the session of somebody whose classifier was code."""
    read = replace(read_image(image), path=None)
    point = ObjectPrompt(1, (Point(30, 30, True, "user"),))
    prompts = PlanePrompts(0, 0, (point,))
    choices = {"docks": {"heatmap": {"classifier": classifier, "target": "lesion"}}}
    write_session(folder, Session(image_record(read), choices, (prompts,)), read)


OPEN = """\
import sys, pathlib
from napari.components import ViewerModel
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.layers.layer_axes import KEY
from napari_cam_sam.plugin.session.session_panel import SessionPanel
from napari_cam_sam.plugin.viewer.attach import workspace_of
from superqt.utils import WorkerBase
viewer = ViewerModel()
image = read_image("data/images/a.png")
viewer.add_image(image.data, name="a", metadata={KEY: {"image": image}})
workspace = workspace_of(viewer)
dock = HeatmapDock(viewer)
dock.show()
row = SessionPanel(workspace, workspace.sessions)

def wait(until):
    for _ in range(600):
        app.processEvents()
        QThreadPool.globalInstance().waitForDone(50)
        if until():
            return
    raise SystemExit("waited in vain: " + row.words.text())

mode, answer = sys.argv[1:]
if mode == "session":
    workspace.sessions.open("session")
else:
    wait(lambda: workspace.sessions.left is not None)
    row._restore()
wait(lambda: not dock.code.isHidden())
assert "helpers:make" in dock.code.words.text(), dock.code.words.text()
assert dock.code.leave.isDefault()
assert dock.state()["classifier"] == "helpers:make"  # an autosave meanwhile loses nothing
for _ in range(20):  # nothing is loaded behind its back
    app.processEvents()
    QThreadPool.globalInstance().waitForDone(20)
if answer == "leave":
    dock.code.leave.click()
    assert dock.state()["classifier"] != "helpers:make"
    assert dock.classifier.name.findData("helpers:make") < 0
else:
    dock.code.allow.click()
    assert dock.classifier.name.value() == "helpers:make"
    wait(lambda: not dock.row.busy)
    print("LOADED", workspace.classifier and workspace.classifier.name)
print("ASKED")
WorkerBase.await_workers(60_000)
import os
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("mode", ["session", "autosave"])
def test_a_session_in_the_viewer_asks_before_it_runs_code(
    received: Path, data: Path, shell: Shell, nothing_ran: Check, tmp_path: Path, mode: str
) -> None:
    image = data / "images" / "a.png"
    if mode == "session":
        session_of(image, received / "session", "helpers:make")
    else:
        sha256 = image_record(replace(read_image(image), path=None)).sha256
        folder = tmp_path / "autosaves" / f"{sha256[:16]}-0-999999999-1-1-1"
        session_of(image, folder, "helpers:make")
    for shadow in ("yaml", "torch", "numpy", "pandas", "monai", "matplotlib", "triton"):
        (received / f"{shadow}.py").unlink()  # python -c searches the folder, whoever asks
    (received / "matplotlibrc").unlink()
    done = shell("-c", OPEN, mode, "leave")
    assert "ASKED" in done.stdout, done.stdout + done.stderr
    nothing_ran()


@pytest.mark.slow
def test_the_click_runs_the_code_but_does_not_search_the_working_folder(
    received: Path, data: Path, shell: Shell, nothing_ran: Check
) -> None:
    session_of(data / "images" / "a.png", received / "session", "helpers:make")
    (received / "yours").mkdir()
    (received / "helpers.py").rename(received / "yours" / "helpers.py")
    done = shell("-P", "-c", OPEN, "session", "allow", path=str(received / "yours"))
    assert "LOADED helpers:make" in done.stdout, done.stdout + done.stderr
    assert (received / "yours" / "RAN").exists()
    nothing_ran()


def test_what_people_name_is_run_as_before(received: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(received)
    (received / "named_by_hand_1.py").write_text((received / "helpers.py").read_text())
    assert load_model("named_by_hand_1:make", device="cpu").name == "named_by_hand_1:make"
    assert (received / "RAN").read_text() == "named_by_hand_1"


def test_models_of_a_file_refuse_what_is_not_allowed(
    received: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(received)
    monkeypatch.syspath_prepend("")
    (received / "named_by_file_1.py").write_text((received / "helpers.py").read_text())
    for allowed in ((), ("named_by_file_1:other",), ("named_by_file_1",)):
        with pytest.raises(CamSamError, match="--allow-factory named_by_file_1:make"):
            Models("cpu", allowed).classifier("named_by_file_1:make")
    with pytest.raises(CamSamError, match="working folder is not searched"):
        Models("cpu", ("named_by_file_1:make",)).classifier("named_by_file_1:make")
    with pytest.raises(CamSamError, match="working folder is not searched"):
        call_factory("named_by_file_1:make", working_folder=False)
    assert not (received / "RAN").exists()
