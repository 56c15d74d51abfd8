"""``napari-cam-sam train``: folders and tables in, a classifier and its figures out."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from napari_cam_sam.cli import main
from napari_cam_sam.demo.volumes import ct

QUICK = (
    "--architecture", "small-cnn", "--epochs", "1", "--input-size", "32", "32", "--device", "cpu",
    "--batch-size", "8",
)  # fmt: skip


def picture(seed: int, upright: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wave = 60 * np.sin(np.arange(40) * rng.uniform(0.5, 1.2) + rng.uniform(0, 6))
    plane = 120 + (wave[None] if upright else wave[:, None]) + rng.normal(0, 25, (40, 40))
    return plane.clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for upright, name in enumerate(("lying", "upright")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for seed in range(12):
            plane = picture(seed + 100 * upright, bool(upright))
            Pillow.fromarray(plane).save(tmp_path / "pictures" / name / f"{seed}.png")
    return tmp_path / "pictures"


def run(*argv: object) -> int:
    return main([str(a) for a in argv])


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert run(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_a_folder_becomes_a_classifier(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "lying" / "damaged.png").write_bytes(b"\x89PNG")
    output = tmp_path / "out"
    assert run("train", folder, "--output", output, "--seed", 3, *QUICK) == 0
    out, err = capsys.readouterr()
    assert "24: " in out
    assert "damaged.png" in out
    assert "upright" in out
    assert "random weights (ImageNet's are not on this machine)" in out
    assert "epoch   1" in err
    # Six images or fewer are reported: that is never enough to tell.
    warning = "It may be no better than guessing: on "
    assert f"Warning: {warning}" in out
    assert run("models", "info", output / "model.safetensors") == 0
    told = capsys.readouterr().out
    assert "images of the reported part" in told
    assert "accuracy" in told
    assert warning in told
    assert run("models", "info", output / "model.safetensors", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["training"]["parameters"]["seed"] == 3
    record = json.loads((output / "training.json").read_text())
    assert card["training"]["warning"] == record["warning"]
    assert record["warning"].startswith(warning)
    assert card["class_names"] == ["lying", "upright"]
    image = folder / "upright" / "1.png"
    argv = ["run", image, "--classifier", output / "model.safetensors", "--sam", "seeded"]
    assert run(*argv, "--device", "cpu", "--output", tmp_path / "run", "--json") == 0


def test_json_options_and_what_is_held_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = tmp_path / "held"
    held.mkdir()
    Pillow.fromarray(picture(4, False)[1:]).save(held / "other name.png")
    (held / "list.txt").write_text("")
    argv = [
        "train", folder, "--output", tmp_path / "out", *QUICK, "--exclude-near", held,
        folder / "upright" / "2.png", "--classes", "upright,lying", "--augment-mixup", "0.2",
        "--no-augment-flip", "--patience", "none", "--window", "limits:0,200", "--json",
    ]  # fmt: skip
    assert run(*argv) == 0
    found = json.loads(capsys.readouterr().out)
    left = {Path(one["name"]).relative_to(folder).as_posix() for one in found["result"]["left_out"]}
    assert left == {"lying/4.png", "upright/2.png"}
    assert sum(found["result"]["parts"].values()) == 22
    assert found["warning"].startswith("It may be no better than guessing")
    parameters = found["parameters"]
    assert parameters["augmentation"]["mixup"] == 0.2
    assert parameters["augmentation"]["flip"] is False
    assert parameters["window"] == {"kind": "limits", "low": 0.0, "high": 200.0}
    names = [row["name"] for row in found["result"]["figures"]["classes"]]
    assert names == ["upright", "lying"]


def test_a_table_of_volumes_and_their_truths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["image,truth"]
    for seed in range(4):
        phantom = ct(seed, shape=(8, 48, 48))
        for name, data in (("image", phantom.hounsfield), ("truth", phantom.labels)):
            nib.save(
                nib.Nifti1Image(data.transpose(2, 1, 0), np.eye(4)),
                tmp_path / f"{name}{seed}.nii.gz",
            )
        rows.append(f"image{seed}.nii.gz,truth{seed}.nii.gz")
    table = tmp_path / "volumes.csv"
    table.write_text("\n".join(rows))
    argv = ["train", table, "--output", tmp_path / "out", *QUICK, "--no-join-copies"]
    assert run(*argv, "--window", "ct-abdomen", "--json") == 0
    found = json.loads(capsys.readouterr().out)["result"]
    assert sum(found["parts"].values()) == 32
    # Volumes are whole: parts have multiples of their planes.
    assert all(n % 8 == 0 and n for n in found["parts"].values())
    assert found["copies"] is None


def test_resuming_and_stopping_by_the_keyboard(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_cam_sam.models.training import run as training

    real, calls = training.write_state, []

    def interrupted(*args: object) -> None:
        real(*args)
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt

    argv = ["train", folder, "--output", tmp_path / "out", *QUICK, "--epochs", 3]
    with monkeypatch.context() as patch:
        patch.setattr(training, "write_state", interrupted)
        assert run(*argv) == 130
    assert "1 of 3 epochs are kept" in capsys.readouterr().err
    assert "resume it" in refused(capsys, *argv)
    assert run(*argv, "--resume", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["result"]["epochs"]) == 3
    assert "holds a finished classifier" in refused(capsys, *argv, "--resume")


def test_bad_input_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--output", tmp_path / "out", *QUICK)
    assert "does not exist" in refused(capsys, "train", tmp_path / "none", *out)
    assert "no images in its folders" in refused(capsys, "train", folder / "lying", *out)
    assert "Did you mean s1" in refused(capsys, "train", folder, *out, "--preset", "s2")
    assert "resnet18" in refused(capsys, "train", folder, *out, "--architecture", "resnet81")
    assert "none of the classes" in refused(capsys, "train", folder, *out, "--classes", "a,lying")
    (tmp_path / "empty").mkdir()
    empty = ("--exclude-near", tmp_path / "empty")
    assert "holds no image" in refused(capsys, "train", folder, *out, *empty)
    everything = ("--exclude-near", folder)
    assert "no images to train on" in refused(capsys, "train", folder, *out, *everything)
    for path in sorted((folder / "upright").iterdir())[1:]:
        path.unlink()
    assert "'upright' has 1 image" in refused(capsys, "train", folder, *out)
    assert "--output" in refused(capsys, "train", folder)
