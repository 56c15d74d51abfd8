"""Each way that loads something, in the order of docs/security.md: none runs what is in a file."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image as Picture

import napari_cam_sam
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.training.saving import CHECKPOINT, read_state
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.sam import registry
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, Study, read_study
from napari_cam_sam.studies.report.page import read_results, write_report
from napari_cam_sam.studies.run.runner import run_study

ROOT = Path(__file__).resolve().parents[2]


class Evil:
    """Writes a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"echo pickle > '{self.trace}'",)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "RAN"


def pickles(folder: Path, trace: Path, suffix: str) -> list[Path]:
    """Checkpoints with code: a zip of PyTorch's, a bare pickle, and an old one."""
    state = {"fc.weight": torch.zeros(2, 3), "more": Evil(trace)}
    paths = [folder / f"{kind}{suffix}" for kind in ("zip", "bare", "old")]
    torch.save(state, paths[0])
    paths[1].write_bytes(pickle.dumps(Evil(trace)))
    torch.save(state, paths[2], _use_new_zipfile_serialization=False)
    return paths


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pth.tar", ".bin"])
def test_no_checkpoint_runs_code(tmp_path: Path, trace: Path, suffix: str) -> None:
    for path in pickles(tmp_path, trace, suffix):
        for load in (load_model, load_segmenter):
            with pytest.raises(CamSamError):
                load(str(path), device="cpu")
    assert not trace.exists()
    # The trace is left where somebody is careless: the test would see it.
    pickle.loads((tmp_path / f"bare{suffix}").read_bytes())
    assert trace.exists()


def test_a_name_that_lies_about_its_kind_runs_no_code(tmp_path: Path, trace: Path) -> None:
    for path in pickles(tmp_path, trace, ".pth"):
        lying = path.with_suffix(".safetensors")
        shutil.copy(path, lying)
        with pytest.raises(CamSamError):
            load_model(str(lying), device="cpu")
    assert not trace.exists()


def test_the_state_of_a_training_runs_no_code(tmp_path: Path, trace: Path) -> None:
    for path in pickles(tmp_path, trace, ".pt"):
        shutil.copy(path, tmp_path / CHECKPOINT)
        with pytest.raises(CamSamError):
            read_state(tmp_path, {})
    assert not trace.exists()


def test_torchscript_is_refused(tmp_path: Path) -> None:
    module = torch.jit.script(torch.nn.Linear(2, 2))
    path = tmp_path / "script.pt"
    module.save(str(path))
    assert any("code/" in name for name in zipfile.ZipFile(path).namelist())
    with pytest.raises(CamSamError, match="TorchScript"):
        load_model(str(path), device="cpu")


@pytest.mark.parametrize(
    "tag", ["object/apply:os.system", "object/new:os.system", "name:os.system"]
)
def test_no_tag_of_yaml_makes_an_object(tmp_path: Path, trace: Path, tag: str) -> None:
    value = f"!!python/{tag} ['echo yaml > {trace}']"
    study = tmp_path / "study.yaml"
    study.write_text(f"name: {value}\ndataset: {{layout: folders, path: .}}\ngrid: {{}}\n")
    with pytest.raises(CamSamError):
        read_study(study)
    for part in ("network_def", "preprocessing", "inferer"):
        folder = tmp_path / f"bundle-{part}"
        bundle(folder, "yaml", f"{part}: {value}\n")
        with pytest.raises(CamSamError):
            load_model(str(folder), device="cpu")
    assert not trace.exists()


def bundle(folder: Path, suffix: str, text: str) -> None:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / f"inference.{suffix}").write_text(text)
    (folder / "configs" / "metadata.json").write_text("{}")
    torch.save({"x": torch.zeros(1)}, folder / "models" / "model.pt")


NETWORK = {
    "_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2,
    "channels": [4, 8], "strides": [2],
}  # fmt: skip


@pytest.mark.parametrize("where", ["network", "argument", "step", "step argument", "imports"])
def test_no_expression_or_target_of_a_bundle_is_run(
    tmp_path: Path, trace: Path, where: str
) -> None:
    code = f"$__import__('os').system(\"echo bundle > '{trace}'\")"
    call = {"_target_": "os.system", "command": f"echo bundle > '{trace}'"}
    config: dict[str, Any] = {
        "network_def": NETWORK,
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "ScaleIntensityd", "keys": "image"}],
        },
    }
    if where == "network":
        config["network_def"] = call
    elif where == "argument":
        config["network_def"] = {**NETWORK, "act": code}
    elif where == "step":
        config["preprocessing"]["transforms"].append(call)
    elif where == "step argument":
        config["preprocessing"]["transforms"][0]["minv"] = code
    else:
        config |= {"imports": [code], "initialize": [code], "run": [code]}
    bundle(tmp_path / "bundle", "json", json.dumps(config))
    with pytest.raises(CamSamError):
        load_model(str(tmp_path / "bundle"), device="cpu")
    assert not trace.exists()


def finished_study(folder: Path) -> Path:
    setting = Setting("box", None, "seeded", RunParameters(strategy="truth-box"))
    source = DatasetSource("phantoms", folder / "images", {"kind": "ultrasound", "count": 2})
    return run_study(Study("s", source, (setting,)), folder / "study", device="cpu").folder


def test_a_table_with_an_extension_type_runs_no_code(tmp_path: Path, trace: Path) -> None:
    folder = finished_study(tmp_path)
    table = pq.read_table(folder / "results.parquet")
    # As older versions of pyarrow wrote a type of Python's: its metadata is a pickle.
    field = pa.field(
        "value", pa.float64(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": pickle.dumps(Evil(trace)),
        },
    )  # fmt: skip
    place = table.schema.get_field_index("value")
    pq.write_table(table.cast(table.schema.set(place, field)), folder / "results.parquet")
    with suppress(CamSamError):
        read_results(folder)
    assert not trace.exists()


def test_what_a_study_says_is_text_in_its_report(tmp_path: Path, trace: Path) -> None:
    folder = finished_study(tmp_path)
    evil = (
        "<script>x()</script>{{ cycler.__init__.__globals__.os.system('echo > "
        + str(trace)
        + "') }}"
    )
    record = json.loads((folder / "study.json").read_text())
    record |= {"name": evil, "problems": [evil], "command": [evil], "dataset": evil}
    (folder / "study.json").write_text(json.dumps(record))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<script>x()" not in page
    assert "{{ cycler" in page
    assert not trace.exists()


@pytest.mark.slow
def test_a_matplotlibrc_beside_the_files_changes_nothing(
    received: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
    nothing_ran: Callable[[], None],
) -> None:
    plane = np.full((48, 48), 40, np.uint8)
    plane[12:30, 14:34] = 200
    Picture.fromarray(plane).save(received / "a.png")
    Picture.fromarray((plane > 100) * np.uint8(255)).save(received / "truth.png")
    options = ("--truth", "truth.png", "--prompts", "truth-box", "--sam", "seeded")
    done = command("run", "a.png", *options)
    assert done.returncode == 0, done.stderr
    assert (received / "a-cam-sam" / "overview.png").stat().st_size > 1000
    nothing_ran()


def test_what_a_layer_suggests_is_no_code() -> None:
    from napari_cam_sam.plugin.layers.layer_axes import KEY
    from napari_cam_sam.plugin.state.shown_image import ShownImage

    for value in ("helpers:make", 3, None, ["helpers:make"]):
        layer = SimpleNamespace(metadata={KEY: {"classifier": value}})
        assert ShownImage.suggestion(SimpleNamespace(layer=layer), "classifier") is None  # type: ignore[arg-type]
    layer = SimpleNamespace(metadata={KEY: {"classifier": "lesion"}})
    assert ShownImage.suggestion(SimpleNamespace(layer=layer), "classifier") == "lesion"  # type: ignore[arg-type]


def test_every_address_of_a_download_has_a_known_hash() -> None:
    for entry in registry.REGISTRY.values():
        assert entry.url.startswith("https://")
        assert entry.known_hash.split(":")[0] in ("sha256", "md5")


def test_nothing_else_imports_or_runs_by_name() -> None:
    """The list in docs/security.md is whole: these are all calls that could run something."""
    allowed = {
        "__init__.py": {"lazy_loader.attach_stub"},  # its own modules, relative in its stub
        "models/factories.py": {"import_module"},
        "cli/demo.py": {"subprocess.run"},
        "models/training/saving.py": {"torch.load"},
        "models/checkpoints.py": {"torch.load"},
    }
    suspects = {
        "import_module", "__import__", "eval", "exec", "compile", "torch.load", "pickle.load",
        "pickle.loads", "torch.jit.load", "torch.hub.load", "joblib.load", "yaml.load",
        "yaml.unsafe_load", "os.system", "os.popen", "subprocess.run", "subprocess.Popen",
        "subprocess.call", "runpy.run_path", "entry_points", "cloudpickle.loads",
        "lazy_loader.attach", "lazy_loader.attach_stub", "lazy_loader.load",
    }  # fmt: skip
    package = Path(napari_cam_sam.__file__).parent
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            short = name.rpartition(".")[2]
            hit = name if name in suspects else short if short == "import_module" else None
            if name in ("eval", "exec", "compile", "__import__"):
                hit = name
            fixed = node.args and isinstance(node.args[0], ast.Constant)
            if hit is None or (hit == "import_module" and fixed):
                continue
            assert hit in allowed.get(where, set()), f"{where}:{node.lineno} calls {name}"
            if hit == "torch.load":
                assert "weights_only=True" in ast.unparse(node)


def test_the_page_on_security_names_what_the_tests_try() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for word in (
        "--allow-factory", "report FOLDER", "study FILE", "replay FOLDER", "autosave", "YAML",
        "weights_only=True", "checkpoint.pt", "MONAI", "TorchScript", "parquet", "jinja",
        "matplotlibrc", "127.0.0.1", "--scheduler", "entry points", "hf-hub",
    ):  # fmt: skip
        assert word in page
    assert "security.md" in (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
