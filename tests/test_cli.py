"""The command line: the main job on small files, and one clear line for each bad input."""

from __future__ import annotations

import errno
import json
import pickle
import shlex
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import napari_cam_sam as ncs
from napari_cam_sam.cli import main
from napari_cam_sam.demo import shipped_models
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.models.classifiers import load_classifier

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
BRAIN = SHARED / "brain_mri" / "brain1_image.nii.gz"
BUSI = SHARED / "busi"


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small CT-like volume and its truth as NIfTI, in an oblique LPS-like grid."""
    folder = tmp_path_factory.mktemp("volume")
    phantom = ct(5, shape=(8, 64, 64))
    affine = phantom.affine[:, [2, 1, 0, 3]]
    for name, data in (("image", phantom.hounsfield), ("truth", phantom.labels)):
        nib.save(nib.Nifti1Image(data.transpose(2, 1, 0), affine), folder / f"{name}.nii.gz")
    return folder / "image.nii.gz", folder / "truth.nii.gz"


def config(folder: Path, settings: str) -> list[str]:
    """Write a file of settings, and give the options that name it."""
    path = folder / "settings.yaml"
    path.write_text(settings)
    return ["--config", str(path)]


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Run a command that must fail, and give its one line."""
    assert main([str(a) for a in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def test_several_classes_as_one_against_the_others(
    picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = load_classifier("lesion").card.class_names
    start = ["run", str(picture[0]), "--classifier", "lesion", "--sam", "seeded", "--json"]
    output = ["--output", str(tmp_path / "out")]
    own = config(tmp_path, "odds: true\nmirrored: true")
    assert main([*start, *output, "--target", names[-1], *own]) == 0
    cam = json.loads((tmp_path / "out/run.json").read_text())["parameters"]["cam"]
    assert (cam["odds"], cam["mirrored"], cam["target"]) == (True, True, names[-1])
    capsys.readouterr()
    assert main([*start, *output, "--target", "+".join(names), *own]) == 2
    assert "all classes" in capsys.readouterr().err


def test_the_frame_of_a_checkpoint_is_taken_from_before_its_name_and_recorded(
    picture: tuple[Path, Path], tmp_path: Path
) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(shipped_models()["compact-sam"].read_bytes()[:-4] + b"\0\0\0\0")
    start = ["run", str(picture[0]), "--truth", str(picture[1]), "--prompts", "truth-box", "--json"]
    for frame in ("sam", "medsam"):
        output = tmp_path / frame
        argv = [*start, "--segmenter", f"{frame}:{own}", "--output", str(output)]
        assert main(argv) == 0
        assert json.loads((output / "run.json").read_text())["segmenter"]["frame"] == frame
    labels = [np.asarray(Pillow.open(tmp_path / one / "labels.png")) for one in ("sam", "medsam")]
    assert (labels[0] != labels[1]).any()


def test_run_writes_everything_on_the_grid_of_the_source(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = volume
    output = tmp_path / "out"
    code = main(
        ["run", str(image), "--truth", str(truth), "--classifier", "lesion", "--target", "lesion",
         "--sam", "seeded", "--window", "ct-abdomen", "--output", str(output), "--json"]
    )  # fmt: skip
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) >= {"scores", "prompts", "device", "seconds", "output"}
    assert set(printed["scores"]) >= {"planes", "summary", "volume"}
    names = {p.name for p in output.iterdir()}
    assert names == {
        "heatmap.nii.gz", "labels.nii.gz", "prompts.json", "scores.csv", "overview.png", "run.json",
    }  # fmt: skip
    source, labels = nib.load(image), nib.load(output / "labels.nii.gz")
    np.testing.assert_allclose(labels.affine, source.affine, atol=1e-6)
    assert labels.shape == source.shape
    assert labels.get_data_dtype().kind == "u"
    record = json.loads((output / "run.json").read_text())
    assert record["image"]["sha256"]
    assert record["classifier"]["sha256"]
    assert record["parameters"]["window"]["kind"] == "ct-abdomen"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_truth_boxes_along_each_axis(
    volume: tuple[Path, Path], tmp_path: Path, axis: int, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = volume
    found = np.asarray(nib.load(truth).dataobj).transpose(2, 1, 0)
    with_truth = int(found.any(axis=tuple(a for a in range(3) if a != axis)).sum())
    argv = ["run", image, "--truth", truth, "--prompts", "truth-box", "--sam", "seeded"]
    # Planes along axes 1 and 2 have 8 rows only: the usual margin of 5 would box all of them.
    argv += ["--axis", axis, "--output", tmp_path / "out", "--json"]
    argv += config(tmp_path, "prompts: {margin: 1}")
    assert main([str(a) for a in argv]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert len(scores["planes"]) == with_truth
    assert {p["axis"] for p in scores["planes"]} == {axis}
    assert scores["volume"]["dice"] > 0.3
    labels = np.asarray(nib.load(tmp_path / "out" / "labels.nii.gz").dataobj).transpose(2, 1, 0)
    others = tuple(a for a in range(3) if a != axis)
    assert not (labels.any(axis=others) & ~found.any(axis=others)).any()


def test_a_picture_without_a_classifier_gets_its_upper_bound(
    picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = picture
    argv = ["run", image, "--truth", truth, "--prompts", "truth-box", "--output", tmp_path / "o"]
    assert main([str(a) for a in argv]) == 0
    out = capsys.readouterr().out
    assert "seeded" in out
    assert (tmp_path / "o" / "labels.png").exists()
    assert not (tmp_path / "o" / "heatmap.tif").exists()


def test_the_same_seed_gives_the_same_files(picture: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        argv = ["run", picture[0], "--classifier", "lesion", "--output", tmp_path / name, "--json"]
        assert main([str(a) for a in argv]) == 0
    for name in ("prompts.json", "labels.png", "heatmap.tif"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_demo_does_the_whole_way_on_its_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--headless", "--json", "--output", str(tmp_path / "demo")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["scores"]["summary"]["dice"]["n"] > 3
    assert printed["scores"]["summary"]["pointing_hit"]["mean"] > 0.5
    assert any(plane["objects"] for plane in printed["prompts"]["planes"])
    # The upper bound rests on no trained model: the inscribed ellipse alone has Dice .8 and more.
    assert printed["truth_prompts"]["dice"] > 0.6
    assert (tmp_path / "demo" / "overview.png").stat().st_size > 10_000
    # What it ran on lies there too, for `run` to be tried on.
    sample = make_sample("ct")
    for name, image in (("image", sample.image), ("truth", sample.truth)):
        again = read_image(tmp_path / "demo" / printed["sample"][name])
        np.testing.assert_array_equal(np.asarray(again.data), np.asarray(image.data))
        assert again.geometry.matches(image.geometry) is None


def test_demo_ends_with_the_result_in_words_and_a_command_that_can_be_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("napari_cam_sam.cli.demo.which", lambda name: None)
    monkeypatch.setattr("sys.argv", [str(Path(ncs.__file__).parent / "__main__.py")])
    folder = tmp_path / "a demo"
    assert main(["demo", "--sample", "ultrasound", "--output", str(folder)]) == 0
    *_, written, sample, gap, result, following, command, last = (
        capsys.readouterr().out.splitlines()
    )
    assert written.startswith("Written to ")
    assert "sample-ultrasound.tif" in sample
    assert gap == ""
    assert result.startswith("Result: Dice 0.87")
    assert "With prompts from the ground truth Dice would be 0.9" in result
    assert "overview.png" in following
    assert last == "There is no display, so napari is not opened."
    python, option, module, *argv = shlex.split(command)
    assert [python, option, module] == [sys.executable, "-m", "napari_cam_sam"]
    assert main(argv) == 0
    assert "overview.png" in capsys.readouterr().out


def test_a_mistyped_option_names_the_near_one_and_its_own_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "image.png", "--strateg", "s1"]) == 2
    said = capsys.readouterr().err
    assert "did you mean --strategy?" in said
    assert "napari-cam-sam run --help" in said
    assert said.count("\n") == 1


def test_metrics_of_each_plane_label_and_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.zeros((4, 30, 30), np.uint8)
    truth[1, 5:15, 5:15], truth[2, 5:15, 5:15], truth[2, 18:28, 18:28] = 1, 1, 2
    guess = np.where(truth > 0, 3 - truth, 0).astype(np.uint8)
    guess[2, 5:15, 5:10] = 0
    for name, data in (("truth", truth), ("guess", guess)):
        nib.save(nib.Nifti1Image(data.T, np.diag([1, 1, 3, 1])), tmp_path / f"{name}.nii")
    argv = ["metrics", "--prediction", str(tmp_path / "guess.nii"), "--json"]
    argv += ["--truth", str(tmp_path / "truth.nii"), "--each"]
    found = {}
    for each in ("plane", "label", "object"):
        assert main([*argv, each]) == 0
        found[each] = json.loads(capsys.readouterr().out)
    assert found["plane"]["spacing"] == [3, 1, 1]
    assert found["plane"]["unit"] == "mm"
    assert [p["plane"] for p in found["plane"]["planes"]] == [1, 2]
    assert found["plane"]["planes"][1]["iou"] == pytest.approx(150 / 200)
    # The labels are swapped: no label meets its own, but every object finds its partner.
    assert [row["iou"] for row in found["label"]["labels"]] == [0, 0]
    pairs = [(o["truth"], o["prediction"], o["iou"]) for o in found["object"]["objects"]]
    assert pairs == [(1, 2, pytest.approx(0.75)), (2, 1, 1)]


def test_a_heatmap_outside_of_0_to_1_is_refused_and_8_bits_are_scaled(
    picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tifffile

    truth = np.asarray(Pillow.open(picture[1])) > 0
    tifffile.imwrite(tmp_path / "wild.tif", truth.astype(np.float32) * 255)
    Pillow.fromarray((truth * 230).astype(np.uint8)).save(tmp_path / "gray.png")
    wild = ["prompts", "--strategy", "s1", "--heatmap", tmp_path / "wild.tif"]
    assert "0 to 255" in refused(capsys, *wild)
    argv = ["prompts", "--strategy", "s1", "--heatmap", str(tmp_path / "gray.png"), "--json"]
    assert main(argv) == 0
    box = json.loads(capsys.readouterr().out)["planes"][0]["objects"][0]["box"]
    assert box["row_min"] == np.nonzero(truth)[0].min() - 5


def test_the_users_own_files_are_never_written_over(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz"
    image.write_bytes(volume[0].read_bytes())
    truth.write_bytes(volume[1].read_bytes())
    argv = ["run", image, "--truth", truth, "--prompts", "truth-box", "--output", tmp_path]
    assert "written over" in refused(capsys, *argv)
    assert truth.read_bytes() == volume[1].read_bytes()


def test_a_second_run_into_a_folder_leaves_nothing_of_the_first(
    picture: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    start = ["run", str(picture[0]), "--output", str(out), "--sam", "seeded", "--json"]
    truth = ["--truth", str(picture[1])]
    assert main([*start, *truth, "--classifier", "lesion", "--target", "lesion"]) == 0
    (out / "notes.txt").write_text("mine")
    assert {p.name for p in out.iterdir()} >= {"heatmap.tif", "scores.csv"}
    assert main([*start, *truth, "--prompts", "truth-box"]) == 0
    left = {"labels.png", "prompts.json", "scores.csv", "overview.png", "run.json", "notes.txt"}
    assert {p.name for p in out.iterdir()} == left
    record = json.loads((out / "run.json").read_text())
    assert record["command"][:2] == ["run", str(picture[0])]


def test_a_plane_of_nan_alone_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = np.random.default_rng(0).random((20, 22, 5), dtype=np.float32)
    data[..., 3] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "scan.nii")
    argv = ["run", tmp_path / "scan.nii", "--classifier", "lesion", "--output", tmp_path / "o"]
    assert "Slice 3 along axis 0" in refused(capsys, *argv)
    assert not (tmp_path / "o").exists()


def test_a_plane_of_one_row_goes_through_the_shipped_sam(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 255, (600, 1, 4), dtype=np.int16)
    truth = np.zeros(data.shape, np.uint8)
    truth[100:160, 0, 1] = 1
    for name, values in (("scan", data), ("truth", truth)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii")
    argv = ["run", tmp_path / "scan.nii", "--truth", tmp_path / "truth.nii", "--planes", "1:2"]
    argv += ["--prompts", "truth-box", "--sam", "compact-sam", "--output", tmp_path / "o"]
    assert main([str(a) for a in argv]) == 0


def test_metrics_prints_the_named_figures(
    picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.asarray(Pillow.open(picture[1]))
    Pillow.fromarray((np.roll(truth, 3, axis=1) > 0).astype(np.uint8)).save(tmp_path / "p.png")
    import tifffile

    tifffile.imwrite(tmp_path / "h.tif", (truth > 0).astype(np.float32) * 0.7)
    argv = ["metrics", "--prediction", tmp_path / "p.png", "--truth", picture[1]]
    assert main([str(a) for a in [*argv, "--heatmap", tmp_path / "h.tif", "--json"]]) == 0
    found = json.loads(capsys.readouterr().out)
    both = np.count_nonzero((truth > 0) & (np.roll(truth, 3, axis=1) > 0))
    union = np.count_nonzero((truth > 0) | (np.roll(truth, 3, axis=1) > 0))
    assert found["iou"] == pytest.approx(both / union)
    assert found["dice"] == pytest.approx(2 * found["iou"] / (1 + found["iou"]))
    assert found["auc_judd"] == found["auprc"] == found["pointing_hit"] == 1
    assert set(found) >= {"pixel_accuracy", "hd95", "assd", "nsd", "prevalence", "energy_inside"}


def test_prompts_from_a_mask_and_back(
    picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["prompts", "--mask", picture[1], "--strategy", "s1", "--output", tmp_path / "p.json"]
    assert main([str(a) for a in argv]) == 0
    rows = np.nonzero(np.asarray(Pillow.open(picture[1])))[0]
    assert f"{rows.min() - 5} to {rows.max() + 6}" in capsys.readouterr().out
    assert json.loads((tmp_path / "p.json").read_text())["planes"][0]["objects"]


def test_models_list_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    for name in ("seeded", "compact-sam", "sam-vit-b", "medsam", "mobile-sam", "lesion", "shapes"):
        assert name in out
    assert "resnet18" in out
    assert main(["models", "list", "--json"]) == 0
    hashes = {one["name"]: one["hash"] for one in json.loads(capsys.readouterr().out)["models"]}
    assert hashes["sam-vit-b"] == "md5:01ec64d29a2fca3f0661936605ae66f8"
    assert hashes["mobile-sam"].startswith("sha256:6dbb9052")
    assert hashes["lesion"] is hashes["seeded"] is None
    assert main(["models", "info", "lesion", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["class_names"] == ["normal", "lesion"]
    assert any(layer["name"] == "stage3" for layer in card["layers"])


def test_models_info_of_ones_own_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from torchvision.models import mobilenet_v3_small

    from napari_cam_sam.sam.loading import build_sam

    torch.save(mobilenet_v3_small(num_classes=7).state_dict(), tmp_path / "m.pth")
    argv = ["models", "info", str(tmp_path / "m.pth"), "--architecture", "mobilenet_v3_small"]
    assert main([*argv, "--input-size", "96", "128", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["num_classes"] == 7
    assert card["input_size"] == [96, 128]
    torch.save(build_sam("compact").state_dict(), tmp_path / "s.pth")
    assert main(["models", "info", str(tmp_path / "s.pth"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "compact"
    # A name says what it is without fetching gigabytes.
    assert main(["models", "info", "sam-vit-h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "not installed"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--cam", "gradcam"], "grad-cam"),
        (["--layer", "stage33"], "stage3"),
        (["--target", "leson"], "lesion"),
        (["--prompts", "s2-fgbg"], "s2-fg-bg"),
        (["--sam", "sam-vitb"], "sam-vit-b"),
        (["--classifier", "resnet181"], "resnet18"),
        (["--device", "gpu7"], "cpu"),
        (["--window", "ct-bran"], "ct-brain"),
        (["--mask-choice", "bst"], "best"),
        (["--planes", "5:9"], "0 to 0"),
        (["--axis", "2"], "axis"),
        (["--prompts", "truth-box"], "truth"),
        (["--mask-choice", "oracle"], "truth"),
        (["--config", "prompts: {margin: -3}"], "margin"),
        (["--seed", "-1"], "seed"),
        (["--config", "card: {channels: 1}", "--classifier", "shapes"], "channels"),
        (["--output", "/dev/null/x"], "/dev/null"),
        (["--no-such-option"], "--help"),
    ],
)
def test_unknown_choices_name_what_would_be_right(
    picture: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: str,
) -> None:
    given = {"--classifier": "lesion", "--output": str(tmp_path / "out")}
    if options[0] == "--config":
        options = [*config(tmp_path, options[1]), *options[2:]]
    argv = ["run", str(picture[0]), *options]
    for option, value in given.items():
        if option not in options:
            argv += [option, value]
    assert expected in refused(capsys, *argv)
    assert not (tmp_path / "out").exists()


def _bad_file(kind: str, folder: Path) -> Path:
    path = folder / "bad.nii.gz"
    if kind == "missing":
        return folder / "not-there.nii"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path = folder / "bad.png"
        path.write_text("not an image")
    elif kind == "truncated":
        whole = folder / "whole.nii.gz"
        nib.save(nib.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), whole)
        path.write_bytes(whole.read_bytes()[:-900])
    elif kind == "header":
        path = folder / "bad.nii"
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)
        raw = bytearray(path.read_bytes())
        raw[70:72] = b"\xff\x7f"  # a data type that does not exist
        path.write_bytes(bytes(raw))
    elif kind == "zero":
        nib.save(nib.Nifti1Image(np.zeros((4, 0, 4), np.int16), np.eye(4)), path)
    elif kind == "5D":
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2, 2), np.int16), np.eye(4)), path)
    elif kind == "NaN":
        nib.save(nib.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "text", "truncated", "header", "zero", "5D", "NaN"]
)
def test_bad_files_are_refused_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _bad_file(kind, tmp_path)
    line = refused(capsys, "run", path, "--classifier", "lesion", "--output", tmp_path / "out")
    assert path.name in line or kind == "NaN"
    assert not (tmp_path / "out").exists()


def test_a_truth_of_another_grid_or_without_the_label_is_refused(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = volume
    whole = nib.load(truth)
    data = np.asarray(whole.dataobj)
    nib.save(nib.Nifti1Image(data[:-1], whole.affine), tmp_path / "shape.nii.gz")
    moved = whole.affine.copy()
    moved[0, 3] += 20
    nib.save(nib.Nifti1Image(data, moved), tmp_path / "moved.nii.gz")
    start = ["run", image, "--prompts", "truth-box", "--output", tmp_path / "out", "--truth"]
    assert "64" in refused(capsys, *start, tmp_path / "shape.nii.gz")
    assert "do not lie in the same place" in refused(capsys, *start, tmp_path / "moved.nii.gz")
    assert "it has: 1" in refused(capsys, *start, truth, "--truth-label", "7")
    assert not (tmp_path / "out").exists()


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


@pytest.mark.parametrize("kind", ["html", "pickle", "architecture", "classes", "foreign"])
def test_bad_checkpoints_are_refused_in_one_line(
    kind: str, picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from torchvision.models import resnet18

    path = tmp_path / "model.pth"
    options = ["--architecture", "resnet18"]
    if kind == "html":
        path.write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": _Evil()}))
    elif kind == "foreign":
        torch.save({"something": torch.zeros(3)}, path)
    else:
        torch.save(resnet18(num_classes=2).state_dict(), path)
        options = (
            ["--architecture", "densenet121"]
            if kind == "architecture"
            else ["--architecture", "resnet18", "--class-names", "a,b,c"]
        )
    argv = ["run", picture[0], "--classifier", path, *options, "--output", tmp_path / "out"]
    line = refused(capsys, *argv)
    assert "model" in line
    assert "code ran" not in line
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(
    picture: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # The picture is written last but one: labels and prompts are complete by then.
    monkeypatch.setattr("napari_cam_sam.pipeline.overview.draw_overview", full)
    argv = ["run", picture[0], "--classifier", "lesion", "--output", tmp_path / "deep" / "out"]
    assert "No space left" in refused(capsys, *argv)
    assert {p.name for p in tmp_path.iterdir()} == {"image.png", "truth.png"}


@pytest.mark.real_data
@pytest.mark.skipif(not BRAIN.exists(), reason="the real brain MRI is not beside the project")
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_brain_mri_with_truth_boxes(
    axis: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = BRAIN.with_name("brain1_label.nii.gz")
    argv = ["run", BRAIN, "--truth", truth, "--prompts", "truth-box", "--sam", "seeded"]
    argv += ["--axis", axis, "--output", tmp_path / "out", "--json"]
    if axis:
        # The planes along the other axes are many; a few in the tumour's middle do.
        found = np.asarray(nib.load(truth).dataobj).transpose(2, 1, 0)
        inside = np.flatnonzero(found.any(axis=tuple(a for a in range(3) if a != axis)))
        middle = int(inside[len(inside) // 2])
        argv += ["--planes", f"{middle - 2}:{middle + 2}"]
    assert main([str(a) for a in argv]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert len(scores["planes"]) == (7 if axis == 0 else 4)
    source, labels = nib.load(BRAIN), nib.load(tmp_path / "out" / "labels.nii.gz")
    np.testing.assert_array_equal(labels.affine, source.affine)
    assert labels.shape == source.shape
    assert nib.aff2axcodes(labels.affine) == ("L", "A", "S")
