"""``napari-cam-sam trust``: its figures are the core's, and bad input is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import save_file

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cam.parameters import OcclusionParameters, TrustParameters
from napari_cam_sam.cam.trust import assess_trust
from napari_cam_sam.cli import main
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.models.classify.architectures import build

QUICK = ["--stages", "2", "--draws", "1", "--methods", "hires-cam", "--removed", "20,50"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Three planes of the CT sample, the lesion on the middle one alone."""
    data = make_sample("ct").image.data[[0, 11, 1]]
    nib.save(nib.Nifti1Image(data.transpose(2, 1, 0), np.eye(4)), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_figures_of_the_plane_on_which_the_class_is_most_probable(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["trust", str(scan), "--classifier", "lesion", "--target", "lesion", "--json"]
    command += ["--window", "ct-abdomen", "--cam", "grad-cam", "--seed", "3", *QUICK]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    (found,) = printed["planes"]
    assert found["plane"] == 1
    image = make_sample("ct").image
    plane = apply_window(image.plane(0, 11), resolve_window(image, parse_window("ct-abdomen")))
    expected = assess_trust(
        load_classifier("lesion", device="cpu"),
        plane,
        CamParameters("grad-cam", target="lesion"),
        TrustParameters(2, 1, ("hires-cam",), (20, 50), seed=3),
    )
    assert found["scores"] == pytest.approx(expected.scores())
    assert found["road"]["without_highest"] == pytest.approx(expected.road.without_highest)  # type: ignore[union-attr]
    assert {one["test"] for one in found["findings"]} == {
        "head", "randomisation", "agreement", "road", "shift", "noise",
    }  # fmt: skip
    assert printed["parameters"]["seed"] == 3


def test_a_table_and_words_for_people(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["trust", str(scan), "--classifier", "lesion", "--target", "lesion"]
    command += ["--window", "ct-abdomen", "--cam", "eigen-cam", "--planes", "0:2", *QUICK]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "eigen-cam of 'lesion'" in out
    assert "scan, slice 0" in out
    assert "scan, slice 1" in out
    assert "last layer random  1.000" in out
    assert "bad    The map hardly changes when the model's last layer is random" in out
    assert "only a truth can tell" in out


def test_occlusion_has_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    Pillow.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(tmp_path / "a.png")
    command = ["trust", str(tmp_path / "a.png"), "--classifier", "lesion", "--cam", "occlusion"]
    command += ["--occlusion-patch", "64", "--occlusion-stride", "64", *QUICK, "--json"]
    assert main(command) == 0
    (found,) = json.loads(capsys.readouterr().out)["planes"]
    plane = np.asarray(Pillow.open(tmp_path / "a.png"))
    expected = assess_trust(
        load_classifier("lesion", device="cpu"),
        plane,
        CamParameters("occlusion", occlusion=OcclusionParameters(64, 64)),
        TrustParameters(2, 1, ("hires-cam",), (20, 50)),
    )
    assert found["reason"] == expected.reason
    known = {name: value for name, value in expected.scores().items() if np.isfinite(value)}
    assert {name: found["scores"][name] for name in known} == pytest.approx(known)


def test_several_classes_against_the_rest(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    card = {"architecture": "small-cnn", "num_classes": 3, "input_size": [64, 64], "channels": 1}
    module = build("small-cnn", num_classes=3, channels=1, input_size=(64, 64))
    path = tmp_path / "three.safetensors"
    save_file(module.state_dict(), path, metadata={"card": json.dumps(card)})
    command = ["trust", str(scan), "--classifier", str(path), "--target", "0+2", "--json"]
    command += ["--window", "ct-abdomen", "--odds", "--mirrored", "--device", "cpu", *QUICK]
    assert main(command) == 0
    (found,) = json.loads(capsys.readouterr().out)["planes"]
    image, classifier = read_image(scan), load_classifier(path, device="cpu")
    window = resolve_window(image, parse_window("ct-abdomen"))
    planes = [apply_window(plane, window) for plane in image.planes(0)]
    assert found["plane"] == classifier.probabilities(planes)[:, [0, 2]].sum(axis=1).argmax()
    expected = assess_trust(
        classifier,
        planes[found["plane"]],
        CamParameters("layer-cam", target="0+2", odds=True, mirrored=True),
        TrustParameters(2, 1, ("hires-cam",), (20, 50)),
    )
    assert expected.reason is None
    assert found["scores"] == pytest.approx(expected.scores(), nan_ok=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "name some by --planes, or a class by --target"),
        (["--planes", "7"], "out of range"),
        (["--planes", "1", "--methods", "grad-kam"], "Did you mean grad-cam"),
        (["--planes", "1", "--removed", "a"], "whole numbers, comma-separated"),
        (["--planes", "1", "--shift", "2"], "up to 0.25"),
        (["--planes", "1", "--occlusion-stride", "50"], "no pixel is left out"),
        (["--planes", "1", "--target", "leison"], "Did you mean lesion"),
    ],
)
def test_bad_input_is_one_line(
    scan: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trust", str(scan), "--classifier", "lesion", *more]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_run_refuses_parameters_of_occlusion_without_it(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = scan.with_name("settings.yaml")
    settings.write_text("occlusion: {patch: 8}")
    command = ["run", str(scan), "--classifier", "lesion", "--config", str(settings)]
    assert main(command) == 2
    assert "'occlusion' without method: occlusion" in capsys.readouterr().err
